//! What must hold of each commit at the moment at which it takes effect.

use model::{EnrollmentRef, OperationKind, Registration, RegistrationId, Status, StatusKind};
use provisioning::ports::{Change, Commit, Outcome};

use crate::{hostility, intruder, node, rivals, transaction::Transaction, world::World};

/// Looks at a commit that took effect, and at the registrations that it removed.
pub fn watch(world: &World, transaction: &Transaction, outcomes: &[Outcome], removed: &[Registration]) {
    let commit = &transaction.commit;
    watch_fence(world, commit);
    let (guards, changes) = outcomes.split_at(commit.guards.len());
    if guards.iter().any(|outcome| *outcome != Outcome::Applied) {
        return world.note("a commit is held back");
    }
    let made = commit.changes.iter().zip(changes).filter(|(_, outcome)| **outcome == Outcome::Applied);
    let made: Vec<_> = made.map(|((_, change), _)| change).collect();
    if !made.is_empty() || commit.changes.is_empty() {
        watch_repetition(world, transaction, outcomes);
        watch_operation(world, commit, &made);
    }
    for change in made {
        match change {
            Change::PutRegistration(registration) => watch_registration(world, registration),
            Change::DeleteRegistration(id) => watch_removal(world, id, removed),
            _ => {}
        }
    }
}

/// Nothing is written under a lease that another process has taken over.
fn watch_fence(world: &World, commit: &Commit) {
    if let Some(token) = commit.fence.filter(|token| world.notes().lost_leases.contains(token)) {
        world.violated(format_args!("a commit was made under lease {token}, which was lost"));
    }
}

/// A commit takes effect once, however often it is sent.
fn watch_repetition(world: &World, transaction: &Transaction, outcomes: &[Outcome]) {
    let before = world.notes().effective.insert(transaction.number, outcomes.to_vec());
    if before.is_some() {
        world.violated(format_args!("commit {} took effect twice", transaction.number));
    }
}

/// Counts the operation of a commit. The end of an assignment run is counted once, whichever process executes it.
fn watch_operation(world: &World, commit: &Commit, made: &[&Change]) {
    let Some((kind, _)) = commit.operation else { return };
    world.note(format_args!("counted: {kind:?}"));
    if !matches!(kind, OperationKind::Registration | OperationKind::Reregistration) {
        return;
    }
    world.count(|figures| figures.counted += 1);
    world.notes().last_counted = world.elapsed();
    for change in made {
        let Change::PutRegistration(registration) = change else { continue };
        watch_end(world, registration);
    }
}

/// A run ends once, whichever nodes execute it. A restored store does not know of ends since its backup.
fn watch_end(world: &World, registration: &Registration) {
    let id = &registration.registration_id;
    let before = world.notes().written.get(id).cloned();
    let Some(run) = before.filter(|before| before.status.kind() == StatusKind::Assigning) else { return };
    let is_first = world.notes().ended_runs.insert((id.clone(), run.record.etag.as_str().to_owned()));
    if !is_first && world.notes().restores == 0 {
        world.violated(format_args!("a run of {id} took effect twice"));
    }
}

fn watch_removal(world: &World, id: &RegistrationId, removed: &[Registration]) {
    let stood = removed.iter().filter(|registration| registration.registration_id == *id);
    stood.for_each(|removed| world.forget_registration(removed));
}

/// A device arrives by an enrollment that lets it in, dates do not go back, and moves are written down.
fn watch_registration(world: &World, registration: &Registration) {
    let id = &registration.registration_id;
    world.note(format_args!("written: {id} {}", describe(&registration.status)));
    intruder::watch(world, registration);
    if let Status::Assigned(at) = &registration.status {
        // From now on it is this registration's, and cleaned up when that leaves.
        world.notes().left_behind.remove(&(at.device_id.clone(), at.hub.clone()));
        hostility::watch_arrival(world, at);
        watch_enrollment(world, registration);
    }
    let before = world.notes().written.insert(id.clone(), registration.clone());
    let Some(before) = before else { return };
    rivals::watch_move(world, &before, registration);
    if before.status.kind() == StatusKind::Assigning && registration.status.kind() == StatusKind::Disabled {
        world.notes().in_doubt.insert(id.clone());
    }
    watch_dates(world, &before, registration);
    let (from, to) = (before.assignment(), registration.assignment());
    let has_moved = from.zip(to).is_some_and(|(from, to)| from.hub != to.hub);
    world.count(|figures| figures.moves += u64::from(has_moved));
}

fn watch_enrollment(world: &World, registration: &Registration) {
    let id = &registration.registration_id;
    let (name, refusal) = match &registration.enrollment {
        EnrollmentRef::Group(group) => (format!("group {group}"), world.refuses(group)),
        EnrollmentRef::Individual => ("enrollment".to_owned(), world.refuses_individual(id)),
    };
    if let Some(refusal) = refusal {
        world.violated(format_args!("{id} has arrived, and its {name} was {refusal} before"));
    }
}

/// Dates are those of the node that writes them, and the clocks of two nodes may differ.
fn watch_dates(world: &World, before: &Registration, now: &Registration) {
    let (was, is) = (&before.record, &now.record);
    let skew = node::max_difference(world.deployment);
    if is.created != was.created || is.last_updated.plus(skew) < was.last_updated {
        let id = &now.registration_id;
        world.violated(format_args!("the dates of {id} went back: {was:?}, then {is:?}"));
    }
}

/// Describes a status in a few words.
fn describe(status: &Status) -> String {
    match status {
        Status::Assigning { step, from, tries, .. } => {
            let to = step.spec().map_or("a hub to be asked for".into(), |spec| spec.hub.to_string());
            let from = from.as_ref().map(|from| from.hub.as_str());
            format!("assigning to {to} from {from:?}, tried {} times", tries.count())
        }
        Status::Assigned(at) => format!("assigned to {} ({:?})", at.hub, at.substatus),
        Status::Failed { failure, .. } => format!("failed: {}", failure.message),
        Status::Disabled { .. } => "disabled".to_owned(),
    }
}
