//! How many requests are under way at once, to one webhook's host and in all.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use net::client::KeptConnections;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::address::Address;

/// How many requests are under way at once.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// To one host and port. What answers in 100 ms then allocates 320 devices a second.
    pub of_host: usize,
    /// In all: each is a connection of its own.
    pub in_all: usize,
    /// How long a request waits for its place before it is put off.
    pub wait: Duration,
}

impl Default for Room {
    fn default() -> Self {
        Room { of_host: 32, in_all: 1024, wait: Duration::from_secs(10) }
    }
}

/// Hosts that are remembered; beyond it those without a request under way are forgotten.
const MAX_HOSTS: usize = 1024;

pub(crate) struct Places {
    room: Room,
    in_all: Arc<Semaphore>,
    hosts: Mutex<HashMap<(String, u16), Arc<Host>>>,
}

/// What is shared by the requests to one host.
struct Host {
    places: Arc<Semaphore>,
    connections: KeptConnections,
}

/// The right to make one request, until it is dropped.
pub(crate) struct Place {
    host: Arc<Host>,
    _of_host: OwnedSemaphorePermit,
    _in_all: OwnedSemaphorePermit,
}

impl Place {
    /// The host's connections that are not in use.
    pub(crate) fn connections(&self) -> &KeptConnections {
        &self.host.connections
    }
}

impl Places {
    pub(crate) fn new(room: Room) -> Places {
        Places { room, in_all: Arc::new(Semaphore::new(room.in_all)), hosts: Mutex::default() }
    }

    /// First among the requests to the host, so that those who wait for a slow one take no place from others. `None`
    /// when there is none in time.
    pub(crate) async fn take(&self, address: &Address) -> Option<Place> {
        let host = self.host(address);
        let waiting = async {
            let of_host = Arc::clone(&host.places).acquire_owned().await.ok()?;
            let in_all = Arc::clone(&self.in_all).acquire_owned().await.ok()?;
            Some(Place { host, _of_host: of_host, _in_all: in_all })
        };
        timeout(self.room.wait, waiting).await.ok().flatten()
    }

    fn host(&self, address: &Address) -> Arc<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() >= MAX_HOSTS {
            // Nobody else holds it: no request is under way, and none waits.
            hosts.retain(|_, host| Arc::strong_count(host) > 1);
        }
        let new = || {
            let places = Arc::new(Semaphore::new(self.room.of_host));
            Arc::new(Host { places, connections: KeptConnections::default() })
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
    async fn a_host_that_is_busy_takes_no_places_of_others() {
        let room = Room { of_host: 2, in_all: 3, wait: Duration::from_millis(20) };
        let places = Places::new(room);
        let _slow =
            [places.take(&address("slow")).await.unwrap(), places.take(&address("slow")).await.unwrap()];
        assert!(places.take(&address("slow")).await.is_none());
        let quick = places.take(&address("quick")).await.unwrap();
        assert!(places.take(&address("third")).await.is_none(), "there are only three places");
        drop(quick);
        assert!(places.take(&address("third")).await.is_some());
    }

    #[tokio::test]
    async fn hosts_that_nobody_calls_are_forgotten() {
        let places = Places::new(Room::default());
        let held = places.take(&address("held")).await.unwrap();
        for number in 0..3 * MAX_HOSTS {
            drop(places.take(&address(&number.to_string())).await);
        }
        let hosts = places.hosts.lock().unwrap();
        assert!(hosts.len() <= MAX_HOSTS && hosts.contains_key(&("held".to_owned(), 443)));
        drop(held);
    }
}
