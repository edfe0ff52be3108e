//! The provider's keys, fetched when they are needed and kept while the provider is down.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    time::Instant,
};

use super::keys::KeySet;

/// The time between two fetches. Tokens with invented key IDs cannot make the service ask more often.
const MIN_INTERVAL: Duration = Duration::from_secs(30);

/// The age at which keys are fetched again, so that a key that the provider withdrew ends.
const MAX_AGE: Duration = Duration::from_secs(3600);

/// Where the provider's keys come from.
#[async_trait]
pub trait KeySource: Send + Sync {
    /// Returns the JWK set. The error is for the log.
    async fn fetch(&self) -> Result<Vec<u8>, String>;
}

/// The keys of one fetch.
#[derive(Default)]
pub(crate) struct HeldKeys {
    pub(crate) set: KeySet,
    /// Counts the changes of the document.
    pub(crate) generation: u64,
    document: Vec<u8>,
}

/// The last fetch.
#[derive(Default)]
struct LastFetch {
    began: Option<Instant>,
    failure: Option<String>,
}

/// The keys, and the source that renews them.
pub(crate) struct KeyCache(Arc<Shared>);

struct Shared {
    source: Arc<dyn KeySource>,
    held: RwLock<Arc<HeldKeys>>,
    last: Arc<Mutex<LastFetch>>,
}

impl KeyCache {
    pub(crate) fn new(source: Arc<dyn KeySource>) -> KeyCache {
        KeyCache(Arc::new(Shared { source, held: RwLock::default(), last: Arc::default() }))
    }

    /// Returns the keys that were fetched last.
    pub(crate) fn current(&self) -> Arc<HeldKeys> {
        self.0.current()
    }

    /// Returns keys among which this one is, if the provider has it. All callers that miss a key wait for the same fetch. Fails if the
    /// key is not known and the last fetch failed.
    pub(crate) async fn with_key(&self, id: Option<&str>) -> Result<Arc<HeldKeys>, String> {
        let has_key = |held: &HeldKeys| held.set.find(id).is_some();
        let held = self.current();
        if has_key(&held) {
            return Ok(held);
        }
        let last = Arc::clone(&self.0.last).lock_owned().await;
        let held = self.current();
        if has_key(&held) {
            return Ok(held);
        }
        let failure = if last.is_younger_than(MIN_INTERVAL) {
            last.failure.clone()
        } else {
            // A task of its own: a caller that goes away does not end the fetch that others wait for.
            let fetch = tokio::spawn(Arc::clone(&self.0).fetch(last));
            fetch.await.map_err(|error| error.to_string())?
        };
        let held = self.current();
        match failure {
            Some(failure) if !has_key(&held) => Err(failure),
            _ => Ok(held),
        }
    }

    /// Begins to fetch keys that are old, or were never fetched. Held ones stay in use meanwhile.
    pub(crate) fn renew_old(&self) {
        if let Ok(last) = Arc::clone(&self.0.last).try_lock_owned()
            && !last.is_younger_than(if last.failure.is_some() { MIN_INTERVAL } else { MAX_AGE })
        {
            tokio::spawn(Arc::clone(&self.0).fetch(last));
        }
    }
}

impl LastFetch {
    fn is_younger_than(&self, age: Duration) -> bool {
        self.began.is_some_and(|began| began.elapsed() < age)
    }
}

impl Shared {
    fn current(&self) -> Arc<HeldKeys> {
        Arc::clone(&self.held.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Fetches the keys, and returns why that failed.
    async fn fetch(self: Arc<Self>, mut last: OwnedMutexGuard<LastFetch>) -> Option<String> {
        last.began = Some(Instant::now());
        let fetched = self.source.fetch().await;
        let parsed = fetched.and_then(|document| Ok((KeySet::parse(&document)?, document)));
        last.failure = match parsed {
            Ok((set, document)) => {
                self.replace(set, document);
                None
            }
            Err(failure) => {
                tracing::warn!(reason = failure, "the keys of the identity provider cannot be fetched");
                Some(failure)
            }
        };
        last.failure.clone()
    }

    fn replace(&self, set: KeySet, document: Vec<u8>) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        if held.document != document {
            *held = Arc::new(HeldKeys { set, generation: held.generation + 1, document });
        }
    }
}
