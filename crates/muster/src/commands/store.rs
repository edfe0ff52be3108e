//! `muster store`: works on the database of a service directly.

use std::{path::PathBuf, process::ExitCode};

use anyhow::bail;
use clap::{Args, Subcommand};
use fleet::Progress;
use server::{
    Inspection,
    config::{Config, DatabaseUrl},
    copy::{Copied, Copy},
    logging,
    maintenance::Maintenance,
    store_location::StoreLocation,
};

use super::location::Location;
use crate::output;

/// Create, migrate, copy, check and repair the database of a service.
#[derive(Args)]
pub struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Subcommand)]
enum StoreCommand {
    Init(InitArgs),
    Migrate(MigrateArgs),
    Apply(ApplyArgs),
    Hold(HoldArgs),
    Copy(CopyArgs),
    Check(Box<CheckArgs>),
}

/// Create what is missing in a PostgreSQL database: the master key, the tables, and the instances of the configuration.
///
/// Run it at one machine before the first node starts, and copy the master key to the others. It changes nothing that exists, and
/// may be repeated. A database in `data_dir` is created by the first start of `muster serve`.
#[derive(Args)]
#[command(after_help = "Examples:
  muster store init --config /etc/muster/muster.toml
      then copy the file of `master_key_file` to every node, and start `muster serve` there")]
struct InitArgs {
    #[command(flatten)]
    location: Location,
}

/// Bring the tables of the database to the version of this program.
///
/// A PostgreSQL database is migrated while nodes of the release before serve from it; until then nodes of this release do not
/// start. It may be repeated, and interrupted. A database in `data_dir` is migrated by each start, too; stop the service first.
#[derive(Args)]
#[command(after_help = "Examples:
  muster store migrate --config /etc/muster/muster.toml
      before the nodes are replaced, one after the other")]
struct MigrateArgs {
    #[command(flatten)]
    location: Location,
}

/// Write the changes of the configuration to the instances in a PostgreSQL database.
///
/// The nodes serve the instances as they are in the database, whatever their own files say, so that nodes
/// with different files do not undo each other's settings. They log how their file differs, as `muster serve --check` prints.
/// Changes of operators stay unless the configuration changed the same setting.
#[derive(Args)]
#[command(after_help = "Examples:
  muster store apply --config /etc/muster/muster.toml
      at one node, once its file is changed; all nodes follow at once")]
struct ApplyArgs {
    #[command(flatten)]
    location: Location,
}

/// Hold the cleanups of all instances in a PostgreSQL database.
///
/// Run it after the database was restored from a backup, before a node starts: devices may have moved since. Cleanups then wait for
/// `muster registration cleanups --confirm`. A restored database in `data_dir` is detected by the start.
#[derive(Args)]
#[command(after_help = "Examples:
  muster store hold --config /etc/muster/muster.toml
      after pg_restore")]
struct HoldArgs {
    #[command(flatten)]
    location: Location,
}

/// Copy the records of a database file into an empty PostgreSQL database.
///
/// Both are compared afterwards by count and digest; until they are the same, no node starts on the database. A repeated copy
/// continues an interrupted one, and writes only what differs. Instances, enrollments, certificates, registrations, cleanups and
/// metering are copied; the change log and refused attempts stay in the file, and the change log of the copy begins with it.
///
/// The service may run on the file meanwhile. If it writes, the comparison fails: stop it then, and repeat the copy, which soon
/// ends.
#[derive(Args)]
#[command(after_help = "Examples:
  muster store copy --to postgres://muster@db1.example/muster
      from the data folder of the configuration, with its master key, password and CA certificates
  muster store copy --from sqlite:/backup/muster.db --config /etc/muster/muster.toml
      to the database of the configuration")]
struct CopyArgs {
    /// The database file: `sqlite:` and its path. Default: muster.db in the data folder.
    #[arg(long, value_name = "sqlite:FILE", value_parser = database_file)]
    from: Option<PathBuf>,
    /// The PostgreSQL database; overrides `store` of the file.
    #[arg(long, env = "MUSTER_STORE", value_name = "URL", hide_env_values = true)]
    to: Option<DatabaseUrl>,
    /// The configuration file.
    #[arg(long, env = "MUSTER_CONFIG", default_value = "muster.toml")]
    config: PathBuf,
    /// The folder of the databases; overrides `data_dir` of the file.
    #[arg(long, env = "MUSTER_DATA_DIR")]
    data_dir: Option<PathBuf>,
}

fn database_file(text: &str) -> Result<PathBuf, String> {
    match text.strip_prefix("sqlite:") {
        Some(path) if !path.is_empty() => Ok(path.into()),
        _ => Err("it begins with sqlite: and names a file".to_owned()),
    }
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
    #[command(flatten)]
    location: Location,
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
    match args.command {
        StoreCommand::Init(InitArgs { location }) => {
            change(&location, "created", async |store, config| store.init(config).await).await
        }
        StoreCommand::Migrate(MigrateArgs { location }) => {
            change(&location, "migrated", async |store, _| store.migrate().await).await
        }
        StoreCommand::Apply(ApplyArgs { location }) => {
            change(&location, "changed", async |store, config| store.apply(config).await).await
        }
        StoreCommand::Hold(HoldArgs { location }) => {
            change(
                &location,
                "held: cleanups wait for `muster registration cleanups --confirm`",
                async |store, _| store.hold().await,
            )
            .await
        }
        StoreCommand::Copy(args) => copy(args).await,
        StoreCommand::Check(args) => check(*args).await,
    }
}

/// Changes the database, and prints that it was changed.
async fn change(
    location: &Location,
    what: &str,
    change: impl AsyncFnOnce(&StoreLocation, &Config) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    let config = location.configuration()?;
    logging::start("warn", config.log.format)?;
    let store = config.store_location(false)?;
    change(&store, &config).await?;
    output::line(format_args!("{store} is {what}"))?;
    Ok(ExitCode::SUCCESS)
}

async fn copy(args: CopyArgs) -> anyhow::Result<ExitCode> {
    let target = Location::of_copy(args.config, args.data_dir, args.to);
    let config = target.configuration()?;
    let source = args.from.unwrap_or_else(|| config.storage(false).database());
    logging::start("warn", config.log.format)?;
    let location = config.store_location(false)?;
    let StoreLocation::Shared(database) = &location else {
        bail!(
            "name the PostgreSQL database to copy to, by --to or by `store` in {}",
            target.config.display()
        );
    };
    let copy = Copy::open(&source, database).await?;
    let mut progress = Progress::start("copying records", copy.count().await?);
    let copied = copy.run(|| progress.step()).await?;
    progress.finish();
    for Copied { kind, count, sha256 } in copied {
        output::line(format_args!("{kind}: {count}, sha256 {sha256}"))?;
    }
    output::line(format_args!("{location} has the records of {}", source.display()))?;
    Ok(ExitCode::SUCCESS)
}

async fn check(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let config = args.location.configuration()?;
    // Damage is printed below, not logged.
    logging::start("off", config.log.format)?;
    let inspection = config.store_location(false)?.maintain(args.maintenance()).await?;
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
