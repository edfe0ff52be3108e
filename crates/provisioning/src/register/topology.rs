//! What an allocation needs from outside: the situation of the hubs, and a webhook's word.

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
    /// The situation of a device that lives at `current` and comes from `address`. Only what the policy and the instance
    /// ask for is looked at.
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
        let ailing: HashMap<_, _> =
            hubs.filter_map(|hub| Some((hub.name.clone(), self.topology.unavailability(hub)?))).collect();
        Situation { current: current.cloned(), latencies, ailing }
    }

    /// Asks a webhook that was asked again `retries` times before, and judges what it says.
    pub async fn ask_webhook(&self, instance: &Instance, request: &WebhookRequest, retries: u32) -> Verdict {
        custom::judge(instance, request, self.webhook.ask(instance, request).await, retries)
    }
}
