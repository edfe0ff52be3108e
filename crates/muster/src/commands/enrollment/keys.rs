//! `muster enrollment rotate-keys`.

use std::process::ExitCode;

use clap::Args;

use super::Which;
use crate::output;

/// Replace the symmetric keys of an enrollment by new ones, and show them: both, or one.
///
/// Devices with a replaced key are refused from then on. To give devices new keys without losing any, replace the key
/// that they do not use, give them that one, see in `muster registration list` who still uses the other, and replace that
/// one at last. A hub takes the old keys of a device until the device registers again.
#[derive(Args)]
#[command(after_help = "Examples:
  muster enrollment rotate-keys --dev .muster device-1
  muster enrollment rotate-keys --dev .muster --group line-1 --secondary")]
pub struct RotateKeysArgs {
    #[command(flatten)]
    which: Which,
    /// The primary key alone.
    #[arg(long, conflicts_with = "secondary")]
    primary: bool,
    /// The secondary key alone.
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
