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
    output,
};

/// Show the registration of a device: its status, its hub, the name it has there, and what is still to be done.
#[derive(Args)]
#[command(after_help = "Examples:
  muster registration show --dev .muster device-1
  muster registration show --dev .muster device-1 --json")]
pub struct ShowArgs {
    #[command(flatten)]
    which: Which,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// Tell why a device is where it is, or why it is nowhere yet: the last decisions about it, the newest first.
#[derive(Args)]
#[command(after_help = "Examples:
  muster registration explain --dev .muster device-1
  muster registration explain --dev .muster device-1 --json
      with every hub that was considered, and why it was passed over")]
pub struct ExplainArgs {
    #[command(flatten)]
    which: Which,
    /// Print JSON: the sentences, and the decisions with all their figures.
    #[arg(long)]
    json: bool,
}

/// Call an assignment off that is under way.
///
/// The device is told that it failed, and stays where it lived before. What the hub may have been told is cleaned up.
#[derive(Args)]
#[command(after_help = "Example:
  muster registration cancel --dev .muster device-1")]
pub struct CancelArgs {
    #[command(flatten)]
    which: Which,
}

/// Delete a registration: the service forgets the device.
///
/// The device stays in its hub, and may register again; one that is on its way to a hub does not arrive. To keep it out,
/// disable or delete its enrollment.
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
    /// The name that the device registers under.
    #[arg(value_name = "ID", value_parser = |text: &str| RegistrationId::parse(text))]
    id: RegistrationId,
}

/// Runs `show`.
pub async fn show(args: ShowArgs) -> anyhow::Result<ExitCode> {
    let Which { service, id } = args.which;
    let mut registration = service.client()?.explain_registration(&id).await?;
    if let Some(members) = registration.as_object_mut() {
        // These are what `explain` is for.
        members.retain(|name, _| name != "explanation" && name != "decisions");
    }
    if args.json {
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
        table.add_row(["to be removed", still_there(cleanup).as_str()]);
    }
    output::table(&table)?;
    Ok(ExitCode::SUCCESS)
}

/// What is still to be removed from a hub, and why it was not yet.
fn still_there(cleanup: &Value) -> String {
    let [hub, device, reason] = ["/iotHub", "/deviceId", "/reason"].map(|at| text(cleanup, at));
    let next = seconds(&text(cleanup, "/nextTryDateTimeUtc"));
    match reason.as_str() {
        "" => format!("{device} from {hub}"),
        reason if next.is_empty() => format!("{device} from {hub}; {reason}"),
        reason => format!("{device} from {hub}; next try {next}, the last failed: {reason}"),
    }
}

/// Runs `explain`.
pub async fn explain(args: ExplainArgs) -> anyhow::Result<ExitCode> {
    let Which { service, id } = args.which;
    let explained = service.client()?.explain_registration(&id).await?;
    if args.json {
        output::json(&explained)?;
    } else {
        let sentences = explained["explanation"].as_array().context("the reply holds no explanation")?;
        sentences.iter().filter_map(Value::as_str).try_for_each(output::line)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `cancel`.
pub async fn cancel(args: CancelArgs) -> anyhow::Result<ExitCode> {
    let Which { service, id } = args.which;
    let cancelled = service.client()?.cancel_registration(&id).await?;
    match text(&cancelled, "/livesAt/iotHub").as_str() {
        "" => output::line(format_args!("the assignment of {id} is called off; it has no hub")),
        hub => output::line(format_args!("the assignment of {id} is called off; it stays at {hub}")),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Runs `delete`.
pub async fn delete(args: DeleteArgs) -> anyhow::Result<ExitCode> {
    let Which { service, id } = args.which;
    service.client()?.delete_registration(&id).await?;
    output::line(format_args!(
        "the registration of {id} is deleted; if the device is in a hub, it stays there"
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// What is shown of a registration, and where it stands.
const SHOWN: [(&str, &str); 18] = [
    ("status", "/status"),
    ("substatus", "/substatus"),
    ("hub", "/assignedHub"),
    ("device", "/deviceId"),
    ("lives at", "/livesAt/iotHub"),
    ("goes to", "/pending/iotHub"),
    ("asks", "/pending/webhookUrl"),
    ("since", "/pending/sinceDateTimeUtc"),
    ("waits because", "/pending/reason"),
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
