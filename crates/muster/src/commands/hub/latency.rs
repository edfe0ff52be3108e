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

/// Show how far the linked hubs are, and which one a new device would get by the policy of lowest latency.
///
/// What counts for a device is the row of the operator's table for its network or region; without one, what the node
/// that it comes to has measured.
#[derive(Args)]
#[command(after_help = "Examples:
  muster hub latency --dev .muster
  muster hub latency --dev .muster --address 10.20.3.4      what a device from there would get")]
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
        Table::new(&["hub, from the node that answers", "ms", "± ms", "unanswered", "devices", "probed"]);
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

/// What a new device would get, in words.
fn verdict(seen: &Value) -> String {
    let nearest: Vec<_> = seen["nearest"].as_array().into_iter().flatten().map(word).collect();
    match nearest.as_slice() {
        [] => "no hub takes new devices".into(),
        [hub] => format!("a new device from there gets {hub}"),
        hubs => format!("new devices from there are shared by weight among {}", hubs.join(", ")),
    }
}

fn source(row: &Value) -> String {
    match row["source"].as_str() {
        Some("network") => word(&row["network"]),
        Some("region") => format!("region {}", word(&row["region"])),
        Some("probes") => "this node's probes".into(),
        _ => "nothing that is known".into(),
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
    fn says_what_a_device_would_get() {
        let seen = |nearest: Value| json!({"address": "10.0.0.1", "source": "region", "region": "DE", "nearest": nearest});
        assert_eq!(verdict(&seen(json!([]))), "no hub takes new devices");
        assert_eq!(verdict(&seen(json!(["a.hub"]))), "a new device from there gets a.hub");
        assert_eq!(
            verdict(&seen(json!(["a.hub", "b.hub"]))),
            "new devices from there are shared by weight among a.hub, b.hub"
        );
        assert_eq!(source(&seen(json!([]))), "region DE");
        assert_eq!((millis(&json!(1.25)), millis(&Value::Null)), ("1.2".to_owned(), "unknown".to_owned()));
    }
}
