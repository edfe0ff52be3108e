//! `muster restore`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Args;
use server::{
    backup::RestoreTarget,
    logging::{self, LogFormat},
};

use super::{
    backup::{self, ByteProgress},
    passphrase::PassphraseArgs,
};
use crate::output;

/// Restore a backup into a new or empty data folder.
///
/// The files are verified by their seal, and every record is read, before they get their places; nothing is overwritten. A
/// restore that was interrupted leaves a folder on which the service does not start.
///
/// What was changed after the backup was taken is lost; the command prints where the change log of the backup ends. The service
/// holds the cleanups of a restored database until an operator confirms them, because devices may have moved since.
#[derive(Args)]
#[command(after_help = "Examples:
  muster restore /backup/muster-2026-11-30 --data /var/lib/muster --passphrase-file passphrase
  muster log --after POSITION --limit 1000000
      at a service that still runs: what came after the backup")]
pub struct RestoreArgs {
    /// The backup.
    from: PathBuf,
    /// The data folder, which is created, or empty.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The file for the master key, if it is not master.key in the data folder. It is not replaced if it exists.
    #[arg(long, value_name = "FILE")]
    master_key_file: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// Runs the command.
pub fn run(args: RestoreArgs) -> anyhow::Result<ExitCode> {
    logging::start("error", LogFormat::Text)?;
    let master_key_file = args.master_key_file.unwrap_or_else(|| args.data.join("master.key"));
    let target = RestoreTarget { data_dir: args.data, master_key_file };
    target.reject_used()?;
    let backup = backup::open(&args.from, &args.passphrase.require()?)?;
    let mut progress = ByteProgress::start("MB restored", backup.manifest().bytes());
    let restored = target.restore(backup, |bytes| progress.add(bytes));
    let manifest = restored.with_context(|| args.from.display().to_string())?;
    progress.finish();
    backup::show(&manifest)?;
    output::line(
        "what was changed after that position is lost: `muster log --after` shows it at a service that still runs",
    )?;
    output::line(format_args!(
        "{} is restored; cleanups wait for `muster registration cleanups --confirm`",
        target.data_dir.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}
