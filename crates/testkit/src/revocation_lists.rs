//! Fake servers of revocation lists.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use certpath::Crl;
use model::HttpUrl;
use provisioning::ports::RevocationListSource;

/// Fake servers, which are down unless they are told otherwise.
#[derive(Debug, Default)]
pub struct FakeListSource {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    published: HashMap<String, Behavior>,
    fetches: Vec<String>,
}

#[derive(Debug, Clone)]
enum Behavior {
    Publishes(Crl),
    Hangs,
}

impl FakeListSource {
    /// Publishes a list at an address.
    pub fn publish(&self, address: &HttpUrl, list: Crl) {
        self.state().published.insert(address.to_string(), Behavior::Publishes(list));
    }

    /// Has the server of an address hang.
    pub fn hang(&self, address: &HttpUrl) {
        self.state().published.insert(address.to_string(), Behavior::Hangs);
    }

    /// Returns the addresses that were fetched from so far, in the order of the calls.
    pub fn fetches(&self) -> Vec<String> {
        self.state().fetches.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl RevocationListSource for FakeListSource {
    async fn fetch(&self, address: &HttpUrl) -> Result<Crl, String> {
        let behavior = {
            let mut state = self.state();
            state.fetches.push(address.to_string());
            state.published.get(&address.to_string()).cloned()
        };
        match behavior {
            Some(Behavior::Publishes(list)) => Ok(list),
            Some(Behavior::Hangs) => std::future::pending().await,
            None => Err("the server is down".into()),
        }
    }
}
