//! `muster enrollment create`.

use std::{path::PathBuf, process::ExitCode};

use certpath::encoding::Object;
use clap::{ArgGroup, Args};
use fleet::EnrollmentKind;
use serde_json::{Map, Value, json};

use super::{Which, settings::read_members};
use crate::{commands::certificate::read_base64, output};

/// Create an individual enrollment or an enrollment group.
///
/// Choose one attestation mechanism: a symmetric key, which the service generates and the command prints; a certificate, of
/// the device itself or, for a group, of its CA; or the endorsement key of a TPM. Other settings are members of a JSON file,
/// with the names of the service API: `initialTwin`, `iotHubs`, `allocationPolicy`, `reprovisionPolicy`, `deviceId`,
/// `capabilities`, `provisioningStatus`, and for a group `allowedRegistrationIds` (a list of patterns; empty allows all).
#[derive(Args)]
#[group(skip)]
#[command(
    group(ArgGroup::new("proof").required(true).args([
        "symmetric_key", "certificate", "ca_certificate", "endorsement_key", "settings",
    ]).multiple(true)),
    after_help = "Examples:
  muster enrollment create --dev .muster device-1 --symmetric-key
  muster enrollment create --dev .muster device-2 --certificate device-2.pem --settings settings.json
      with {\"initialTwin\": {\"properties\": {\"desired\": {\"interval\": 60}}}} in settings.json
  muster enrollment create --dev .muster device-3 --endorsement-key AToAAQALAAMAsgAg…
      with the key that muster device tpm-identity prints
  muster enrollment create --dev .muster --group line-1 --symmetric-key
  muster enrollment create --dev .muster --group line-2 --certificate factory.pem --registration-ids 'line-2-*'
  muster enrollment create --dev .muster --group line-3 --ca-certificate plant-root
      a CA certificate of the instance: see muster certificate"
)]
pub struct CreateArgs {
    #[command(flatten)]
    which: Which,
    /// Attest by symmetric key. With --replace, existing symmetric keys stay, with a warning; to replace them, use
    /// muster enrollment rotate-keys.
    #[arg(long, conflicts_with_all = ["certificate", "ca_certificate", "endorsement_key"])]
    symmetric_key: bool,
    /// Attest by this certificate, PEM or DER: of the device, or of the CA of a group.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["ca_certificate", "endorsement_key"])]
    certificate: Option<PathBuf>,
    /// Attest by a certificate that chains to this CA certificate of the instance.
    #[arg(long, value_name = "NAME", conflicts_with = "endorsement_key")]
    ca_certificate: Option<String>,
    /// Attest by the TPM with this endorsement key, base64.
    #[arg(long, value_name = "KEY", conflicts_with = "group")]
    endorsement_key: Option<String>,
    /// Restrict a group to matching registration IDs; `*` matches any characters, as in `line-1-*`; repeatable. Default: all.
    /// An extension of Azure's API: updates without it, such as those of Azure's clients, keep it.
    #[arg(long = "registration-ids", value_name = "PATTERN", requires = "group")]
    registration_ids: Vec<String>,
    /// A JSON file with further members. If it has an `attestation`, no other option is required.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Replace an existing enrollment. Symmetric keys stay unless --settings has others; all other members that are not
    /// given are removed.
    #[arg(long)]
    replace: bool,
}

/// Runs the command.
pub async fn run(args: CreateArgs) -> anyhow::Result<ExitCode> {
    let (kind, id) = (args.which.kind(), args.which.id.as_str());
    let mut enrollment = match &args.settings {
        None => Map::new(),
        Some(file) => read_members(kind, file)?,
    };
    if let Some(attestation) = attestation(&args)? {
        enrollment.insert("attestation".to_owned(), attestation);
    }
    if !args.registration_ids.is_empty() {
        enrollment.insert("allowedRegistrationIds".to_owned(), args.registration_ids.clone().into());
    }
    enrollment.insert(kind.id_member().to_owned(), id.into());
    let mut client = args.which.service.client()?;
    let if_match = args.replace.then_some("*");
    let written = client.put_enrollment((kind, id), &enrollment.into(), if_match).await?;
    output::json(&written)?;
    Ok(ExitCode::SUCCESS)
}

/// Builds the attestation that the arguments describe, if any.
fn attestation(args: &CreateArgs) -> anyhow::Result<Option<Value>> {
    if args.symmetric_key {
        return Ok(Some(json!({"type": "symmetricKey"})));
    }
    if let Some(key) = &args.endorsement_key {
        return Ok(Some(json!({"type": "tpm", "tpm": {"endorsementKey": key}})));
    }
    if let Some(name) = &args.ca_certificate {
        return Ok(Some(json!({"type": "x509", "x509": {"caReferences": {"primary": name}}})));
    }
    let Some(file) = &args.certificate else { return Ok(None) };
    let role = match args.which.kind() {
        EnrollmentKind::Individual => "clientCertificates",
        EnrollmentKind::Group => "signingCertificates",
    };
    let certificate = read_base64(file, Object::Certificate)?;
    Ok(Some(json!({"type": "x509", "x509": {role: {"primary": {"certificate": certificate}}}})))
}
