//! `muster enrollment rotate-keys`.

use std::process::ExitCode;

use clap::Args;

use super::Which;
use crate::output;

/// Replace one or both symmetric keys of an enrollment, and print the new ones.
///
/// Devices with a replaced key are refused from then on. To rotate without downtime: replace the key that the devices do not
/// use, deploy it to them, wait until `muster registration list` shows that no device uses the other key, and replace that
/// one. A hub accepts the old keys of a device until the device registers again.
#[derive(Args)]
#[command(after_help = "Examples:
  muster enrollment rotate-keys --dev .muster device-1
  muster enrollment rotate-keys --dev .muster --group line-1 --secondary")]
pub struct RotateKeysArgs {
    #[command(flatten)]
    which: Which,
    /// Replace only the primary key.
    #[arg(long, conflicts_with = "secondary")]
    primary: bool,
    /// Replace only the secondary key.
    #[arg(long)]
    secondary: bool,
}

/// Runs the command.
pub async fn run(args: RotateKeysArgs) -> anyhow::Result<ExitCode> {
    let (kind, id) = (args.which.kind(), args.which.id.as_str());
    let keys = match (args.primary, args.secondary) {
        (true, _) => "primary",
        (false, true) => "secondary",
        (false, false) => "both",
    };
    let rotated = args.which.service.client()?.regenerate_keys(kind, id, keys).await?;
    output::json(&rotated)?;
    Ok(ExitCode::SUCCESS)
}
