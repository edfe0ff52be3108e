//! Limits and summarizes the log lines that one address causes.

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

/// The lines of one address (of one /64 for IPv6) that are written within [`WINDOW`]; the rest is counted.
pub(super) const LINES: u64 = 10;

/// The period after which the counts restart, and one line per address reports the omitted lines.
const WINDOW: Duration = Duration::from_secs(10);

/// The addresses that are tracked individually within [`WINDOW`]; all further ones share the lines of one. Strangers therefore
/// cause at most 1 MB per second, however many addresses they have.
pub(super) const MAX_NETWORKS: usize = 1_000;

/// The field of an event that holds the address of the peer that caused it.
const ADDRESS: &str = "peer.addr";

/// Drops and counts the lines about one peer beyond the limit. Clones share the counts.
///
/// Lines of [`crate::AUDIT`] always pass, because operators are authenticated.
#[derive(Debug, Clone, Default)]
pub(super) struct RefusalLimit(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    by_network: HashMap<IpAddr, u64>,
    others: u64,
}

impl Counts {
    /// Counts a line about a peer. Returns whether it is to be written.
    fn admit(&mut self, from: IpAddr) -> bool {
        let is_below_limit = self.by_network.len() < MAX_NETWORKS;
        let lines = match self.by_network.get_mut(&from) {
            Some(lines) => lines,
            None if is_below_limit => self.by_network.entry(from).or_default(),
            None => &mut self.others,
        };
        *lines += 1;
        *lines <= LINES
    }
}

impl RefusalLimit {
    /// Starts a thread that logs a summary every [`WINDOW`].
    pub(super) fn start_summaries(self) -> std::io::Result<()> {
        let run = move || loop {
            std::thread::sleep(WINDOW);
            self.log_summary();
        };
        std::thread::Builder::new().name("log-summary".into()).spawn(run).map(drop)
    }

    /// Logs the number of lines that were omitted since the last summary.
    pub(super) fn log_summary(&self) {
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

/// Formats a number with a comma between groups of three digits.
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

/// The visitor that finds the address in an event.
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
