//! `muster enrollment import`.

mod item;
mod rows;
mod send;
mod source;

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::Args;
use fleet::{ImportOptions, Progress};
use serde::Serialize;
use serde_json::json;
use tokio::task;

use crate::{
    commands::{
        passphrase::PassphraseArgs,
        sealed::{MAGIC, Passphrase, SealedReader},
        service::ServiceArgs,
    },
    output,
};
use item::Item;
use send::Done;
use source::{Entry, FileFormat};

/// Import enrollments from a file, in any number.
///
/// The formats are JSON lines, a JSON array (also of `az iot dps enrollment list`), Azure's bulk operation, and CSV with a
/// header; and exports of this program, also sealed ones. An enrollment that is as the file says is left unchanged: an import
/// can be repeated, also after it was interrupted, and says what it changed. One that exists with other settings is an error,
/// unless --replace is given.
///
/// A file is read to its end before anything is imported. Of Azure's bulk operations those that create or update are taken,
/// without their etags. Enrollments that fail do not stop the import; they are written to a file with line, ID, code and text, as JSON lines.
///
/// Exit status: 0 if all enrollments are as the file says, 1 if some are not.
#[derive(Args)]
#[command(after_help = "Examples:
  muster enrollment import devices.csv --dev .muster
  muster enrollment import devices.jsonl --dev .muster --dry-run
  az iot dps enrollment list --show-keys … | muster enrollment import - --dev .muster --replace
  MUSTER_PASSPHRASE=… muster enrollment import backup.sealed --connection-string 'HostName=…' --ca ca.pem

Columns of CSV: registrationId or enrollmentGroupId, and any of deviceId, provisioningStatus, allocationPolicy, iotHubs
(separated by semicolons), iotEdge, primaryKey, secondaryKey, endorsementKey, storageRootKey, certificate and
secondaryCertificate (PEM or base64), caReference, or the path of a member, such as initialTwin.tags.site. Without any
attestation it is symmetricKey.")]
pub struct ImportArgs {
    /// The file; `-` for standard input.
    file: PathBuf,
    #[command(flatten)]
    service: ServiceArgs,
    /// The format. Default: recognized by its first line.
    #[arg(long, value_enum)]
    format: Option<FileFormat>,
    /// Replace enrollments that exist with other settings.
    #[arg(long)]
    replace: bool,
    /// Have the service generate the keys of new enrollments that have none.
    #[arg(long)]
    generate_keys: bool,
    /// Change nothing; say what would be changed.
    #[arg(long)]
    dry_run: bool,
    /// The file for enrollments that fail. [default: the file with `.errors.jsonl`, or import.errors.jsonl]
    #[arg(long, value_name = "FILE")]
    errors: Option<PathBuf>,
    /// The number of requests in flight.
    #[arg(long, value_name = "NUMBER", default_value = "4")]
    parallel: NonZeroUsize,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What an import did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Totals {
    created: u64,
    replaced: u64,
    unchanged: u64,
    failed: u64,
}

/// An enrollment, or a line, that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct FailedItem {
    line: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    id: String,
    /// The error code of the service; absent if the line has no enrollment.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u32>,
    text: String,
}

/// Runs the command.
pub async fn run(args: ImportArgs) -> anyhow::Result<ExitCode> {
    let is_dry = args.dry_run;
    let options = ImportOptions { replace: args.replace, generate_keys: args.generate_keys, dry_run: is_dry };
    let clients = (0..args.parallel.get()).map(|_| args.service.client());
    let clients = clients.collect::<anyhow::Result<Vec<_>>>()?;
    let passphrase = args.passphrase.read()?;
    let (input, length) = open(&args.file, passphrase.as_ref())?;
    if args.file.is_file() {
        verify(&args.file, passphrase, args.format).await?;
    }
    let mut errors = ErrorFile::new(args.errors.unwrap_or_else(|| default_errors(&args.file)));
    let mut progress = Progress::start("KiB imported", usize::try_from(length / 1024).unwrap_or(usize::MAX));
    let (mut outcomes, reader) = send::start(clients, options, (input, args.format));
    let (mut totals, mut read) = (Totals::default(), 0);
    let mut imported = Ok(());
    while let Some(done) = outcomes.recv().await {
        imported = done.and_then(|done| {
            let before = read / 1024;
            read += done.bytes;
            progress.advance(read / 1024 - before);
            totals.add(done, &mut errors)
        });
        if imported.is_err() {
            break;
        }
    }
    // The reader ends without a receiver.
    drop(outcomes);
    let was_read = reader.await.context("the file could not be read")?;
    progress.finish();
    // Also after a failure: what was imported until then is there.
    let status = report(totals, &errors, (is_dry, args.json))?;
    imported.and(was_read).map(|()| status)
}

impl Totals {
    /// Adds the outcome of a request, and writes what failed to its file.
    fn add(&mut self, done: Done, errors: &mut ErrorFile) -> anyhow::Result<()> {
        let Done { reply, errors: failed, .. } = done;
        self.created += reply.created;
        self.replaced += reply.replaced;
        self.unchanged += reply.unchanged;
        self.failed += failed.len() as u64;
        failed.iter().try_for_each(|error| errors.write(error))
    }
}

fn report(totals: Totals, errors: &ErrorFile, (is_dry, as_json): (bool, bool)) -> anyhow::Result<ExitCode> {
    let Totals { created, replaced, unchanged, failed } = totals;
    if as_json {
        let file = (failed > 0).then(|| errors.path.display().to_string());
        output::json(&json!({"totals": totals, "dryRun": is_dry, "errors": file}))?;
    } else {
        let would = if is_dry { "would be " } else { "" };
        output::line(format_args!(
            "{created} {would}created, {replaced} {would}replaced, {unchanged} unchanged, {failed} failed"
        ))?;
        if created + replaced + failed == 0 {
            output::line("nothing to do: all enrollments are as the file says")?;
        }
        if failed > 0 {
            output::note(format_args!("muster: what failed is in {}", errors.path.display()));
        }
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads a file to its end, so that nothing of one that is cut off or malformed is imported.
async fn verify(
    path: &Path,
    passphrase: Option<Passphrase>,
    format: Option<FileFormat>,
) -> anyhow::Result<()> {
    let (input, _) = open(path, passphrase.as_ref())?;
    task::spawn_blocking(move || source::read(input, format, &mut |_| true))
        .await
        .context("the file could not be read")?
}

/// Opens the file, and returns its length if it has one. A sealed one is opened with the passphrase.
fn open(path: &Path, passphrase: Option<&Passphrase>) -> anyhow::Result<(Box<dyn Read + Send>, u64)> {
    let (input, length): (Box<dyn Read + Send>, u64) = if path == Path::new("-") {
        (Box::new(io::stdin()), 0)
    } else {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        (Box::new(file), length)
    };
    let mut input = BufReader::new(input);
    let is_sealed = input.fill_buf().context("cannot read the file")?.starts_with(MAGIC);
    if !is_sealed {
        return Ok((Box::new(input), length));
    }
    let passphrase = passphrase.context("the file is sealed: set MUSTER_PASSPHRASE or --passphrase-file")?;
    Ok((Box::new(SealedReader::new(input, passphrase)?), length))
}

fn default_errors(file: &Path) -> PathBuf {
    match file.file_name() {
        Some(name) if file != Path::new("-") => {
            let mut name = name.to_owned();
            name.push(".errors.jsonl");
            file.with_file_name(name)
        }
        _ => PathBuf::from("import.errors.jsonl"),
    }
}

/// The file for what failed, which is created with the first error.
struct ErrorFile {
    path: PathBuf,
    file: Option<File>,
}

impl ErrorFile {
    fn new(path: PathBuf) -> ErrorFile {
        ErrorFile { path, file: None }
    }

    fn write(&mut self, error: &FailedItem) -> anyhow::Result<()> {
        let context = || format!("cannot write {}", self.path.display());
        let mut line = serde_json::to_vec(error)?;
        line.push(b'\n');
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::create(&self.path).with_context(context)?),
        };
        file.write_all(&line).with_context(context)
    }
}
