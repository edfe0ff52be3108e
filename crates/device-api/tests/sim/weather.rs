//! What goes wrong, and how often.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use model::HubName;
use tokio::time::Instant;

use crate::dice::Dice;

/// A mistake that is built into the way to hubs, to see that it is found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// None.
    None,
    /// A removal takes whatever is there, not only the version that was looked at.
    RemovesAnyVersion,
    /// A device that is there already is an error, as if each call came but once.
    CreatesOnce,
    /// Registrations are movable where the first comer should keep them.
    LetsGroupsTakeOver,
    /// A removal takes any device with the credentials of the one that is owed, whichever the hub has by now.
    RemovesAnyGeneration,
    /// A move does not see that its device is disabled.
    EnablesOnMove,
    /// The commit that ends a run does not look at what let its device in.
    ForgetsGuards,
    /// Individual enrollments are not looked for where a group lets the device in.
    OverlooksIndividuals,
    /// A device moves to another group, and its record does not say so.
    MovesInSilence,
    /// The store makes commits under leases that were lost.
    ForgetsFences,
    /// A node sends a transaction again before it has settled whether it took effect.
    RetriesUnsettled,
    /// A node serves a snapshot of the configuration for a while without looking for changes.
    ServesStaleSnapshots,
    /// Two devices whose IDs differ in case are one.
    FoldsDeviceIds,
}

/// What becomes of one call of a hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is done, and answered.
    Fine,
    /// It is done twice, and answered once.
    Twice,
    /// It does not arrive.
    LostBefore,
    /// It is done, and the answer does not arrive.
    LostAfter,
    /// A removal is done when the caller has given up waiting and may have done something else. Not so an order: hubs have
    /// no means to tell a late one from a new one, so they must do it while the connection stands or not at all.
    Late,
    /// The hub says no.
    Refused,
    /// The hub has no room, if it is told of a device that it does not have.
    Full,
}

/// What becomes of one transaction of a node of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionFate {
    /// It is carried out and answered.
    Fine,
    /// The database takes no writes.
    Refused,
    /// The database rolls it back because of another transaction (SQLSTATE 40001).
    Aborted,
    /// The connection is lost before the transaction arrives.
    LostBefore,
    /// The connection is lost after the transaction took effect.
    LostAfter,
    /// The connection is lost, and the transaction takes effect some time later, unless the lane has moved on.
    Late,
}

/// The state of the world's networks.
#[derive(Default)]
pub struct Weather {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    calm: bool,
    /// Hubs that are down, and until when.
    down: BTreeMap<HubName, Instant>,
    /// Processes that cannot reach the database, and until when.
    cut_off: BTreeMap<u64, Instant>,
    /// Until when the database takes no writes.
    read_only: Option<Instant>,
}

impl Weather {
    /// From now on nothing goes wrong any more.
    pub fn calm_down(&self) {
        *self.lock() = State { calm: true, ..State::default() };
    }

    /// Takes a hub down for a while.
    pub fn take_down(&self, hub: &HubName, time: Duration) {
        self.lock().down.insert(hub.clone(), Instant::now() + time);
    }

    /// What becomes of a call of this hub, which asks for a removal or not.
    pub fn fate(&self, hub: &HubName, is_removal: bool, dice: &Dice) -> Fate {
        let state = self.lock();
        let is_down = state.down.get(hub).is_some_and(|until| *until > Instant::now());
        match (state.calm, dice.roll(100)) {
            (true, _) => Fate::Fine,
            _ if is_down => Fate::LostBefore,
            (_, 0..=3) => Fate::LostBefore,
            (_, 4..=9) => Fate::LostAfter,
            (_, 10..=15) => Fate::Twice,
            (_, 16) => Fate::Refused,
            (_, 17..=25) if is_removal => Fate::Late,
            (_, 17..=20) => Fate::Full,
            _ => Fate::Fine,
        }
    }

    /// Cuts a process off from the database for a while.
    pub fn cut_off(&self, process: u64, time: Duration) {
        self.lock().cut_off.insert(process, Instant::now() + time);
    }

    /// Whether a process cannot reach the database now.
    pub fn is_cut_off(&self, process: u64) -> bool {
        self.lock().cut_off.get(&process).is_some_and(|until| *until > Instant::now())
    }

    /// Lets the database take no writes for a while.
    pub fn refuse_writes(&self, time: Duration) {
        self.lock().read_only = Some(Instant::now() + time);
    }

    /// What becomes of a transaction of this process.
    pub fn transaction_fate(&self, process: u64, dice: &Dice) -> TransactionFate {
        if self.is_cut_off(process) {
            return TransactionFate::LostBefore;
        }
        let state = self.lock();
        let is_read_only = state.read_only.is_some_and(|until| until > Instant::now());
        match (state.calm, dice.roll(100)) {
            (true, _) => TransactionFate::Fine,
            _ if is_read_only => TransactionFate::Refused,
            (_, 0..=1) => TransactionFate::LostBefore,
            (_, 2..=3) => TransactionFate::LostAfter,
            (_, 4..=6) => TransactionFate::Late,
            (_, 7..=8) => TransactionFate::Aborted,
            _ => TransactionFate::Fine,
        }
    }

    /// Whether something else goes wrong now, that goes wrong so often in a thousand times.
    pub fn strikes(&self, in_thousand: u64, dice: &Dice) -> bool {
        !self.lock().calm && dice.in_thousand(in_thousand)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
