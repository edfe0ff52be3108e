//! The limits of listeners, the places for connections under them, and how each connection stands towards them.

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::connection_table::{ConnectionTable, Entered, Purpose};
use crate::limits::Limits;
use crate::refusal::RefusalObserver;
use crate::refused::{Refused, RefusedCounts};
use crate::transport::{Counted, Open, Transport};

/// Limits, and the places for connections under them. Clones share the places.
#[derive(Clone)]
pub struct ConnectionLimiter {
    pub(crate) limits: Arc<Limits>,
    shared: Arc<Shared>,
    open: Open,
    observer: Option<Arc<dyn RefusalObserver>>,
}

impl fmt::Debug for ConnectionLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConnectionLimiter { limits, shared, open, observer: _ } = self;
        f.debug_struct("Gate").field("limits", limits).field("shared", shared).field("open", open).finish()
    }
}

#[derive(Debug)]
struct Shared {
    total: usize,
    places: Mutex<ConnectionTable<CancellationToken>>,
    refused: RefusedCounts,
    /// Whether places have run out, and have not been plentiful since.
    exhausted: AtomicBool,
}

impl ConnectionLimiter {
    /// A gate with all its places free.
    pub fn new(limits: Limits) -> ConnectionLimiter {
        let capacity = limits.capacity();
        let shared = Shared {
            total: capacity.total,
            places: Mutex::new(ConnectionTable::new(capacity)),
            refused: RefusedCounts::default(),
            exhausted: AtomicBool::new(false),
        };
        ConnectionLimiter {
            limits: Arc::new(limits),
            shared: Arc::new(shared),
            open: Open::default(),
            observer: None,
        }
    }

    /// The same places under other bounds: endpoints differ in how large a message they take, and how long a request. By
    /// transport its connections are counted apart, and its refusals are not observed.
    pub fn with(&self, limits: Limits) -> ConnectionLimiter {
        ConnectionLimiter { limits: Arc::new(limits), open: Open::default(), observer: None, ..self.clone() }
    }

    /// The same places, with an observer of what its listeners refuse.
    pub fn observed_by(&self, observer: Arc<dyn RefusalObserver>) -> ConnectionLimiter {
        ConnectionLimiter { observer: Some(observer), ..self.clone() }
    }

    /// The bounds.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Connections open now, handshakes included.
    pub fn connections(&self) -> usize {
        self.shared.places().taken()
    }

    /// Places that are left.
    pub fn free(&self) -> usize {
        self.shared.total.saturating_sub(self.connections())
    }

    /// Connections of which no request has been accepted.
    pub fn unproven(&self) -> usize {
        self.shared.places().unproven()
    }

    /// Connections of which a service has accepted a request.
    pub fn proven(&self, service: Purpose) -> usize {
        self.shared.places().proven(service)
    }

    /// How many connections were refused for this reason, since the start.
    pub fn refused(&self, reason: Refused) -> u64 {
        self.shared.refused.get(reason)
    }

    /// Connections open now that speak this, handshakes excluded.
    pub fn open(&self, transport: Transport) -> usize {
        self.open.count(transport)
    }

    /// Counts a connection for as long as what is returned lives.
    pub(crate) fn count(&self, transport: Transport) -> Counted {
        self.open.one_more(transport)
    }

    /// Gives a new connection a place.
    pub(crate) fn enter(&self, from: IpAddr) -> Result<Permit, Refused> {
        let (now, ended) = (Instant::now(), CancellationToken::new());
        let entered = self.shared.places().enter(from, now, ended.clone());
        let Entered { id, evicted } = entered.inspect_err(|reason| self.shared.refuse(*reason))?;
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
    fn places(&self) -> MutexGuard<'_, ConnectionTable<CancellationToken>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn evict(&self, evicted: Option<CancellationToken>) {
        let Some(evicted) = evicted else { return };
        evicted.cancel();
        self.refused.count(Refused::Evicted);
        let is_exhausted = self.places().taken() >= self.total;
        if is_exhausted {
            self.note_exhausted(UNPROVEN_GIVE_WAY);
        }
    }

    fn refuse(&self, reason: Refused) {
        self.refused.count(reason);
        if reason == Refused::NoPlace {
            self.note_exhausted(UNPROVEN_GIVE_WAY);
        }
    }

    /// Logs once that places have run out; the next time after they were plentiful again.
    fn note_exhausted(&self, consequence: &'static str) {
        if !self.exhausted.swap(true, Ordering::Relaxed) {
            let places = self.total;
            tracing::warn!(places, consequence, "the places for connections have run out");
        }
    }

    fn note_free(&self, taken: usize) {
        let are_plentiful = taken <= self.total - self.total.div_ceil(10);
        if are_plentiful && self.exhausted.swap(false, Ordering::Relaxed) {
            tracing::info!(places = self.total, taken, "there are places for connections again");
        }
    }
}

/// A connection's place; given back when it is dropped.
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

    /// Waits for the end of a connection that is evicted, or proves nothing in time.
    pub(crate) fn end(&self) -> ConnectionEnd {
        ConnectionEnd { standing: self.standing.clone(), deadline: self.deadline }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(it) = &self.standing.0 {
            let taken = {
                let mut places = it.shared.places();
                places.leave(it.id);
                places.taken()
            };
            it.shared.note_free(taken);
        }
    }
}

/// Ends a connection that may not go on.
#[derive(Clone)]
pub(crate) struct ConnectionEnd {
    standing: Standing,
    deadline: Instant,
}

impl ConnectionEnd {
    /// Runs `connection` until it ends or may not go on. It is pinned by the caller, because a future that is moved into
    /// another takes its room twice, and each connection holds it as long as it lives.
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
            () = self.deadline_of_unproven() => {
                it.shared.refuse(Refused::Unproven);
                Refused::Unproven
            }
        }
    }

    async fn deadline_of_unproven(&self) {
        sleep_until(self.deadline).await;
        if self.standing.is_proven() {
            std::future::pending().await
        }
    }
}

/// The longest login that is kept: an ID scope, a registration ID, and what stands between them.
const MAX_LOGIN_BYTES: usize = 288;

impl Unproven {
    fn login(&self) -> MutexGuard<'_, Option<Arc<str>>> {
        self.login.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a connection stands: unproven until a service accepts a request. Clones are about the same connection.
#[derive(Clone, Default)]
pub struct Standing(Option<Arc<Unproven>>);

struct Unproven {
    shared: Arc<Shared>,
    id: u64,
    is_proven: AtomicBool,
    /// The client has shown who it is, so that it may send large messages. It may be unproven all the same, where its
    /// service has no place.
    may_send_large: AtomicBool,
    /// A large message waits for that.
    proof_wanted: Notify,
    reader: AtomicWaker,
    login: Mutex<Option<Arc<str>>>,
    observer: Option<Arc<dyn RefusalObserver>>,
    ended: CancellationToken,
}

impl Standing {
    /// Keeps who the client says that it is, should it be refused later: the beginning of a user name or path, which holds no
    /// secret.
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

    /// Marks the connection as proven: `service` accepted a request, which showed who the client is. Where every place that
    /// the service may take is taken, the connection stays unproven: its request is answered, and it ends soon.
    pub fn mark_proven(&self, service: Purpose) {
        let Some(it) = &self.0 else { return };
        self.permit_large();
        if it.is_proven.load(Ordering::Relaxed) {
            return;
        }
        if it.shared.places().prove(it.id, service) {
            it.is_proven.store(true, Ordering::Relaxed);
        } else if !it.ended.is_cancelled() {
            it.shared.note_exhausted("connections with accepted requests stay unproven, and end soon");
        }
    }

    /// Counts a refused request or login against the connection and its address.
    pub fn count_refusal(&self) {
        self.refusal();
    }

    /// Counts a refused request, and waits until it is to be answered: at once, unless the address has had more refusals
    /// than it may. Every endpoint that leaves the connection open after a refusal waits here.
    pub async fn pace_refusal(&self) {
        sleep_until(self.refusal()).await;
    }

    fn refusal(&self) -> Instant {
        let now = Instant::now();
        self.0.as_ref().map_or(now, |it| it.shared.places().count_refusal(it.id, now))
    }

    /// Whether a request has been accepted. A connection that is in no gate counts as proven.
    pub fn is_proven(&self) -> bool {
        self.0.as_ref().is_none_or(|it| it.is_proven.load(Ordering::Relaxed))
    }

    /// Whether the client has shown who it is, and may send messages of full size.
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

    /// Asks for the client's proof, and waits for the permit to read more.
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

    /// Counts the connection for the address that it really comes from.
    pub(crate) fn relocate(&self, to: IpAddr) -> Result<(), Refused> {
        let Some(it) = &self.0 else { return Ok(()) };
        let evicted = it.shared.places().relocate(it.id, to)?;
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
    async fn running_out_of_places_is_logged_once_until_there_are_plenty_again() {
        let warnings = Warnings::default();
        let _guard = tracing::subscriber::set_default(warnings.clone());
        let limiter = ConnectionLimiter::new(Limits { max_connections: 10, ..Limits::default() });
        let logged = || warnings.0.load(Ordering::Relaxed);
        let mut held: Vec<Permit> = (0..10).map(|last| enter(&limiter, last / 3).unwrap()).collect();
        assert_eq!(logged(), 0);
        for last in 100..105 {
            held.extend(enter(&limiter, last));
        }
        let closed = limiter.refused(Refused::Evicted) + limiter.refused(Refused::NoPlace);
        assert_eq!((logged(), closed), (1, 5));
        held.clear();
        held.extend((0..11).filter_map(|last| enter(&limiter, last).ok()));
        assert_eq!(logged(), 2, "another episode");
    }

    #[tokio::test]
    async fn a_service_whose_places_are_taken_is_an_episode_too() {
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
