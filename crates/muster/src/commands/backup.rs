//! `muster backup`.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, BufReader, BufWriter, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use fleet::Progress;
use server::{
    backup::{Backup, BackupReader, Manifest, StagedBackup, Staging},
    logging,
    store_location::StoreLocation,
};

use super::{
    end_signals::EndSignals,
    location::Location,
    passphrase::PassphraseArgs,
    private_file,
    sealed::{Passphrase, SealedReader, SealedWriter},
};
use crate::output;

/// Bytes of a step of progress.
const MEGABYTE: u64 = 1_000_000;

/// The file in the folder of a backup that is not complete yet.
const SEALED: &str = "sealed";

/// Back up the files of a service, while it runs.
///
/// A backup has the store, the stores of all embedded hubs, and the master key, at one moment: everything that was acknowledged
/// before the command began. It is sealed with a passphrase, and read back and compared before it gets its name. Configuration and
/// certificates are not part of it. `muster restore` restores it.
///
/// Beside the file, in the folder FILE.partial, it needs free space for the databases and again for the backup. A service with a
/// PostgreSQL database is backed up with the tools of PostgreSQL.
#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:
  muster backup /backup/muster-2026-11-30 --config /etc/muster/muster.toml --passphrase-file /etc/muster/passphrase
  muster backup check /backup/muster-2026-11-30 --passphrase-file /etc/muster/passphrase
  muster restore /backup/muster-2026-11-30 --data /var/lib/muster --passphrase-file passphrase"
)]
pub struct BackupArgs {
    #[command(subcommand)]
    command: Option<BackupCommand>,
    /// The file, which must not exist.
    #[arg(required = true, value_name = "FILE")]
    to: Option<PathBuf>,
    #[command(flatten)]
    location: Location,
    /// Leave the master key out. A restore then needs its file.
    #[arg(long)]
    without_key: bool,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

#[derive(Subcommand)]
enum BackupCommand {
    Check(CheckArgs),
}

/// Read a backup to its end, and show what it has.
///
/// Each part of the file is verified by its seal. The service is not needed.
#[derive(Args)]
struct CheckArgs {
    /// The backup.
    file: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// Runs the command.
pub fn run(args: BackupArgs) -> anyhow::Result<ExitCode> {
    match (args.command, args.to) {
        (Some(BackupCommand::Check(check)), _) => check.run(),
        (None, Some(to)) => create(&to, &args.location, args.without_key, args.passphrase),
        (None, None) => bail!("name the file of the backup"),
    }
}

fn create(
    to: &Path,
    location: &Location,
    without_key: bool,
    passphrase: PassphraseArgs,
) -> anyhow::Result<ExitCode> {
    let config = location.configuration()?;
    logging::start("warn", config.log.format)?;
    let location = config.store_location(false)?;
    let StoreLocation::Files(storage) = &location else {
        bail!(
            "the records are in {location}: back it up with pg_dump or pg_basebackup, and keep the file of the master key \
             (docs/operating.md)"
        );
    };
    let is_folder = to.as_os_str().as_encoded_bytes().ends_with(b"/");
    ensure!(!is_folder, "{} names a folder: name a file in it", to.display());
    ensure!(!to.exists(), "{} exists, and is not overwritten", to.display());
    let passphrase = passphrase.require()?;
    let signals = EndSignals::install().context("cannot install the handlers of signals")?;
    let staging = Staging::begin(&partial(to))?;
    signals.remove(staging.path());
    let backup = Backup::begin(storage, !without_key)?;
    let mut progress = ByteProgress::start("MB copied, sealed and compared", 3 * backup.bytes()?);
    let staged = backup.stage(staging.path(), |bytes| progress.add(bytes))?;
    let sealed = staging.path().join(SEALED);
    write(&staged, &sealed, &passphrase, &mut progress)
        .with_context(|| format!("cannot write into {}", staging.path().display()))?;
    staged.compare(open_sealed(&sealed, &passphrase)?, |bytes| progress.add(bytes))?;
    staging.publish(SEALED, to)?;
    progress.finish();
    show(staged.manifest())?;
    output::line(format_args!("{} is written and checked", to.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the folder of a backup that is not complete yet.
fn partial(to: &Path) -> PathBuf {
    let mut name = OsString::from(to);
    name.push(".partial");
    name.into()
}

/// Writes the sealed file, which is on disk when this returns.
fn write(
    staged: &StagedBackup,
    sealed: &Path,
    passphrase: &Passphrase,
    progress: &mut ByteProgress,
) -> anyhow::Result<()> {
    let file = private_file::create(sealed)?;
    let mut writer = SealedWriter::new(BufWriter::new(file), passphrase)?;
    staged.write(&mut writer, |bytes| progress.add(bytes))?;
    Ok(writer.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?)
}

fn open_sealed(path: &Path, passphrase: &Passphrase) -> anyhow::Result<SealedReader<BufReader<File>>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    Ok(SealedReader::new(BufReader::new(file), passphrase)?)
}

/// Opens a backup.
pub fn open(
    path: &Path,
    passphrase: &Passphrase,
) -> anyhow::Result<BackupReader<SealedReader<BufReader<File>>>> {
    let context = || path.display().to_string();
    BackupReader::open(open_sealed(path, passphrase).with_context(context)?).with_context(context)
}

impl CheckArgs {
    fn run(self) -> anyhow::Result<ExitCode> {
        let backup = open(&self.file, &self.passphrase.require()?)?;
        let manifest = backup.manifest().clone();
        let mut progress = ByteProgress::start("MB checked", manifest.bytes());
        let read = backup.read_files(|_, content| {
            loop {
                match io::copy(&mut content.take(MEGABYTE), &mut io::sink())? {
                    0 => return Ok(()),
                    bytes => progress.add(bytes),
                }
            }
        });
        read.with_context(|| self.file.display().to_string())?;
        progress.finish();
        show(&manifest)?;
        output::line(format_args!("{} is whole", self.file.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints what a backup has.
pub fn show(manifest: &Manifest) -> anyhow::Result<()> {
    let Manifest { program, taken_at, schema_version, log_position, .. } = manifest;
    let key = if manifest.has_key() { "with" } else { "without" };
    output::line(format_args!(
        "taken {taken_at} by muster {program}: schema version {schema_version}, {key} the master key"
    ))?;
    let counts: Vec<_> = manifest.records.iter().filter(|(_, count)| **count > 0).collect();
    let counts: Vec<_> = counts.iter().map(|(table, count)| format!("{count} {table}")).collect();
    output::line(format_args!("{} records: {}", manifest.record_count(), counts.join(", ")))?;
    for (hub, devices) in &manifest.devices {
        output::line(format_args!("embedded hub {hub}: {devices} devices"))?;
    }
    let newest = manifest.newest_change_at.map(|at| format!(", of {at}")).unwrap_or_default();
    output::line(format_args!("the change log ends at {log_position}{newest}"))?;
    if !manifest.damaged.is_empty() {
        let count = manifest.damaged.len();
        output::note(format_args!("warning: {count} records cannot be read; run `muster store check`"));
    }
    Ok(())
}

/// The progress of work on bytes.
pub struct ByteProgress {
    progress: Progress,
    total: u64,
    bytes: u64,
}

impl ByteProgress {
    /// Starts at zero of this many bytes.
    pub fn start(label: &'static str, total: u64) -> ByteProgress {
        let megabytes = total.div_ceil(MEGABYTE);
        let progress = Progress::start(label, usize::try_from(megabytes).unwrap_or(usize::MAX));
        ByteProgress { progress, total: megabytes, bytes: 0 }
    }

    /// Counts bytes.
    pub fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.progress.advance_to(self.bytes / MEGABYTE);
    }

    /// Ends the progress.
    pub fn finish(mut self) {
        self.progress.advance_to(self.total);
        self.progress.finish();
    }
}
