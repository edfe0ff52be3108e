//! `muster cert`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use certpath::Purpose;
use clap::{Args, Subcommand, ValueEnum};
use model::{Certificate, CertificateInfo, RegistrationId, Timestamp};
use provisioning::{
    attest::x509::{self, CertificateRefusal, Question, parse_chain},
    ports::Clock,
};
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};
use server::SystemClock;

use super::{table::Table, target::read};
use crate::output::{self, Format, OutputArgs};

/// The exit status for unreadable files, the same as for wrong usage.
const UNREADABLE: u8 = 2;

const LEAF: &str = "leaf";
const INTERMEDIATE: &str = "intermediate";
const ANCHOR: &str = "anchor";

/// Verify certificate chains.
#[derive(Args)]
pub struct CertArgs {
    #[command(subcommand)]
    command: CertCommand,
}

#[derive(Subcommand)]
enum CertCommand {
    Verify(VerifyArgs),
}

/// Verify that a device certificate chains to a trusted one, by the rules of registrations.
///
/// Anchors are the certificates of an enrollment group, and intermediates those that the device sends along. Order does not
/// matter, and unrelated certificates are ignored. docs/certificate-rules.md lists the rules and the differences to RFC 5280.
///
/// Exit status: 0 if the leaf is valid, 1 if it is refused, 2 for wrong usage or an unreadable file.
#[derive(Args)]
#[command(after_help = "Examples:
  muster cert verify --anchor root.pem --intermediate factory.pem --leaf device-1.pem
  muster cert verify --anchor factory.pem --leaf device-1.pem --registration-id device-1 --purpose client
      whether this device could register through a group with factory.pem
  muster cert verify --anchor root.pem --leaf device-1-chain.pem --at 2027-01-01
      a chain in one file, leaf first, verified at that date")]
struct VerifyArgs {
    /// A file with trusted certificates, PEM or DER; repeatable.
    #[arg(long = "anchor", value_name = "FILE", required = true)]
    anchors: Vec<PathBuf>,
    /// A file with intermediate certificates, PEM or DER; repeatable.
    #[arg(long = "intermediate", value_name = "FILE")]
    intermediates: Vec<PathBuf>,
    /// The device certificate, PEM or DER; further certificates in the file count as intermediates.
    #[arg(long, value_name = "FILE")]
    leaf: PathBuf,
    /// The time of the verification, such as 2027-01-31T12:00:00Z or 2027-01-31. Default: now.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    at: Option<Timestamp>,
    /// The required extended key usage. Registrations require none.
    #[arg(long)]
    purpose: Option<For>,
    /// The registration ID that the leaf must name.
    #[arg(long, value_name = "ID", value_parser = |text: &str| RegistrationId::parse(text))]
    registration_id: Option<RegistrationId>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum For {
    /// Client authentication in TLS.
    Client,
    /// Server authentication in TLS.
    Server,
}

fn instant(text: &str) -> Result<Timestamp, String> {
    let refused = |_| "expected a time like 2027-01-31T12:00:00Z or 2027-01-31".to_owned();
    let is_day = text.len() == "YYYY-MM-DD".len();
    Timestamp::parse(&if is_day { format!("{text}T00:00:00Z") } else { text.to_owned() }).map_err(refused)
}

/// Runs the command.
pub fn run(args: CertArgs) -> anyhow::Result<ExitCode> {
    let CertCommand::Verify(args) = args.command;
    let format = args.output.format;
    match Verified::of(args) {
        Ok(verified) => {
            verified.print(format)?;
            Ok(if verified.refusal.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Err(error) => {
            output::note(format_args!("muster: {error:#}"));
            Ok(ExitCode::from(UNREADABLE))
        }
    }
}

/// The result for these certificates: the path of a valid leaf, otherwise the given certificates.
struct Verified {
    certificates: Vec<(&'static str, CertificateInfo)>,
    at: Timestamp,
    refusal: Option<CertificateRefusal>,
}

impl Verified {
    fn of(args: VerifyArgs) -> anyhow::Result<Verified> {
        let anchors = all_of(&args.anchors)?;
        let mut sent = certificates(&args.leaf)?;
        sent.extend(all_of(&args.intermediates)?);
        let at = args.at.unwrap_or_else(|| SystemClock.now());
        let purpose = args.purpose.map(|purpose| match purpose {
            For::Client => Purpose::Client,
            For::Server => Purpose::Server,
        });
        let question = Question { at, purpose, registration_id: args.registration_id };
        let given: Vec<_> = sent.iter().map(|one| CertificateDer::from(one.der().to_vec())).collect();
        let path = parse_chain(&given).and_then(|chain| x509::verify(&chain, &anchors, &question));
        Ok(match path {
            Ok(path) => Verified { certificates: in_path(&path)?, at, refusal: None },
            Err(refusal) => Verified { certificates: as_given(&sent, &anchors), at, refusal: Some(refusal) },
        })
    }

    fn verdict(&self) -> String {
        match &self.refusal {
            None => format!("valid at {}", self.at),
            Some(refusal) => format!("refused at {}: {refusal}", self.at),
        }
    }

    fn print(&self, format: Format) -> anyhow::Result<()> {
        if format == Format::Json {
            return output::json(&self.json());
        }
        let mut table = Table::new(&["", "subject", "issuer", "valid from", "valid until"]);
        for (role, info) in &self.certificates {
            let dates = [info.not_before.to_string(), info.not_after.to_string()];
            let names = [info.subject_name.clone(), info.issuer_name.clone()];
            table.add_row([(*role).to_owned()].into_iter().chain(names).chain(dates));
        }
        output::table(&table)?;
        output::line(self.verdict())
    }

    fn json(&self) -> Value {
        let certificate = |(role, info): &(&str, CertificateInfo)| {
            json!({
                "role": role,
                "subject": info.subject_name,
                "issuer": info.issuer_name,
                "serialNumber": info.serial_number,
                "sha256Thumbprint": info.sha256_thumbprint,
                "notBefore": info.not_before.to_string(),
                "notAfter": info.not_after.to_string(),
            })
        };
        json!({
            "valid": self.refusal.is_none(),
            "at": self.at.to_string(),
            "refusal": self.refusal.as_ref().map(ToString::to_string),
            "certificates": self.certificates.iter().map(certificate).collect::<Vec<_>>(),
        })
    }
}

fn in_path(path: &[Vec<u8>]) -> anyhow::Result<Vec<(&'static str, CertificateInfo)>> {
    let role = |at| match at {
        0 => LEAF,
        _ if at + 1 == path.len() => ANCHOR,
        _ => INTERMEDIATE,
    };
    let read =
        path.iter().map(|der| Certificate::from_der(der).context("cannot parse a certificate of the path"));
    read.enumerate().map(|(at, certificate)| Ok((role(at), certificate?.info().clone()))).collect()
}

fn as_given(sent: &[Certificate], anchors: &[Certificate]) -> Vec<(&'static str, CertificateInfo)> {
    let roles = [LEAF].into_iter().chain(std::iter::repeat(INTERMEDIATE));
    let sent = roles.zip(sent);
    let anchors = anchors.iter().map(|anchor| (ANCHOR, anchor));
    sent.chain(anchors).map(|(role, certificate)| (role, certificate.info().clone())).collect()
}

fn all_of(files: &[PathBuf]) -> anyhow::Result<Vec<Certificate>> {
    let read: Vec<Vec<_>> = files.iter().map(|file| certificates(file)).collect::<anyhow::Result<_>>()?;
    Ok(read.into_iter().flatten().collect())
}

/// Reads the certificates in a file. Fails if there is none.
pub fn certificates(file: &Path) -> anyhow::Result<Vec<Certificate>> {
    Certificate::parse_all(&read(file)?).with_context(|| format!("cannot read {}", file.display()))
}
