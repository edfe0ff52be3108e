//! `muster registration cleanups`.

use std::process::ExitCode;

use clap::Args;
use fleet::{OperatorError, ServiceClient};
use model::{DeviceId, HubDeviceRef, HubName};
use serde_json::Value;

use crate::{
    commands::{
        listing::{ListingArgs, Rows, print},
        service::ServiceArgs,
        table::{seconds, text},
    },
    output,
};

const HEADER: &[&str] = &["hub", "device", "reason", "since", "tries", "next try", "last error"];

/// List the devices that are still to be removed from previous hubs, or cancel or confirm their removal.
///
/// The service removes them when the hub answers, with retries at least every ten minutes. Two kinds wait for --confirm:
/// devices of unknown generation, because another device may have the same ID by now; and, after the database was restored
/// from a backup or copied, all of them, because a device may have moved back since.
#[derive(Args)]
#[command(after_help = "Examples:
  muster registration cleanups --dev .muster
  muster registration cleanups --dev .muster --forget plant.azure-devices.net/device-1
      keeps the device at this hub
  muster registration cleanups --dev .muster --forget plant.azure-devices.net
      all devices of a hub that is gone for good
  muster registration cleanups --dev .muster --confirm
      allows the listed removals, for example after a restore")]
pub struct CleanupsArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// Cancel the cleanup of this device at this hub, or all cleanups at this hub.
    #[arg(long, value_name = "HUB[/DEVICE]", value_parser = forgotten, conflicts_with_all = ["limit", "json"])]
    forget: Option<Forgotten>,
    /// Allow the cleanups that wait for confirmation. First check the list, and --forget devices that belong to their hubs.
    /// A device that is known to be another one is never removed.
    #[arg(long, conflicts_with_all = ["forget", "limit", "json"])]
    confirm: bool,
    #[command(flatten)]
    listing: ListingArgs,
}

/// The cleanups to cancel.
#[derive(Clone)]
enum Forgotten {
    /// The cleanup of one device.
    Device(HubDeviceRef),
    /// All cleanups at a hub.
    Hub(HubName),
}

fn forgotten(text: &str) -> anyhow::Result<Forgotten> {
    Ok(match text.split_once('/') {
        Some((hub, id)) => {
            Forgotten::Device(HubDeviceRef { hub: HubName::parse(hub)?, device_id: DeviceId::parse(id)? })
        }
        None => Forgotten::Hub(HubName::parse(text)?),
    })
}

/// Runs the command.
pub async fn run(args: CleanupsArgs) -> anyhow::Result<ExitCode> {
    let mut client = args.service.client()?;
    if args.confirm {
        client.confirm_cleanups().await?;
        output::line(format_args!("the listed devices will be removed from their previous hubs"))?;
        return Ok(ExitCode::SUCCESS);
    }
    match args.forget {
        Some(Forgotten::Device(device)) => {
            client.forget_cleanup(&device).await?;
            let HubDeviceRef { hub, device_id } = device;
            output::line(format_args!("{device_id} will not be removed from {hub}"))?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(Forgotten::Hub(hub)) => {
            let count = forget_all(&mut client, &hub).await?;
            output::line(format_args!("{count} devices will not be removed from {hub}"))?;
            return Ok(ExitCode::SUCCESS);
        }
        None => {}
    }
    let listing = client.cleanups(args.listing.limit).await?;
    print(&listing, args.listing.output.format, &Rows { header: HEADER, row, if_none: "no cleanups" })
}

/// Cancels all cleanups at a hub, and returns their number.
async fn forget_all(client: &mut ServiceClient, hub: &HubName) -> anyhow::Result<usize> {
    let all = client.cleanups(None).await?.items;
    let of_hub = all.iter().filter(|cleanup| text(cleanup, "/iotHub") == hub.as_str());
    let mut count = 0;
    for cleanup in of_hub {
        let device_id = DeviceId::parse(text(cleanup, "/deviceId"))?;
        match client.forget_cleanup(&HubDeviceRef { hub: hub.clone(), device_id }).await {
            Ok(()) => count += 1,
            // It was done in the meantime.
            Err(OperatorError::Refused(refusal)) if refusal.status == 404 => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(count)
}

fn row(cleanup: &Value) -> Vec<String> {
    vec![
        text(cleanup, "/iotHub"),
        text(cleanup, "/deviceId"),
        describe(&text(cleanup, "/cause")).to_owned(),
        seconds(&text(cleanup, "/sinceDateTimeUtc")),
        text(cleanup, "/attempts"),
        seconds(&text(cleanup, "/nextTryDateTimeUtc")),
        text(cleanup, "/reason"),
    ]
}

/// Describes a cause. A cause of a later service stays as it is.
fn describe(cause: &str) -> &str {
    match cause {
        "moved" => "moved to another hub",
        "redirected" => "assigned to another hub",
        "failed" => "assignment failed",
        "cancelled" => "assignment canceled",
        "deleted" => "registration deleted",
        other => other,
    }
}
