//! `muster registration list`.

use std::process::ExitCode;

use clap::Args;
use model::{EnrollmentGroupId, HubName, KeySlot, RegistrationSearch, StatusKind, Substatus};
use provisioning::ports::Clock;
use serde_json::Value;
use server::SystemClock;
use wire::device::failures_with_code;

use crate::commands::{
    listing::{ListingArgs, Rows, print, print_count},
    search::{SearchArgs, one_of},
    service::ServiceArgs,
    table::{seconds, text},
};

const HEADER: &[&str] = &["registration", "status", "hub", "key", "reason", "since", "tries", "next try"];

/// List registrations, with the hub of each device, the key that it used, and what it waits for.
#[derive(Args)]
#[command(after_help = "Examples:
  muster registration list --dev .muster
      all registrations, of enrollment groups and individual enrollments
  muster registration list --dev .muster --status assigning
      pending assignments, with the reason and the next try
  muster registration list --dev .muster --status failed
  muster registration list --dev .muster --hub hub1.plant.example --prefix line-4-
  muster registration list --dev .muster --hub hub1.plant.example --count
  muster registration list --dev .muster --error 403002 --since 24h
  muster registration list --connection-string 'HostName=…;SharedAccessKeyName=…;SharedAccessKey=…' \\
      --ca ca.pem --status assigned --limit 1000 --json")]
pub struct ListArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// Only registrations with this status.
    #[arg(long, value_parser = one_of(StatusKind::ALL.map(StatusKind::name), StatusKind::from_name))]
    status: Option<StatusKind>,
    /// Only registrations of devices that got to their hub so.
    #[arg(long, value_parser = one_of(Substatus::ALL.map(Substatus::name), Substatus::from_name))]
    substatus: Option<Substatus>,
    /// Only registrations through this enrollment group.
    #[arg(long, value_parser = |text: &str| EnrollmentGroupId::parse(text))]
    group: Option<EnrollmentGroupId>,
    /// Only registrations of devices at this hub.
    #[arg(long, value_parser = |text: &str| HubName::parse(text))]
    hub: Option<HubName>,
    /// Only registrations that failed with this code.
    #[arg(long, value_name = "CODE")]
    error: Option<u32>,
    /// Only registrations of devices that used this key of their enrollment last: primary or secondary.
    #[arg(long, value_parser = one_of(["primary", "secondary"], KeySlot::from_name))]
    key: Option<KeySlot>,
    #[command(flatten)]
    search: SearchArgs,
    #[command(flatten)]
    listing: ListingArgs,
}

/// Runs the command.
pub async fn run(args: ListArgs) -> anyhow::Result<ExitCode> {
    let now = SystemClock.now();
    let search = RegistrationSearch {
        created: args.search.created(now),
        updated: args.search.updated(now),
        prefix: args.search.prefix,
        device: args.search.device,
        group: args.group,
        hub: args.hub,
        status: args.status,
        substatus: args.substatus,
        mechanism: args.search.mechanism,
        key: args.key,
        failures: args.error.map(failures_with_code),
    };
    let mut client = args.service.client()?;
    let format = args.listing.output.format;
    if args.search.count {
        return print_count(client.count_registrations(&search).await?, format);
    }
    let listing = client.registrations(&search, args.listing.limit).await?;
    let if_none = match args.status {
        Some(status) => format!("no registrations with status {}", status.name()),
        None => "no registrations".to_owned(),
    };
    print(&listing, format, &Rows { header: HEADER, row, if_none: &if_none })
}

fn row(registration: &Value) -> Vec<String> {
    let first = |pointers: &[&str]| {
        let texts = pointers.iter().map(|pointer| text(registration, pointer));
        texts.into_iter().find(|text| !text.is_empty()).unwrap_or_default()
    };
    vec![
        text(registration, "/registrationId"),
        text(registration, "/status"),
        first(&["/assignedHub", "/pending/iotHub", "/livesAt/iotHub"]),
        key(registration),
        reason(registration),
        seconds(&first(&["/pending/sinceDateTimeUtc", "/lastUpdatedDateTimeUtc"])),
        text(registration, "/pending/attempts"),
        seconds(&text(registration, "/pending/nextTryDateTimeUtc")),
    ]
}

/// Formats the key of the enrollment that the device last used.
fn key(registration: &Value) -> String {
    let slot = text(registration, "/attestationKey/slot");
    match registration.pointer("/attestationKey/isReplaced") == Some(&Value::Bool(true)) {
        true => format!("{slot}, since replaced"),
        false => slot,
    }
}

/// Formats what the registration waits for, or why it failed.
fn reason(registration: &Value) -> String {
    let [webhook, reason] = ["/pending/webhookUrl", "/pending/reason"].map(|at| text(registration, at));
    let failed = format!("{} {}", text(registration, "/errorCode"), text(registration, "/errorMessage"));
    match (webhook.as_str(), reason.as_str()) {
        ("", "") => failed.trim().to_owned(),
        ("", reason) => reason.to_owned(),
        (webhook, "") => format!("waits for the webhook {webhook}"),
        (webhook, reason) => format!("webhook {webhook}: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_reason_names_what_a_registration_waits_for() {
        for (registration, expected) in [
            (json!({"status": "assigned"}), ""),
            (json!({"errorCode": 409205, "errorMessage": "Cancelled."}), "409205 Cancelled."),
            (json!({"pending": {"iotHub": "h", "attempts": 0}}), ""),
            (json!({"pending": {"iotHub": "h", "reason": "it is down"}}), "it is down"),
            (json!({"pending": {"webhookUrl": "https://w/"}}), "waits for the webhook https://w/"),
            (json!({"pending": {"webhookUrl": "https://w/", "reason": "503"}}), "webhook https://w/: 503"),
        ] {
            assert_eq!(reason(&registration), expected, "{registration}");
        }
    }
}
