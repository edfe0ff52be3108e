//! Limits how many requests are in flight, to one webhook host and in all.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use net::client::ConnectionPool;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::address::Address;

/// How many webhook requests may be in flight.
#[derive(Debug, Clone, Copy)]
pub struct WebhookLimits {
    /// To one host and port. A webhook that answers within 100 ms can then allocate 320 devices a second.
    pub per_host: usize,
    /// To all hosts together; each request in flight has a connection of its own.
    pub total: usize,
    /// How long a request waits for a permit before it is put off.
    pub wait: Duration,
}

impl Default for WebhookLimits {
    fn default() -> Self {
        WebhookLimits { per_host: 32, total: 1024, wait: Duration::from_secs(10) }
    }
}

/// Hosts to remember. Beyond it, hosts without a request in flight are dropped with their idle connections.
const MAX_HOSTS: usize = 1024;

pub(super) struct Permits {
    limits: WebhookLimits,
    total: Arc<Semaphore>,
    hosts: Mutex<HashMap<(String, u16), Arc<Host>>>,
}

/// The state that all requests to one host share.
struct Host {
    permits: Arc<Semaphore>,
    connections: ConnectionPool,
}

/// Permission to make one request, until it is dropped.
pub(super) struct Permit {
    host: Arc<Host>,
    _of_host: OwnedSemaphorePermit,
    _of_total: OwnedSemaphorePermit,
}

impl Permit {
    /// Returns the idle connections to the host.
    pub(super) fn connections(&self) -> &ConnectionPool {
        &self.host.connections
    }
}

impl Permits {
    pub(super) fn new(limits: WebhookLimits) -> Permits {
        Permits { limits, total: Arc::new(Semaphore::new(limits.total)), hosts: Mutex::default() }
    }

    /// Waits for a permit: first among the requests to the host, so that requests waiting for a slow host hold no permit
    /// that another host could use. Returns `None` when none is free in time.
    pub(super) async fn acquire(&self, address: &Address) -> Option<Permit> {
        let host = self.host(address);
        let waiting = async {
            let of_host = Arc::clone(&host.permits).acquire_owned().await.ok()?;
            let of_total = Arc::clone(&self.total).acquire_owned().await.ok()?;
            Some(Permit { host, _of_host: of_host, _of_total: of_total })
        };
        timeout(self.limits.wait, waiting).await.ok().flatten()
    }

    fn host(&self, address: &Address) -> Arc<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() >= MAX_HOSTS {
            // The map holds the only reference: no request is in flight or waiting.
            hosts.retain(|_, host| Arc::strong_count(host) > 1);
        }
        let new = || {
            let permits = Arc::new(Semaphore::new(self.limits.per_host));
            Arc::new(Host { permits, connections: ConnectionPool::default() })
        };
        Arc::clone(hosts.entry((address.host.clone(), address.port)).or_insert_with(new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: &str) -> Address {
        Address { host: host.to_owned(), port: 443, path_and_query: "/".to_owned() }
    }

    #[tokio::test]
    async fn a_busy_host_takes_no_permits_of_others() {
        let limits = WebhookLimits { per_host: 2, total: 3, wait: Duration::from_millis(20) };
        let permits = Permits::new(limits);
        let _slow = [
            permits.acquire(&address("slow")).await.unwrap(),
            permits.acquire(&address("slow")).await.unwrap(),
        ];
        assert!(permits.acquire(&address("slow")).await.is_none());
        let quick = permits.acquire(&address("quick")).await.unwrap();
        assert!(permits.acquire(&address("third")).await.is_none(), "there are only three permits");
        drop(quick);
        assert!(permits.acquire(&address("third")).await.is_some());
    }

    #[tokio::test]
    async fn idle_hosts_are_dropped() {
        let permits = Permits::new(WebhookLimits::default());
        let held = permits.acquire(&address("held")).await.unwrap();
        for number in 0..3 * MAX_HOSTS {
            drop(permits.acquire(&address(&number.to_string())).await);
        }
        let hosts = permits.hosts.lock().unwrap();
        assert!(hosts.len() <= MAX_HOSTS && hosts.contains_key(&("held".to_owned(), 443)));
        drop(held);
    }
}
