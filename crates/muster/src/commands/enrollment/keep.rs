//! `muster enrollment list`, `show` and `delete`.

use std::process::ExitCode;

use clap::Args;
use fleet::EnrollmentKind;
use serde_json::Value;

use super::Which;
use crate::{
    commands::{
        listing::{Form, ListingArgs, print},
        service::ServiceArgs,
        table::{seconds, text},
    },
    output::{self, Format},
};

const HEADER: &[&str] = &["enrollment", "attestation", "status", "allocation", "hubs", "changed"];

/// List the individual enrollments, or the enrollment groups.
#[derive(Args)]
#[command(after_help = "Examples:
  muster enrollment list --dev .muster
  muster enrollment list --dev .muster --groups
  muster enrollment list --dev .muster --prefix line-4-
  muster enrollment list --dev .muster --limit 1000 --json")]
pub struct ListArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// List enrollment groups instead of individual enrollments.
    #[arg(long)]
    groups: bool,
    /// Only those whose ID begins so.
    #[arg(long)]
    prefix: Option<String>,
    #[command(flatten)]
    listing: ListingArgs,
}

/// Show an enrollment as JSON.
#[derive(Args)]
#[command(after_help = "Examples:
  muster enrollment show --dev .muster device-1
  muster enrollment show --dev .muster --group line-1 --keys")]
pub struct ShowArgs {
    #[command(flatten)]
    which: Which,
    /// Include the symmetric keys.
    #[arg(long)]
    keys: bool,
}

/// Delete an enrollment.
///
/// Its devices stay in their hubs. When they register again, they are refused unless another enrollment admits them.
#[derive(Args)]
#[command(after_help = "Examples:
  muster enrollment delete --dev .muster device-1
  muster enrollment delete --dev .muster --group line-1")]
pub struct DeleteArgs {
    #[command(flatten)]
    which: Which,
}

/// Runs `list`.
pub async fn list(args: ListArgs) -> anyhow::Result<ExitCode> {
    let (kind, if_none) = match args.groups {
        true => (EnrollmentKind::Group, "no enrollment groups"),
        false => (EnrollmentKind::Individual, "no individual enrollments"),
    };
    let listing =
        args.service.client()?.enrollments(kind, args.prefix.as_deref(), args.listing.limit).await?;
    let form = match args.listing.output.format {
        Format::Json => Form::Json,
        Format::Text => Form::Table { header: HEADER, row, if_none },
    };
    print(&listing, form)
}

fn row(enrollment: &Value) -> Vec<String> {
    let id = [text(enrollment, "/registrationId"), text(enrollment, "/enrollmentGroupId")].concat();
    let hubs = enrollment.get("iotHubs").and_then(Value::as_array).into_iter().flatten();
    let hubs: Vec<_> = hubs.filter_map(Value::as_str).collect();
    vec![
        id,
        text(enrollment, "/attestation/type"),
        text(enrollment, "/provisioningStatus"),
        text(enrollment, "/allocationPolicy"),
        hubs.join(", "),
        seconds(&text(enrollment, "/lastUpdatedDateTimeUtc")),
    ]
}

/// Runs `show`.
pub async fn show(args: ShowArgs) -> anyhow::Result<ExitCode> {
    let (kind, id) = (args.which.kind(), args.which.id.as_str());
    let mut client = args.which.service.client()?;
    let mut shown = client.read_enrollment(kind, id).await?;
    if args.keys {
        shown["attestation"] = client.attestation(kind, id).await?;
    }
    output::json(&shown)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs `delete`.
pub async fn delete(args: DeleteArgs) -> anyhow::Result<ExitCode> {
    let (kind, id) = (args.which.kind(), args.which.id.as_str());
    args.which.service.client()?.delete_enrollment(kind, id).await?;
    output::line(format_args!("deleted {kind} {id}; its devices stay in their hubs"))?;
    Ok(ExitCode::SUCCESS)
}
