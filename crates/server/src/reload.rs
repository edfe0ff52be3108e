//! Applies a changed configuration to a running service: certificates, access policies, the management API, the provider of
//! bearer tokens, webhook and latency settings. All other settings need a restart.

use std::sync::Arc;

use arc_swap::ArcSwap;
use hub::{KnownTopology, webhook::WebhookClient};
use model::Instance;
use provisioning::ports::{Clock, InstanceWriter, Instances};
use service_api::OperatorAccess;
use store::EmbeddedStore;

use crate::{
    app::instances,
    config::{Config, LatencySources},
    configured::with_changed_policies,
    ports::SystemClock,
    reconcile::{self, MAX_RACES, by_configuration},
    server_certificates::ServerCertificates,
    store_location::OpenedStore,
};

/// The parts of a running service that can be changed.
#[derive(Clone)]
pub struct Reloader {
    pub(crate) access: Arc<ArcSwap<OperatorAccess>>,
    pub(crate) store: OpenedStore,
    pub(crate) certificates: Arc<ServerCertificates>,
    pub(crate) webhook: Arc<WebhookClient>,
    pub(crate) topology: Arc<KnownTopology>,
}

impl Reloader {
    /// Applies a configuration. Reads everything that it names first, so that a mistake changes nothing. `previous` is the
    /// one that was applied last.
    pub async fn reload(&self, config: &Config, previous: &Config) -> anyhow::Result<()> {
        config.check_addresses()?;
        let planned = instances(config)?;
        let LatencySources { table, geoip, .. } = config.latency.sources()?;
        let webhook = config.webhook.settings()?;
        let access = self.access_of(config, previous)?;
        self.certificates.read_from(&config.tls_identities)?;
        self.topology.configure(table, geoip);
        self.webhook.configure(webhook);
        match &self.store {
            OpenedStore::Embedded(store) => {
                for instance in planned {
                    apply_policies(store, &instance).await?;
                }
            }
            // As at a start: nodes with different files would undo each other's settings.
            OpenedStore::Shared(store) => {
                let stored = store.snapshot().await?.instances();
                for difference in reconcile::differences(&stored, &planned) {
                    tracing::warn!("{difference}");
                }
            }
        }
        // Last: a provider that the file no longer names must not stay trusted because another step failed, nor a new one be.
        self.access.store(Arc::new(access));
        Ok(())
    }
}

impl Reloader {
    /// Returns who may call. The verifier of bearer tokens stays unless its settings changed: it has the keys of a provider
    /// that may be down.
    fn access_of(&self, config: &Config, previous: &Config) -> anyhow::Result<OperatorAccess> {
        let bearer = match config.oidc == previous.oidc {
            true => self.access.load().bearer.clone(),
            false => config.oidc.tokens()?,
        };
        Ok(OperatorAccess { management: config.management.management()?, bearer })
    }
}

/// Applies the access policies of an instance that is served, if the configuration changed them; other settings need a restart.
async fn apply_policies(store: &EmbeddedStore, planned: &Instance) -> anyhow::Result<()> {
    for _ in 0..MAX_RACES {
        let Ok(Some(stored)) = store.instance(&planned.id_scope).await else { return Ok(()) };
        let next = with_changed_policies(planned, &stored)?;
        if next == *stored {
            return Ok(());
        }
        let by = by_configuration(SystemClock.now());
        if store.replace_instance(&stored, next.into(), by).await? {
            tracing::info!(instance.id_scope = %planned.id_scope, "access policies changed");
            return Ok(());
        }
    }
    anyhow::bail!(
        "the access policies of instance {} were not changed: it was changed concurrently {MAX_RACES} times",
        planned.id_scope
    )
}
