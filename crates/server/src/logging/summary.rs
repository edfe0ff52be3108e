//! Summing up what one address makes the log say.

use std::{
    collections::HashMap,
    fmt::{self, Display},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

/// Lines of one address within [`WINDOW`] that are written; the rest is counted. For IPv6 an address is a /64.
pub(super) const LINES: u64 = 10;

/// After this time an address gets its lines again, and one line tells how many were left out.
const WINDOW: Duration = Duration::from_secs(10);

/// Addresses that are told apart within [`WINDOW`]; all further ones together get the lines of one. So strangers write at
/// most 1 MB a second, however many addresses they have.
pub(super) const MAX_NETWORKS: usize = 1_000;

/// The field of an event that holds the address of the peer that caused it.
const ADDRESS: &str = "peer.addr";

/// Drops the lines about one peer that come too fast, and counts them. Clones share the counts.
///
/// Lines of [`crate::AUDIT`] pass: those who may change things are known.
#[derive(Debug, Clone, Default)]
pub(super) struct RefusalLimit(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    by_network: HashMap<IpAddr, u64>,
    others: u64,
}

impl Counts {
    /// Counts one more line about a peer; returns whether it is to be written.
    fn admit(&mut self, from: IpAddr) -> bool {
        let has_room = self.by_network.len() < MAX_NETWORKS;
        let lines = match self.by_network.get_mut(&from) {
            Some(lines) => lines,
            None if has_room => self.by_network.entry(from).or_default(),
            None => &mut self.others,
        };
        *lines += 1;
        *lines <= LINES
    }
}

impl RefusalLimit {
    /// Sums up every [`WINDOW`], in a thread of its own, for as long as the process lives.
    pub(super) fn keep_summing_up(self) -> std::io::Result<()> {
        let keep = move || loop {
            std::thread::sleep(WINDOW);
            self.sum_up();
        };
        std::thread::Builder::new().name("log-summary".into()).spawn(keep).map(drop)
    }

    /// Logs how many lines were left out since the last time.
    pub(super) fn sum_up(&self) {
        let Counts { by_network, others } = std::mem::take(&mut *self.lock());
        let named = by_network.iter().map(|(network, lines)| (network as &dyn Display, *lines));
        for (from, lines) in named.chain([(&"other addresses" as &dyn Display, others)]) {
            if lines > LINES {
                let more = lines - LINES;
                let more = grouped(more);
                tracing::info!("… and {more} more refusals from {from} in {} s", WINDOW.as_secs());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number with a comma between each three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

impl<S: Subscriber> Layer<S> for RefusalLimit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if metadata.target() == crate::AUDIT || metadata.fields().field(ADDRESS).is_none() {
            return true;
        }
        let mut address = Address(None);
        event.record(&mut address);
        address.0.is_none_or(|from| self.lock().admit(net::network(from)))
    }
}

/// Finds the address in an event.
struct Address(Option<IpAddr>);

impl Visit for Address {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == ADDRESS {
            let text = format!("{value:?}");
            let with_port = text.parse().map(|it: SocketAddr| it.ip());
            self.0 = with_port.or_else(|_| text.parse()).ok();
        }
    }
}
