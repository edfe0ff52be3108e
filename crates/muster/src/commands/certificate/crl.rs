//! Revocation lists.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use model::encoding::Object;
use serde_json::{Value, json};

use super::read_base64;
use crate::{commands::service::ServiceArgs, output};

/// Keep the revocation lists (CRLs) of CA certificates.
#[derive(Args)]
pub struct CrlArgs {
    #[command(subcommand)]
    command: CrlCommand,
}

#[derive(Subcommand)]
enum CrlCommand {
    Upload(UploadArgs),
    Policy(PolicyArgs),
    Fetch(FetchArgs),
    Show(ShowArgs),
    Delete(DeleteArgs),
}

/// Upload revocation lists that the CA signed.
///
/// A list takes the place of those that cover no more than it does, and must not be older than one that covers as much. A
/// CA that divides what it revokes by distribution points has several.
#[derive(Args)]
#[command(after_help = "Examples:
  muster certificate crl upload --dev .muster plant-root root.crl
  muster certificate crl upload --dev .muster cloud-ca shard-*.crl")]
struct UploadArgs {
    #[command(flatten)]
    which: Which,
    /// The lists: PEM, or DER; one in each file.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Say what it means that no fresh list covers a certificate: let devices through, or refuse them.
///
/// A certificate that a list names is refused under either policy.
#[derive(Args)]
#[command(after_help = "Example:
  muster certificate crl policy --dev .muster plant-root hard")]
struct PolicyArgs {
    #[command(flatten)]
    which: Which,
    /// What it means.
    #[arg(value_enum)]
    policy: Policy,
}

#[derive(Clone, Copy, ValueEnum)]
enum Policy {
    /// Devices are let through, and the log says so.
    Soft,
    /// Devices are refused.
    Hard,
}

/// Have the service fetch the lists on a schedule, or stop that.
///
/// The addresses are the CRL distribution points of certificates that the CA issued. A root may name its own in its
/// certificate; then no address is needed.
#[derive(Args)]
#[command(after_help = "Examples:
  muster certificate crl fetch --dev .muster plant-root --from http://crl.plant.example/root.crl
  muster certificate crl fetch --dev .muster cloud-ca --from http://crl.example/1.crl --from http://crl.example/2.crl
  muster certificate crl fetch --dev .muster plant-root --off")]
struct FetchArgs {
    #[command(flatten)]
    which: Which,
    /// From where: an http or https URL. Given several times, each is fetched; addresses that were there before go.
    #[arg(long, value_name = "URL", conflicts_with = "off")]
    from: Vec<String>,
    /// Not any more.
    #[arg(long)]
    off: bool,
}

/// Show how the lists are looked up, and what is known of them.
#[derive(Args)]
#[command(after_help = "Example:
  muster certificate crl show --dev .muster plant-root")]
struct ShowArgs {
    #[command(flatten)]
    which: Which,
}

/// Drop the lists of a CA, or one of them. The policy stays.
#[derive(Args)]
#[command(after_help = "Examples:
  muster certificate crl delete --dev .muster plant-root
  muster certificate crl delete --dev .muster cloud-ca --list 5d4c3b2a19080706
      the ID is the one that `muster certificate crl show` shows")]
struct DeleteArgs {
    #[command(flatten)]
    which: Which,
    /// Only the list of this ID.
    #[arg(long, value_name = "ID")]
    list: Option<String>,
}

/// Whose lists.
#[derive(Args)]
struct Which {
    #[command(flatten)]
    service: ServiceArgs,
    /// The CA certificate's name.
    name: String,
}

pub async fn run(args: CrlArgs) -> anyhow::Result<()> {
    let (which, change) = match args.command {
        CrlCommand::Show(ShowArgs { which }) => {
            return output::json(&which.service.client()?.revocation(&which.name).await?);
        }
        CrlCommand::Delete(args) => return delete(args).await,
        CrlCommand::Upload(args) => return upload(args).await,
        CrlCommand::Policy(args) => {
            let policy = match args.policy {
                Policy::Soft => "soft",
                Policy::Hard => "hard",
            };
            (args.which, json!({"policy": policy}))
        }
        CrlCommand::Fetch(args) => {
            let from = Some(args.from).filter(|from| !from.is_empty());
            (args.which, json!({"fetch": !args.off, "fetchedFrom": from}))
        }
    };
    output::json(&which.service.client()?.put_revocation(&which.name, &change).await?)
}

async fn delete(DeleteArgs { which, list }: DeleteArgs) -> anyhow::Result<()> {
    which.service.client()?.delete_revocation_lists(&which.name, list.as_deref()).await?;
    match list {
        Some(id) => output::line(format_args!("deleted the revocation list {id} of {}", which.name)),
        None => output::line(format_args!("deleted the revocation lists of {}", which.name)),
    }
}

/// Uploads one list after the other; the first that is refused ends it.
async fn upload(UploadArgs { which, files }: UploadArgs) -> anyhow::Result<()> {
    let mut client = which.service.client()?;
    let mut shown = Value::Null;
    for file in &files {
        let change = json!({"list": read_base64(file, Object::RevocationList)?});
        let put = client.put_revocation(&which.name, &change).await;
        shown = put.with_context(|| file.display().to_string())?;
    }
    output::json(&shown)
}
