//! Revocation lists that are fetched from where their CAs publish them.
//!
//! Each instance has a task of its own, which fetches one list after the other: a server that hangs holds up the lists of
//! its own instance, and no other's.

use std::{collections::HashMap, sync::Arc, time::Duration};

use model::{Crl, CrlAddress, IdScope, Instance, Scheme};
use net::client::{Deadlines, Document, fetch};
use provisioning::Provisioning;
use tokio::task::{AbortHandle, JoinSet};

/// A list is some megabytes at most, and its server may be slow.
const DEADLINES: Deadlines =
    Deadlines { connect: Duration::from_secs(10), exchange: Duration::from_secs(60) };

/// What is being fetched. Dropping it ends that.
pub(crate) struct Fetches {
    fetcher: Arc<Fetcher>,
    tasks: JoinSet<()>,
    /// The last task of each instance.
    of_instance: HashMap<IdScope, AbortHandle>,
}

struct Fetcher {
    provisioning: Arc<Provisioning>,
    /// Whom to trust over TLS; nobody when the system names none.
    tls: Option<Arc<rustls::ClientConfig>>,
}

impl Fetches {
    /// Nothing yet. Lists that are fetched over TLS must come from servers that the system trusts.
    pub(crate) fn new(provisioning: Arc<Provisioning>) -> Fetches {
        let tls = net::tls::client_config_of_system().ok();
        let fetcher = Arc::new(Fetcher { provisioning, tls });
        Fetches { fetcher, tasks: JoinSet::new(), of_instance: HashMap::new() }
    }

    /// Fetches what is due, of instances that are not still at what was due before.
    pub(crate) fn start(&mut self, instances: &[Arc<Instance>]) {
        while self.tasks.try_join_next().is_some() {}
        for instance in instances {
            let last = self.of_instance.get(&instance.id_scope);
            if last.is_none_or(AbortHandle::is_finished) {
                let task = self.tasks.spawn(Arc::clone(&self.fetcher).fetch_due(Arc::clone(instance)));
                self.of_instance.insert(instance.id_scope.clone(), task);
            }
        }
    }

    /// Resolves when nothing is being fetched any more.
    #[cfg(test)]
    pub(crate) async fn ended(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Fetcher {
    async fn fetch_due(self: Arc<Self>, instance: Arc<Instance>) {
        let Ok(due) = self.provisioning.lists_due(&instance).await else { return };
        for (name, from) in due {
            let fetched = self.fetch(&from).await;
            let taken = self.provisioning.take_fetched_list(&instance, (&name, from.clone()), fetched).await;
            let scope = &instance.id_scope;
            match taken {
                Ok(list) => {
                    tracing::info!(instance.id_scope = %scope, ca.name = %name, entries = list.crl.len(), "fetched the revocation list");
                }
                Err(problem) => {
                    tracing::warn!(instance.id_scope = %scope, ca.name = %name, from = %from, problem, "cannot fetch the revocation list");
                }
            }
        }
    }

    /// The list at an address, or why there is none.
    async fn fetch(&self, address: &CrlAddress) -> Result<Crl, String> {
        let tls = match address.scheme() {
            Scheme::Http => None,
            Scheme::Https => Some(self.tls.clone().ok_or("the system trusts no CA")?),
        };
        let document = Document {
            host: address.host(),
            port: address.port(),
            path_and_query: &address.path_and_query(),
            tls,
            limit: Crl::MAX_BYTES * 2,
        };
        let bytes = fetch(document, DEADLINES).await.map_err(|error| error.to_string())?;
        Crl::from_bytes(&bytes).map_err(|error| error.to_string())
    }
}
