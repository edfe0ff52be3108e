//! `muster registration cleanups`.

use std::{num::NonZeroUsize, process::ExitCode};

use clap::Args;
use model::{DeviceId, HubName, Place};
use serde_json::Value;

use crate::commands::{
    listing::{Form, TOP, print},
    service::ServiceArgs,
    table::{seconds, text},
};

/// List what devices left at hubs and is still to be removed there, or give one of these up.
///
/// The service removes it by itself as soon as the hub answers, and tries every ten minutes at the latest.
#[derive(Args)]
#[command(after_help = "Examples:
  muster registration cleanups --dev .muster
  muster registration cleanups --dev .muster --forget plant.azure-devices.net/device-1
      for a hub that will not come back: should the device be there, it stays there")]
pub struct CleanupsArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// Give the clean-up of this device at this hub up.
    #[arg(long, value_name = "HUB/DEVICE", value_parser = place, conflicts_with_all = ["top", "json"])]
    forget: Option<Place>,
    /// How many at most.
    #[arg(long, value_name = "NUMBER", default_value = TOP)]
    top: NonZeroUsize,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

fn place(text: &str) -> anyhow::Result<Place> {
    let (hub, device_id) = text
        .split_once('/')
        .ok_or_else(|| anyhow::anyhow!("expected a hub and a device like hub.example/device-1"))?;
    Ok(Place { hub: HubName::parse(hub)?, device_id: DeviceId::parse(device_id)? })
}

/// Runs the command.
pub async fn run(args: CleanupsArgs) -> anyhow::Result<ExitCode> {
    let mut client = args.service.client()?;
    if let Some(place) = &args.forget {
        client.forget_cleanup(place).await?;
        println!("{} will not be removed from {}: should it be there, it stays", place.device_id, place.hub);
        return Ok(ExitCode::SUCCESS);
    }
    let listing = client.cleanups(args.top).await?;
    let form = match args.json {
        true => Form::Json,
        false => Form::Table { header: HEADER, row, if_none: "nothing is to be removed from hubs" },
    };
    Ok(print(&listing, form))
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
