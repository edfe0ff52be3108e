//! `muster store`: works on the files of a service directly.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use server::{Inspection, config::Config, logging, maintenance::Maintenance, storage::Storage};

use crate::output;

/// Check and repair the database of a service.
#[derive(Args)]
pub struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Subcommand)]
enum StoreCommand {
    Check(Box<CheckArgs>),
}

/// Check the structure of the database and read every record.
///
/// Exit status: 0 if nothing is damaged, 1 if something is or the check failed, 2 for wrong usage.
#[derive(Args)]
#[command(after_help = "Examples:
  muster store check --config /etc/muster/muster.toml
      changes nothing; safe while the service runs
  muster store check --repair
      rebuilds the indexes; stop the service first, as for --drop and --restore
  muster store check --drop registrations/0ne00000001/dev-1
      deletes an unreadable record. The device stays at its hub. A dropped instance is created from the configuration at the
      next start, and keeps its other records
  muster store check --restore groups/0ne00000001/line --from /backup/muster.db
      copies the record from a backup made with the same master.key")]
struct CheckArgs {
    /// The configuration file.
    #[arg(long, env = "MUSTER_CONFIG", default_value = "muster.toml")]
    config: PathBuf,
    /// The folder of the databases; overrides `data_dir` of the file.
    #[arg(long, env = "MUSTER_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Rebuild the indexes from their tables.
    #[arg(long, conflicts_with_all = ["drop", "restore"])]
    repair: bool,
    /// Delete an unreadable record.
    #[arg(long, value_name = "RECORD", conflicts_with = "restore")]
    drop: Vec<String>,
    /// Restore a missing or unreadable record from a backup.
    #[arg(long, value_name = "RECORD", requires = "from")]
    restore: Vec<String>,
    /// The backup: a copy of `muster.db`.
    #[arg(long, value_name = "FILE", requires = "restore")]
    from: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub async fn run(args: StoreArgs) -> anyhow::Result<ExitCode> {
    let StoreCommand::Check(args) = args.command;
    let mut config = Config::load(&args.config)?;
    if let Some(dir) = &args.data_dir {
        config.data_dir = dir.clone();
    }
    // Damage is printed below, not logged.
    logging::start("off", config.log.format)?;
    let storage: Storage = config.storage(false);
    let inspection = storage.maintain(args.maintenance()).await?;
    show(&inspection, args.json)?;
    let is_intact = inspection.file.problems.is_empty() && inspection.damaged.is_empty();
    Ok(if is_intact { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl CheckArgs {
    fn maintenance(&self) -> Maintenance {
        match (&self.from, self.repair, self.drop.is_empty()) {
            (Some(backup), ..) => {
                Maintenance::Restore { records: self.restore.clone(), backup: backup.clone() }
            }
            (None, true, _) => Maintenance::Repair,
            (None, false, false) => Maintenance::Drop(self.drop.clone()),
            (None, false, true) => Maintenance::Look,
        }
    }
}

fn show(inspection: &Inspection, as_json: bool) -> anyhow::Result<()> {
    let Inspection { file, counts, damaged } = inspection;
    if as_json {
        let counts: serde_json::Map<_, _> =
            counts.iter().map(|(table, count)| ((*table).to_owned(), (*count).into())).collect();
        let damaged: Vec<_> = damaged
            .iter()
            .map(|(record, reason)| serde_json::json!({"record": record, "reason": reason}))
            .collect();
        let problems = &file.problems;
        return output::json(
            &serde_json::json!({"problems": problems, "records": counts, "damaged": damaged}),
        );
    }
    for problem in &file.problems {
        output::line(format_args!("file: {problem}"))?;
    }
    for (record, reason) in damaged {
        output::line(format_args!("damaged: {record}: {reason}"))?;
    }
    let total: u64 = counts.iter().map(|(_, count)| count).sum();
    let problems = file.problems.len() + damaged.len();
    output::line(format_args!("{total} records read, {problems} problems found"))
}
