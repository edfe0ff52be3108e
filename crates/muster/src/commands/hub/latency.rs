//! `muster hub latency`.

use std::{net::IpAddr, process::ExitCode};

use anyhow::Context;
use clap::Args;
use serde_json::Value;

use crate::{
    commands::{
        service::ServiceArgs,
        table::{Table, word},
    },
    output,
};

/// Show the latencies to the linked hubs, and the hub that the policy `geoLatency` would choose.
///
/// For a device, the row of the latency table for its network or region applies. Without a row, the probes of the node that
/// it connects to apply.
#[derive(Args)]
#[command(after_help = "Examples:
  muster hub latency --dev .muster
  muster hub latency --dev .muster --address 10.20.3.4      the choice for this device address")]
pub struct LatencyArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// The address of a device.
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub async fn run(args: LatencyArgs) -> anyhow::Result<ExitCode> {
    let report = args.service.client()?.latencies(args.address).await?;
    if args.json {
        output::json(&report)?;
        return Ok(ExitCode::SUCCESS);
    }
    output::table(&probes(list(&report, "probes")?))?;
    let rows = list(&report, "table")?;
    if !rows.is_empty() {
        output::table(&rows_table(rows))?;
    }
    if let Some(seen) = report.get("seenFrom") {
        output::table(&seen_table(seen))?;
        output::line(verdict(seen))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn list<'a>(report: &'a Value, name: &str) -> anyhow::Result<&'a Vec<Value>> {
    report.get(name).and_then(Value::as_array).with_context(|| format!("the reply has no {name}"))
}

fn probes(probes: &[Value]) -> Table {
    let mut table =
        Table::new(&["hub, probed from this node", "ms", "± ms", "unanswered", "devices", "probed"]);
    for probe in probes {
        table.add_row([
            word(&probe["hub"]),
            millis(&probe["latencyMs"]),
            millis(&probe["variationMs"]),
            word(&probe["misses"]),
            word(&probe["deviceCount"]),
            word(&probe["probedDateTimeUtc"]),
        ]);
    }
    table.right(&[1, 2, 3, 4])
}

fn rows_table(rows: &[Value]) -> Table {
    let mut table = Table::new(&["devices from", "hub", "ms"]);
    for row in rows {
        for (hub, latency) in row["hubs"].as_object().into_iter().flatten() {
            table.add_row([source(row), hub.clone(), millis(latency)]);
        }
    }
    table.right(&[2])
}

fn seen_table(seen: &Value) -> Table {
    let from = format!("from {}, by {}", word(&seen["address"]), source(seen));
    let mut table = Table::new(&[&from, "ms"]);
    for (hub, latency) in seen["hubs"].as_object().into_iter().flatten() {
        table.add_row([hub.clone(), millis(latency)]);
    }
    table.right(&[1])
}

/// Describes the hub that a new device would get.
fn verdict(seen: &Value) -> String {
    let nearest: Vec<_> = seen["nearest"].as_array().into_iter().flatten().map(word).collect();
    match nearest.as_slice() {
        [] => "no hub accepts new devices".into(),
        [hub] => format!("a new device at this address gets {hub}"),
        hubs => format!("new devices at this address are distributed by weight over {}", hubs.join(", ")),
    }
}

fn source(row: &Value) -> String {
    match row["source"].as_str() {
        Some("network") => word(&row["network"]),
        Some("region") => format!("region {}", word(&row["region"])),
        Some("probes") => "this node's probes".into(),
        _ => "no known source".into(),
    }
}

fn millis(value: &Value) -> String {
    value.as_f64().map_or("unknown".into(), |millis| format!("{millis:.1}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_verdict_names_the_hub_of_a_new_device() {
        let seen = |nearest: Value| json!({"address": "10.0.0.1", "source": "region", "region": "DE", "nearest": nearest});
        assert_eq!(verdict(&seen(json!([]))), "no hub accepts new devices");
        assert_eq!(verdict(&seen(json!(["a.hub"]))), "a new device at this address gets a.hub");
        assert_eq!(
            verdict(&seen(json!(["a.hub", "b.hub"]))),
            "new devices at this address are distributed by weight over a.hub, b.hub"
        );
        assert_eq!(source(&seen(json!([]))), "region DE");
        assert_eq!((millis(&json!(1.25)), millis(&Value::Null)), ("1.2".to_owned(), "unknown".to_owned()));
    }
}
