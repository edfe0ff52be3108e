//! `muster registration cleanups`.

use std::process::ExitCode;

use clap::Args;
use fleet::{OperatorError, ServiceClient};
use model::{DeviceId, HubDeviceRef, HubName};
use serde_json::Value;

use crate::{
    commands::{
        listing::{Form, ListingArgs, print},
        service::ServiceArgs,
        table::{seconds, text},
    },
    output,
};

/// List what devices left at hubs and is still to be removed there, or give that up.
///
/// The service removes it by itself as soon as the hub answers, and tries every ten minutes at the latest. Two kinds wait
/// until --confirm: a device that may be another one of the same name, since the service does not know the generation of
/// the one that was left, or the hub names none; and all of them after the database was restored from a backup or copied,
/// for a device may by now live where it is listed.
#[derive(Args)]
#[command(after_help = "Examples:
  muster registration cleanups --dev .muster
  muster registration cleanups --dev .muster --forget plant.azure-devices.net/device-1
      should the device be there, it stays there
  muster registration cleanups --dev .muster --forget plant.azure-devices.net
      all of a hub that will not come back
  muster registration cleanups --dev .muster --confirm
      what is listed may be removed, also after a backup was restored")]
pub struct CleanupsArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// Give the clean-up of this device at this hub up, or those of all devices there.
    #[arg(long, value_name = "HUB[/DEVICE]", value_parser = forgotten, conflicts_with_all = ["limit", "json"])]
    forget: Option<Forgotten>,
    /// Let the cleanups go on that wait for this. Look at the list first, and give up those of devices that live there. A
    /// device that is known to be another one is never removed.
    #[arg(long, conflicts_with_all = ["forget", "limit", "json"])]
    confirm: bool,
    #[command(flatten)]
    listing: ListingArgs,
}

/// What is given up.
#[derive(Clone)]
enum Forgotten {
    /// One clean-up.
    Of(HubDeviceRef),
    /// All of a hub.
    All(HubName),
}

fn forgotten(text: &str) -> anyhow::Result<Forgotten> {
    Ok(match text.split_once('/') {
        Some((hub, id)) => {
            Forgotten::Of(HubDeviceRef { hub: HubName::parse(hub)?, device_id: DeviceId::parse(id)? })
        }
        None => Forgotten::All(HubName::parse(text)?),
    })
}

/// Runs the command.
pub async fn run(args: CleanupsArgs) -> anyhow::Result<ExitCode> {
    let mut client = args.service.client()?;
    if args.confirm {
        client.confirm_cleanups().await?;
        output::line(format_args!("devices are removed again from the hubs that they left"))?;
        return Ok(ExitCode::SUCCESS);
    }
    match args.forget {
        Some(Forgotten::Of(place)) => {
            client.forget_cleanup(&place).await?;
            let HubDeviceRef { hub, device_id } = place;
            output::line(format_args!(
                "{device_id} will not be removed from {hub}: should it be there, it stays"
            ))?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(Forgotten::All(hub)) => {
            let count = forget_all(&mut client, &hub).await?;
            let stay = "those that are there stay";
            output::line(format_args!("{count} devices will not be removed from {hub}: {stay}"))?;
            return Ok(ExitCode::SUCCESS);
        }
        None => {}
    }
    let listing = client.cleanups(args.listing.limit).await?;
    let form = match args.listing.json {
        true => Form::Json,
        false => Form::Table { header: HEADER, row, if_none: "nothing is to be removed from hubs" },
    };
    print(&listing, form)
}

/// Gives up all that is to be removed from a hub; returns how much that was.
async fn forget_all(client: &mut ServiceClient, hub: &HubName) -> anyhow::Result<usize> {
    let all = client.cleanups(None).await?.items;
    let of_hub = all.iter().filter(|cleanup| text(cleanup, "/iotHub") == hub.as_str());
    let mut count = 0;
    for cleanup in of_hub {
        let device_id = DeviceId::parse(text(cleanup, "/deviceId"))?;
        match client.forget_cleanup(&HubDeviceRef { hub: hub.clone(), device_id }).await {
            Ok(()) => count += 1,
            // It was done meanwhile.
            Err(OperatorError::Refused(refusal)) if refusal.status == 404 => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(count)
}

const HEADER: &[&str] = &["hub", "device", "why", "since", "tries", "next try", "last error"];

fn row(cleanup: &Value) -> Vec<String> {
    vec![
        text(cleanup, "/iotHub"),
        text(cleanup, "/deviceId"),
        why(&text(cleanup, "/cause")).to_owned(),
        seconds(&text(cleanup, "/sinceDateTimeUtc")),
        text(cleanup, "/attempts"),
        seconds(&text(cleanup, "/nextTryDateTimeUtc")),
        text(cleanup, "/reason"),
    ]
}

/// A cause in words; one that a later service names stands as it is.
fn why(cause: &str) -> &str {
    match cause {
        "moved" => "it lives at another hub now",
        "redirected" => "it was sent to another hub",
        "failed" => "its assignment failed",
        "cancelled" => "its assignment was called off",
        "deleted" => "its registration was deleted",
        other => other,
    }
}
