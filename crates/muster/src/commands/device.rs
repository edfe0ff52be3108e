//! `muster device`.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::Context;
use clap::{ArgAction, ArgGroup, Args, Subcommand};
use fleet::{Device, Identity, RegisterError, Tpm, TpmAddress, TpmKeyKind, Transport, register};
use model::{RegistrationId, SymmetricKey, TpmIdentity};
use serde_json::{Value, json};

use super::target::TargetArgs;
use crate::output::{self, Format};

/// Act as a single device.
#[derive(Args)]
pub struct DeviceArgs {
    #[command(subcommand)]
    command: DeviceCommand,
}

#[derive(Subcommand)]
enum DeviceCommand {
    Register(Box<RegisterArgs>),
    TpmIdentity(TpmIdentityArgs),
}

/// Print the public keys of a TPM and the registration ID that SDKs derive from them, for its enrollment.
///
/// Creates both keys in the TPM, from the standard templates, if they do not exist.
#[derive(Args)]
#[command(after_help = "Examples:
  muster device tpm-identity --tpm /dev/tpmrm0
  muster device tpm-identity --tpm swtpm:127.0.0.1:2321 --tpm-keys ecc --json
      for an emulated TPM: swtpm socket --tpm2 --tpmstate dir=DIR --server type=tcp,port=2321 \\
          --ctrl type=tcp,port=2322 --flags not-need-init,startup-clear")]
struct TpmIdentityArgs {
    /// The TPM 2.0: /dev/tpmrm0, or swtpm:HOST:PORT for an emulated one.
    #[arg(long, value_name = "TPM")]
    tpm: TpmAddress,
    /// The kind of the endorsement and storage root keys: rsa or ecc.
    #[arg(long, value_name = "KIND", default_value_t)]
    tpm_keys: TpmKeyKind,
    /// Print the JSON on one line.
    #[arg(long = "json", action = ArgAction::SetTrue, value_parser = output::json_flag())]
    format: Format,
}

/// Register a device and print its registration state as JSON.
///
/// The device attests with its symmetric key, a key derived from a group key, a certificate, or its TPM. A TPM also stores
/// the key for the hub.
///
/// Exit status: 0 if the device was assigned to a hub, 1 if not, 2 for wrong usage.
#[derive(Args)]
#[command(after_help = "Examples:
  muster device register --dev .muster --registration-id device-1
      uses the sample enrollment group of a running `muster dev`
  muster device register --endpoint dps.example --id-scope 0ne00000A0A --ca ca.pem \\
      --registration-id device-2 --cert device-2.pem --cert-key device-2.key --transport mqtt
  muster device register --dev .muster --tpm /dev/tpmrm0
      uses a TPM, which must be enrolled: see muster device tpm-identity")]
#[group(skip)]
#[command(group(ArgGroup::new("proof").required(true).multiple(true).args(["dev", "key", "group_key", "cert", "tpm"])))]
struct RegisterArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// The device's registration ID. Default with a TPM: derived from the endorsement key, as SDKs do.
    #[arg(
        long,
        value_name = "ID",
        value_parser = |text: &str| RegistrationId::parse(text),
        required_unless_present = "tpm"
    )]
    registration_id: Option<RegistrationId>,
    /// The device's own symmetric key, base64.
    #[arg(
        long,
        env = "MUSTER_DEVICE_KEY",
        hide_env_values = true,
        value_parser = SymmetricKey::parse
    )]
    key: Option<SymmetricKey>,
    /// The key of the enrollment group, base64, from which the device's key is derived.
    #[arg(
        long,
        value_name = "KEY",
        env = "MUSTER_ENROLLMENT_GROUP_KEY",
        hide_env_values = true,
        value_parser = SymmetricKey::parse,
        conflicts_with = "key"
    )]
    group_key: Option<SymmetricKey>,
    /// The device's certificate, PEM, followed by issuers that the device sends along.
    #[arg(long, value_name = "FILE", requires = "cert_key", conflicts_with_all = ["key", "group_key"])]
    cert: Option<PathBuf>,
    /// The private key of that certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    cert_key: Option<PathBuf>,
    /// The device's TPM 2.0: /dev/tpmrm0, or swtpm:HOST:PORT for an emulated one.
    #[arg(long, value_name = "TPM", conflicts_with_all = ["key", "group_key", "cert"])]
    tpm: Option<TpmAddress>,
    /// The kind of the endorsement and storage root keys: rsa or ecc.
    #[arg(long, value_name = "KIND", default_value_t, requires = "tpm")]
    tpm_keys: TpmKeyKind,
    /// The transport: https, mqtt, mqtt-ws, amqp or amqp-ws.
    #[arg(long, default_value = "https")]
    transport: Transport,
    /// The payload for a custom allocation policy.
    #[arg(long, value_name = "JSON", value_parser = |text: &str| serde_json::from_str::<Value>(text))]
    payload: Option<Value>,
    /// Print the JSON on one line.
    #[arg(long = "json", action = ArgAction::SetTrue, value_parser = output::json_flag())]
    format: Format,
}

/// Runs the command.
pub async fn run(args: DeviceArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        DeviceCommand::Register(args) => run_register(*args).await,
        DeviceCommand::TpmIdentity(args) => run_tpm_identity(args).await,
    }
}

async fn run_tpm_identity(args: TpmIdentityArgs) -> anyhow::Result<ExitCode> {
    let tpm = open_tpm(&args.tpm, args.tpm_keys).await?;
    let TpmIdentity { endorsement_key, storage_root_key } = tpm.identity();
    let identity = json!({
        "registrationId": tpm.default_registration_id(),
        "endorsementKey": endorsement_key,
        "storageRootKey": storage_root_key,
    });
    print(&identity, args.format)?;
    Ok(ExitCode::SUCCESS)
}

async fn open_tpm(address: &TpmAddress, keys: TpmKeyKind) -> anyhow::Result<Arc<Tpm>> {
    Ok(Arc::new(Tpm::open(address, keys).await.with_context(|| address.to_string())?))
}

async fn run_register(args: RegisterArgs) -> anyhow::Result<ExitCode> {
    let (format, transport, payload) = (args.format, args.transport, args.payload);
    let tpm = match &args.tpm {
        Some(address) => Some(open_tpm(address, args.tpm_keys).await?),
        None => None,
    };
    let target = args.target.resolve()?;
    let named = args.registration_id.or_else(|| tpm.as_ref()?.default_registration_id());
    let name = named.context("--registration-id is required: the TPM has no key to derive it from")?;
    let device = match (tpm, args.cert.zip(args.cert_key), args.key, args.group_key.or(target.sample_key)) {
        (Some(tpm), ..) => Device::with_tpm(name, tpm),
        (None, Some((chain, key)), ..) => {
            Device::with_certificate(name, Identity::from_pem_files(&chain, &key)?)
        }
        (None, None, Some(key), _) => Device::with_key(name, key),
        (None, None, None, group_key) => {
            let group_key = group_key.context("one of --key, --group-key, --cert and --tpm is required")?;
            Device::in_group(name, &group_key)
        }
    };
    match register(&target.endpoint, &device, transport, payload.as_ref()).await {
        Ok(registered) => {
            print(&registered.state, format)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            if let RegisterError::Failed(state) | RegisterError::Disabled(state) = &error {
                print(state, format)?;
            }
            Err(error).with_context(|| format!("{} was not assigned", device.registration_id))
        }
    }
}

/// Prints the state on one line for programs, indented for people.
fn print(state: &Value, format: Format) -> anyhow::Result<()> {
    match format {
        Format::Json => output::json_line(state),
        Format::Text => output::json(state),
    }
}
