//! `muster enrollment list`, `show` and `delete`.

use std::process::ExitCode;

use clap::Args;
use fleet::EnrollmentKind;
use model::{EnrollmentSearch, HubName, ProvisioningStatus, TagCondition};
use provisioning::ports::Clock;
use serde_json::Value;
use server::SystemClock;

use super::Which;
use crate::{
    commands::{
        listing::{ListingArgs, Rows, print, print_count},
        search::{SearchArgs, one_of},
        service::ServiceArgs,
        table::{seconds, text},
    },
    output,
};

const HEADER: &[&str] = &["enrollment", "attestation", "status", "allocation", "hubs", "changed"];

/// List the individual enrollments, or the enrollment groups.
#[derive(Args)]
#[command(after_help = "Examples:
  muster enrollment list --dev .muster
  muster enrollment list --dev .muster --groups
  muster enrollment list --dev .muster --prefix line-4-
  muster enrollment list --dev .muster --hub hub1.plant.example --status disabled
  muster enrollment list --dev .muster --tag location.building=43 --created-since 7d
  muster enrollment list --dev .muster --limit 1000 --json")]
pub struct ListArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// List enrollment groups instead of individual enrollments.
    #[arg(long)]
    groups: bool,
    /// Only enrollments that name this hub.
    #[arg(long, value_parser = |text: &str| HubName::parse(text))]
    hub: Option<HubName>,
    /// Only enabled or disabled enrollments.
    #[arg(long, value_parser = one_of(ProvisioningStatus::ALL.map(ProvisioningStatus::name), ProvisioningStatus::from_name))]
    status: Option<ProvisioningStatus>,
    /// Only enrollments whose initial twin has this tag with this value, such as location.building=43.
    #[arg(long, value_name = "TAG=VALUE", value_parser = |text: &str| TagCondition::parse(text).ok_or("expected TAG=VALUE"))]
    tag: Option<TagCondition>,
    #[command(flatten)]
    search: SearchArgs,
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
    let now = SystemClock.now();
    let search = EnrollmentSearch {
        created: args.search.created(now),
        updated: args.search.updated(now),
        prefix: args.search.prefix,
        device: args.search.device,
        hub: args.hub,
        status: args.status,
        mechanism: args.search.mechanism,
        tag: args.tag,
    };
    let mut client = args.service.client()?;
    let format = args.listing.output.format;
    if args.search.count {
        return print_count(client.count_enrollments(kind, &search).await?, format);
    }
    let listing = client.enrollments(kind, &search, args.listing.limit).await?;
    print(&listing, format, &Rows { header: HEADER, row, if_none })
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
