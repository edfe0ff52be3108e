//! Revocation lists that are fetched from where their CAs publish them.
//!
//! Each server of an instance has a task of its own, which fetches one list after the other: a server that hangs holds up the
//! lists that the instance gets from it, and no others.

use std::{collections::HashMap, sync::Arc, time::Duration};

use certpath::Crl;
use model::{CaReference, CrlAddress, IdScope, Instance, Scheme};
use net::client::{Deadlines, Document, fetch};
use provisioning::Provisioning;
use tokio::{
    sync::Semaphore,
    task::{AbortHandle, JoinSet},
};

/// A list is some megabytes at most, and its server may be slow.
const DEADLINES: Deadlines =
    Deadlines { connect: Duration::from_secs(10), exchange: Duration::from_secs(60) };

/// Most servers from which the lists of one instance are fetched at once. With the deadlines this bounds how long servers that
/// hang delay the others.
const MAX_SERVERS_AT_ONCE: usize = 4;

/// What is being fetched. Dropping it ends that.
pub(crate) struct Fetches {
    fetcher: Arc<Fetcher>,
    tasks: JoinSet<()>,
    of_instance: HashMap<IdScope, InstanceFetches>,
}

/// The fetches of one instance.
struct InstanceFetches {
    permits: Arc<Semaphore>,
    /// The last task for each server.
    servers: HashMap<Server, AbortHandle>,
}

impl Default for InstanceFetches {
    fn default() -> Self {
        let permits = Arc::new(Semaphore::new(MAX_SERVERS_AT_ONCE));
        InstanceFetches { permits, servers: HashMap::new() }
    }
}

/// Host and port of a server.
type Server = (String, u16);

/// A list that is due: its CA, and where it is fetched from.
type DueList = (CaReference, CrlAddress);

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

    /// Fetches the lists that are due, from servers that no fetch of the instance is waiting for.
    pub(crate) async fn start(&mut self, instances: &[Arc<Instance>]) {
        while self.tasks.try_join_next().is_some() {}
        for instance in instances {
            let Ok(due) = self.fetcher.provisioning.lists_due(instance).await else { continue };
            let own = self.of_instance.entry(instance.id_scope.clone()).or_default();
            own.servers.retain(|_, task| !task.is_finished());
            for (server, lists) in by_server(due) {
                if own.servers.contains_key(&server) {
                    continue;
                }
                let (fetcher, permits) = (Arc::clone(&self.fetcher), Arc::clone(&own.permits));
                let instance = Arc::clone(instance);
                let task = self.tasks.spawn(async move {
                    // The semaphore is never closed.
                    let _permit = permits.acquire().await;
                    fetcher.fetch_all(&instance, lists).await;
                });
                own.servers.insert(server, task);
            }
        }
    }

    /// Resolves when nothing is being fetched any more.
    #[cfg(test)]
    pub(crate) async fn ended(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// The lists by the servers that they come from.
fn by_server(due: Vec<DueList>) -> HashMap<Server, Vec<DueList>> {
    let mut servers: HashMap<Server, Vec<DueList>> = HashMap::new();
    for (name, from) in due {
        let server = (from.host().to_ascii_lowercase(), from.port());
        servers.entry(server).or_default().push((name, from));
    }
    servers
}

impl Fetcher {
    async fn fetch_all(&self, instance: &Instance, lists: Vec<DueList>) {
        for (name, from) in lists {
            let fetched = self.fetch(&from).await;
            let taken = self.provisioning.take_fetched_list(instance, (&name, from.clone()), fetched).await;
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
