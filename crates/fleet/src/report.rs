//! The report of a run, as tables and as JSON.

use std::{collections::BTreeMap, time::Duration};

use comfy_table::{CellAlignment, Table, presets};
use model::HubName;
use net::Transport;
use serde::Serialize;

use crate::{percentiles::Percentiles, run::Outcome};

const MAX_FAILURE_LINES: usize = 10;

/// The summary of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The number of devices.
    pub devices: usize,
    /// The number of devices without a failure.
    pub provisioned: usize,
    /// The duration of the run in seconds.
    pub seconds: f64,
    /// The number of devices provisioned per second.
    pub rate: f64,
    /// The devices by enrollment and transport.
    pub enrollments: Vec<Row>,
    /// The devices by hub.
    pub hubs: Vec<HubShare>,
    /// The failures, with equal ones grouped, the most frequent first.
    pub failures: Vec<FailureGroup>,
}

/// The devices of one enrollment, or kind of enrollment, that use one transport.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The enrollment, or the kind of enrollment.
    pub enrollment: String,
    /// The transport: `https`, `mqtt`, `mqtt-ws`, `amqp` or `amqp-ws`.
    pub transport: String,
    /// The number of devices.
    pub devices: usize,
    /// The number of devices without a failure.
    pub provisioned: usize,
    /// The times until devices were assigned; `None` if no device was.
    pub time_to_assigned: Option<Percentiles>,
}

/// The devices of one hub.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HubShare {
    /// The name of the hub.
    pub hub: String,
    /// The number of devices assigned to the hub.
    pub devices: usize,
    /// The share of all assigned devices, from 0 to 1.
    pub share: f64,
    /// The expected share by the hub's weight, from 0 to 1; absent if weights are unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_by_weight: Option<f64>,
}

/// The devices with equal failures.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureGroup {
    /// The stage of the failure.
    pub stage: String,
    /// The reason of the failure.
    pub reason: String,
    /// The number of devices.
    pub devices: usize,
    /// The registration ID of the first device.
    pub example: String,
}

impl Report {
    /// Summarizes the outcomes of a run that took `elapsed`.
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

    /// Returns whether no device failed.
    pub fn is_success(&self) -> bool {
        self.provisioned == self.devices
    }

    /// Adds to each hub the share that its weight lets expect. Hubs without devices are added.
    pub fn compare_with_weights(&mut self, weights: &[(HubName, u32)]) {
        let sum: f64 = weights.iter().map(|(_, weight)| f64::from(*weight)).sum();
        for (hub, weight) in weights {
            let share_by_weight = Some(f64::from(*weight) / sum.max(1.0));
            match self.hubs.iter_mut().find(|share| share.hub == hub.as_str()) {
                Some(share) => share.share_by_weight = share_by_weight,
                None => {
                    self.hubs.push(HubShare { hub: hub.to_string(), devices: 0, share: 0.0, share_by_weight })
                }
            }
        }
    }

    /// Returns the table of devices by enrollment and transport.
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

    /// Returns the table of devices by hub.
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

    /// Returns the most frequent failures, one per line; empty if there are none.
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
        let assignments = outcomes.iter().filter_map(|outcome| outcome.assignment.as_ref());
        Row {
            enrollment: enrollment.to_owned(),
            transport: transport.to_string(),
            devices: outcomes.len(),
            provisioned: outcomes.iter().filter(|outcome| outcome.is_success()).count(),
            time_to_assigned: Percentiles::of(assignments.map(|it| it.time_to_assigned).collect()),
        }
    };
    groups.into_iter().map(row).collect()
}

fn shares(outcomes: &[Outcome]) -> Vec<HubShare> {
    let mut counts: BTreeMap<&HubName, usize> = BTreeMap::new();
    for assignment in outcomes.iter().filter_map(|outcome| outcome.assignment.as_ref()) {
        *counts.entry(&assignment.hub).or_default() += 1;
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{DeviceId, RegistrationId, SymmetricKey};

    use super::*;
    use crate::device::Device;
    use crate::run::{Assignment, Failure, Member, Stage};

    fn outcome(id: &str, transport: Transport, hub: Option<&str>, failure: Option<(Stage, &str)>) -> Outcome {
        let key = SymmetricKey::from_bytes(&[7; 32]).unwrap();
        let device = Device::with_key(RegistrationId::parse(id).unwrap(), key);
        let assignment = hub.map(|hub| Assignment {
            hub: HubName::parse(hub).unwrap(),
            device_id: DeviceId::parse(id).unwrap(),
            time_to_assigned: Duration::from_millis(10),
        });
        Outcome {
            member: Arc::new(Member { device, enrollment: "group".into(), transport, twin: None }),
            assignment,
            failure: failure.map(|(stage, reason)| Failure { stage, reason: reason.to_owned() }),
        }
    }

    fn report_with_failures() -> Report {
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
    fn devices_are_counted_by_enrollment_transport_and_hub() {
        let report = report_with_failures();
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
    fn equal_failures_are_grouped() {
        assert_eq!(
            report_with_failures().failure_lines(),
            ["2 x register: refused (first: d)", "1 x twin: other (first: c)"]
        );
    }

    #[test]
    fn shares_are_compared_with_weights() {
        let mut report = report_with_failures();
        let weights = [("hub1", 1), ("hub2", 2), ("hub3", 1)];
        report.compare_with_weights(&weights.map(|(hub, weight)| (HubName::parse(hub).unwrap(), weight)));
        let shares: Vec<_> =
            report.hubs.iter().map(|hub| (hub.devices, hub.share_by_weight.unwrap())).collect();
        assert_eq!(shares, [(1, 0.25), (2, 0.5), (0, 0.25)]);
        let table = report.hub_table().to_string();
        assert!(table.contains("66.7 %") && table.contains("50.0 %"), "{table}");
    }

    #[test]
    fn an_empty_run_succeeds() {
        let report = Report::of(&[], Duration::ZERO);
        assert!(report.is_success() && report.hubs.is_empty() && report.failure_lines().is_empty());
        assert_eq!(report.rate, 0.0);
    }
}
