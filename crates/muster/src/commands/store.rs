//! `muster store`: the files of a service, without the service.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use server::{Inspection, config::Config, logging, maintenance::Maintenance, storage::Storage};

use crate::output;

/// Look after the database of a service.
#[derive(Args)]
pub struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Subcommand)]
enum StoreCommand {
    Check(Box<CheckArgs>),
}

/// Check the structure of the database and read every record in it.
///
/// Exit status 0 when all is well, 1 when something is damaged or the check failed, 2 for wrong usage.
#[derive(Args)]
#[command(after_help = "Examples:
  muster store check --config /etc/muster/muster.toml
      also beside a running service: nothing is changed
  muster store check --repair
      write the indexes anew; stop the service first, as for what follows
  muster store check --drop registrations/0ne00000001/dev-1
      drop a record that cannot be read. Its device stays at the hub that has it; an instance takes what is configured at the
      next start and keeps its records
  muster store check --restore groups/0ne00000001/line --from /backup/muster.db
      take it from a backup that was made with the same master.key")]
struct CheckArgs {
    /// The configuration file.
    #[arg(long, env = "MUSTER_CONFIG", default_value = "muster.toml")]
    config: PathBuf,
    /// Where everything durable is kept, instead of what the file says.
    #[arg(long, env = "MUSTER_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Write the indexes anew from their tables.
    #[arg(long, conflicts_with_all = ["drop", "restore"])]
    repair: bool,
    /// Drop records that cannot be read.
    #[arg(long, value_name = "RECORD", conflicts_with = "restore")]
    drop: Vec<String>,
    /// Take records from a backup, in the place of those that are missing or cannot be read.
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
    // What is damaged is printed below, not logged.
    logging::start("off", config.log.format)?;
    let storage: Storage = config.storage(false);
    let inspection = storage.maintain(args.maintenance()).await?;
    show(&inspection, args.json)?;
    let is_well = inspection.file.problems.is_empty() && inspection.damaged.is_empty();
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
    output::line(format_args!("{total} records were read, {problems} problems were found"))
}
