//! Latencies between devices and hubs, an addition of Muster.

use std::fmt;

use model::{HubName, HubProbe, Latency, LatencyReport, LatencyRow, LatencySource, SeenFrom};
use serde_json::{Map, Value};

use super::members::{BodyError, Members, Object};

/// Writes `{"probes": […], "table": […], "seenFrom": {…}?}`. Latencies are in milliseconds, with fractions.
pub fn latency_json(report: &LatencyReport) -> Value {
    let mut json = Object::default();
    json.put("probes", report.probes.iter().map(probe_json).collect::<Vec<_>>())
        .put("table", latency_rows_json(&report.rows))
        .put_some("seenFrom", report.seen.as_ref().map(seen_json));
    json.into_value()
}

fn probe_json(probe: &HubProbe) -> Value {
    let mut json = Object::default();
    let last = probe.last.as_ref();
    let estimate = last.and_then(|last| last.estimate);
    json.put("hub", probe.hub.as_str())
        .put_some("latencyMs", estimate.map(|it| it.latency.millis()))
        .put_some("variationMs", estimate.map(|it| it.variation.millis()))
        .put("misses", last.map_or(0, |last| last.misses))
        .put_some("probedDateTimeUtc", last.map(|last| last.at.to_string()))
        .put_some("deviceCount", probe.devices);
    json.into_value()
}

/// Writes the rows of a table: `[{"network": "10.0.0.0/8", "hubs": {"a.hub": 2.5}}, {"region": "DE", …}]`.
pub(super) fn latency_rows_json(rows: &[LatencyRow]) -> Value {
    rows.iter().map(row_json).collect()
}

/// Parses the rows of a table, if there is one.
pub(super) fn latency_rows(members: &Members<'_>) -> Result<Option<Vec<LatencyRow>>, BodyError> {
    let Some(items) = members.items("latencyTable")? else { return Ok(None) };
    items.into_iter().map(|item| row(&item?)).collect::<Result<_, _>>().map(Some)
}

fn row(item: &Members<'_>) -> Result<LatencyRow, BodyError> {
    let text = |name| item.parsed(name, |text| Ok::<_, fmt::Error>(text.to_owned()));
    let network = text("network")?.map(LatencySource::Table);
    let source = item.required("network", network.or(text("region")?.map(LatencySource::Region)))?;
    let hubs = item.required("hubs", item.value("hubs").and_then(Value::as_object))?;
    let hub = |(hub, millis): (&String, &Value)| {
        let hub = HubName::parse(hub).map_err(|error| item.refuse("hubs", error))?;
        let latency = millis.as_f64().and_then(Latency::try_from_millis);
        let latency =
            latency.ok_or_else(|| item.refuse("hubs", format!("{hub} must have 0 to 60000 milliseconds")))?;
        Ok((hub, latency))
    };
    Ok(LatencyRow { source, hubs: hubs.iter().map(hub).collect::<Result<_, _>>()? })
}

fn row_json(row: &LatencyRow) -> Value {
    let mut json = Object::default();
    put_source(&mut json, &row.source);
    json.put("hubs", hubs_json(row.hubs.iter().map(|(hub, latency)| (hub, Some(*latency)))));
    json.into_value()
}

fn seen_json(seen: &SeenFrom) -> Value {
    let mut json = Object::default();
    json.put("address", seen.address.to_string());
    if let Some(source) = &seen.source {
        put_source(&mut json, source);
    }
    json.put("hubs", hubs_json(seen.hubs.iter().map(|(hub, latency)| (hub, *latency))))
        .put("nearest", seen.nearest.iter().map(HubName::as_str).collect::<Vec<_>>());
    json.into_value()
}

fn put_source(json: &mut Object, source: &LatencySource) {
    match source {
        LatencySource::Table(network) => json.put("source", "network").put("network", network.as_str()),
        LatencySource::Region(region) => json.put("source", "region").put("region", region.as_str()),
        LatencySource::Probes => json.put("source", "probes"),
    };
}

/// Writes latencies by hub; an unknown latency is null.
fn hubs_json<'a>(hubs: impl Iterator<Item = (&'a HubName, Option<Latency>)>) -> Value {
    let hubs = hubs.map(|(hub, latency)| (hub.to_string(), Value::from(latency.map(Latency::millis))));
    Value::Object(hubs.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use model::{LastProbe, LatencyEstimate, Timestamp};
    use serde_json::json;

    use super::*;

    #[test]
    fn probes_table_and_view_of_an_address_are_written() {
        let [near, far] = ["near.hub", "far.hub"].map(|name| HubName::parse(name).unwrap());
        let at = Timestamp::from_unix_seconds(0);
        let [latency, variation] = [1500, 250].map(Latency::from_micros);
        let estimate = Some(LatencyEstimate { latency, variation });
        let last = Some(LastProbe { at, estimate, misses: 0 });
        let probe = HubProbe { hub: near.clone(), last, devices: Some(7) };
        let last = Some(LastProbe { at, estimate: None, misses: 3 });
        let silent = HubProbe { hub: far.clone(), last, devices: None };
        let unknown = HubProbe { hub: HubName::parse("new.hub").unwrap(), last: None, devices: None };
        let report = LatencyReport {
            rows: vec![LatencyRow {
                source: LatencySource::Table("10.0.0.0/8".into()),
                hubs: vec![(near.clone(), Latency::from_millis(2))],
            }],
            probes: vec![probe, silent, unknown],
            seen: Some(SeenFrom {
                address: [10, 0, 0, 1].into(),
                source: Some(LatencySource::Table("10.0.0.0/8".into())),
                hubs: vec![(near.clone(), Some(Latency::from_millis(2))), (far, None)],
                nearest: vec![near],
            }),
        };
        assert_eq!(
            latency_json(&report),
            json!({
                "probes": [
                    {"hub": "near.hub", "latencyMs": 1.5, "variationMs": 0.25, "misses": 0,
                     "probedDateTimeUtc": "1970-01-01T00:00:00.0000000Z", "deviceCount": 7},
                    {"hub": "far.hub", "misses": 3, "probedDateTimeUtc": "1970-01-01T00:00:00.0000000Z"},
                    {"hub": "new.hub", "misses": 0}
                ],
                "table": [{"source": "network", "network": "10.0.0.0/8", "hubs": {"near.hub": 2.0}}],
                "seenFrom": {"address": "10.0.0.1", "source": "network", "network": "10.0.0.0/8",
                    "hubs": {"near.hub": 2.0, "far.hub": null}, "nearest": ["near.hub"]}
            })
        );
    }
}
