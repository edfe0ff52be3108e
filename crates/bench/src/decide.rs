//! Measures allocation decisions per second, by policy and number of linked hubs: on one core without the network, and
//! through a webhook on this machine.

use std::{
    collections::HashMap,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use futures_util::{StreamExt, stream};
use model::{
    AllocationPolicy, AllocationWeight, Configured, CustomAllocation, Enrollment, EnrollmentGroup,
    EnrollmentGroupId, EnrollmentRef, EnrollmentSettings, Etag, GroupAttestation, HubEndpoint, HubName,
    IdScope, Instance, Latency, LatencySource, LinkedHub, Presented, Record, RegistrationId,
    RegistrationOwnership, SymmetricKey, SymmetricKeyPair, Timestamp, WebhookRequest,
};
use provisioning::{
    allocate::{
        Choice, Latencies, Situation, choose,
        custom::{Verdict, verdict},
    },
    ports::{AllocationWebhook, WebhookOutcome},
};
use wire::service::{parse_webhook_answer, webhook_request_json};

use crate::choosing::ChoosingWebhook;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

/// The numbers of linked hubs; the last is the maximum in Azure.
pub const HUBS: [usize; 3] = [1, 10, 50];

/// The duration of each measurement.
const MEASURED: Duration = Duration::from_millis(500);

/// The concurrent requests to the webhook: the limit per host.
const CONCURRENCY: usize = 32;

/// The number of decisions through the webhook per figure.
const WEBHOOK_DECISIONS: usize = 2_000;

/// The rates of one policy, by [`HUBS`].
pub struct Rates {
    /// The policy.
    pub title: &'static str,
    /// The decisions per second.
    pub per_second: [f64; HUBS.len()],
}

/// Measures all policies.
pub async fn measure() -> anyhow::Result<Vec<Rates>> {
    let mut rates = Vec::new();
    for (title, policy) in [
        ("hashed", AllocationPolicy::Hashed),
        ("geoLatency", AllocationPolicy::GeoLatency),
        ("static", AllocationPolicy::Static),
        ("custom, without the network", AllocationPolicy::Custom),
    ] {
        let mut per_second = [0.0; HUBS.len()];
        for (rate, hubs) in per_second.iter_mut().zip(HUBS) {
            *rate = Case::new(policy, hubs)?.rate()?;
        }
        rates.push(Rates { title, per_second });
    }
    let webhook = ChoosingWebhook::start()?;
    let mut per_second = [0.0; HUBS.len()];
    for (rate, hubs) in per_second.iter_mut().zip(HUBS) {
        *rate = Case::new(AllocationPolicy::Custom, hubs)?.rate_through(&webhook).await?;
    }
    rates.push(Rates { title: "custom, webhook over TLS on the same cores", per_second });
    Ok(rates)
}

/// A policy, and a number of hubs.
struct Case {
    instance: Instance,
    group: Arc<EnrollmentGroup>,
    situation: Situation,
}

impl Case {
    fn new(policy: AllocationPolicy, hubs: usize) -> anyhow::Result<Case> {
        let linked_hubs = (0..hubs).map(hub).collect::<anyhow::Result<Vec<_>>>()?;
        let latency = |(at, hub): (usize, &LinkedHub)| {
            (hub.name.clone(), Latency::from_millis(u32::try_from(at * 3 + 10).unwrap_or(u32::MAX)))
        };
        let latencies: HashMap<_, _> = linked_hubs.iter().enumerate().map(latency).collect();
        let named = if policy == AllocationPolicy::Static { 1 } else { 0 };
        let webhook =
            CustomAllocation { webhook_url: "https://localhost/".into(), api_version: "2021-10-01".into() };
        let settings = EnrollmentSettings {
            allocation_policy: Some(policy),
            hubs: linked_hubs.iter().take(named).map(|hub| hub.name.clone()).collect(),
            custom_allocation: Some(webhook),
            ..Default::default()
        };
        let latencies = Latencies::from(LatencySource::Probes, Arc::new(latencies));
        let situation = Situation { latencies, ..Default::default() };
        Ok(Case { instance: instance(linked_hubs)?, group: Arc::new(group(settings)?), situation })
    }

    /// Decides for one device after the other, the record of the decision included.
    fn rate(&self) -> anyhow::Result<f64> {
        let (began, mut decided) = (Instant::now(), 0_u32);
        while began.elapsed() < MEASURED {
            for number in 0..100 {
                self.decide(number)?;
            }
            decided += 100;
        }
        Ok(f64::from(decided) / began.elapsed().as_secs_f64())
    }

    fn decide(&self, number: usize) -> anyhow::Result<()> {
        let device = device(number)?;
        let made = choose(&self.instance, &self.group.settings, &device, &self.situation);
        black_box(made.decision(EnrollmentRef::Group(self.group.group_id.clone()), NOW));
        if let Choice::Webhook(webhook, hubs) = made.choice {
            let request = self.request(webhook, device, hubs);
            black_box(webhook_request_json(&request).to_string());
            let answer = format!(r#"{{"iotHubHostName":"{}"}}"#, request.linked_hubs[0]);
            let outcome = WebhookOutcome::Answer(parse_webhook_answer(answer.as_bytes())?);
            let verdict = verdict(&self.instance, &request, outcome, 0);
            ensure!(matches!(verdict, Verdict::Assign(..)), "{verdict:?}");
        } else {
            ensure!(matches!(made.choice, Choice::Hub(_)), "{:?}", made.choice);
        }
        Ok(())
    }

    async fn rate_through(&self, webhook: &ChoosingWebhook) -> anyhow::Result<f64> {
        let began = Instant::now();
        let asking = (0..WEBHOOK_DECISIONS).map(|number| self.decide_through(webhook, number));
        let mut ended = stream::iter(asking).buffer_unordered(CONCURRENCY);
        while let Some(verdict) = ended.next().await {
            verdict?;
        }
        Ok(WEBHOOK_DECISIONS as f64 / began.elapsed().as_secs_f64())
    }

    async fn decide_through(&self, webhook: &ChoosingWebhook, number: usize) -> anyhow::Result<()> {
        let device = device(number)?;
        let made = choose(&self.instance, &self.group.settings, &device, &self.situation);
        let Choice::Webhook(asked, hubs) = made.choice else { anyhow::bail!("{:?}", made.choice) };
        let asked = CustomAllocation { webhook_url: webhook.url.clone(), ..asked };
        let request = self.request(asked, device, hubs);
        let call = webhook.client.ask(&self.instance, &request).await;
        let verdict = verdict(&self.instance, &request, call.outcome, 0);
        ensure!(matches!(verdict, Verdict::Assign(..)), "{verdict:?}");
        Ok(())
    }

    fn request(
        &self,
        webhook: CustomAllocation,
        registration_id: RegistrationId,
        linked_hubs: Vec<HubName>,
    ) -> WebhookRequest {
        let enrollment = Enrollment::Group(Arc::clone(&self.group));
        let presented = Presented::SymmetricKey;
        WebhookRequest {
            webhook,
            enrollment,
            registration_id,
            current: None,
            presented,
            payload: None,
            linked_hubs,
        }
    }
}

fn device(number: usize) -> anyhow::Result<RegistrationId> {
    Ok(RegistrationId::parse(format!("device-{number:07}"))?)
}

fn hub(number: usize) -> anyhow::Result<LinkedHub> {
    Ok(LinkedHub {
        name: HubName::parse(format!("hub-{number}.example"))?,
        endpoint: HubEndpoint::Embedded,
        location: String::new(),
        weight: AllocationWeight::new(u16::try_from(number % 7 + 1)?)?,
        takes_new_devices: true,
        max_devices: None,
    })
}

fn instance(linked_hubs: Vec<LinkedHub>) -> anyhow::Result<Instance> {
    Ok(Instance {
        id_scope: IdScope::parse("0ne00000001")?,
        name: "bench".into(),
        service_hosts: Vec::new(),
        allocation_policy: AllocationPolicy::Hashed,
        access_policies: Vec::new(),
        linked_hubs,
        failover: true,
        require_verified_ca: false,
        registrations: RegistrationOwnership::default(),
        existing_devices: model::ExistingDevices::default(),
        crl_max_age: certpath::CrlMaxAge::default(),
        max_registrations_per_minute: None,
        quotas: Default::default(),
        public_network_access: Default::default(),
        ip_filter: Default::default(),
        latency_table: Default::default(),
        keep_attempts: None,
        resource: model::ResourceFacts::default(),
        managed: model::ManagedBy::Operators,
        deletion: None,
        cleanups_held: None,
        configured: Configured::default(),
        webhook_key: None,
        operation_key: SymmetricKey::from_bytes(&[7; 32])?,
    })
}

fn group(settings: EnrollmentSettings) -> anyhow::Result<EnrollmentGroup> {
    let key = SymmetricKey::from_bytes(&[7; 32])?;
    Ok(EnrollmentGroup {
        group_id: EnrollmentGroupId::parse("bench").context("group")?,
        attestation: GroupAttestation::SymmetricKey(SymmetricKeyPair {
            primary: key.clone(),
            secondary: key,
        }),
        registration_ids: None,
        settings,
        record: Record { etag: Etag::parse("0")?, created: NOW, last_updated: NOW },
    })
}
