//! `muster registration list`.

use std::{num::NonZeroUsize, process::ExitCode};

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use model::StatusKind;
use serde_json::Value;

use crate::commands::{
    listing::{Form, TOP, print},
    service::ServiceArgs,
    table::{seconds, text},
};

/// List registrations of one status: by default those that are being assigned, and what they wait for.
#[derive(Args)]
#[command(after_help = "Examples:
  muster registration list --dev .muster
      what is under way: since when, why it takes so long, and when it is tried next
  muster registration list --dev .muster --status failed
  muster registration list --connection-string 'HostName=…;SharedAccessKeyName=…;SharedAccessKey=…' \\
      --ca ca.pem --status assigned --top 10000 --json")]
pub struct ListArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// Which ones.
    #[arg(long, default_value = "assigning", value_parser = statuses())]
    status: StatusKind,
    /// How many at most.
    #[arg(long, value_name = "NUMBER", default_value = TOP)]
    top: NonZeroUsize,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

fn statuses() -> impl TypedValueParser<Value = StatusKind> {
    PossibleValuesParser::new(StatusKind::ALL.map(StatusKind::name))
        .try_map(|name| StatusKind::from_name(&name).ok_or("no status"))
}

/// Runs the command.
pub async fn run(args: ListArgs) -> anyhow::Result<ExitCode> {
    let listing = args.service.client()?.registrations(args.status, args.top).await?;
    let if_none = format!("no registration is {}", args.status.name());
    let form = match args.json {
        true => Form::Json,
        false => Form::Table { header: HEADER, row, if_none: &if_none },
    };
    print(&listing, form)
}

const HEADER: &[&str] = &["registration", "status", "hub", "why", "since", "tries", "next try"];

fn row(registration: &Value) -> Vec<String> {
    let first = |pointers: &[&str]| {
        let texts = pointers.iter().map(|pointer| text(registration, pointer));
        texts.into_iter().find(|text| !text.is_empty()).unwrap_or_default()
    };
    vec![
        text(registration, "/registrationId"),
        text(registration, "/status"),
        first(&["/assignedHub", "/pending/iotHub", "/livesAt/iotHub"]),
        why(registration),
        seconds(&first(&["/pending/sinceDateTimeUtc", "/lastUpdatedDateTimeUtc"])),
        text(registration, "/pending/attempts"),
        seconds(&text(registration, "/pending/nextTryDateTimeUtc")),
    ]
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
