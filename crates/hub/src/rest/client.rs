//! The HTTP client of one link: tokens, kept connections, a bound on calls in flight, and the circuit breaker.

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

/// How many calls to one hub are in flight, each on a connection of its own, so that a slow hub uses a bounded part of this
/// process. A hub of the smallest paid kind does 100 registry operations a minute; another Muster commits this many together.
const MAX_CALLS: usize = 32;

/// How long a token is valid (Azure SDKs: one hour), and how long it is used, since hubs' clocks differ from ours.
const TOKEN_SECS: i64 = 3600;
const TOKEN_USE_SECS: i64 = TOKEN_SECS / 5 * 4;

/// The api-version that Azure's SDKs use.
const API_VERSION: &str = "2021-04-12";

/// A client of one hub's REST API.
pub(super) struct RestClient {
    link: RestLink,
    clock: Arc<dyn Clock>,
    circuit: Circuit,
    token: Mutex<Option<Token>>,
    permits: Semaphore,
    /// Whether calls wait for permits, which was logged.
    is_crowded: AtomicBool,
    connections: ConnectionPool,
}

/// A token, and when it was signed, in seconds since 1970.
struct Token {
    text: Arc<str>,
    signed: i64,
}

/// A request to a hub. Every request that is made here may be repeated.
pub(super) struct Request<'a> {
    pub method: Method,
    /// Percent-encoded, without query.
    pub path: &'a str,
    /// The version of the device that the request expects, as JSON has it.
    pub etag: Option<&'a str>,
    pub body: Bytes,
}

impl<'a> Request<'a> {
    /// Creates a request without a body.
    pub(super) fn new(method: Method, path: &'a str) -> Request<'a> {
        Request { method, path, etag: None, body: Bytes::new() }
    }
}

impl RestClient {
    pub(super) fn new(link: RestLink, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> RestClient {
        RestClient {
            circuit: Circuit::new(link.hub.clone(), Arc::clone(&clock), entropy),
            link,
            clock,
            token: Mutex::default(),
            permits: Semaphore::new(MAX_CALLS),
            is_crowded: AtomicBool::new(false),
            connections: ConnectionPool::default(),
        }
    }

    pub(super) fn hub(&self) -> &HubName {
        &self.link.hub
    }

    /// Returns the state of the circuit breaker, and the calls in flight.
    pub(super) fn health(&self) -> HubHealth {
        let calls = MAX_CALLS.saturating_sub(self.permits.available_permits());
        HubHealth { calls, ..self.circuit.health() }
    }

    /// Records that the hub accepted a new device.
    pub(super) fn mark_accepting(&self) {
        self.circuit.mark_accepting();
    }

    /// Sends a request, unless the circuit is open, and reads the answer.
    pub(super) async fn send<T>(
        &self,
        request: Request<'_>,
        read: impl FnOnce(&Response<Bytes>) -> Result<T, Problem>,
    ) -> Result<T, HubError> {
        // Before waiting for a permit, which a call that the open circuit rejects does not need.
        if let Some(delay) = self.circuit.refusal() {
            return Err(HubError::Unavailable(delay));
        }
        let _permit = self.permit().await?;
        let call = self.circuit.enter().map_err(HubError::Unavailable)?;
        let outcome = self.exchange(request, call, read).await?;
        outcome.map_err(|problem| problem.to_error(&self.link))
    }

    /// Sends a request for an operator, also if the circuit is open.
    pub(super) async fn probe<T>(
        &self,
        request: Request<'_>,
        read: impl FnOnce(&Response<Bytes>) -> Result<T, Problem>,
    ) -> Result<Result<T, Problem>, HubError> {
        let _permit = self.permit().await?;
        self.exchange(request, self.circuit.enter_anyway(), read).await
    }

    /// Waits for one of the permits for calls in flight.
    async fn permit(&self) -> Result<SemaphorePermit<'_>, HubError> {
        let Ok(Ok(permit)) = timeout(self.link.permit_within, self.permits.acquire()).await else {
            let RestLink { hub, permit_within, .. } = &self.link;
            if !self.is_crowded.swap(true, Ordering::Relaxed) {
                tracing::warn!(hub.name = %hub, calls = MAX_CALLS, "the hub is slow: calls wait until others end");
            }
            let reason = format!("{hub}: too many calls are in flight");
            let retry_after = Some(permit_within.mul_f64(0.5 + self.circuit.jitter().0));
            return Err(HubError::Unavailable(Delay { reason, retry_after }));
        };
        if self.permits.available_permits() > MAX_CALLS / 2 && self.is_crowded.swap(false, Ordering::Relaxed)
        {
            tracing::info!(hub.name = %self.link.hub, "calls to the hub do not wait any more");
        }
        Ok(permit)
    }

    /// Sends a request, and reports the outcome to the circuit breaker.
    async fn exchange<T>(
        &self,
        request: Request<'_>,
        call: CallPermit<'_>,
        read: impl FnOnce(&Response<Bytes>) -> Result<T, Problem>,
    ) -> Result<Result<T, Problem>, HubError> {
        let outcome = match self.call(&request).await {
            Ok(response) => read(&response),
            Err(error) => {
                let reason = format!("{}: {error}", self.link.hub);
                call.failed(&reason);
                return Err(HubError::Unavailable(reason.into()));
            }
        };
        let reason = |problem: &Problem| match problem.to_error(&self.link) {
            HubError::Unavailable(Delay { reason, .. }) => reason,
            HubError::Occupied(reason) | HubError::Full(reason) | HubError::Refused(reason) => reason,
        };
        match &outcome {
            Ok(_) | Err(Problem::Wrong(..)) => call.answered(),
            Err(problem @ Problem::Full(..)) => call.full(&reason(problem)),
            Err(problem @ Problem::Throttled(_, _, pause)) => call.throttled(*pause, &reason(problem)),
            Err(problem @ (Problem::Denied(..) | Problem::Other(..))) => call.failed(&reason(problem)),
        }
        Ok(outcome)
    }

    pub(super) fn unavailable(&self, reason: impl std::fmt::Display) -> HubError {
        HubError::Unavailable(format!("{}: {reason}", self.link.hub).into())
    }

    pub(super) fn link(&self) -> &RestLink {
        &self.link
    }

    async fn call(&self, request: &Request<'_>) -> Result<Response<Bytes>, ClientError> {
        let token = self.token();
        let if_match = request.etag.map(quoted);
        let call = Call {
            method: request.method.clone(),
            path_and_query: format!("{}?api-version={API_VERSION}", request.path),
            authorization: Some(&token),
            if_match: if_match.as_deref(),
            body: request.body.clone(),
            ..Call::default()
        };
        let RestLink { hub, port, tls, deadlines, .. } = &self.link;
        let open = HttpsConnection::open(hub.as_str(), *port, Arc::clone(tls), *deadlines);
        self.connections.call(call, open).await
    }

    /// Returns the token in use, or a new one. A clock that was set back also makes a new one.
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
