//! The limits of listeners, the permits of connections, and whether each connection is proven.

use std::{
    fmt,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    connection_table::{ConnectionTable, NewConnection, Purpose},
    limits::Limits,
    refusal::RefusalObserver,
    refused::{Refused, RefusedCounts},
    transport::{ConnectionCount, OpenConnections, Transport},
};

/// Limits, and the permits for connections. Clones share the permits.
#[derive(Clone)]
pub struct ConnectionLimiter {
    pub(crate) limits: Arc<Limits>,
    shared: Arc<Shared>,
    open: OpenConnections,
    observer: Option<Arc<dyn RefusalObserver>>,
}

impl fmt::Debug for ConnectionLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConnectionLimiter { limits, shared, open, observer: _ } = self;
        f.debug_struct("ConnectionLimiter")
            .field("limits", limits)
            .field("shared", shared)
            .field("open", open)
            .finish()
    }
}

#[derive(Debug)]
struct Shared {
    total: usize,
    table: Mutex<ConnectionTable<CancellationToken>>,
    refused: RefusedCounts,
    /// Whether permits have run out, and fewer than 90 % have been in use since.
    exhausted: AtomicBool,
}

impl ConnectionLimiter {
    /// Creates a limiter whose permits are all free.
    pub fn new(limits: Limits) -> ConnectionLimiter {
        let capacity = limits.capacity();
        let shared = Shared {
            total: capacity.total,
            table: Mutex::new(ConnectionTable::new(capacity)),
            refused: RefusedCounts::default(),
            exhausted: AtomicBool::new(false),
        };
        ConnectionLimiter {
            limits: Arc::new(limits),
            shared: Arc::new(shared),
            open: OpenConnections::default(),
            observer: None,
        }
    }

    /// Returns a limiter that shares the permits but has other limits: endpoints differ in the size of messages and the duration
    /// of requests. It counts connections by transport on its own, and has no observer.
    pub fn with(&self, limits: Limits) -> ConnectionLimiter {
        ConnectionLimiter {
            limits: Arc::new(limits),
            open: OpenConnections::default(),
            observer: None,
            ..self.clone()
        }
    }

    /// Returns a limiter that shares the permits, and reports refusals to `observer`.
    pub fn observed_by(&self, observer: Arc<dyn RefusalObserver>) -> ConnectionLimiter {
        ConnectionLimiter { observer: Some(observer), ..self.clone() }
    }

    /// Returns the limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns how many connections are open, handshakes included.
    pub fn connections(&self) -> usize {
        self.shared.table().taken()
    }

    /// Returns how many permits are left.
    pub fn free(&self) -> usize {
        self.shared.total.saturating_sub(self.connections())
    }

    /// Returns how many connections are unproven.
    pub fn unproven(&self) -> usize {
        self.shared.table().unproven()
    }

    /// Returns how many connections are proven by a request that `service` accepted.
    pub fn proven(&self, service: Purpose) -> usize {
        self.shared.table().proven(service)
    }

    /// Returns how many connections were refused for this reason since the start.
    pub fn refused(&self, reason: Refused) -> u64 {
        self.shared.refused.get(reason)
    }

    /// Returns how many connections of this transport are open, handshakes excluded.
    pub fn open(&self, transport: Transport) -> usize {
        self.open.count(transport)
    }

    /// Counts a connection until the returned value is dropped.
    pub(crate) fn count(&self, transport: Transport) -> ConnectionCount {
        self.open.add(transport)
    }

    /// Gives a new connection a permit.
    pub(crate) fn enter(&self, from: IpAddr) -> Result<Permit, Refused> {
        let (now, ended) = (Instant::now(), CancellationToken::new());
        let entered = self.shared.table().enter(from, now, ended.clone());
        let NewConnection { id, evicted } = entered.inspect_err(|reason| self.shared.refuse(*reason))?;
        self.shared.evict(evicted);
        let unproven = Unproven {
            shared: Arc::clone(&self.shared),
            id,
            is_proven: AtomicBool::new(false),
            may_send_large: AtomicBool::new(false),
            proof_wanted: Notify::new(),
            reader: AtomicWaker::new(),
            login: Mutex::default(),
            observer: self.observer.clone(),
            ended,
        };
        Ok(Permit {
            standing: Standing(Some(Arc::new(unproven))),
            deadline: now + self.limits.unproven.lifetime,
        })
    }
}

const UNPROVEN_GIVE_WAY: &str = "unproven connections give way to new ones";

impl Shared {
    fn table(&self) -> MutexGuard<'_, ConnectionTable<CancellationToken>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn evict(&self, evicted: Option<CancellationToken>) {
        let Some(evicted) = evicted else { return };
        evicted.cancel();
        self.refused.count(Refused::Evicted);
        let is_exhausted = self.table().taken() >= self.total;
        if is_exhausted {
            self.log_exhausted(UNPROVEN_GIVE_WAY);
        }
    }

    fn refuse(&self, reason: Refused) {
        self.refused.count(reason);
        if reason == Refused::NoPermit {
            self.log_exhausted(UNPROVEN_GIVE_WAY);
        }
    }

    /// Logs once that permits have run out; again only after a tenth of them was free in between.
    fn log_exhausted(&self, consequence: &'static str) {
        if !self.exhausted.swap(true, Ordering::Relaxed) {
            tracing::warn!(limit = self.total, consequence, "the connection limit is reached");
        }
    }

    fn log_permits_available(&self, taken: usize) {
        let is_relaxed = taken <= self.total - self.total.div_ceil(10);
        if is_relaxed && self.exhausted.swap(false, Ordering::Relaxed) {
            tracing::info!(limit = self.total, taken, "there is room for connections again");
        }
    }
}

/// The permit of one connection; freed on drop.
#[derive(Debug)]
pub(crate) struct Permit {
    standing: Standing,
    /// When the connection ends if no request has been accepted.
    deadline: Instant,
}

impl Permit {
    pub(crate) fn standing(&self) -> Standing {
        self.standing.clone()
    }

    /// Returns what ends the connection if it is evicted, or stays unproven for too long.
    pub(crate) fn end(&self) -> ConnectionEnd {
        ConnectionEnd { standing: self.standing.clone(), deadline: self.deadline }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(it) = &self.standing.0 {
            let taken = {
                let mut table = it.shared.table();
                table.leave(it.id);
                table.taken()
            };
            it.shared.log_permits_available(taken);
        }
    }
}

/// Ends a connection that is evicted, or stays unproven for too long.
#[derive(Clone)]
pub(crate) struct ConnectionEnd {
    standing: Standing,
    deadline: Instant,
}

impl ConnectionEnd {
    /// Runs `connection` until it ends or must end. The caller pins it, because a future that is moved into another takes its
    /// memory twice, and each connection holds it as long as it lives.
    pub(crate) async fn watch<F: Future>(&self, connection: Pin<&mut F>) -> Result<F::Output, Refused> {
        tokio::select! {
            output = connection => Ok(output),
            reason = self.reached() => Err(reason),
        }
    }

    async fn reached(&self) -> Refused {
        let Some(it) = &self.standing.0 else { return std::future::pending().await };
        tokio::select! {
            () = it.ended.cancelled() => Refused::Evicted, // counted where it was evicted
            () = self.unproven_deadline() => {
                it.shared.refuse(Refused::Unproven);
                Refused::Unproven
            }
        }
    }

    async fn unproven_deadline(&self) {
        sleep_until(self.deadline).await;
        if self.standing.is_proven() {
            std::future::pending().await
        }
    }
}

/// The longest login that is kept, in bytes: an ID scope, a registration ID, and what separates them.
const MAX_LOGIN_BYTES: usize = 288;

impl Unproven {
    fn login(&self) -> MutexGuard<'_, Option<Arc<str>>> {
        self.login.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a connection is proven: a service has accepted a request of it. Clones belong to the same connection.
#[derive(Clone, Default)]
pub struct Standing(Option<Arc<Unproven>>);

struct Unproven {
    shared: Arc<Shared>,
    id: u64,
    is_proven: AtomicBool,
    /// Whether the client has proved who it is, so that it may send large messages. It may still be unproven, if its service has no
    /// permit left.
    may_send_large: AtomicBool,
    /// Notified when a large message waits for that.
    proof_wanted: Notify,
    reader: AtomicWaker,
    login: Mutex<Option<Arc<str>>>,
    observer: Option<Arc<dyn RefusalObserver>>,
    ended: CancellationToken,
}

impl Standing {
    /// Keeps the name that the client gives, for a later refusal: the beginning of a user name or path, which holds no secret.
    pub fn note_login(&self, login: &str) {
        if let Some(it) = &self.0 {
            let end = login.floor_char_boundary(MAX_LOGIN_BYTES);
            *it.login() = login.get(..end).map(Arc::from);
        }
    }

    pub(crate) fn login(&self) -> Option<Arc<str>> {
        self.0.as_ref().and_then(|it| it.login().clone())
    }

    pub(crate) fn observer(&self) -> Option<&Arc<dyn RefusalObserver>> {
        self.0.as_ref().and_then(|it| it.observer.as_ref())
    }

    pub(crate) fn count(&self, reason: Refused) {
        if let Some(it) = &self.0 {
            it.shared.refused.count(reason);
        }
    }

    /// Marks the connection as proven: `service` accepted a request, which proved who the client is. If no permit is left for the
    /// service, the connection stays unproven: its request is answered, and it ends soon.
    pub fn mark_proven(&self, service: Purpose) {
        let Some(it) = &self.0 else { return };
        self.permit_large();
        if it.is_proven.load(Ordering::Relaxed) {
            return;
        }
        if it.shared.table().prove(it.id, service) {
            it.is_proven.store(true, Ordering::Relaxed);
        } else if !it.ended.is_cancelled() {
            it.shared.log_exhausted("connections with accepted requests stay unproven, and end soon");
        }
    }

    /// Counts a refused request or login against the connection and its address.
    pub fn count_refusal(&self) {
        self.refusal();
    }

    /// Counts a refused request, and waits until it may be answered: at once, unless the address has had more refusals than its
    /// limit. Every endpoint that leaves the connection open after a refusal waits here.
    pub async fn pace_refusal(&self) {
        sleep_until(self.refusal()).await;
    }

    fn refusal(&self) -> Instant {
        let now = Instant::now();
        self.0.as_ref().map_or(now, |it| it.shared.table().count_refusal(it.id, now))
    }

    /// Returns whether a request has been accepted. A connection without a limiter counts as proven.
    pub fn is_proven(&self) -> bool {
        self.0.as_ref().is_none_or(|it| it.is_proven.load(Ordering::Relaxed))
    }

    /// Returns whether the client has proved who it is, and may send messages of full size.
    pub(crate) fn may_send_large(&self) -> bool {
        self.0.as_ref().is_none_or(|it| it.may_send_large.load(Ordering::Acquire))
    }

    /// Lets the client send messages of full size.
    pub(crate) fn permit_large(&self) {
        if let Some(it) = &self.0 {
            it.may_send_large.store(true, Ordering::Release);
            it.reader.wake();
        }
    }

    /// Asks for the client's proof, and waits until it may send messages of full size.
    pub(crate) fn poll_permitted(&self, context: &Context<'_>) -> Poll<()> {
        let Some(it) = &self.0 else { return Poll::Ready(()) };
        it.reader.register(context.waker());
        if self.may_send_large() {
            return Poll::Ready(());
        }
        it.proof_wanted.notify_one();
        Poll::Pending
    }

    /// Waits until a large message waits for the client's proof.
    pub(crate) async fn proof_wanted(&self) {
        match &self.0 {
            Some(it) => it.proof_wanted.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Counts the connection for the address of its client, which a proxy reported.
    pub(crate) fn relocate(&self, to: IpAddr) -> Result<(), Refused> {
        let Some(it) = &self.0 else { return Ok(()) };
        let evicted = it.shared.table().relocate(it.id, to)?;
        it.shared.evict(evicted);
        Ok(())
    }
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Standing").field("is_proven", &self.is_proven()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Level, Metadata, Subscriber};

    use super::*;
    use crate::limits::Reserved;

    /// Counts warnings.
    #[derive(Clone, Default)]
    struct Warnings(Arc<AtomicUsize>);

    impl Subscriber for Warnings {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            *metadata.level() == Level::WARN
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, _: &Event<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    fn enter(limiter: &ConnectionLimiter, last: u8) -> Result<Permit, Refused> {
        limiter.enter(IpAddr::from([192, 0, 2, last]))
    }

    #[tokio::test]
    async fn a_reached_limit_is_logged_once_until_there_is_room_again() {
        let warnings = Warnings::default();
        let _guard = tracing::subscriber::set_default(warnings.clone());
        let limiter = ConnectionLimiter::new(Limits { max_connections: 10, ..Limits::default() });
        let logged = || warnings.0.load(Ordering::Relaxed);
        let mut held: Vec<Permit> = (0..10).map(|last| enter(&limiter, last / 3).unwrap()).collect();
        assert_eq!(logged(), 0);
        for last in 100..105 {
            held.extend(enter(&limiter, last));
        }
        let closed = limiter.refused(Refused::Evicted) + limiter.refused(Refused::NoPermit);
        assert_eq!((logged(), closed), (1, 5));
        held.clear();
        held.extend((0..11).filter_map(|last| enter(&limiter, last).ok()));
        assert_eq!(logged(), 2, "another episode");
    }

    #[tokio::test]
    async fn a_service_whose_permits_are_used_up_is_logged_too() {
        let warnings = Warnings::default();
        let _guard = tracing::subscriber::set_default(warnings.clone());
        let reserved = Reserved { unproven: Some(2), ..Reserved::default() };
        let limiter = ConnectionLimiter::new(Limits { max_connections: 4, reserved, ..Limits::default() });
        let permits: Vec<Permit> = (0..4).map(|last| enter(&limiter, last).unwrap()).collect();
        for permit in &permits {
            permit.standing().mark_proven(Purpose::Hub);
        }
        let proven = permits.iter().filter(|it| it.standing().is_proven()).count();
        assert_eq!((proven, limiter.proven(Purpose::Hub), warnings.0.load(Ordering::Relaxed)), (2, 2, 1));
    }
}
