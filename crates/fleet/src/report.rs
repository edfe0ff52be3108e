//! What came of a run, as tables and as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use model::HubName;
use net::Transport;
use serde::Serialize;

use crate::percentiles::Percentiles;
use crate::run::Outcome;

/// The sums of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Devices that set out.
    pub devices: usize,
    /// Devices that are where they should be.
    pub provisioned: usize,
    /// How long the whole run took, in seconds.
    pub seconds: f64,
    /// Devices provisioned per second.
    pub rate: f64,
    /// By enrollment and transport.
    pub enrollments: Vec<Row>,
    /// By hub.
    pub hubs: Vec<HubShare>,
    /// Failures, equal ones together, the most frequent first.
    pub failures: Vec<FailureGroup>,
}

/// The devices of one enrollment, or kind of enrollment, over one transport.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The enrollment.
    pub enrollment: String,
    /// `https` or `mqtt`.
    pub transport: String,
    /// Devices that set out.
    pub devices: usize,
    /// Devices that are where they should be.
    pub provisioned: usize,
    /// Time to assigned, of those that were assigned.
    pub time_to_assigned: Option<Percentiles>,
}

/// The devices of one hub.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HubShare {
    /// The hub.
    pub hub: String,
    /// Devices assigned to it.
    pub devices: usize,
    /// Their share, from 0 to 1.
    pub share: f64,
    /// What its weight entitles it to, from 0 to 1, where weights are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_by_weight: Option<f64>,
}

/// Devices that failed alike.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureGroup {
    /// What they were doing.
    pub stage: String,
    /// Why it failed.
    pub reason: String,
    /// How many.
    pub devices: usize,
    /// The first of them.
    pub example: String,
}

impl Report {
    /// Sums up a run that took `elapsed`.
    pub fn of(outcomes: &[Outcome], elapsed: Duration) -> Report {
        let provisioned = outcomes.iter().filter(|outcome| outcome.is_success()).count();
        let seconds = elapsed.as_secs_f64();
        Report {
            devices: outcomes.len(),
            provisioned,
            seconds: (seconds * 1000.0).round() / 1000.0,
            rate: (provisioned as f64 / seconds.max(f64::EPSILON) * 10.0).round() / 10.0,
            enrollments: rows(outcomes),
            hubs: shares(outcomes),
            failures: failures(outcomes),
        }
    }

    /// Whether every device is where it should be.
    pub fn is_success(&self) -> bool {
        self.provisioned == self.devices
    }

    /// Sets each hub's share against its weight. A hub without a device gets a line too.
    pub fn weigh(&mut self, weights: &[(HubName, u32)]) {
        let all: f64 = weights.iter().map(|(_, weight)| f64::from(*weight)).sum();
        for (hub, weight) in weights {
            let share_by_weight = Some(f64::from(*weight) / all.max(1.0));
            match self.hubs.iter_mut().find(|share| share.hub == hub.as_str()) {
                Some(share) => share.share_by_weight = share_by_weight,
                None => {
                    self.hubs.push(HubShare { hub: hub.to_string(), devices: 0, share: 0.0, share_by_weight })
                }
            }
        }
    }

    /// The table by enrollment and transport.
    pub fn enrollment_table(&self) -> Table {
        let mut table = table(&[
            "enrollment",
            "transport",
            "devices",
            "provisioned",
            "p50 ms",
            "p95 ms",
            "p99 ms",
            "max ms",
        ]);
        for row in &self.enrollments {
            let time = row.time_to_assigned;
            let cell =
                |pick: fn(Percentiles) -> f64| time.map_or("-".to_owned(), |p| format!("{:.1}", pick(p)));
            table.add_row([
                row.enrollment.clone(),
                row.transport.clone(),
                row.devices.to_string(),
                row.provisioned.to_string(),
                cell(|p| p.p50_ms),
                cell(|p| p.p95_ms),
                cell(|p| p.p99_ms),
                cell(|p| p.max_ms),
            ]);
        }
        right_align(&mut table, 2)
    }

    /// The table by hub.
    pub fn hub_table(&self) -> Table {
        let mut header = vec!["hub", "devices", "share"];
        if self.hubs.iter().any(|hub| hub.share_by_weight.is_some()) {
            header.push("share by weight");
        }
        let mut table = table(&header);
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        for hub in &self.hubs {
            let mut row = vec![hub.hub.clone(), hub.devices.to_string(), percent(hub.share)];
            row.extend(hub.share_by_weight.map(percent));
            table.add_row(row);
        }
        right_align(&mut table, 1)
    }

    /// The first failures, one a line; empty when there are none.
    pub fn failure_lines(&self) -> Vec<String> {
        let shown = self.failures.iter().take(MAX_FAILURE_LINES);
        let mut lines: Vec<String> = shown
            .map(|group| {
                format!("{} x {}: {} (first: {})", group.devices, group.stage, group.reason, group.example)
            })
            .collect();
        let more = self.failures.len().saturating_sub(MAX_FAILURE_LINES);
        if more > 0 {
            lines.push(format!("and {more} other kinds of failure"));
        }
        lines
    }
}

fn rows(outcomes: &[Outcome]) -> Vec<Row> {
    let mut groups: BTreeMap<(&str, Transport), Vec<&Outcome>> = BTreeMap::new();
    for outcome in outcomes {
        let member = &outcome.member;
        groups.entry((&*member.enrollment, member.transport)).or_default().push(outcome);
    }
    let row = |((enrollment, transport), outcomes): ((&str, Transport), Vec<&Outcome>)| {
        let times = outcomes.iter().filter_map(|outcome| outcome.landed.as_ref());
        Row {
            enrollment: enrollment.to_owned(),
            transport: transport.to_string(),
            devices: outcomes.len(),
            provisioned: outcomes.iter().filter(|outcome| outcome.is_success()).count(),
            time_to_assigned: Percentiles::of(times.map(|landed| landed.time_to_assigned).collect()),
        }
    };
    groups.into_iter().map(row).collect()
}

fn shares(outcomes: &[Outcome]) -> Vec<HubShare> {
    let mut counts: BTreeMap<&HubName, usize> = BTreeMap::new();
    for landed in outcomes.iter().filter_map(|outcome| outcome.landed.as_ref()) {
        *counts.entry(&landed.hub).or_default() += 1;
    }
    let assigned: usize = counts.values().sum();
    let share = |(hub, devices): (&HubName, usize)| HubShare {
        hub: hub.to_string(),
        devices,
        share: devices as f64 / assigned as f64,
        share_by_weight: None,
    };
    counts.into_iter().map(share).collect()
}

fn failures(outcomes: &[Outcome]) -> Vec<FailureGroup> {
    let mut groups: BTreeMap<_, Vec<&Outcome>> = BTreeMap::new();
    for outcome in outcomes {
        if let Some(failure) = &outcome.failure {
            groups.entry(failure).or_default().push(outcome);
        }
    }
    let group = |(failure, outcomes): (&crate::run::Failure, Vec<&Outcome>)| FailureGroup {
        stage: failure.stage.to_string(),
        reason: failure.reason.clone(),
        devices: outcomes.len(),
        example: outcomes.first().map(|o| o.member.device.registration_id.to_string()).unwrap_or_default(),
    };
    let mut groups: Vec<FailureGroup> = groups.into_iter().map(group).collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.devices));
    groups
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_header(header.iter().copied());
    table
}

fn right_align(table: &mut Table, from: usize) -> Table {
    for column in table.column_iter_mut().skip(from) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    std::mem::take(table)
}

const MAX_FAILURE_LINES: usize = 10;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{DeviceId, RegistrationId, SymmetricKey};

    use super::*;
    use crate::device::Device;
    use crate::run::{Failure, Landed, Member, Stage};

    fn outcome(id: &str, transport: Transport, hub: Option<&str>, failure: Option<(Stage, &str)>) -> Outcome {
        let key = SymmetricKey::from_bytes(&[7; 32]).unwrap();
        let device = Device::with_key(RegistrationId::parse(id).unwrap(), key);
        let landed = hub.map(|hub| Landed {
            hub: HubName::parse(hub).unwrap(),
            device_id: DeviceId::parse(id).unwrap(),
            time_to_assigned: Duration::from_millis(10),
        });
        Outcome {
            member: Arc::new(Member { device, enrollment: "group".into(), transport, twin: None }),
            landed,
            failure: failure.map(|(stage, reason)| Failure { stage, reason: reason.to_owned() }),
        }
    }

    fn mixed() -> Report {
        let outcomes = [
            outcome("a", Transport::Https, Some("hub1"), None),
            outcome("b", Transport::Mqtt, Some("hub2"), None),
            outcome("c", Transport::Mqtt, Some("hub2"), Some((Stage::Twin, "other"))),
            outcome("d", Transport::Https, None, Some((Stage::Register, "refused"))),
            outcome("e", Transport::Https, None, Some((Stage::Register, "refused"))),
        ];
        Report::of(&outcomes, Duration::from_secs(2))
    }

    #[test]
    fn counts_devices_by_enrollment_transport_and_hub() {
        let report = mixed();
        assert_eq!((report.devices, report.provisioned, report.rate), (5, 2, 1.0));
        assert!(!report.is_success());
        let rows: Vec<_> =
            report.enrollments.iter().map(|r| (r.transport.as_str(), r.devices, r.provisioned)).collect();
        assert_eq!(rows, [("https", 3, 1), ("mqtt", 2, 1)]);
        assert_eq!(report.enrollments[0].time_to_assigned.unwrap().p50_ms, 10.0);
        let hubs: Vec<_> = report.hubs.iter().map(|hub| (hub.hub.as_str(), hub.devices)).collect();
        assert_eq!(hubs, [("hub1", 1), ("hub2", 2)]);
    }

    #[test]
    fn equal_failures_stand_together() {
        assert_eq!(
            mixed().failure_lines(),
            ["2 x register: refused (first: d)", "1 x twin: other (first: c)"]
        );
    }

    #[test]
    fn shares_stand_against_weights() {
        let mut report = mixed();
        let weights = [("hub1", 1), ("hub2", 2), ("hub3", 1)];
        report.weigh(&weights.map(|(hub, weight)| (HubName::parse(hub).unwrap(), weight)));
        let shares: Vec<_> =
            report.hubs.iter().map(|hub| (hub.devices, hub.share_by_weight.unwrap())).collect();
        assert_eq!(shares, [(1, 0.25), (2, 0.5), (0, 0.25)]);
        let table = report.hub_table().to_string();
        assert!(table.contains("66.7 %") && table.contains("50.0 %"), "{table}");
    }

    #[test]
    fn an_empty_run_is_a_success_without_numbers() {
        let report = Report::of(&[], Duration::ZERO);
        assert!(report.is_success() && report.hubs.is_empty() && report.failure_lines().is_empty());
        assert_eq!(report.rate, 0.0);
    }
}
