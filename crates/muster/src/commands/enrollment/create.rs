//! `muster enrollment create`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Args};
use fleet::EnrollmentKind;
use model::encoding::Object;
use serde_json::{Map, Value, json};

use super::{Which, settings::read_members};
use crate::{commands::certificate::read_base64, output};

/// Create an enrollment, of one device or of a group of devices.
///
/// Devices prove themselves by a symmetric key, which the service makes and the command prints; by a certificate: the
/// device's own, or for a group the one of the CA that issued the devices'; or by the endorsement key of a TPM. All else
/// that an enrollment may say stands in a JSON file, with the names of the service API: `initialTwin`, `iotHubs`,
/// `allocationPolicy`, `reprovisionPolicy`, `deviceId`, `capabilities`, `provisioningStatus`; and for a group
/// `allowedRegistrationIds`, a list of patterns, which is empty for all.
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
      as muster device tpm-identity prints it
  muster enrollment create --dev .muster --group line-1 --symmetric-key
  muster enrollment create --dev .muster --group line-2 --certificate factory.pem --registration-ids 'line-2-*'
  muster enrollment create --dev .muster --group line-3 --ca-certificate plant-root
      a CA certificate of the instance: see muster certificate"
)]
pub struct CreateArgs {
    #[command(flatten)]
    which: Which,
    /// By a symmetric key. With --replace, an enrollment that has symmetric keys keeps them, and a warning says so; new
    /// ones come from muster enrollment rotate-keys.
    #[arg(long, conflicts_with_all = ["certificate", "ca_certificate", "endorsement_key"])]
    symmetric_key: bool,
    /// By a certificate, PEM or DER.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["ca_certificate", "endorsement_key"])]
    certificate: Option<PathBuf>,
    /// By a certificate that leads to this CA certificate of the instance.
    #[arg(long, value_name = "NAME", conflicts_with = "endorsement_key")]
    ca_certificate: Option<String>,
    /// By the TPM with this endorsement key, base64.
    #[arg(long, value_name = "KEY", conflicts_with = "group")]
    endorsement_key: Option<String>,
    /// Of a group: which registration IDs it is for. `*` stands for any characters, as in `line-1-*`; may be given several
    /// times. A group without it is for all. An extension: an update that leaves it out, as Azure's clients do, keeps it.
    #[arg(long = "registration-ids", value_name = "PATTERN", requires = "group")]
    registration_ids: Vec<String>,
    /// A JSON file with all else; with an `attestation`, it may stand alone.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Take the place of the enrollment that has the name. Symmetric keys stay unless --settings has others; everything
    /// else is as given, so that what is left out is gone.
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

/// What the arguments say of how devices prove themselves.
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
