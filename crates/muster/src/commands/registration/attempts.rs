//! `muster registration attempts`.

use std::process::ExitCode;

use clap::Args;
use model::RegistrationId;
use serde_json::Value;

use crate::{
    commands::{explanation, service::ServiceArgs},
    output,
};

/// Show the last refused attempts of a device to register, and the reasons.
///
/// Devices get no detailed reason; this command shows what was considered, newest first. The service stores the last five
/// attempts of each registration ID, enrolled or not.
#[derive(Args)]
#[command(after_help = "Examples:
  muster registration attempts device-1 --dev .muster
  muster registration attempts device-1 --connection-string 'HostName=…;SharedAccessKeyName=…;SharedAccessKey=…' \\
      --ca ca.pem --json")]
pub struct AttemptsArgs {
    /// The registration ID of the device.
    #[arg(value_name = "ID", value_parser = |text: &str| RegistrationId::parse(text))]
    registration_id: RegistrationId,
    #[command(flatten)]
    service: ServiceArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub async fn run(args: AttemptsArgs) -> anyhow::Result<ExitCode> {
    let id = args.registration_id.as_str();
    let reply = args.service.client()?.attempts(id).await?;
    let attempts = reply["attempts"].as_array().map(Vec::as_slice).unwrap_or_default();
    if args.json {
        output::json(&reply)?;
    } else if attempts.is_empty() {
        output::line(format_args!("no refused attempt of {id} is stored"))?;
    } else {
        output::lines(&attempts.iter().map(text).collect::<Vec<_>>().join("\n\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn text(attempt: &Value) -> String {
    format!("{}\n{}", explanation::heading(attempt), explanation::text(attempt))
}
