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

use crate::refused::Refused;
use crate::share::network;

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
pub(crate) struct Places<T> {
    capacity: Capacity,
    connections: HashMap<u64, Connection<T>>,
    /// The unproven connections by network, the oldest first: IDs grow.
    networks: HashMap<IpAddr, BTreeSet<u64>>,
    /// The networks by the number of their unproven connections; among equals the one with the oldest comes last.
    by_weight: BTreeSet<(usize, Reverse<u64>, IpAddr)>,
    proven: [usize; Purpose::ALL.len()],
    refusals: Refusals,
    next_id: u64,
}

#[derive(Debug)]
enum Connection<T> {
    Unproven { network: IpAddr, since: Instant, evict: T },
    Proven(Purpose),
}

/// A connection that has a place now.
#[derive(Debug)]
pub(crate) struct Entered<T> {
    pub(crate) id: u64,
    /// The connection that gave its place up.
    pub(crate) evicted: Option<T>,
}

impl<T> Places<T> {
    pub(crate) fn new(capacity: Capacity) -> Places<T> {
        Places {
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
        self.check_network(network, now)?;
        let evicted = if self.connections.len() < self.capacity.total {
            None
        } else {
            Some(self.evict_for(network, now).ok_or(Refused::NoPlace)?)
        };
        let id = self.next_id;
        self.next_id += 1;
        self.connections.insert(id, Connection::Unproven { network, since: now, evict });
        self.change(network, |ids| ids.insert(id));
        Ok(Entered { id, evicted })
    }

    /// Counts an unproven connection for the network that it really comes from, behind a proxy.
    pub(crate) fn relocate(&mut self, id: u64, to: IpAddr, now: Instant) -> Result<(), Refused> {
        let to = network(to);
        self.check_network(to, now)?;
        if let Some(Connection::Unproven { network, .. }) = self.connections.get_mut(&id) {
            let from = std::mem::replace(network, to);
            self.change(from, |ids| ids.remove(&id));
            self.change(to, |ids| ids.insert(id));
        }
        Ok(())
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
        let Some(Connection::Unproven { network, .. }) = self.connections.get(&id) else { return false };
        let network = *network;
        self.connections.insert(id, Connection::Proven(service));
        self.change(network, |ids| ids.remove(&id));
        self.proven = proven;
        true
    }

    /// Counts a refusal against the connection's network. Proven connections are not counted: they answer for themselves.
    pub(crate) fn count_refusal(&mut self, id: u64, now: Instant) {
        if let Some(Connection::Unproven { network, .. }) = self.connections.get(&id) {
            self.refusals.count(*network, now);
        }
    }

    /// Gives a place back. A connection that was evicted has none.
    pub(crate) fn leave(&mut self, id: u64) {
        match self.connections.remove(&id) {
            Some(Connection::Unproven { network, .. }) => self.change(network, |ids| ids.remove(&id)),
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

    fn check_network(&self, network: IpAddr, now: Instant) -> Result<(), Refused> {
        let unproven = self.networks.get(&network).map_or(0, BTreeSet::len);
        let counted = unproven + self.refusals.recent(network, now);
        if counted < self.capacity.per_network { Ok(()) } else { Err(Refused::AddressLimit) }
    }

    /// Evicts the oldest connection of the network that has most unproven ones. Young connections of networks that have no
    /// more than the newcomer's stay: if each newcomer could displace them, a fleet that comes back all at once would
    /// never complete a handshake.
    fn evict_for(&mut self, newcomer: IpAddr, now: Instant) -> Option<T> {
        let own = self.networks.get(&newcomer).map_or(0, BTreeSet::len);
        let &(count, Reverse(oldest), _) = self.by_weight.last()?;
        let Connection::Unproven { since, .. } = self.connections.get(&oldest)? else { return None };
        if count <= own + 1 && now.duration_since(*since) < MIN_AGE {
            return None;
        }
        let Some(Connection::Unproven { network, evict, .. }) = self.connections.remove(&oldest) else {
            return None;
        };
        self.change(network, |ids| ids.remove(&oldest));
        Some(evict)
    }

    /// Changes a network's unproven connections, and its weight with them.
    fn change(&mut self, network: IpAddr, change: impl FnOnce(&mut BTreeSet<u64>) -> bool) {
        let ids = self.networks.entry(network).or_default();
        if let Some(oldest) = ids.first() {
            self.by_weight.remove(&(ids.len(), Reverse(*oldest), network));
        }
        change(ids);
        match ids.first() {
            Some(oldest) => {
                self.by_weight.insert((ids.len(), Reverse(*oldest), network));
            }
            None => {
                self.networks.remove(&network);
            }
        }
    }
}

/// Refusals of the last minute by network.
#[derive(Debug, Default)]
struct Refusals(HashMap<IpAddr, (Instant, usize)>);

impl Refusals {
    fn count(&mut self, network: IpAddr, now: Instant) {
        if self.0.len() >= MAX_REMEMBERED_NETWORKS && !self.0.contains_key(&network) {
            self.0.retain(|_, (since, _)| now.duration_since(*since) < REFUSAL_WINDOW);
            if self.0.len() >= MAX_REMEMBERED_NETWORKS {
                return; // an attack from this many networks is not one that a limit for each network ends
            }
        }
        let (since, count) = self.0.entry(network).or_insert((now, 0));
        if now.duration_since(*since) >= REFUSAL_WINDOW {
            (*since, *count) = (now, 0);
        }
        *count += 1;
    }

    fn recent(&self, network: IpAddr, now: Instant) -> usize {
        let recent = self.0.get(&network).filter(|(since, _)| now.duration_since(*since) < REFUSAL_WINDOW);
        recent.map_or(0, |(_, count)| *count)
    }
}

/// How long a connection is safe from newcomers of networks that have as many: a handshake and a request over a slow radio
/// link.
const MIN_AGE: Duration = Duration::from_secs(5);

/// How long a refusal counts.
const REFUSAL_WINDOW: Duration = Duration::from_secs(60);

/// Networks whose refusals are counted: 4 MiB at most.
const MAX_REMEMBERED_NETWORKS: usize = 65_536;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

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
        places: &mut Places<u64>,
        model: &mut Model,
        from: IpAddr,
        now: Instant,
    ) -> Result<(), TestCaseError> {
        let before = counts(model);
        let id = places.next_id;
        match places.enter(from, now, id) {
            Ok(Entered { evicted: Some(evicted), .. }) => {
                let at = model.iter().position(|(id, ..)| *id == evicted).unwrap();
                let (_, network, service) = model.remove(at);
                prop_assert_eq!(service, None, "a proven connection was evicted");
                prop_assert_eq!(
                    before[&network],
                    *before.values().max().unwrap(),
                    "not of the heaviest network"
                );
            }
            Ok(Entered { evicted: None, .. }) => {}
            Err(Refused::NoPlace) => {
                prop_assert_eq!(model.len(), TOTAL);
                let heaviest = *before.values().max().expect("unproven connections have places");
                prop_assert!(heaviest <= before.get(&from).copied().unwrap_or(0) + 1, "a hoarder was spared");
                return Ok(());
            }
            Err(_) => return Ok(()),
        }
        model.push((id, from, None));
        Ok(())
    }

    proptest! {
        /// Whatever happens, no more connections have places than there are, proven ones are never evicted and leave what
        /// is reserved, and only a network with most unproven connections loses one.
        #[test]
        fn places_hold_in_any_order(steps in proptest::collection::vec(step(), 1..200), per_network in 4..TOTAL) {
            let mut places = Places::new(capacity(per_network));
            let (mut model, mut now) = (Model::new(), Instant::now());
            for step in steps {
                match step {
                    Step::Enter(from) => enter(&mut places, &mut model, address(from), now)?,
                    Step::Prove(which, service) => {
                        if let Some(it) = model.get_mut(which).filter(|it| it.2.is_none())
                            && places.prove(it.0, Purpose::ALL[service])
                        {
                            it.2 = Some(service);
                        }
                    }
                    Step::Relocate(which, to) => {
                        if let Some(it) = model.get_mut(which).filter(|it| it.2.is_none())
                            && places.relocate(it.0, address(to), now).is_ok()
                        {
                            it.1 = address(to);
                        }
                    }
                    Step::Refuse(which) => {
                        if let Some(it) = model.get(which) {
                            places.count_refusal(it.0, now);
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
            (Places::new(Capacity { per_network: TOTAL, ..capacity(TOTAL) }), Instant::now());
        for _ in 0..TOTAL {
            places.enter(address(1), now, "hoarder").unwrap();
        }
        assert_eq!(places.enter(address(2), now, "new").unwrap().evicted, Some("hoarder"), "at once");
        let mut places = Places::new(capacity(TOTAL));
        for last in 0..TOTAL {
            places.enter(address(last as u8), now, last).unwrap();
        }
        assert_eq!(places.enter(address(200), now, 200).unwrap_err(), Refused::NoPlace);
        assert_eq!(places.enter(address(200), now + MIN_AGE, 200).unwrap().evicted, Some(0), "the oldest");
    }

    #[test]
    fn proven_connections_of_one_address_are_not_limited_and_refusals_are() {
        let (mut places, now) = (Places::new(capacity(2)), Instant::now());
        for _ in 0..8 {
            let id = places.enter(address(1), now, ()).unwrap().id;
            assert!(places.prove(id, Purpose::Provisioning));
        }
        let id = places.enter(address(1), now, ()).unwrap().id;
        places.count_refusal(id, now);
        assert_eq!(places.enter(address(1), now, ()).unwrap_err(), Refused::AddressLimit);
        places.leave(id);
        places.enter(address(1), now, ()).unwrap();
        assert_eq!(
            places.enter(address(1), now, ()).unwrap_err(),
            Refused::AddressLimit,
            "1 refusal, 1 open"
        );
        places.enter(address(1), now + REFUSAL_WINDOW, ()).unwrap();
        places.enter(address(2), now, ()).unwrap();
    }
}
