//! Metrics for Prometheus, documented in `docs/metrics.md`. Gauges are computed at each scrape; counters are kept by the parts
//! that count.
//!
//! Labels contain only names of instances, hubs and CA certificates, whose number is bounded, and never devices.

mod text;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Router,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use device_api::{DeviceApi, Outcome};
use model::{CaCertificate, Day, IdScope, Instance, OperationKind, Quota, Trust};
use net::{ConnectionLimiter, Limits, Purpose, Refused, Reserved, Transport};
use provisioning::{
    Error, Provisioning, QuotaUse, RecordKind,
    link::Link,
    ports::{Circuit, Clock, KnownDamage, Store},
};
use runner::{AssignmentRunner, ExpiringCounts};
use service_api::ServiceApi;

use crate::{file_check::FileProblems, server_certificates::ServerCertificates};
use text::{Family, Kind, MEDIA_TYPE, Text};

/// The concurrent connections to the listener, of which one address may have half.
const MAX_CONNECTIONS: usize = 16;

/// The sources of the metrics.
pub(crate) struct Metrics {
    pub(crate) provisioning: Arc<Provisioning>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) device_api: DeviceApi,
    pub(crate) service_api: ServiceApi,
    pub(crate) runs: AssignmentRunner,
    /// The limiter of the endpoint's listeners.
    pub(crate) limiter: ConnectionLimiter,
    pub(crate) expiring: ExpiringCounts,
    pub(crate) file_problems: FileProblems,
    pub(crate) certificates: Arc<ServerCertificates>,
}

/// The values of one instance.
struct InstanceMetrics {
    instance: Arc<Instance>,
    operations: BTreeMap<OperationKind, u64>,
    cleanups: u64,
    quotas: Vec<QuotaUse>,
    search_lag: Option<Duration>,
    links: Vec<Link>,
    trust: Arc<Trust>,
}

/// Makes the router for `GET /metrics`, without authentication.
pub(crate) fn router(metrics: Arc<Metrics>) -> Router {
    Router::new().route("/metrics", get(move || answer(metrics.clone())))
}

/// Makes the connection limiter of the metrics listener.
pub(crate) fn limiter(limits: &Limits) -> ConnectionLimiter {
    let mut limits = Limits { max_connections: MAX_CONNECTIONS, ..limits.clone() };
    (limits.max_unproven_per_address, limits.reserved) = (None, Reserved::default());
    // Requests are not authenticated, so no connection is ever proven.
    limits.unproven.lifetime = limits.http_idle_timeout;
    ConnectionLimiter::new(limits)
}

async fn answer(metrics: Arc<Metrics>) -> Response {
    match metrics.text().await {
        Ok(text) => ([(CONTENT_TYPE, MEDIA_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot read the metrics");
            (StatusCode::INTERNAL_SERVER_ERROR, "cannot read the metrics; see the log\n").into_response()
        }
    }
}

impl Metrics {
    /// Renders all metrics.
    async fn text(&self) -> Result<String, Error> {
        let mut seen = Vec::new();
        for instance in self.provisioning.instances().await? {
            // A damaged instance does not affect others; `damage` counts it.
            match self.read_instance(instance).await {
                Err(Error::Damaged(_)) => {}
                looked => seen.push(looked?),
            }
        }
        let mut text = Text::default();
        let help = "The version of the program that runs.";
        text.family(Kind::Gauge, "muster_build_info", help)
            .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        self.answers(&mut text, &seen);
        self.endpoint(&mut text);
        self.server_certificates(&mut text);
        damage(&mut text, self.store.known_damage().await?);
        let help = "Problems found by the check of the database after an unclean shutdown.";
        let mut family = text.family(Kind::Gauge, "muster_database_problems", help);
        self.file_problems.count().iter().for_each(|count| family.sample(&[], count));
        operations(&mut text, &seen);
        self.refused_operators(&mut text, &seen);
        quotas(&mut text, &seen);
        held_cleanups(&mut text, &seen);
        search_lags(&mut text, &seen);
        hubs(&mut text, &seen);
        self.certificates(&mut text, &seen);
        self.revocation_lists(&mut text, &seen);
        Ok(text.into_string())
    }

    async fn read_instance(&self, instance: Arc<Instance>) -> Result<InstanceMetrics, Error> {
        let scope = &instance.id_scope;
        // From the first day, so that the counter continues after a restart.
        let usage = self.store.usage(scope, Day::from_number(0), self.clock.now().day()).await?;
        let mut operations: BTreeMap<_, u64> = OperationKind::ALL.into_iter().map(|kind| (kind, 0)).collect();
        for row in usage {
            *operations.entry(row.kind).or_default() += row.count;
        }
        Ok(InstanceMetrics {
            operations,
            cleanups: self.store.cleanups_owed(scope).await?,
            search_lag: self.provisioning.search_lag(scope).await?,
            links: self.provisioning.linked_hubs(&instance)?,
            trust: self.provisioning.trust(&instance).await?,
            quotas: self.limited_quotas(&instance).await?,
            instance,
        })
    }

    /// Writes the replies to devices, with empty instance labels for devices without an existing instance.
    fn answers(&self, text: &mut Text, all: &[InstanceMetrics]) {
        let help = "Replies to register and poll calls, and all refusals.";
        let mut family = text.family(Kind::Counter, "muster_device_answers_total", help);
        for answers in self.device_api.answers() {
            let scope = answers.id_scope.as_ref();
            let instance = all.iter().map(|seen| &seen.instance).find(|it| Some(&it.id_scope) == scope);
            let id_scope = scope.map_or("", IdScope::as_str);
            let name = instance.map_or("", |instance| instance.name.as_str());
            for transport in Transport::ALL {
                for outcome in Outcome::ALL {
                    let labels = [
                        ("id_scope", id_scope),
                        ("instance", name),
                        ("transport", transport.name()),
                        ("outcome", outcome.name()),
                    ];
                    family.sample(&labels, answers.count(transport, outcome));
                }
            }
        }
    }

    /// Returns how much is used of each quota of records that has a limit: counting costs reads.
    async fn limited_quotas(&self, instance: &Instance) -> Result<Vec<QuotaUse>, Error> {
        let is_limited = |quota: &Quota| quota.window().is_none() && instance.limit(*quota).is_some();
        if !Quota::ALL.iter().any(is_limited) {
            return Ok(Vec::new());
        }
        let mut used = self.provisioning.quota_use(instance).await?;
        used.retain(|row| instance.limit(row.quota).is_some());
        Ok(used)
    }

    /// Writes the calls of operators that are refused before the operator is known.
    fn refused_operators(&self, text: &mut Text, all: &[InstanceMetrics]) {
        let help = "Calls of operators from addresses that the instance does not admit.";
        let mut family = text.family(Kind::Counter, "muster_service_addresses_refused_total", help);
        for seen in all {
            seen.sample(&mut family, &[], self.service_api.refused_addresses(&seen.instance.id_scope));
        }
        let help = "Calls of operators beyond the operations per minute of the instance.";
        let mut family = text.family(Kind::Counter, "muster_operations_throttled_total", help);
        for seen in all {
            seen.sample(&mut family, &[], self.service_api.throttled_operations(&seen.instance.id_scope));
        }
    }

    /// Writes the metrics without an instance.
    fn endpoint(&self, text: &mut Text) {
        let help = "Pending assignments, whose devices get `assigning`.";
        text.family(Kind::Gauge, "muster_registrations_waiting", help).sample(&[], self.runs.in_flight());
        let help = "Open connections of devices and operators.";
        let mut open = text.family(Kind::Gauge, "muster_connections_open", help);
        for transport in Transport::ALL {
            open.sample(&[("transport", transport.name())], self.limiter.open(transport));
        }
        let help = "Connections without an accepted request, including those of embedded hubs.";
        text.family(Kind::Gauge, "muster_connections_unproven", help).sample(&[], self.limiter.unproven());
        let help = "Connections with an accepted request.";
        let mut proven = text.family(Kind::Gauge, "muster_connections_proven", help);
        for service in Purpose::ALL {
            proven.sample(&[("service", service.name())], self.limiter.proven(service));
        }
        let help = "Connections, logins and requests that were refused before authentication.";
        let mut refused = text.family(Kind::Counter, "muster_connections_refused_total", help);
        for reason in Refused::ALL {
            refused.sample(&[("reason", reason.name())], self.limiter.refused(reason));
        }
        let help = "Connections below max_connections, over all listeners, including those of embedded hubs.";
        text.family(Kind::Gauge, "muster_connection_places_free", help).sample(&[], self.limiter.free());
    }

    fn server_certificates(&self, text: &mut Text) {
        let help = "Expiry of the server certificates, in seconds since 1970.";
        let mut family = text.family(Kind::Gauge, "muster_server_certificate_not_after_seconds", help);
        for (number, (subject, end)) in self.certificates.expiries().iter().enumerate() {
            let labels = [("number", &*number.to_string()), ("subject", subject.as_str())];
            family.sample(&labels, end.unix_seconds());
        }
        let help = "Problems of the server certificates, now or within 30 days.";
        let problems = self.certificates.problems(self.clock.now());
        text.family(Kind::Gauge, "muster_server_certificate_problems", help).sample(&[], problems.len());
    }

    fn certificates(&self, text: &mut Text, all: &[InstanceMetrics]) {
        let help = "Certificates that expire within 30 days or have expired, as of the last daily check.";
        let mut family = text.family(Kind::Gauge, "muster_certificates_expiring", help);
        for seen in all {
            let Some(count) = self.expiring.of(&seen.instance.id_scope) else { continue };
            for (kind, count) in [("ca", count.ca), ("group", count.group), ("individual", count.individual)]
            {
                seen.sample(&mut family, &[("kind", kind)], count);
            }
        }
    }

    fn revocation_lists(&self, text: &mut Text, all: &[InstanceMetrics]) {
        let now = self.clock.now().unix_seconds();
        let help = "Age of the oldest revocation list in use.";
        let mut family = text.family(Kind::Gauge, "muster_revocation_list_age_seconds", help);
        for (seen, ca) in all.iter().flat_map(InstanceMetrics::cas) {
            let made = seen.trust.lists_of(ca).map(|list| list.crl.this_update().unix_seconds());
            if let Some(oldest) = made.min() {
                seen.sample(&mut family, &[("ca", ca.name.as_str())], now - oldest);
            }
        }
        let help = "1 if the last fetch of a revocation list failed.";
        let mut family = text.family(Kind::Gauge, "muster_revocation_list_fetch_failed", help);
        for (seen, ca) in all.iter().flat_map(InstanceMetrics::cas) {
            let failed = self.provisioning.last_fetches(&seen.instance, ca);
            if let Some(failed) = failed.iter().map(|fetch| u8::from(fetch.problem.is_some())).max() {
                seen.sample(&mut family, &[("ca", ca.name.as_str())], failed);
            }
        }
    }
}

impl InstanceMetrics {
    /// Adds a sample with the labels of the instance.
    fn sample(&self, family: &mut Family<'_>, more: &[(&str, &str)], value: impl std::fmt::Display) {
        let Instance { name, id_scope, .. } = &*self.instance;
        let own = [("id_scope", id_scope.as_str()), ("instance", name.as_str())];
        family.sample(&[&own, more].concat(), value);
    }

    fn cas(&self) -> impl Iterator<Item = (&InstanceMetrics, &Arc<CaCertificate>)> {
        self.trust.certificates().map(move |ca| (self, ca))
    }
}

fn operations(text: &mut Text, all: &[InstanceMetrics]) {
    let help = "Metered operations since the creation of the instance.";
    let mut family = text.family(Kind::Counter, "muster_operations_total", help);
    for seen in all {
        for (kind, count) in &seen.operations {
            seen.sample(&mut family, &[("kind", kind.name())], count);
        }
    }
    let help = "Devices that are still to be removed from previous hubs.";
    let mut family = text.family(Kind::Gauge, "muster_cleanups_owed", help);
    for seen in all {
        seen.sample(&mut family, &[], seen.cleanups);
    }
}

/// Writes the quotas with a limit.
fn quotas(text: &mut Text, all: &[InstanceMetrics]) {
    let help = "Limits of the instance: records, or events in the time that the name says.";
    let mut family = text.family(Kind::Gauge, "muster_quota_limit", help);
    for seen in all {
        for quota in Quota::ALL {
            if let Some(limit) = seen.instance.limit(quota) {
                seen.sample(&mut family, &[("quota", quota.name())], limit);
            }
        }
    }
    let help = "Records of kinds that have a limit, as counted within the last minute.";
    let mut family = text.family(Kind::Gauge, "muster_quota_used", help);
    for seen in all {
        for QuotaUse { quota, used } in &seen.quotas {
            seen.sample(&mut family, &[("quota", quota.name())], used);
        }
    }
}

/// Writes how far the search tables are behind the change log, of instances that have one.
fn search_lags(text: &mut Text, all: &[InstanceMetrics]) {
    let help = "Age of the oldest change that the search table does not have yet.";
    let mut family = text.family(Kind::Gauge, "muster_search_lag_seconds", help);
    for (seen, lag) in all.iter().filter_map(|seen| Some((seen, seen.search_lag?))) {
        seen.sample(&mut family, &[], lag.as_secs_f64());
    }
}

/// Writes whether cleanups wait for an operator.
fn held_cleanups(text: &mut Text, all: &[InstanceMetrics]) {
    let help = "1 while all cleanups wait for a confirmation, after the database was restored or copied.";
    let mut family = text.family(Kind::Gauge, "muster_cleanups_held", help);
    for seen in all {
        seen.sample(&mut family, &[], u8::from(seen.instance.cleanups_held.is_some()));
    }
}

/// Writes the numbers of damaged records, by ID scope because the name of the instance may be damaged.
fn damage(text: &mut Text, known: KnownDamage) {
    let mut counts: BTreeMap<(String, RecordKind), u64> = BTreeMap::new();
    for (scope, record) in known.records {
        *counts.entry((scope, record.kind)).or_default() += 1;
    }
    let help = "Damaged records that were found since the start and still exist.";
    let mut family = text.family(Kind::Gauge, "muster_records_damaged", help);
    for ((scope, kind), count) in counts {
        family.sample(&[("id_scope", scope.as_str()), ("kind", &kind.to_string())], count);
    }
    family.sample(&[("id_scope", ""), ("kind", "more")], known.more);
}

fn hubs(text: &mut Text, all: &[InstanceMetrics]) {
    let help = "1 for the state of the hub's circuit breaker, 0 for the others.";
    let mut family = text.family(Kind::Gauge, "muster_hub_circuit", help);
    for (seen, link) in links(all) {
        for circuit in Circuit::NAMES {
            let value = u8::from(link.health.circuit.name() == circuit);
            let labels = [("hub", link.hub.name.as_str()), ("circuit", circuit)];
            seen.sample(&mut family, &labels, value);
        }
    }
    let help = "Concurrent calls to the hub.";
    let mut family = text.family(Kind::Gauge, "muster_hub_calls", help);
    for (seen, link) in links(all) {
        seen.sample(&mut family, &[("hub", link.hub.name.as_str())], link.health.calls);
    }
}

fn links(all: &[InstanceMetrics]) -> impl Iterator<Item = (&InstanceMetrics, &Link)> {
    all.iter().flat_map(|seen| seen.links.iter().map(move |link| (seen, link)))
}
