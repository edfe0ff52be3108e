//! `muster registration show`, `explain`, `cancel` and `delete`.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use model::RegistrationId;
use serde_json::Value;

use crate::{
    commands::{
        service::ServiceArgs,
        table::{Table, seconds, text},
    },
    output::{self, Format, OutputArgs},
};

/// Show the registration of a device: its status, its hub, its device ID there, and pending work.
#[derive(Args)]
#[command(after_help = "Examples:
  muster registration show --dev .muster device-1
  muster registration show --dev .muster device-1 --json")]
pub struct ShowArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    output: OutputArgs,
}

/// Explain why a device is assigned to its hub, or to none: its last decisions, newest first.
#[derive(Args)]
#[command(after_help = "Examples:
  muster registration explain --dev .muster device-1
  muster registration explain --dev .muster device-1 --json
      with every candidate hub, and why it was passed over")]
pub struct ExplainArgs {
    #[command(flatten)]
    which: Which,
    /// Print JSON: the sentences, and the decisions with all values.
    #[arg(long)]
    json: bool,
}

/// Cancel a pending assignment.
///
/// The registration of the device fails, and the device stays at its previous hub. It is removed from the new hub if it was
/// created there.
#[derive(Args)]
#[command(after_help = "Example:
  muster registration cancel --dev .muster device-1")]
pub struct CancelArgs {
    #[command(flatten)]
    which: Which,
}

/// Delete a registration.
///
/// The device stays in its hub, and may register again. A pending assignment is canceled. To keep the device out, disable or
/// delete its enrollment.
#[derive(Args)]
#[command(after_help = "Example:
  muster registration delete --dev .muster device-1")]
pub struct DeleteArgs {
    #[command(flatten)]
    which: Which,
}

#[derive(Args)]
struct Which {
    #[command(flatten)]
    service: ServiceArgs,
    /// The registration ID of the device.
    #[arg(value_name = "ID", value_parser = |text: &str| RegistrationId::parse(text))]
    id: RegistrationId,
}

/// Runs `show`.
pub async fn show(args: ShowArgs) -> anyhow::Result<ExitCode> {
    let Which { service, id } = args.which;
    let mut registration = service.client()?.explain_registration(&id).await?;
    if let Some(members) = registration.as_object_mut() {
        // `explain` shows these.
        members.retain(|name, _| name != "explanation" && name != "decisions");
    }
    if args.output.format == Format::Json {
        output::json(&registration)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["registration", id.as_str()]);
    for (name, pointer) in SHOWN {
        let value = text(&registration, pointer);
        if !value.is_empty() {
            table.add_row([name, value.as_str()]);
        }
    }
    for cleanup in registration["cleanups"].as_array().into_iter().flatten() {
        table.add_row(["to be removed", cleanup_text(cleanup).as_str()]);
    }
    output::table(&table)?;
    Ok(ExitCode::SUCCESS)
}

/// Formats a device that is still to be removed from a hub, with the last error.
fn cleanup_text(cleanup: &Value) -> String {
    let [hub, device, reason] = ["/iotHub", "/deviceId", "/reason"].map(|at| text(cleanup, at));
    let next = seconds(&text(cleanup, "/nextTryDateTimeUtc"));
    match reason.as_str() {
        "" => format!("{device} from {hub}"),
        reason if next.is_empty() => format!("{device} from {hub}; {reason}"),
        reason => format!("{device} from {hub}; next try {next}, last error: {reason}"),
    }
}

/// Runs `explain`.
pub async fn explain(args: ExplainArgs) -> anyhow::Result<ExitCode> {
    let Which { service, id } = args.which;
    let explained = service.client()?.explain_registration(&id).await?;
    if args.json {
        output::json(&explained)?;
    } else {
        let sentences = explained["explanation"].as_array().context("the reply has no explanation")?;
        sentences.iter().filter_map(Value::as_str).try_for_each(output::line)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `cancel`.
pub async fn cancel(args: CancelArgs) -> anyhow::Result<ExitCode> {
    let Which { service, id } = args.which;
    let canceled = service.client()?.cancel_registration(&id).await?;
    match text(&canceled, "/livesAt/iotHub").as_str() {
        "" => output::line(format_args!("canceled the assignment of {id}; the device has no hub")),
        hub => output::line(format_args!("canceled the assignment of {id}; the device stays at {hub}")),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Runs `delete`.
pub async fn delete(args: DeleteArgs) -> anyhow::Result<ExitCode> {
    let Which { service, id } = args.which;
    service.client()?.delete_registration(&id).await?;
    output::line(format_args!("deleted the registration of {id}; a device in a hub stays there"))?;
    Ok(ExitCode::SUCCESS)
}

/// The rows for a registration, and the JSON pointers to their values.
const SHOWN: [(&str, &str); 18] = [
    ("status", "/status"),
    ("substatus", "/substatus"),
    ("hub", "/assignedHub"),
    ("device", "/deviceId"),
    ("current hub", "/livesAt/iotHub"),
    ("next hub", "/pending/iotHub"),
    ("webhook", "/pending/webhookUrl"),
    ("since", "/pending/sinceDateTimeUtc"),
    ("reason", "/pending/reason"),
    ("tries", "/pending/attempts"),
    ("next try", "/pending/nextTryDateTimeUtc"),
    ("error", "/errorCode"),
    ("message", "/errorMessage"),
    ("group", "/x509/enrollmentGroupId"),
    ("group", "/symmetricKey/enrollmentGroupId"),
    ("registered", "/createdDateTimeUtc"),
    ("updated", "/lastUpdatedDateTimeUtc"),
    ("payload", "/payload"),
];
