//! `muster enrollment export`.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use clap::Args;
use fleet::{EnrollmentKind, ServiceClient};
use serde_json::{Value, json};

use crate::{
    commands::{
        passphrase::PassphraseArgs,
        private_file,
        sealed::{Passphrase, SealedWriter},
        service::ServiceArgs,
    },
    output,
};

/// Export all enrollments of an instance with their keys and certificates.
///
/// The file is sealed with a passphrase, unless --plain is given. `muster enrollment import` reads it back, also into another
/// instance: so enrollments move to another machine. Within a plain file, each line is an enrollment as JSON, the groups first.
/// The service logs that keys were read.
#[derive(Args)]
#[command(after_help = "Examples:
  muster enrollment export backup.sealed --dev .muster --passphrase-file passphrase.txt
  MUSTER_PASSPHRASE=… muster enrollment export backup.sealed --connection-string 'HostName=…' --ca ca.pem
  muster enrollment export enrollments.jsonl --dev .muster --plain")]
pub struct ExportArgs {
    /// The file, which must not exist.
    file: PathBuf,
    #[command(flatten)]
    service: ServiceArgs,
    /// Write keys and certificates in clear.
    #[arg(long, conflicts_with = "passphrase_file")]
    plain: bool,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// Runs the command.
pub async fn run(args: ExportArgs) -> anyhow::Result<ExitCode> {
    let passphrase = if args.plain { None } else { args.passphrase.read()? };
    if passphrase.is_none() && !args.plain {
        bail!("an export has keys: set MUSTER_PASSPHRASE or --passphrase-file, or give --plain");
    }
    let mut client = args.service.client()?;
    let context = || format!("cannot write {}", args.file.display());
    if args.file.exists() {
        bail!("{} exists already", args.file.display());
    }
    let partial = partial(&args.file).with_context(context)?;
    let file = BufWriter::new(create(&partial).with_context(context)?);
    let exported = export(&mut client, file, passphrase.as_ref()).await;
    // A link, because renaming would replace a file that was created meanwhile.
    let exported = exported.and_then(|count| {
        fs::hard_link(&partial, &args.file).with_context(context)?;
        Ok(count)
    });
    let _ = fs::remove_file(&partial);
    let count = exported?;
    let how = if args.plain { "in clear" } else { "sealed" };
    output::line(format_args!("exported {count} enrollments to {}, {how}", args.file.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes all enrollments to a file, and returns their number.
async fn export(
    client: &mut ServiceClient,
    file: BufWriter<File>,
    passphrase: Option<&Passphrase>,
) -> anyhow::Result<u64> {
    let context = "cannot write the file";
    let count = match passphrase {
        Some(passphrase) => {
            let mut writer = SealedWriter::new(file, passphrase).context(context)?;
            let count = write_all(client, &mut writer).await?;
            persist(writer.finish().context(context)?).context(context)?;
            count
        }
        None => {
            let mut writer = file;
            let count = write_all(client, &mut writer).await?;
            persist(writer).context(context)?;
            count
        }
    };
    Ok(count)
}

/// Writes all enrollments, one on each line, and returns their number.
async fn write_all(client: &mut ServiceClient, writer: &mut impl Write) -> anyhow::Result<u64> {
    let mut count = 0;
    for kind in [EnrollmentKind::Group, EnrollmentKind::Individual] {
        let mut continuation = None;
        loop {
            let mut page = client.export_enrollments(kind, continuation.as_ref()).await?;
            for enrollment in &mut page.items {
                if kind == EnrollmentKind::Group {
                    name_absent(enrollment);
                }
                serde_json::to_writer(&mut *writer, enrollment)?;
                writer.write_all(b"\n").context("cannot write the file")?;
            }
            count += page.items.len() as u64;
            match page.continuation {
                Some(next) => continuation = Some(next),
                None => break,
            }
        }
    }
    Ok(count)
}

/// Names what a group does not have and an import would otherwise leave as it is in the target: without this member the target's
/// patterns stay, and an empty list admits all registration IDs.
fn name_absent(group: &mut Value) {
    if let Some(members) = group.as_object_mut() {
        members.entry("allowedRegistrationIds").or_insert_with(|| json!([]));
    }
}

/// Returns where an export is until it is whole: what a killed one leaves has another name.
fn partial(path: &Path) -> anyhow::Result<PathBuf> {
    let mut name = path.file_name().context("it has no file name")?.to_owned();
    name.push(".partial");
    Ok(path.with_file_name(name))
}

/// Creates a file that only its owner may read, in place of one that a killed export left.
fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    private_file::create(path)
}

fn persist(writer: BufWriter<File>) -> io::Result<()> {
    writer.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}
