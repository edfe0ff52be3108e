//! `muster device`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use fleet::{Device, Identity, RegisterError, Transport, register};
use model::{RegistrationId, SymmetricKey};
use serde_json::Value;

use super::target::TargetArgs;

/// Act as a single device.
#[derive(Args)]
pub struct DeviceArgs {
    #[command(subcommand)]
    command: DeviceCommand,
}

#[derive(Subcommand)]
enum DeviceCommand {
    Register(RegisterArgs),
}

/// Register a device and print its registration state as JSON.
///
/// The device proves itself with its own symmetric key, with one derived from a group's key, or with a certificate.
/// Exit status 0 when it was assigned to a hub, 1 when it was not, 2 for wrong usage.
#[derive(Args)]
#[command(after_help = "Examples:
  muster device register --dev .muster --registration-id device-1
      through the sample enrollment group of a running `muster dev`
  muster device register --endpoint dps.example --id-scope 0ne00000A0A --ca ca.pem \\
      --registration-id device-2 --cert device-2.pem --cert-key device-2.key --transport mqtt")]
struct RegisterArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// The device's registration ID.
    #[arg(long, value_name = "ID", value_parser = |text: &str| RegistrationId::parse(text))]
    registration_id: RegistrationId,
    /// The device's own symmetric key, base64.
    #[arg(
        long,
        env = "MUSTER_DEVICE_KEY",
        hide_env_values = true,
        value_parser = SymmetricKey::parse,
        required_unless_present_any = ["dev", "group_key", "cert"]
    )]
    key: Option<SymmetricKey>,
    /// The key of the device's enrollment group, base64, from which its own is derived.
    #[arg(
        long,
        value_name = "KEY",
        env = "MUSTER_ENROLLMENT_GROUP_KEY",
        hide_env_values = true,
        value_parser = SymmetricKey::parse,
        conflicts_with = "key"
    )]
    group_key: Option<SymmetricKey>,
    /// The device's certificate, PEM, followed by those above it that it shall show.
    #[arg(long, value_name = "FILE", requires = "cert_key", conflicts_with_all = ["key", "group_key"])]
    cert: Option<PathBuf>,
    /// The private key of that certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    cert_key: Option<PathBuf>,
    /// How the device speaks to the endpoint: https or mqtt.
    #[arg(long, default_value = "https")]
    transport: Transport,
    /// What the device tells a custom allocation policy.
    #[arg(long, value_name = "JSON", value_parser = |text: &str| serde_json::from_str::<Value>(text))]
    payload: Option<Value>,
    /// Print the JSON on one line.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub async fn run(args: DeviceArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        DeviceCommand::Register(args) => run_register(args).await,
    }
}

async fn run_register(args: RegisterArgs) -> anyhow::Result<ExitCode> {
    let (json, transport, payload) = (args.json, args.transport, args.payload);
    let target = args.target.resolve()?;
    let device = match (args.key, args.group_key.or(target.sample_key), args.cert.zip(args.cert_key)) {
        (_, _, Some((chain, key))) => {
            Device::with_certificate(args.registration_id, Identity::from_pem_files(&chain, &key)?)
        }
        (Some(key), ..) => Device::with_key(args.registration_id, key),
        (None, group_key, None) => {
            let group_key = group_key.context("one of --key, --group-key and --cert is needed")?;
            Device::in_group(args.registration_id, &group_key)
        }
    };
    match register(&target.endpoint, &device, transport, payload.as_ref()).await {
        Ok(registered) => {
            print(&registered.state, json)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            if let RegisterError::Failed(state) | RegisterError::Disabled(state) = &error {
                print(state, json)?;
            }
            Err(error).with_context(|| format!("{} was not assigned", device.registration_id))
        }
    }
}

fn print(state: &Value, on_one_line: bool) -> anyhow::Result<()> {
    let text = if on_one_line { state.to_string() } else { serde_json::to_string_pretty(state)? };
    println!("{text}");
    Ok(())
}
