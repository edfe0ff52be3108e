//! What a running service takes up of a changed configuration: certificates, access policies, and how webhooks are called and
//! latencies known. The rest waits for a restart, and is named.

use std::sync::Arc;

use hub::{KnownTopology, webhook::WebhookClient};
use model::Instance;
use provisioning::ports::{Clock, Instances};
use store::EmbeddedStore;

use crate::{
    app::instances,
    config::{Config, LatencySources},
    ports::SystemClock,
    reconcile::configuring,
    server_certificates::ServerCertificates,
};

/// How often a change is tried again when an operator changes the same instance at the same moment.
const MAX_RACES: usize = 8;

/// The parts of a running service that can be changed.
#[derive(Clone)]
pub struct Reloader {
    pub(crate) store: Arc<EmbeddedStore>,
    pub(crate) certificates: Arc<ServerCertificates>,
    pub(crate) webhook: Arc<WebhookClient>,
    pub(crate) topology: Arc<KnownTopology>,
}

impl Reloader {
    /// Takes a configuration up. Everything that it names is read before anything is changed: a mistake changes nothing.
    pub async fn reload(&self, config: &Config) -> anyhow::Result<()> {
        config.check_addresses()?;
        let planned = instances(config)?;
        let LatencySources { table, geoip, .. } = config.latency.sources()?;
        let webhook = config.webhook.settings()?;
        self.certificates.read_from(&config.tls_identities)?;
        self.topology.configure(table, geoip);
        self.webhook.configure(webhook);
        for instance in planned {
            self.take_up_policies(&instance).await?;
        }
        Ok(())
    }

    /// Those of an instance that is served: others wait for a restart.
    async fn take_up_policies(&self, planned: &Instance) -> anyhow::Result<()> {
        for _ in 0..MAX_RACES {
            let Ok(Some(stored)) = self.store.instance(&planned.id_scope).await else { return Ok(()) };
            if stored.access_policies == planned.access_policies {
                return Ok(());
            }
            let access_policies = planned.access_policies.clone();
            let next = Instance { access_policies, ..Instance::clone(&stored) };
            let by = configuring(SystemClock.now());
            if self.store.replace_instance(&stored, next, None, by).await? {
                tracing::info!(instance.id_scope = %planned.id_scope, "the access policies were changed");
                return Ok(());
            }
        }
        anyhow::bail!("the instance {} is changed all the time", planned.id_scope)
    }
}
