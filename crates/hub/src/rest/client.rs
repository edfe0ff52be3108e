//! The HTTP side of a link: tokens, kept connections, how many calls a hub gets at once, and whether it is called at all.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use http::{Method, Response};
use model::HubName;
use net::client::{Call, ClientError, ConnectionPool, HttpsConnection};
use provisioning::ports::{Clock, Delay, Entropy, HubError, HubHealth};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};
use wire::{hub::quoted, sas};

use super::{
    answer::Problem,
    circuit::{CallPermit, Circuit},
    link::RestLink,
};

/// Calls to one hub at once, each on a connection of its own: what one hub can hold up of this process, however slow it
/// is. A hub of the smallest paid kind does 100 registry operations a minute; another Muster commits so many together.
const MAX_CALLS: usize = 32;

/// How long a token is valid (Azure SDKs: one hour), and for how long it is used: hubs' clocks differ from ours.
const TOKEN_SECS: i64 = 3600;
const TOKEN_USE_SECS: i64 = TOKEN_SECS / 5 * 4;

/// The version that Azure's SDKs ask for.
const API_VERSION: &str = "2021-04-12";

/// Requests to one hub.
pub(super) struct RestClient {
    link: RestLink,
    clock: Arc<dyn Clock>,
    circuit: Circuit,
    token: Mutex<Option<Token>>,
    places: Semaphore,
    /// Whether operators have been told that calls wait for places.
    is_crowded: AtomicBool,
    connections: ConnectionPool,
}

/// A signed token and when that was, in seconds since 1970.
struct Token {
    text: Arc<str>,
    signed: i64,
}

/// What a hub is asked. Every request that is made here may be repeated.
pub(super) struct Question<'a> {
    pub method: Method,
    /// Percent-encoded, without query.
    pub path: &'a str,
    /// The version that the request is about, as JSON has it.
    pub etag: Option<&'a str>,
    pub body: Bytes,
}

impl<'a> Question<'a> {
    /// A request without body.
    pub(super) fn new(method: Method, path: &'a str) -> Question<'a> {
        Question { method, path, etag: None, body: Bytes::new() }
    }
}

impl RestClient {
    pub(super) fn new(link: RestLink, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> RestClient {
        RestClient {
            circuit: Circuit::new(link.hub.clone(), Arc::clone(&clock), entropy),
            link,
            clock,
            token: Mutex::default(),
            places: Semaphore::new(MAX_CALLS),
            is_crowded: AtomicBool::new(false),
            connections: ConnectionPool::default(),
        }
    }

    pub(super) fn hub(&self) -> &HubName {
        &self.link.hub
    }

    /// How the hub has answered lately.
    pub(super) fn health(&self) -> HubHealth {
        let calls = MAX_CALLS.saturating_sub(self.places.available_permits());
        HubHealth { calls, ..self.circuit.health() }
    }

    /// The hub has taken a new device.
    pub(super) fn has_room(&self) {
        self.circuit.has_room();
    }

    /// Asks, if the hub is called at present, and reads the answer.
    pub(super) async fn ask<T>(
        &self,
        question: Question<'_>,
        read: impl FnOnce(&Response<Bytes>) -> Result<T, Problem>,
    ) -> Result<T, HubError> {
        // Before the place: who is not let through shall not wait for one.
        if let Some(delay) = self.circuit.refusal() {
            return Err(HubError::Unavailable(delay));
        }
        let _place = self.place().await?;
        let leave = self.circuit.enter().map_err(HubError::Unavailable)?;
        let outcome = self.converse(question, leave, read).await?;
        outcome.map_err(|problem| problem.of(&self.link))
    }

    /// Asks for an operator, whether the hub is called at present or not.
    pub(super) async fn probe<T>(
        &self,
        question: Question<'_>,
        read: impl FnOnce(&Response<Bytes>) -> Result<T, Problem>,
    ) -> Result<Result<T, Problem>, HubError> {
        let _place = self.place().await?;
        self.converse(question, self.circuit.enter_anyway(), read).await
    }

    /// One of the places of this hub.
    async fn place(&self) -> Result<SemaphorePermit<'_>, HubError> {
        let Ok(Ok(place)) = timeout(self.link.place_within, self.places.acquire()).await else {
            let RestLink { hub, place_within, .. } = &self.link;
            if !self.is_crowded.swap(true, Ordering::Relaxed) {
                tracing::warn!(hub.name = %hub, calls = MAX_CALLS, "the hub is slow: calls wait for others to end");
            }
            let reason = format!("{hub}: more calls are under way than it gets at once");
            let retry_after = Some(place_within.mul_f64(0.5 + self.circuit.jitter().0));
            return Err(HubError::Unavailable(Delay { reason, retry_after }));
        };
        if self.places.available_permits() > MAX_CALLS / 2 && self.is_crowded.swap(false, Ordering::Relaxed) {
            tracing::info!(hub.name = %self.link.hub, "calls to the hub do not wait any more");
        }
        Ok(place)
    }

    /// Asks, and tells the circuit what the answer says of the hub.
    async fn converse<T>(
        &self,
        question: Question<'_>,
        leave: CallPermit<'_>,
        read: impl FnOnce(&Response<Bytes>) -> Result<T, Problem>,
    ) -> Result<Result<T, Problem>, HubError> {
        let outcome = match self.call(&question).await {
            Ok(response) => read(&response),
            Err(error) => {
                let reason = format!("{}: {error}", self.link.hub);
                leave.failed(&reason);
                return Err(HubError::Unavailable(reason.into()));
            }
        };
        let reason = |problem: &Problem| match problem.of(&self.link) {
            HubError::Unavailable(Delay { reason, .. }) => reason,
            HubError::Occupied(reason) | HubError::Full(reason) | HubError::Refused(reason) => reason,
        };
        match &outcome {
            Ok(_) | Err(Problem::Wrong(..)) => leave.answered(),
            Err(problem @ Problem::Full(..)) => leave.full(&reason(problem)),
            Err(problem @ Problem::Throttled(_, _, pause)) => leave.throttled(*pause, &reason(problem)),
            Err(problem @ (Problem::Denied(..) | Problem::Other(..))) => leave.failed(&reason(problem)),
        }
        Ok(outcome)
    }

    pub(super) fn unavailable(&self, reason: impl std::fmt::Display) -> HubError {
        HubError::Unavailable(format!("{}: {reason}", self.link.hub).into())
    }

    pub(super) fn link(&self) -> &RestLink {
        &self.link
    }

    async fn call(&self, question: &Question<'_>) -> Result<Response<Bytes>, ClientError> {
        let token = self.token();
        let if_match = question.etag.map(quoted);
        let call = Call {
            method: question.method.clone(),
            path_and_query: format!("{}?api-version={API_VERSION}", question.path),
            authorization: Some(&token),
            if_match: if_match.as_deref(),
            body: question.body.clone(),
            ..Call::default()
        };
        let RestLink { hub, port, tls, deadlines, .. } = &self.link;
        let open = HttpsConnection::open(hub.as_str(), *port, Arc::clone(tls), *deadlines);
        self.connections.call(call, open).await
    }

    /// The token in use, or a new one. A clock that was put back also makes a new one.
    fn token(&self) -> Arc<str> {
        let now = self.clock.now().unix_seconds();
        let mut token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) =
            token.as_ref().filter(|it| (it.signed..it.signed + TOKEN_USE_SECS).contains(&now))
        {
            return Arc::clone(&token.text);
        }
        let expiry = u64::try_from(now + TOKEN_SECS).unwrap_or_default();
        let RestLink { hub, policy, key, .. } = &self.link;
        let text: Arc<str> = sas::sign(hub.as_str(), key.as_bytes(), expiry, Some(policy)).into();
        *token = Some(Token { text: Arc::clone(&text), signed: now });
        text
    }
}
