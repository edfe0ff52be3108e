//! The permits of connections: which connections hold one, and which is evicted first if none is left.
//!
//! A connection is unproven until a service accepts a request of it. Unproven connections share the free permits and are evicted
//! for new ones; proven connections are never evicted, so they may not take every permit: some stay reserved for unproven ones and
//! for each service. This module decides, without IO and without a clock.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    num::NonZeroU32,
    time::Duration,
};

use model::{RateLimit, RateLimiter};
use tokio::time::Instant;

use crate::{network::network, refused::Refused};

/// The service that accepted a request of a proven connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The device provisioning endpoint.
    Provisioning,
    /// The service operations endpoint, which operators and their tools call.
    Operations,
    /// An embedded hub, for its devices and its callers.
    Hub,
}

impl Purpose {
    /// All services.
    pub const ALL: [Purpose; 3] = [Purpose::Provisioning, Purpose::Operations, Purpose::Hub];

    /// Returns its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Purpose::Provisioning => "provisioning",
            Purpose::Operations => "operations",
            Purpose::Hub => "hub",
        }
    }
}

/// How many connections there may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Capacity {
    /// Of all kinds.
    pub(crate) total: usize,
    /// Unproven ones and recent refusals of one network.
    pub(crate) per_network: usize,
    /// Kept free for unproven ones; at least 1, so that a new connection always finds one to evict.
    pub(crate) unproven: usize,
    /// Kept free for each service, by [`Purpose::ALL`].
    pub(crate) services: [usize; Purpose::ALL.len()],
}

/// The permits of all listeners that share a limit. `T` evicts a connection.
#[derive(Debug)]
pub(crate) struct ConnectionTable<T> {
    capacity: Capacity,
    connections: HashMap<u64, Connection<T>>,
    /// The unproven connections by network, in the order in which they are evicted.
    networks: HashMap<IpAddr, BTreeSet<EvictionRank>>,
    /// The networks by the number of their unproven connections; among equals the one with the next to be evicted comes last.
    by_count: BTreeSet<(usize, Reverse<EvictionRank>, IpAddr)>,
    proven: [usize; Purpose::ALL.len()],
    /// The refusals of networks: a network that has had more than its limit in a minute is answered at that rate. So wrong tokens over one
    /// connection use no more CPU than that, and other clients behind the same address are not affected: a request that is not refused
    /// is answered at once.
    refusals: RateLimiter<IpAddr>,
    next_id: u64,
}

#[derive(Debug)]
enum Connection<T> {
    Unproven { network: IpAddr, conduct: Conduct, since: Instant, evict: T },
    Proven(Purpose),
}

/// How an unproven connection has behaved so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Conduct {
    /// A request of it was refused.
    Refused,
    /// No request of it was judged.
    Unjudged,
}

/// An unproven connection in the order of eviction: refused ones first, then the oldest, since IDs grow.
type EvictionRank = (Conduct, u64);

/// A connection that got a permit.
#[derive(Debug)]
pub(crate) struct NewConnection<T> {
    pub(crate) id: u64,
    /// The connection that was evicted for it.
    pub(crate) evicted: Option<T>,
}

impl<T> ConnectionTable<T> {
    pub(crate) fn new(capacity: Capacity) -> ConnectionTable<T> {
        ConnectionTable {
            capacity,
            connections: HashMap::new(),
            networks: HashMap::new(),
            by_count: BTreeSet::new(),
            proven: [0; Purpose::ALL.len()],
            refusals: RateLimiter::new(MAX_REMEMBERED_NETWORKS),
            next_id: 0,
        }
    }

    /// Gives a new, unproven connection a permit, evicting another one if necessary.
    pub(crate) fn enter(
        &mut self,
        from: IpAddr,
        now: Instant,
        evict: T,
    ) -> Result<NewConnection<T>, Refused> {
        let network = network(from);
        let of_network = self.make_room(network)?;
        let evicted = if self.connections.len() < self.capacity.total {
            of_network
        } else {
            Some(self.evict_for(network, now).ok_or(Refused::NoPermit)?)
        };
        let id = self.next_id;
        self.next_id += 1;
        let conduct = Conduct::Unjudged;
        self.connections.insert(id, Connection::Unproven { network, conduct, since: now, evict });
        self.change(network, |ranks| ranks.insert((conduct, id)));
        Ok(NewConnection { id, evicted })
    }

    /// Counts an unproven connection for the network of its client, which a proxy reported; returns the connection of that network
    /// that was evicted for it.
    pub(crate) fn relocate(&mut self, id: u64, to: IpAddr) -> Result<Option<T>, Refused> {
        let to = network(to);
        let evicted = self.make_room(to)?;
        if let Some(Connection::Unproven { network, conduct, .. }) = self.connections.get_mut(&id) {
            let (from, rank) = (std::mem::replace(network, to), (*conduct, id));
            self.change(from, |ranks| ranks.remove(&rank));
            self.change(to, |ranks| ranks.insert(rank));
        }
        Ok(evicted)
    }

    /// Makes a connection a proven one of this service. Returns false and changes nothing if the free permits are reserved for
    /// others.
    pub(crate) fn prove(&mut self, id: u64, service: Purpose) -> bool {
        let mut proven = self.proven;
        proven[service as usize] += 1;
        let reserved = self.capacity.services;
        let claimed: usize = proven.iter().zip(reserved).map(|(taken, reserved)| reserved.max(*taken)).sum();
        if claimed + self.capacity.unproven > self.capacity.total {
            return false;
        }
        let Some(Connection::Unproven { network, conduct, .. }) = self.connections.get(&id) else {
            return false;
        };
        let (network, rank) = (*network, (*conduct, id));
        self.connections.insert(id, Connection::Proven(service));
        self.change(network, |ranks| ranks.remove(&rank));
        self.proven = proven;
        true
    }

    /// Counts a refusal against the connection and its network; returns when it may be answered. Refusals of proven connections are
    /// not counted.
    pub(crate) fn count_refusal(&mut self, id: u64, now: Instant) -> Instant {
        let Some(Connection::Unproven { network, conduct, .. }) = self.connections.get_mut(&id) else {
            return now;
        };
        let network = *network;
        let before = std::mem::replace(conduct, Conduct::Refused);
        self.change(network, |ranks| ranks.remove(&(before, id)) && ranks.insert((Conduct::Refused, id)));
        answer_at(&mut self.refusals, network, now, self.capacity.per_network)
    }

    /// Frees the permit of a connection. One that was evicted has none.
    pub(crate) fn leave(&mut self, id: u64) {
        match self.connections.remove(&id) {
            Some(Connection::Unproven { network, conduct, .. }) => {
                self.change(network, |ranks| ranks.remove(&(conduct, id)));
            }
            Some(Connection::Proven(service)) => self.proven[service as usize] -= 1,
            None => {}
        }
    }

    /// Returns how many permits are taken.
    pub(crate) fn taken(&self) -> usize {
        self.connections.len()
    }

    /// Returns how many are taken by proven connections of a service.
    pub(crate) fn proven(&self, service: Purpose) -> usize {
        self.proven[service as usize]
    }

    /// Returns how many are taken by unproven connections.
    pub(crate) fn unproven(&self) -> usize {
        self.connections.len() - self.proven.iter().sum::<usize>()
    }

    /// Makes room for one more unproven connection of a network, if need be by evicting a refused one: a client
    /// that shares the address with an attacker is not shut out by the attacker's connections once they were refused.
    fn make_room(&mut self, network: IpAddr) -> Result<Option<T>, Refused> {
        let Some(ranks) = self.networks.get(&network) else { return Ok(None) };
        match ranks.first() {
            _ if ranks.len() < self.capacity.per_network => Ok(None),
            Some(&(Conduct::Refused, id)) => Ok(self.evict(id)),
            Some((Conduct::Unjudged, _)) | None => Err(Refused::AddressLimit),
        }
    }

    /// Evicts the next connection of the network that has most unproven ones. Young connections of networks that have no more than
    /// the newcomer's stay: if each newcomer could evict them, a fleet that reconnects all at once would never complete a
    /// handshake.
    fn evict_for(&mut self, newcomer: IpAddr, now: Instant) -> Option<T> {
        let own = self.networks.get(&newcomer).map_or(0, BTreeSet::len);
        let &(count, Reverse((_, next)), _) = self.by_count.last()?;
        let Connection::Unproven { since, .. } = self.connections.get(&next)? else { return None };
        if count <= own + 1 && now.duration_since(*since) < MIN_AGE {
            return None;
        }
        self.evict(next)
    }

    fn evict(&mut self, id: u64) -> Option<T> {
        let Some(Connection::Unproven { network, conduct, evict, .. }) = self.connections.remove(&id) else {
            return None;
        };
        self.change(network, |ranks| ranks.remove(&(conduct, id)));
        Some(evict)
    }

    /// Changes a network's unproven connections, and their count.
    fn change(&mut self, network: IpAddr, change: impl FnOnce(&mut BTreeSet<EvictionRank>) -> bool) {
        let ranks = self.networks.entry(network).or_default();
        if let Some(next) = ranks.first() {
            self.by_count.remove(&(ranks.len(), Reverse(*next), network));
        }
        change(ranks);
        match ranks.first() {
            Some(next) => {
                self.by_count.insert((ranks.len(), Reverse(*next), network));
            }
            None => {
                self.networks.remove(&network);
            }
        }
    }
}

/// Returns when a refusal may be answered, and counts it.
fn answer_at(
    refusals: &mut RateLimiter<IpAddr>,
    network: IpAddr,
    now: Instant,
    per_window: usize,
) -> Instant {
    let count = u32::try_from(per_window).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
    let limit = RateLimit { count, window: REFUSAL_WINDOW };
    now + refusals.delay(&network, limit, now.into_std(), MAX_REFUSAL_PAUSE)
}

/// How long a connection is safe from newcomers of networks that have as many: a handshake and a request over a slow radio
/// link.
const MIN_AGE: Duration = Duration::from_secs(5);

/// The time in which a network may have as many refusals as its limit before they are answered slowly.
const REFUSAL_WINDOW: Duration = Duration::from_secs(60);

/// The longest that a refusal waits for its answer: shorter than an unproven connection lives.
const MAX_REFUSAL_PAUSE: Duration = Duration::from_secs(30);

/// Networks whose refusals are counted: 4 MiB at most.
const MAX_REMEMBERED_NETWORKS: usize = 65_536;

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    const TOTAL: usize = 20;

    fn capacity(per_network: usize) -> Capacity {
        Capacity { total: TOTAL, per_network, unproven: 2, services: [3, 1, 4] }
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[derive(Debug, Clone)]
    enum Step {
        Enter(u8),
        Prove(usize, usize),
        Relocate(usize, u8),
        Refuse(usize),
        Leave(usize),
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..6u8).prop_map(Step::Enter),
            3 => (0..TOTAL, 0..3usize).prop_map(|(which, service)| Step::Prove(which, service)),
            1 => (0..TOTAL, 0..6u8).prop_map(|(which, to)| Step::Relocate(which, to)),
            1 => (0..TOTAL).prop_map(Step::Refuse),
            2 => (0..TOTAL).prop_map(Step::Leave),
            1 => (0..8u64).prop_map(Step::Wait),
        ]
    }

    /// The connections as the test tracks them: ID, network, and the service that proved them.
    type Model = Vec<(u64, IpAddr, Option<usize>)>;

    fn counts(model: &Model) -> HashMap<IpAddr, usize> {
        let mut counts = HashMap::new();
        for (_, network, _) in model.iter().filter(|(_, _, service)| service.is_none()) {
            *counts.entry(*network).or_default() += 1;
        }
        counts
    }

    fn enter(
        table: &mut ConnectionTable<u64>,
        (model, refused): (&mut Model, &HashSet<u64>),
        from: IpAddr,
        now: Instant,
    ) -> Result<(), TestCaseError> {
        let before = counts(model);
        let is_full = before.get(&from) == Some(&table.capacity.per_network);
        let id = table.next_id;
        match table.enter(from, now, id) {
            Ok(NewConnection { evicted: Some(evicted), .. }) => {
                let at = model.iter().position(|(id, ..)| *id == evicted).unwrap();
                let (_, network, service) = model.remove(at);
                prop_assert_eq!(service, None, "a proven connection was evicted");
                let is_heaviest = before[&network] == *before.values().max().unwrap();
                let made_room = is_full && network == from && refused.contains(&evicted);
                prop_assert!(
                    made_room || is_heaviest && !is_full,
                    "neither refused nor of the heaviest network"
                );
            }
            Ok(NewConnection { evicted: None, .. }) => {}
            Err(Refused::NoPermit) => {
                prop_assert_eq!(model.len(), TOTAL);
                let heaviest = *before.values().max().expect("unproven connections have permits");
                prop_assert!(
                    heaviest <= before.get(&from).copied().unwrap_or(0) + 1,
                    "the network with most connections kept them"
                );
                return Ok(());
            }
            Err(_) => {
                let has_refused =
                    model.iter().any(|it| it.1 == from && it.2.is_none() && refused.contains(&it.0));
                prop_assert!(is_full && !has_refused, "shut out of its network for a refused connection");
                return Ok(());
            }
        }
        model.push((id, from, None));
        Ok(())
    }

    proptest! {
        /// In any order of events there are no more connections than permits, proven ones are never evicted and leave what
        /// is reserved, and only a network with most unproven connections loses one.
        #[test]
        fn limits_hold_in_any_order_of_events(steps in proptest::collection::vec(step(), 1..200), per_network in 4..TOTAL) {
            let mut table = ConnectionTable::new(capacity(per_network));
            let (mut model, mut now) = (Model::new(), Instant::now());
            let mut refused = HashSet::new();
            for step in steps {
                match step {
                    Step::Enter(from) => enter(&mut table, (&mut model, &refused), address(from), now)?,
                    Step::Prove(which, service) => {
                        if let Some(it) = model.get_mut(which).filter(|it| it.2.is_none())
                            && table.prove(it.0, Purpose::ALL[service])
                        {
                            it.2 = Some(service);
                        }
                    }
                    Step::Relocate(which, to) => {
                        if let Some(it) = model.get_mut(which).filter(|it| it.2.is_none())
                            && let Ok(evicted) = table.relocate(it.0, address(to))
                        {
                            it.1 = address(to);
                            model.retain(|it| Some(it.0) != evicted);
                        }
                    }
                    Step::Refuse(which) => {
                        if let Some(it) = model.get(which) {
                            table.count_refusal(it.0, now);
                            refused.insert(it.0);
                        }
                    }
                    Step::Leave(which) => {
                        if which < model.len() {
                            table.leave(model.remove(which).0);
                        }
                    }
                    Step::Wait(seconds) => now += Duration::from_secs(seconds),
                }
                let proven = |service| model.iter().filter(|it| it.2 == Some(service)).count();
                prop_assert_eq!(table.taken(), model.len());
                prop_assert!(table.taken() <= TOTAL);
                let claimed: usize = (0..3).map(|it| proven(it).max(table.capacity.services[it])).sum();
                prop_assert!(claimed + 2 <= TOTAL);
                let counted = counts(&model);
                let weights: HashMap<IpAddr, usize> = table.by_count.iter().map(|it| (it.2, it.0)).collect();
                prop_assert_eq!(&weights, &counted);
                let all: usize = counted.values().sum();
                prop_assert_eq!(table.unproven(), all);
            }
        }
    }

    #[test]
    fn the_network_with_most_connections_is_evicted_first_and_a_crowd_does_not_evict_itself() {
        let (mut table, now) =
            (ConnectionTable::new(Capacity { per_network: TOTAL, ..capacity(TOTAL) }), Instant::now());
        for _ in 0..TOTAL {
            table.enter(address(1), now, "many").unwrap();
        }
        assert_eq!(table.enter(address(2), now, "new").unwrap().evicted, Some("many"), "at once");
        let mut table = ConnectionTable::new(capacity(TOTAL));
        for last in 0..TOTAL {
            table.enter(address(last as u8), now, last).unwrap();
        }
        assert_eq!(table.enter(address(200), now, 200).unwrap_err(), Refused::NoPermit);
        assert_eq!(table.enter(address(200), now + MIN_AGE, 200).unwrap().evicted, Some(0), "the oldest");
    }

    #[test]
    fn proven_connections_of_one_address_are_not_limited_and_refused_ones_make_room() {
        let (mut table, now) = (ConnectionTable::new(capacity(2)), Instant::now());
        for _ in 0..8 {
            let id = table.enter(address(1), now, 0).unwrap().id;
            assert!(table.prove(id, Purpose::Provisioning));
        }
        let first = table.enter(address(1), now, 1).unwrap().id;
        let second = table.enter(address(1), now, 2).unwrap().id;
        assert_eq!(table.enter(address(1), now, 3).unwrap_err(), Refused::AddressLimit);
        table.count_refusal(second, now);
        assert_eq!(
            table.enter(address(1), now, 3).unwrap().evicted,
            Some(2),
            "the refused one, not the oldest"
        );
        assert_eq!(table.enter(address(1), now, 4).unwrap_err(), Refused::AddressLimit);
        table.count_refusal(first, now);
        assert!(table.prove(first, Purpose::Provisioning), "a refused connection may prove itself later");
        table.enter(address(1), now, 4).unwrap();
    }

    /// A network gets at most as many answers to refusals as its limit at once, and that many a minute; none waits for longer than a
    /// connection lives, and other networks do not wait for them.
    #[test]
    fn refusals_beyond_the_limit_are_answered_at_its_rate() {
        const LIMIT: usize = 60;
        let (mut refusals, start) = (RateLimiter::new(9), Instant::now());
        let mut answer_at = |network, now, limit| super::answer_at(&mut refusals, network, now, limit);
        let at_once = (0..200).filter(|_| answer_at(address(1), start, LIMIT) == start).count();
        assert_eq!(at_once, LIMIT);
        assert_eq!(answer_at(address(1), start, LIMIT), start + MAX_REFUSAL_PAUSE);
        assert_eq!(answer_at(address(2), start, LIMIT), start);
        let later = start + REFUSAL_WINDOW;
        let pauses: Vec<_> =
            (0..60).map(|_| answer_at(address(1), later, LIMIT) - later).filter(|it| !it.is_zero()).collect();
        assert_eq!(pauses.len(), 30, "half of the minute's are used up: {pauses:?}");
        assert!(pauses.windows(2).all(|two| two[1] - two[0] == Duration::from_secs(1)), "{pauses:?}");
    }
}
