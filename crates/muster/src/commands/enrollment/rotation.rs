//! `muster enrollment rotation`.

use std::{
    fs,
    io::{self, ErrorKind, Write},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use aws_lc_rs::rand;
use clap::{Args, Subcommand};
use fleet::{EnrollmentKind, ServiceClient};
use model::{EnrollmentGroupId, RegistrationSearch, SymmetricKey};
use serde_json::{Map, Value, json};

use super::{Which, update::write};
use crate::{
    commands::{
        private_file,
        service::ServiceArgs,
        table::{Table, seconds, text},
    },
    output::{self, Format, OutputArgs},
};

/// Replace the key of an enrollment group in steps, while its devices go on.
///
/// The devices use the primary key. `begin` makes the key in a file the secondary key, and creates the file with a new key if
/// there is none. Deploy that key to the devices. `report` says which devices have come with it, and which still use the old
/// one. `finish` makes it the primary key, and replaces the old one by a random key. Every step can be repeated: one
/// that was done already changes nothing.
#[derive(Args)]
pub struct RotationArgs {
    #[command(subcommand)]
    command: RotationCommand,
}

#[derive(Subcommand)]
enum RotationCommand {
    Begin(BeginArgs),
    Report(ReportArgs),
    Finish(FinishArgs),
}

/// A group, and the file with its new key.
#[derive(Args)]
struct GroupArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// The ID of the enrollment group.
    #[arg(value_parser = |text: &str| EnrollmentGroupId::parse(text))]
    group: EnrollmentGroupId,
    /// The file with the new key, base64 of 16 to 64 bytes.
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
}

/// Make the key in a file the secondary key of a group. A file that does not exist is created with a new key.
///
/// Fails while devices use the secondary key that would be replaced, unless --abandon is given.
#[derive(Args)]
#[command(after_help = "Example:
  muster enrollment rotation begin --dev .muster line-1 --key-file line-1.key")]
struct BeginArgs {
    #[command(flatten)]
    group: GroupArgs,
    /// Begin although devices use the secondary key: they will be refused.
    #[arg(long)]
    abandon: bool,
}

/// Count the devices of a group by the key that they used last, and list those that still use the old one.
#[derive(Args)]
#[command(after_help = "Example:
  muster enrollment rotation report --dev .muster line-1")]
struct ReportArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// The ID of the enrollment group.
    #[arg(value_parser = |text: &str| EnrollmentGroupId::parse(text))]
    group: EnrollmentGroupId,
    /// The number of devices that are listed. All are counted.
    #[arg(long, value_name = "NUMBER", default_value = "100")]
    limit: NonZeroUsize,
    #[command(flatten)]
    output: OutputArgs,
}

/// Make the key in the file, which is the secondary key of the group, the primary one. The old key is refused from then on.
///
/// Fails while devices have not come with the new key, unless --abandon is given.
#[derive(Args)]
#[command(after_help = "Example:
  muster enrollment rotation finish --dev .muster line-1 --key-file line-1.key")]
struct FinishArgs {
    #[command(flatten)]
    group: GroupArgs,
    /// Finish although devices have not come with the new key: they will be refused.
    #[arg(long)]
    abandon: bool,
}

/// Runs the command.
pub async fn run(args: RotationArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        RotationCommand::Begin(args) => begin(args).await,
        RotationCommand::Report(args) => report(args).await,
        RotationCommand::Finish(args) => finish(args).await,
    }
}

async fn begin(args: BeginArgs) -> anyhow::Result<ExitCode> {
    let BeginArgs { group: GroupArgs { service, group, key_file }, abandon } = args;
    let mut client = service.client()?;
    let keys = GroupKeys::read(&mut client, &group).await?;
    let known = read_key(&key_file)?;
    match &known {
        Some(key) if *key == keys.primary => {
            output::line(format_args!("the rotation is finished: the key is the primary one of {group}"))?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(key) if *key == keys.secondary => {
            output::line(format_args!(
                "the rotation has begun already: the key is the secondary one of {group}"
            ))?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let using = KeyUses::of(&mut client, &group, NonZeroUsize::MIN).await?.secondary;
    if using > 0 && !abandon {
        bail!(
            "{using} devices of {group} used the secondary key last, and would be refused: move them to the primary key, or give --abandon"
        );
    }
    let key = match known {
        Some(key) => key,
        None => create_key(&key_file).with_context(|| format!("cannot create {}", key_file.display()))?,
    };
    set_keys((service, &group), &GroupKeys { secondary: key, ..keys }).await?;
    output::line(format_args!(
        "the key in {} is the secondary key of {group}: deploy it to the devices",
        key_file.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

async fn finish(args: FinishArgs) -> anyhow::Result<ExitCode> {
    let FinishArgs { group: GroupArgs { service, group, key_file }, abandon } = args;
    let mut client = service.client()?;
    let keys = GroupKeys::read(&mut client, &group).await?;
    let key = read_key(&key_file)?;
    let key = key.with_context(|| format!("there is no {}: begin the rotation first", key_file.display()))?;
    if key == keys.primary {
        output::line(format_args!("the rotation is finished already"))?;
        return Ok(ExitCode::SUCCESS);
    }
    if key != keys.secondary {
        bail!("the key in {} is not a key of {group}: begin the rotation first", key_file.display());
    }
    let left = KeyUses::of(&mut client, &group, NonZeroUsize::MIN).await?.primary;
    if left > 0 && !abandon {
        bail!(
            "{left} devices of {group} have not come with the new key, and would be refused: `muster enrollment rotation report` lists them; --abandon finishes all the same"
        );
    }
    set_keys((service, &group), &GroupKeys { primary: key, secondary: fresh_key()?, ..keys }).await?;
    output::line(format_args!("the new key is the primary key of {group}; the old one is refused"))?;
    Ok(ExitCode::SUCCESS)
}

async fn report(args: ReportArgs) -> anyhow::Result<ExitCode> {
    let uses = KeyUses::of(&mut args.service.client()?, &args.group, args.limit).await?;
    if args.output.format == Format::Json {
        output::json(&json!({
            "primary": uses.primary, "secondary": uses.secondary, "replaced": uses.replaced, "unknown": uses.unknown,
            "withPrimary": uses.with_primary,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut counts = Table::new(&["key that the device used last", "devices"]);
    for (key, count) in [
        ("primary (the old one during a rotation)", uses.primary),
        ("secondary (the new one during a rotation)", uses.secondary),
        ("since replaced", uses.replaced),
        ("none known", uses.unknown),
    ] {
        counts.add_row([key.to_owned(), count.to_string()]);
    }
    output::table(&counts)?;
    if uses.with_primary.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let mut devices = Table::new(&["with the primary key", "hub", "last registered"]);
    for registration in &uses.with_primary {
        let since = seconds(&text(registration, "/lastUpdatedDateTimeUtc"));
        devices.add_row([text(registration, "/registrationId"), text(registration, "/assignedHub"), since]);
    }
    output::table(&devices)?;
    if uses.primary > uses.with_primary.len() as u64 {
        output::note(format_args!(
            "muster: only {} are listed; raise --limit for more",
            uses.with_primary.len()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// How many devices of a group used which key last.
#[derive(Default)]
struct KeyUses {
    primary: u64,
    secondary: u64,
    /// Keys that the group does not have any more.
    replaced: u64,
    /// Devices without a key, such as those with a certificate.
    unknown: u64,
    /// The first devices with the primary key.
    with_primary: Vec<Value>,
}

impl KeyUses {
    /// Counts all registrations of a group, and keeps at most `limit` of those with the primary key.
    async fn of(
        client: &mut ServiceClient,
        group: &EnrollmentGroupId,
        limit: NonZeroUsize,
    ) -> anyhow::Result<KeyUses> {
        let search = RegistrationSearch { group: Some(group.clone()), ..RegistrationSearch::default() };
        let (mut uses, mut continuation) = (KeyUses::default(), None);
        loop {
            let page = client.registration_page(&search, continuation.as_ref()).await?;
            page.items.into_iter().for_each(|registration| uses.count(registration, limit));
            match page.continuation {
                Some(next) => continuation = Some(next),
                None => return Ok(uses),
            }
        }
    }

    fn count(&mut self, registration: Value, limit: NonZeroUsize) {
        let is_replaced = registration.pointer("/attestationKey/isReplaced") == Some(&Value::Bool(true));
        let slot = text(&registration, "/attestationKey/slot");
        match slot.as_str() {
            _ if is_replaced => self.replaced += 1,
            "primary" => {
                self.primary += 1;
                if self.with_primary.len() < limit.get() {
                    self.with_primary.push(registration);
                }
            }
            "secondary" => self.secondary += 1,
            _ => self.unknown += 1,
        }
    }
}

/// The keys of a group.
struct GroupKeys {
    primary: SymmetricKey,
    secondary: SymmetricKey,
    /// The version of the group from before the keys were read. New keys replace no others than these: another operator may have
    /// replaced a key that leaked while the registrations were counted.
    etag: Value,
}

impl GroupKeys {
    async fn read(client: &mut ServiceClient, group: &EnrollmentGroupId) -> anyhow::Result<GroupKeys> {
        let etag = client.read_enrollment(EnrollmentKind::Group, group.as_str()).await?["etag"].take();
        let attestation = client.attestation(EnrollmentKind::Group, group.as_str()).await?;
        let key = |name: &str| {
            let key = attestation.pointer(&format!("/symmetricKey/{name}")).and_then(Value::as_str);
            let key = key.with_context(|| format!("the group {group} has no symmetric keys"))?;
            SymmetricKey::parse(key).context("the reply has a key that is not valid")
        };
        Ok(GroupKeys { primary: key("primaryKey")?, secondary: key("secondaryKey")?, etag })
    }
}

async fn set_keys(
    (service, group): (ServiceArgs, &EnrollmentGroupId),
    keys: &GroupKeys,
) -> anyhow::Result<()> {
    let pair = json!({"primaryKey": keys.primary.to_base64(), "secondaryKey": keys.secondary.to_base64()});
    let attestation = json!({"type": "symmetricKey", "symmetricKey": pair});
    let which = Which { service, id: group.to_string(), group: true };
    let changes = [("etag".to_owned(), keys.etag.clone()), ("attestation".to_owned(), attestation)];
    write(&which, &Map::from_iter(changes)).await.map(drop)
}

/// Reads the key in a file, if the file exists.
fn read_key(path: &Path) -> anyhow::Result<Option<SymmetricKey>> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let key = SymmetricKey::parse(text.trim());
            key.map(Some).with_context(|| format!("{} has no key", path.display()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Creates a file with a new key, which only its owner may read. It is on disk before the group has the key.
fn create_key(path: &Path) -> anyhow::Result<SymmetricKey> {
    let key = fresh_key()?;
    let mut file = private_file::create(path)?;
    let written = writeln!(file, "{}", key.to_base64()).and_then(|()| file.sync_all());
    written.or_else(|error: io::Error| fs::remove_file(path).and(Err(error)))?;
    Ok(key)
}

fn fresh_key() -> anyhow::Result<SymmetricKey> {
    let mut bytes = [0; 64];
    rand::fill(&mut bytes).ok().context("the system has no random numbers")?;
    Ok(SymmetricKey::from_bytes(&bytes)?)
}
