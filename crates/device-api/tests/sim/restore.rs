//! Restores of an older state of the store: the service goes on with a backup, and with all that it does not know of the
//! time since.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

use durable::{Continuity, Epoch};
use model::{CleanupHold, EnrollmentGroup, HoldReason, Instance, Registration, RegistrationId};
use tokio::time::sleep;

use crate::{
    hostility::Individual,
    nodes::Nodes,
    run::UNREST,
    world::{GROUPS, World},
};

/// The files of a store at one moment, and what this world knew of them.
pub struct Backup {
    folder: PathBuf,
    written: BTreeMap<RegistrationId, Registration>,
    deleted: BTreeMap<String, EnrollmentGroup>,
    individuals: BTreeMap<RegistrationId, Individual>,
    counted: u64,
}

/// Whether the store of this seed is ever restored.
pub fn happens_in(seed: u64) -> bool {
    seed % 4 == 2
}

/// Makes a backup, goes on for a while and restores it, again and again.
pub async fn life(service: Arc<Nodes>) {
    let world = &service.world;
    loop {
        sleep(world.dice.millis(5_000..=60_000)).await;
        let backup = back_up(world);
        sleep(world.dice.millis(1_000..=100_000)).await;
        if world.elapsed() > UNREST {
            return;
        }
        service.restore(&backup).await;
    }
}

fn back_up(world: &World) -> Backup {
    world.note("a backup is made");
    let folder = world.new_folder();
    for entry in fs::read_dir(world.folder()).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_name().unwrap().to_owned();
        // The shared memory beside the file is made anew, and the lock is the process's.
        if name.to_string_lossy().ends_with(".db") || name.to_string_lossy().ends_with("-wal") {
            fs::copy(&file, folder.join(name)).unwrap();
        }
    }
    let notes = world.notes();
    let backup = Backup {
        folder,
        written: notes.written.clone(),
        deleted: notes.deleted.clone(),
        individuals: notes.individuals.clone(),
        counted: notes.figures.counted,
    };
    drop(notes);
    // One that is restored before the epoch advances is not noticed.
    if world.dice.roll(4) != 0 {
        let next = world.mark().next();
        world.put_mark(next);
    }
    backup
}

/// Puts the backup in the place of the store. Nothing of the service runs meanwhile.
pub fn put_back(world: &World, backup: &Backup) {
    let folder = world.new_folder();
    for entry in fs::read_dir(&backup.folder).unwrap() {
        let file = entry.unwrap().path();
        fs::copy(&file, folder.join(file.file_name().unwrap())).unwrap();
    }
    world.open(folder);
    let mut notes = world.notes();
    notes.restores += 1;
    notes.written.clone_from(&backup.written);
    notes.deleted.clone_from(&backup.deleted);
    notes.individuals.clone_from(&backup.individuals);
    notes.figures.counted = backup.counted;
    // The records do not know where these were put since.
    notes.disabled.clear();
    notes.left_behind.extend(world.hubs.everything());
    notes.refusing.clear();
    drop(notes);
    GROUPS.iter().for_each(|(group, _)| world.note_refusal(group));
    hold_cleanups(world);
}

/// As the service does at its start.
fn hold_cleanups(world: &World) {
    let epoch = world.stored_mark();
    let continuity = Epoch::compare(epoch.as_ref(), Some(&world.mark()));
    world.note(format_args!("an older state is restored: {continuity:?}"));
    if continuity == Continuity::Restored {
        let hold = CleanupHold { reason: HoldReason::Restored, since: world.now() };
        let instance = Instance::clone(&world.instance());
        world.put_instance(Instance { cleanups_held: Some(hold), ..instance });
        world.put_mark(Epoch::first().unwrap());
    }
}
