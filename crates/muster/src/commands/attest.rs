//! `muster attest`.

use std::{path::PathBuf, process::ExitCode};

use base64::{Engine, engine::general_purpose::STANDARD};
use clap::{Args, Subcommand};
use model::{IdScope, RegistrationId};
use serde_json::{Value, json};

use super::{cert::certificates, explanation, service::ServiceArgs};
use crate::output;

/// Explain the attestation of devices.
#[derive(Args)]
pub struct AttestArgs {
    #[command(subcommand)]
    command: AttestCommand,
}

#[derive(Subcommand)]
enum AttestCommand {
    Explain(ExplainArgs),
}

/// Explain step by step why a device would be admitted or refused, without registering it.
///
/// Give what the device presents: its certificates, its SAS token, or the keys of its TPM. The command prints the last
/// refused attempts of the registration ID, and the enrollments that are considered with the reason for each result. If the
/// registration ID has an individual enrollment, no group is considered. Nothing is registered or metered.
///
/// Exit status: 0 if the device would be admitted, 1 if not, 2 for wrong usage.
#[derive(Args)]
#[command(after_help = "Examples:
  muster attest explain --dev .muster --registration-id device-1 --cert device-1-chain.pem
      the certificates that the device sends, leaf first; no private key is needed
  muster attest explain --dev .muster --registration-id device-2 \\
      --sas-token 'SharedAccessSignature sr=…&sig=…&se=…'
  muster attest explain --connection-string 'HostName=…;SharedAccessKeyName=…;SharedAccessKey=…' --ca ca.pem \\
      --registration-id device-3 --id-scope 0ne00000A0A --endorsement-key AToAAQALAAMAsgAg…")]
struct ExplainArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// The registration ID of the device.
    #[arg(long, value_name = "ID", value_parser = |text: &str| RegistrationId::parse(text))]
    registration_id: RegistrationId,
    /// The ID scope that the device uses. Default: that of the instance.
    #[arg(long, value_name = "SCOPE", value_parser = |text: &str| IdScope::parse(text))]
    id_scope: Option<IdScope>,
    /// A certificate that the device sends, PEM or DER, leaf first; repeatable.
    #[arg(long = "cert", value_name = "FILE")]
    certificates: Vec<PathBuf>,
    /// The SAS token that the device sends.
    #[arg(long, value_name = "TOKEN", env = "MUSTER_SAS_TOKEN", hide_env_values = true)]
    sas_token: Option<String>,
    /// The endorsement key of the device's TPM, base64.
    #[arg(long, value_name = "KEY")]
    endorsement_key: Option<String>,
    /// The storage root key of the device's TPM, base64.
    #[arg(long, value_name = "KEY", requires = "endorsement_key")]
    storage_root_key: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub async fn run(args: AttestArgs) -> anyhow::Result<ExitCode> {
    let AttestCommand::Explain(args) = args.command;
    let mut client = args.service.client()?;
    let reply = client.explain(&device_json(&args)?).await?;
    if args.json {
        output::json(&reply)?;
    } else {
        // The right to read enrollments does not imply the right to read registrations.
        let attempts = client.attempts(args.registration_id.as_str()).await.ok();
        if let Some(attempts) = attempts {
            output::lines(&explanation::attempts(&attempts))?;
        }
        output::lines(&explanation::text(&reply))?;
    }
    let is_admitted = matches!(reply["outcome"].as_str(), Some("admitted" | "challenged"));
    Ok(if is_admitted { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Describes the device as the route expects it. Absent members are null.
fn device_json(args: &ExplainArgs) -> anyhow::Result<Value> {
    let mut sent = Vec::new();
    for file in &args.certificates {
        sent.extend(certificates(file)?.iter().map(|certificate| STANDARD.encode(certificate.der())));
    }
    let tpm = args.endorsement_key.as_ref().map(
        |endorsement_key| json!({"endorsementKey": endorsement_key, "storageRootKey": args.storage_root_key}),
    );
    Ok(json!({
        "registrationId": args.registration_id.as_str(),
        "idScope": args.id_scope.as_ref().map(IdScope::as_str),
        "certificates": sent,
        "sasToken": args.sas_token,
        "tpm": tpm,
    }))
}
