//! `muster certificate verify`: proof of possession.

use std::path::PathBuf;

use anyhow::Context;
use certpath::encoding::Object;
use clap::Args;
use fleet::CertificateAuthority;
use model::VerificationCode;
use serde_json::Value;

use super::read_base64;
use crate::{
    commands::{service::ServiceArgs, target::read},
    output,
};

/// Prove possession of the key of an uploaded CA certificate.
///
/// With --ca-key the command requests a verification code, issues a certificate for it, and submits the certificate. The key
/// does not leave this machine. Without --ca-key it prints the code: issue a certificate with the code as its common name,
/// and submit it with --certificate.
#[derive(Args)]
#[command(after_help = "Examples:
  muster certificate verify --dev .muster plant-root --ca-key root.key
  muster certificate verify --dev .muster plant-root
      prints a code; then, on the machine with the key:
      openssl req -new -key any.key -subj /CN=CODE | openssl x509 -req -CA root.pem -CAkey root.key -out proof.pem
  muster certificate verify --dev .muster plant-root --certificate proof.pem")]
pub struct VerifyArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// The name of the CA certificate.
    name: String,
    /// The private key of the CA, PEM.
    #[arg(long, value_name = "FILE")]
    ca_key: Option<PathBuf>,
    /// The certificate that the CA issued for the code.
    #[arg(long, value_name = "FILE", conflicts_with = "ca_key")]
    certificate: Option<PathBuf>,
}

pub async fn run(args: VerifyArgs) -> anyhow::Result<()> {
    let mut client = args.service.client()?;
    let proof = match (&args.ca_key, &args.certificate) {
        (Some(key), _) => {
            let key = read(key)?;
            let shown = client.ca_certificate(&args.name).await?;
            let code = client.verification_code(&args.name).await?;
            issue(&shown, &key, &code)?
        }
        (None, Some(certificate)) => read_base64(certificate, Object::Certificate)?,
        (None, None) => {
            return output::line(client.verification_code(&args.name).await?);
        }
    };
    output::json(&client.verify_ca_certificate(&args.name, &proof).await?)
}

/// Issues a certificate for the code.
fn issue(shown: &Value, key: &[u8], code: &str) -> anyhow::Result<String> {
    let certificate = shown.pointer("/properties/certificate").and_then(Value::as_str);
    let certificate = certificate.context("the reply has no certificate")?;
    let authority = CertificateAuthority::from_pem(certificate.as_bytes(), key);
    let authority = authority.context("the key does not belong to the CA certificate")?;
    Ok(authority.proof(&VerificationCode::parse(code)?)?)
}
