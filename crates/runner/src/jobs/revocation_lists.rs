//! Fetches revocation lists from where their CAs publish them.
//!
//! Each server of an instance has a task of its own, which fetches one list after the other: a server that hangs delays the lists
//! that the instance gets from it, and no others.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use model::{CaReference, HttpUrl, IdScope, Instance, LeaseToken};
use provisioning::{Provisioning, ports::RevocationListSource};
use tokio::{
    sync::Semaphore,
    task::{AbortHandle, JoinSet},
    time::sleep,
};

use super::LeasedTask;

/// Between two searches for lists that are due.
const INTERVAL: Duration = Duration::from_secs(30);

/// The most servers from which the lists of one instance are fetched at once. With the deadlines of the source this bounds how
/// long servers that hang delay the others.
const MAX_SERVERS_AT_ONCE: usize = 4;

/// Fetches the lists of all instances.
pub(crate) struct RevocationListJob {
    pub(crate) provisioning: Arc<Provisioning>,
    pub(crate) source: Arc<dyn RevocationListSource>,
}

/// The fetches in progress. Dropping them ends them.
#[derive(Default)]
struct Fetches {
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
type DueList = (CaReference, HttpUrl);

/// Fetches lists of one instance under a lease.
#[derive(Clone)]
struct Fetcher {
    provisioning: Arc<Provisioning>,
    source: Arc<dyn RevocationListSource>,
    fence: LeaseToken,
}

#[async_trait]
impl LeasedTask for RevocationListJob {
    async fn run(&self, fence: LeaseToken) {
        let (provisioning, source) = (Arc::clone(&self.provisioning), Arc::clone(&self.source));
        let fetcher = Fetcher { provisioning, source, fence };
        let mut fetches = Fetches::default();
        loop {
            match self.provisioning.instances().await {
                Ok(instances) => {
                    for instance in instances {
                        fetches.start(&fetcher, instance).await;
                    }
                }
                Err(error) => tracing::error!(%error, "the revocation lists that are due could not be read"),
            }
            while fetches.tasks.try_join_next().is_some() {}
            sleep(INTERVAL).await;
        }
    }
}

impl Fetches {
    /// Fetches the lists of an instance that are due, from servers that no fetch of the instance waits for.
    async fn start(&mut self, fetcher: &Fetcher, instance: Arc<Instance>) {
        // What cannot be read now is due at the next search, too.
        let Ok(due) = fetcher.provisioning.lists_due(&instance).await else { return };
        let own = self.of_instance.entry(instance.id_scope.clone()).or_default();
        own.servers.retain(|_, task| !task.is_finished());
        for (server, lists) in by_server(due) {
            if own.servers.contains_key(&server) {
                continue;
            }
            let (fetcher, instance, permits) =
                (fetcher.clone(), Arc::clone(&instance), Arc::clone(&own.permits));
            let task = self.tasks.spawn(async move {
                // The semaphore is never closed.
                let _permit = permits.acquire().await;
                fetcher.fetch_all(&instance, lists).await;
            });
            own.servers.insert(server, task);
        }
    }
}

/// Groups lists by the servers that they come from.
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
        let scope = &instance.id_scope;
        for (name, from) in lists {
            let fetched = self.source.fetch(&from).await;
            let list = (&name, from.clone());
            match self.provisioning.take_fetched_list(instance, list, fetched, self.fence).await {
                Ok(list) => {
                    tracing::info!(instance.id_scope = %scope, ca.name = %name, entries = list.crl.len(), "fetched the revocation list");
                }
                Err(problem) => {
                    tracing::warn!(instance.id_scope = %scope, ca.name = %name, from = %from, problem, "cannot fetch the revocation list");
                }
            }
        }
    }
}
