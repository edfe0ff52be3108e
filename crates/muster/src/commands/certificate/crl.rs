//! Revocation lists.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::read_text;
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

/// Upload a complete revocation list that the CA signed. It must not be older than the one that is there.
#[derive(Args)]
#[command(after_help = "Example:
  muster certificate crl upload --dev .muster plant-root root.crl")]
struct UploadArgs {
    #[command(flatten)]
    which: Which,
    /// The list: PEM, or DER.
    file: PathBuf,
}

/// Say what it means that a list is missing or stale: let devices through, or refuse them.
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

/// Have the service fetch the list on a schedule, or stop that.
///
/// The address is the CRL distribution point of certificates that the CA issued. A root may name it in its own
/// certificate; then no address is needed.
#[derive(Args)]
#[command(after_help = "Examples:
  muster certificate crl fetch --dev .muster plant-root --from http://crl.plant.example/root.crl
  muster certificate crl fetch --dev .muster plant-root --off")]
struct FetchArgs {
    #[command(flatten)]
    which: Which,
    /// From where: an http or https URL.
    #[arg(long, value_name = "URL", conflicts_with = "off")]
    from: Option<String>,
    /// Not any more.
    #[arg(long)]
    off: bool,
}

/// Show how the list is looked up, and what is known of it.
#[derive(Args)]
#[command(after_help = "Example:
  muster certificate crl show --dev .muster plant-root")]
struct ShowArgs {
    #[command(flatten)]
    which: Which,
}

/// Drop the list. The policy stays.
#[derive(Args)]
#[command(after_help = "Example:
  muster certificate crl delete --dev .muster plant-root")]
struct DeleteArgs {
    #[command(flatten)]
    which: Which,
}

/// Whose list.
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
        CrlCommand::Delete(DeleteArgs { which }) => {
            which.service.client()?.delete_revocation_list(&which.name).await?;
            return output::line(format_args!("deleted the revocation list of {}", which.name));
        }
        CrlCommand::Upload(args) => {
            let list = read_text(&args.file)?;
            (args.which, json!({"list": list}))
        }
        CrlCommand::Policy(args) => {
            let policy = match args.policy {
                Policy::Soft => "soft",
                Policy::Hard => "hard",
            };
            (args.which, json!({"policy": policy}))
        }
        CrlCommand::Fetch(args) => (args.which, json!({"fetch": !args.off, "fetchedFrom": args.from})),
    };
    output::json(&which.service.client()?.put_revocation(&which.name, &change).await?)
}
