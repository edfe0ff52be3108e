//! Revocation lists.

use std::path::PathBuf;

use anyhow::Context;
use certpath::encoding::Object;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::read_base64;
use crate::{commands::service::ServiceArgs, output};

/// Manage the revocation lists (CRLs) of CA certificates.
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

/// Upload revocation lists of a CA.
///
/// A list replaces those whose scope it includes, and must not be older than them. A CA with several distribution points has
/// several lists.
#[derive(Args)]
#[command(after_help = "Examples:
  muster certificate crl upload --dev .muster plant-root root.crl
  muster certificate crl upload --dev .muster cloud-ca shard-*.crl")]
struct UploadArgs {
    #[command(flatten)]
    which: Which,
    /// The lists, PEM or DER, one per file.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Set the policy for certificates that no fresh revocation list covers: admit or refuse the device.
///
/// A certificate on a list is refused under either policy.
#[derive(Args)]
#[command(after_help = "Example:
  muster certificate crl policy --dev .muster plant-root hard")]
struct PolicyArgs {
    #[command(flatten)]
    which: Which,
    /// The policy.
    #[arg(value_enum)]
    policy: Policy,
}

#[derive(Clone, Copy, ValueEnum)]
enum Policy {
    /// Admit the device, and log a warning.
    Soft,
    /// Refuse the device.
    Hard,
}

/// Let the service fetch the revocation lists hourly, or stop fetching.
///
/// The URLs are the CRL distribution points in certificates that the CA issued. No URL is required if the CA certificate
/// itself names one.
#[derive(Args)]
#[command(after_help = "Examples:
  muster certificate crl fetch --dev .muster plant-root --from http://crl.plant.example/root.crl
  muster certificate crl fetch --dev .muster cloud-ca --from http://crl.example/1.crl --from http://crl.example/2.crl
  muster certificate crl fetch --dev .muster plant-root --off")]
struct FetchArgs {
    #[command(flatten)]
    which: Which,
    /// The http or https URL of a list; repeatable. Replaces all earlier URLs.
    #[arg(long, value_name = "URL", conflicts_with = "off")]
    from: Vec<String>,
    /// Stop fetching.
    #[arg(long)]
    off: bool,
}

/// Show the policy, the stored revocation lists and the results of fetching.
#[derive(Args)]
#[command(after_help = "Example:
  muster certificate crl show --dev .muster plant-root")]
struct ShowArgs {
    #[command(flatten)]
    which: Which,
}

/// Delete all revocation lists of a CA, or one of them. The policy stays.
#[derive(Args)]
#[command(after_help = "Examples:
  muster certificate crl delete --dev .muster plant-root
  muster certificate crl delete --dev .muster cloud-ca --list 5d4c3b2a19080706
      with the ID that `muster certificate crl show` prints")]
struct DeleteArgs {
    #[command(flatten)]
    which: Which,
    /// Delete only the list with this ID.
    #[arg(long, value_name = "ID")]
    list: Option<String>,
}

/// The CA certificate whose lists are meant.
#[derive(Args)]
struct Which {
    #[command(flatten)]
    service: ServiceArgs,
    /// The name of the CA certificate.
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

/// Uploads the lists in order, and stops at the first error.
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
