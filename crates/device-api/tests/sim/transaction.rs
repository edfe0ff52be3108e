//! A commit as the database carries it out: at one moment, with what happens just before it.

use model::{EnrollmentRef, IdScope, Registration, RegistrationId, Status};
use provisioning::ports::{Change, Commit, Outcome, Store, StoreError};

use crate::{
    finish::finish,
    hostility, operator,
    process::Process,
    watch::watch,
    weather::Flaw,
    world::{GROUPS, World},
};

/// A commit that may be sent several times.
pub struct Transaction {
    /// No other commit of the world has it.
    pub number: u64,
    scope: IdScope,
    pub commit: Commit,
}

impl Transaction {
    /// Creates the transaction of a commit, as a service with the world's flaw sends it.
    pub fn new(world: &World, scope: IdScope, mut commit: Commit) -> Transaction {
        match world.flaw {
            Flaw::ForgetsGuards => commit.guards.clear(),
            Flaw::MovesInSilence => hide_moves(&mut commit),
            _ => {}
        }
        Transaction { number: world.notes().new_transaction(), scope, commit }
    }

    /// Carries it out at this moment for a process.
    pub fn apply(&self, process: &Process, store: &dyn Store) -> Result<Vec<Outcome>, StoreError> {
        let world = &process.world;
        forestall(world, &self.commit);
        world.lease_clock.set(world.now());
        let removed = self.removed(world);
        let made = finish(store.commit(&self.scope, self.fenced(world)));
        match &made {
            Ok(outcomes) => watch(world, self, outcomes, &removed),
            Err(StoreError::Fenced) => world.count(|figures| figures.fenced += 1),
            Err(_) => {}
        }
        made
    }

    /// Checks that what the service learns of the commit is what became of it.
    pub fn check_answer(&self, world: &World, answer: &Result<Vec<Outcome>, StoreError>) {
        let effective = world.notes().effective.get(&self.number).cloned();
        if let (Ok(reported), Some(effective)) = (answer, effective)
            && *reported != effective
        {
            let number = self.number;
            world.violated(format_args!("commit {number} had {effective:?}, and {reported:?} was reported"));
        }
    }

    /// Returns the commit as a store would make it that knows no fences, if that is the flaw.
    fn fenced(&self, world: &World) -> Commit {
        let is_flawed = world.flaw == Flaw::ForgetsFences;
        Commit { fence: self.commit.fence.filter(|_| !is_flawed), ..self.commit.clone() }
    }

    /// Returns the registrations that the commit is to remove, as they are just before it: a run may have ended.
    fn removed(&self, world: &World) -> Vec<Registration> {
        let removed = self.commit.changes.iter().filter_map(|(_, change)| match change {
            Change::DeleteRegistration(id) => Some(id),
            _ => None,
        });
        removed.filter_map(|id| finish(world.disk().registration(&self.scope, id)).unwrap()).collect()
    }
}

fn hide_moves(commit: &mut Commit) {
    for (_, change) in &mut commit.changes {
        if let Change::PutRegistration(registration) = change
            && let Some(decision) = registration.decisions.latest_mut()
        {
            decision.moved_from = None;
        }
    }
}

/// Now and then an operator is a moment faster than the end of a run, and has been answered: the group that let the device in
/// is deleted or disabled.
fn forestall(world: &World, commit: &Commit) {
    let arriving = commit.changes.iter().find_map(|(_, change)| match change {
        Change::PutRegistration(registration) => Some(registration),
        _ => None,
    });
    let Some(Registration { status: Status::Assigned(_), enrollment, registration_id, .. }) =
        arriving.map(|registration| &**registration)
    else {
        return;
    };
    let EnrollmentRef::Group(group) = enrollment else {
        return forestall_individual(world, registration_id);
    };
    // No operator touches the group that an intruder must not take devices from.
    let is_touched = GROUPS.iter().any(|(name, _)| *name == group.as_str());
    if is_touched && world.weather.strikes(10, &world.dice) && world.refuses(group).is_none() {
        world.count(|figures| figures.interventions += 1);
        match world.dice.roll(2) {
            0 => operator::delete_group(world, group.as_str()),
            _ => operator::switch(world, group.as_str()),
        }
    }
}

fn forestall_individual(world: &World, id: &RegistrationId) {
    let is_touched = world.notes().individuals.contains_key(id);
    if is_touched && world.weather.strikes(100, &world.dice) {
        world.count(|figures| figures.interventions += 1);
        hostility::delete_individual(world, id);
    }
}
