//! `muster registration list`.

use std::process::ExitCode;

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use model::StatusKind;
use serde_json::Value;

use crate::commands::{
    listing::{Form, ListingArgs, print},
    service::ServiceArgs,
    table::{seconds, text},
};

/// List registrations: where each device is, by which key of its enrollment it proved itself, and what it waits for.
#[derive(Args)]
#[command(after_help = "Examples:
  muster registration list --dev .muster
      all of them, of enrollment groups and individual enrollments
  muster registration list --dev .muster --status assigning
      what is under way: since when, why it takes time, and when it is tried next
  muster registration list --dev .muster --status failed
  muster registration list --connection-string 'HostName=…;SharedAccessKeyName=…;SharedAccessKey=…' \\
      --ca ca.pem --status assigned --limit 1000 --json")]
pub struct ListArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// Those of this status.
    #[arg(long, value_parser = statuses())]
    status: Option<StatusKind>,
    #[command(flatten)]
    listing: ListingArgs,
}

fn statuses() -> impl TypedValueParser<Value = StatusKind> {
    PossibleValuesParser::new(StatusKind::ALL.map(StatusKind::name))
        .try_map(|name| StatusKind::from_name(&name).ok_or("no status"))
}

/// Runs the command.
pub async fn run(args: ListArgs) -> anyhow::Result<ExitCode> {
    let listing = args.service.client()?.registrations(args.status, args.listing.limit).await?;
    let if_none = match args.status {
        Some(status) => format!("no registration is {}", status.name()),
        None => "there is no registration".to_owned(),
    };
    let form = match args.listing.json {
        true => Form::Json,
        false => Form::Table { header: HEADER, row, if_none: &if_none },
    };
    print(&listing, form)
}

const HEADER: &[&str] = &["registration", "status", "hub", "key", "why", "since", "tries", "next try"];

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
        why(registration),
        seconds(&first(&["/pending/sinceDateTimeUtc", "/lastUpdatedDateTimeUtc"])),
        text(registration, "/pending/attempts"),
        seconds(&text(registration, "/pending/nextTryDateTimeUtc")),
    ]
}

/// The key of its enrollment that the device used last.
fn key(registration: &Value) -> String {
    let slot = text(registration, "/attestationKey/slot");
    match registration.pointer("/attestationKey/isReplaced") == Some(&Value::Bool(true)) {
        true => format!("{slot}, replaced since"),
        false => slot,
    }
}

/// What it waits for, or why it failed.
fn why(registration: &Value) -> String {
    let [webhook, reason] = ["/pending/webhookUrl", "/pending/reason"].map(|at| text(registration, at));
    let failed = format!("{} {}", text(registration, "/errorCode"), text(registration, "/errorMessage"));
    match (webhook.as_str(), reason.as_str()) {
        ("", "") => failed.trim().to_owned(),
        ("", reason) => reason.to_owned(),
        (webhook, "") => format!("the webhook {webhook} is asked"),
        (webhook, reason) => format!("the webhook {webhook}: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn says_what_a_registration_waits_for() {
        for (registration, expected) in [
            (json!({"status": "assigned"}), ""),
            (json!({"errorCode": 409205, "errorMessage": "Cancelled."}), "409205 Cancelled."),
            (json!({"pending": {"iotHub": "h", "attempts": 0}}), ""),
            (json!({"pending": {"iotHub": "h", "reason": "it is down"}}), "it is down"),
            (json!({"pending": {"webhookUrl": "https://w/"}}), "the webhook https://w/ is asked"),
            (
                json!({"pending": {"webhookUrl": "https://w/", "reason": "503"}}),
                "the webhook https://w/: 503",
            ),
        ] {
            assert_eq!(why(&registration), expected, "{registration}");
        }
    }
}
