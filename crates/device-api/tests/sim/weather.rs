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
}

impl Weather {
    /// From now on nothing goes wrong any more.
    pub fn calm_down(&self) {
        *self.lock() = State { calm: true, down: BTreeMap::new() };
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

    /// Whether something else goes wrong now, that goes wrong so often in a thousand times.
    pub fn strikes(&self, in_thousand: u64, dice: &Dice) -> bool {
        !self.lock().calm && dice.in_thousand(in_thousand)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
