//! Places for connections: which are free, who holds one, and which connection goes first when none is left.
//!
//! A connection is unproven until a service accepts a request of it. Unproven connections share whatever is free and are
//! evicted for new ones; proven connections are never evicted, so they may not take every place: some stay reserved for
//! unproven ones and for each service. This module decides, without IO and without a clock.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::network::network;
use crate::refused::Refused;

/// What a proven connection is for: the service that accepted a request of it.
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
    /// All of them.
    pub const ALL: [Purpose; 3] = [Purpose::Provisioning, Purpose::Operations, Purpose::Hub];

    /// Its name in logs and metrics.
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

/// The places of all listeners that share a limit. `T` is what evicts a connection.
#[derive(Debug)]
pub(crate) struct ConnectionTable<T> {
    capacity: Capacity,
    connections: HashMap<u64, Connection<T>>,
    /// The unproven connections by network, in the order in which they are evicted.
    networks: HashMap<IpAddr, BTreeSet<Seat>>,
    /// The networks by the number of their unproven connections; among equals the one with the next to go comes last.
    by_weight: BTreeSet<(usize, Reverse<Seat>, IpAddr)>,
    proven: [usize; Purpose::ALL.len()],
    refusals: Refusals,
    next_id: u64,
}

#[derive(Debug)]
enum Connection<T> {
    Unproven { network: IpAddr, conduct: Conduct, since: Instant, evict: T },
    Proven(Purpose),
}

/// What an unproven connection has shown so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Conduct {
    /// A request of it was refused.
    Refused,
    /// It may be an honest client's.
    Unjudged,
}

/// An unproven connection in the order of eviction: refused ones first, then the oldest, since IDs grow.
type Seat = (Conduct, u64);

/// A connection that has a place now.
#[derive(Debug)]
pub(crate) struct Entered<T> {
    pub(crate) id: u64,
    /// The connection that gave its place up.
    pub(crate) evicted: Option<T>,
}

impl<T> ConnectionTable<T> {
    pub(crate) fn new(capacity: Capacity) -> ConnectionTable<T> {
        ConnectionTable {
            capacity,
            connections: HashMap::new(),
            networks: HashMap::new(),
            by_weight: BTreeSet::new(),
            proven: [0; Purpose::ALL.len()],
            refusals: Refusals::default(),
            next_id: 0,
        }
    }

    /// Gives a new, unproven connection a place, if need be that of another one.
    pub(crate) fn enter(&mut self, from: IpAddr, now: Instant, evict: T) -> Result<Entered<T>, Refused> {
        let network = network(from);
        let of_network = self.make_room(network)?;
        let evicted = if self.connections.len() < self.capacity.total {
            of_network
        } else {
            Some(self.evict_for(network, now).ok_or(Refused::NoPlace)?)
        };
        let id = self.next_id;
        self.next_id += 1;
        let conduct = Conduct::Unjudged;
        self.connections.insert(id, Connection::Unproven { network, conduct, since: now, evict });
        self.change(network, |seats| seats.insert((conduct, id)));
        Ok(Entered { id, evicted })
    }

    /// Counts an unproven connection for the network that it really comes from, behind a proxy; returns the connection of
    /// that network that gave way.
    pub(crate) fn relocate(&mut self, id: u64, to: IpAddr) -> Result<Option<T>, Refused> {
        let to = network(to);
        let evicted = self.make_room(to)?;
        if let Some(Connection::Unproven { network, conduct, .. }) = self.connections.get_mut(&id) {
            let (from, seat) = (std::mem::replace(network, to), (*conduct, id));
            self.change(from, |seats| seats.remove(&seat));
            self.change(to, |seats| seats.insert(seat));
        }
        Ok(evicted)
    }

    /// Makes a connection a proven one of this service. False, and nothing changes, when its place is reserved for others.
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
        let (network, seat) = (*network, (*conduct, id));
        self.connections.insert(id, Connection::Proven(service));
        self.change(network, |seats| seats.remove(&seat));
        self.proven = proven;
        true
    }

    /// Counts a refusal against the connection and its network; returns when it is to be answered. Proven connections are
    /// not counted: they answer for themselves.
    pub(crate) fn count_refusal(&mut self, id: u64, now: Instant) -> Instant {
        let Some(Connection::Unproven { network, conduct, .. }) = self.connections.get_mut(&id) else {
            return now;
        };
        let network = *network;
        let before = std::mem::replace(conduct, Conduct::Refused);
        self.change(network, |seats| seats.remove(&(before, id)) && seats.insert((Conduct::Refused, id)));
        self.refusals.answer_at(network, now, self.capacity.per_network)
    }

    /// Gives a place back. A connection that was evicted has none.
    pub(crate) fn leave(&mut self, id: u64) {
        match self.connections.remove(&id) {
            Some(Connection::Unproven { network, conduct, .. }) => {
                self.change(network, |seats| seats.remove(&(conduct, id)));
            }
            Some(Connection::Proven(service)) => self.proven[service as usize] -= 1,
            None => {}
        }
    }

    /// How many places are taken.
    pub(crate) fn taken(&self) -> usize {
        self.connections.len()
    }

    /// How many are taken by proven connections of a service.
    pub(crate) fn proven(&self, service: Purpose) -> usize {
        self.proven[service as usize]
    }

    /// How many are taken by unproven connections.
    pub(crate) fn unproven(&self) -> usize {
        self.connections.len() - self.proven.iter().sum::<usize>()
    }

    /// Makes room for one more unproven connection of a network, if need be by evicting a refused one: a client
    /// that shares the address with an attacker is not shut out by the attacker's connections once they were refused.
    fn make_room(&mut self, network: IpAddr) -> Result<Option<T>, Refused> {
        let Some(seats) = self.networks.get(&network) else { return Ok(None) };
        match seats.first() {
            _ if seats.len() < self.capacity.per_network => Ok(None),
            Some(&(Conduct::Refused, id)) => Ok(self.evict(id)),
            Some((Conduct::Unjudged, _)) | None => Err(Refused::AddressLimit),
        }
    }

    /// Evicts the connection that is the next to go of the network that has most unproven ones. Young connections of
    /// networks that have no more than the newcomer's stay: if each newcomer could displace them, a fleet that comes back
    /// all at once would never complete a handshake.
    fn evict_for(&mut self, newcomer: IpAddr, now: Instant) -> Option<T> {
        let own = self.networks.get(&newcomer).map_or(0, BTreeSet::len);
        let &(count, Reverse((_, next)), _) = self.by_weight.last()?;
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
        self.change(network, |seats| seats.remove(&(conduct, id)));
        Some(evict)
    }

    /// Changes a network's unproven connections, and its weight with them.
    fn change(&mut self, network: IpAddr, change: impl FnOnce(&mut BTreeSet<Seat>) -> bool) {
        let seats = self.networks.entry(network).or_default();
        if let Some(next) = seats.first() {
            self.by_weight.remove(&(seats.len(), Reverse(*next), network));
        }
        change(seats);
        match seats.first() {
            Some(next) => {
                self.by_weight.insert((seats.len(), Reverse(*next), network));
            }
            None => {
                self.networks.remove(&network);
            }
        }
    }
}

/// The pace of refusals by network: until when the refusals of each, at the rate of its limit, would be used up. A network
/// that has had more than its limit in a minute is answered at that rate. So wrong tokens over one connection cost no more
/// CPU than that, and no client behind the same address is shut out: a request that is not refused is answered at once.
#[derive(Debug, Default)]
struct Refusals(HashMap<IpAddr, Instant>);

impl Refusals {
    /// Counts one; returns when it is to be answered.
    fn answer_at(&mut self, network: IpAddr, now: Instant, per_window: usize) -> Instant {
        if self.0.len() >= MAX_REMEMBERED_NETWORKS && !self.0.contains_key(&network) {
            self.0.retain(|_, used_until| *used_until > now);
            if self.0.len() >= MAX_REMEMBERED_NETWORKS {
                return now; // an attack from this many networks is not one that a limit for each network ends
            }
        }
        let interval = REFUSAL_WINDOW / u32::try_from(per_window.max(1)).unwrap_or(u32::MAX);
        let used_until = self.0.entry(network).or_insert(now);
        *used_until = (*used_until).max(now) + interval;
        *used_until = (*used_until).min(now + REFUSAL_WINDOW + MAX_REFUSAL_PAUSE);
        used_until.checked_sub(REFUSAL_WINDOW).map_or(now, |due| due.max(now))
    }
}

/// How long a connection is safe from newcomers of networks that have as many: a handshake and a request over a slow radio
/// link.
const MIN_AGE: Duration = Duration::from_secs(5);

/// The time in which a network may have as many refusals as its limit says before they are answered slowly.
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

    /// What a connection is, as the test keeps it: its ID, its network, and the service that it proved itself to.
    type Model = Vec<(u64, IpAddr, Option<usize>)>;

    fn counts(model: &Model) -> HashMap<IpAddr, usize> {
        let mut counts = HashMap::new();
        for (_, network, _) in model.iter().filter(|(_, _, service)| service.is_none()) {
            *counts.entry(*network).or_default() += 1;
        }
        counts
    }

    fn enter(
        places: &mut ConnectionTable<u64>,
        (model, refused): (&mut Model, &HashSet<u64>),
        from: IpAddr,
        now: Instant,
    ) -> Result<(), TestCaseError> {
        let before = counts(model);
        let is_full = before.get(&from) == Some(&places.capacity.per_network);
        let id = places.next_id;
        match places.enter(from, now, id) {
            Ok(Entered { evicted: Some(evicted), .. }) => {
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
            Ok(Entered { evicted: None, .. }) => {}
            Err(Refused::NoPlace) => {
                prop_assert_eq!(model.len(), TOTAL);
                let heaviest = *before.values().max().expect("unproven connections have places");
                prop_assert!(heaviest <= before.get(&from).copied().unwrap_or(0) + 1, "a hoarder was spared");
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
        /// Whatever happens, no more connections have places than there are, proven ones are never evicted and leave what
        /// is reserved, and only a network with most unproven connections loses one.
        #[test]
        fn places_hold_in_any_order(steps in proptest::collection::vec(step(), 1..200), per_network in 4..TOTAL) {
            let mut places = ConnectionTable::new(capacity(per_network));
            let (mut model, mut now) = (Model::new(), Instant::now());
            let mut refused = HashSet::new();
            for step in steps {
                match step {
                    Step::Enter(from) => enter(&mut places, (&mut model, &refused), address(from), now)?,
                    Step::Prove(which, service) => {
                        if let Some(it) = model.get_mut(which).filter(|it| it.2.is_none())
                            && places.prove(it.0, Purpose::ALL[service])
                        {
                            it.2 = Some(service);
                        }
                    }
                    Step::Relocate(which, to) => {
                        if let Some(it) = model.get_mut(which).filter(|it| it.2.is_none())
                            && let Ok(evicted) = places.relocate(it.0, address(to))
                        {
                            it.1 = address(to);
                            model.retain(|it| Some(it.0) != evicted);
                        }
                    }
                    Step::Refuse(which) => {
                        if let Some(it) = model.get(which) {
                            places.count_refusal(it.0, now);
                            refused.insert(it.0);
                        }
                    }
                    Step::Leave(which) => {
                        if which < model.len() {
                            places.leave(model.remove(which).0);
                        }
                    }
                    Step::Wait(seconds) => now += Duration::from_secs(seconds),
                }
                let proven = |service| model.iter().filter(|it| it.2 == Some(service)).count();
                prop_assert_eq!(places.taken(), model.len());
                prop_assert!(places.taken() <= TOTAL);
                let claimed: usize = (0..3).map(|it| proven(it).max(places.capacity.services[it])).sum();
                prop_assert!(claimed + 2 <= TOTAL);
                let counted = counts(&model);
                let weights: HashMap<IpAddr, usize> = places.by_weight.iter().map(|it| (it.2, it.0)).collect();
                prop_assert_eq!(&weights, &counted);
                let all: usize = counted.values().sum();
                prop_assert_eq!(places.unproven(), all);
            }
        }
    }

    #[test]
    fn a_hoarder_gives_way_and_a_crowd_does_not_displace_itself() {
        let (mut places, now) =
            (ConnectionTable::new(Capacity { per_network: TOTAL, ..capacity(TOTAL) }), Instant::now());
        for _ in 0..TOTAL {
            places.enter(address(1), now, "hoarder").unwrap();
        }
        assert_eq!(places.enter(address(2), now, "new").unwrap().evicted, Some("hoarder"), "at once");
        let mut places = ConnectionTable::new(capacity(TOTAL));
        for last in 0..TOTAL {
            places.enter(address(last as u8), now, last).unwrap();
        }
        assert_eq!(places.enter(address(200), now, 200).unwrap_err(), Refused::NoPlace);
        assert_eq!(places.enter(address(200), now + MIN_AGE, 200).unwrap().evicted, Some(0), "the oldest");
    }

    #[test]
    fn proven_connections_of_one_address_are_not_limited_and_refused_ones_make_room() {
        let (mut places, now) = (ConnectionTable::new(capacity(2)), Instant::now());
        for _ in 0..8 {
            let id = places.enter(address(1), now, 0).unwrap().id;
            assert!(places.prove(id, Purpose::Provisioning));
        }
        let first = places.enter(address(1), now, 1).unwrap().id;
        let second = places.enter(address(1), now, 2).unwrap().id;
        assert_eq!(places.enter(address(1), now, 3).unwrap_err(), Refused::AddressLimit);
        places.count_refusal(second, now);
        assert_eq!(
            places.enter(address(1), now, 3).unwrap().evicted,
            Some(2),
            "the refused one, not the oldest"
        );
        assert_eq!(places.enter(address(1), now, 4).unwrap_err(), Refused::AddressLimit);
        places.count_refusal(first, now);
        assert!(places.prove(first, Purpose::Provisioning), "a refused connection may prove itself later");
        places.enter(address(1), now, 4).unwrap();
    }

    /// However many refusals a network earns, it gets no more answers than its limit at once and that many a minute; none
    /// waits for longer than a connection lives, and another network waits for none of them.
    #[test]
    fn refusals_beyond_the_limit_are_answered_at_its_rate() {
        const LIMIT: usize = 60;
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        let at_once = (0..200).filter(|_| refusals.answer_at(address(1), start, LIMIT) == start).count();
        assert_eq!(at_once, LIMIT);
        assert_eq!(refusals.answer_at(address(1), start, LIMIT), start + MAX_REFUSAL_PAUSE);
        assert_eq!(refusals.answer_at(address(2), start, LIMIT), start);
        let later = start + REFUSAL_WINDOW;
        let pauses: Vec<_> = (0..60)
            .map(|_| refusals.answer_at(address(1), later, LIMIT) - later)
            .filter(|it| !it.is_zero())
            .collect();
        assert_eq!(pauses.len(), 30, "half of the minute's are used up: {pauses:?}");
        assert!(pauses.windows(2).all(|two| two[1] - two[0] == Duration::from_secs(1)), "{pauses:?}");
    }
}
