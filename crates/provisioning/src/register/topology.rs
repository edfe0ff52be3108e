//! Loads what an allocation needs: latencies and unavailability of the hubs, or the answer of a webhook.

use std::{collections::HashMap, net::IpAddr};

use model::{AllocationPolicy, EnrollmentSettings, HubName, Instance, WebhookRequest};

use crate::{
    Provisioning,
    allocate::{
        self, Latencies, Situation,
        custom::{self, Verdict},
    },
};

impl Provisioning {
    /// Returns the situation of a device that is assigned to `current` and calls from `address`, as far as the policy and the
    /// instance need it.
    pub(super) fn situation(
        &self,
        instance: &Instance,
        settings: &EnrollmentSettings,
        current: Option<&HubName>,
        address: Option<IpAddr>,
    ) -> Situation {
        let latencies = match allocate::policy(instance, settings).0 {
            AllocationPolicy::GeoLatency => self.topology.latencies(instance, address),
            AllocationPolicy::Hashed | AllocationPolicy::Static | AllocationPolicy::Custom => {
                Latencies::default()
            }
        };
        let hubs = instance.linked_hubs.iter().filter(|_| instance.failover);
        let unavailable: HashMap<_, _> =
            hubs.filter_map(|hub| Some((hub.name.clone(), self.topology.unavailability(hub)?))).collect();
        Situation { current: current.cloned(), latencies, unavailable }
    }

    /// Asks a webhook, after `retries` failed tries, and evaluates its answer.
    pub async fn ask_webhook(&self, instance: &Instance, request: &WebhookRequest, retries: u32) -> Verdict {
        let call = self.webhook.ask(instance, request).await;
        custom::verdict(instance, request, call.outcome, retries)
    }
}
