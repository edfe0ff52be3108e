//! The registration flow in a simulated world: the real endpoint, runner, reconciler and verbs over the real store, and around
//! them hubs, webhooks, devices and operators that a seed makes slow, forgetful, repetitive and contradictory, in a
//! process that crashes. Time is virtual, and everything that is random is drawn from the seed: a seed replays exactly.
//!
//! `MUSTER_SIM_SEEDS` says how many seeds are run, from `MUSTER_SIM_FIRST` on; `MUSTER_SIM_SEED` runs one and prints all
//! that happened. What must hold is in [`verdict`], and what a device checks at each reply in [`device`].

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod database;
mod deployment;
mod device;
mod dice;
mod figures;
mod finish;
mod hostility;
mod hubs;
mod intruder;
mod lane;
mod node;
mod nodes;
mod operator;
mod outages;
mod process;
mod restore;
mod rivals;
mod run;
mod store;
mod transaction;
mod verdict;
mod watch;
mod weather;
mod webhook;
mod world;

use figures::Figures;
use run::{Outcome, run};
use weather::Flaw;

/// Seeds of an ordinary test run.
const SEEDS: u64 = 2000;

/// Seeds in which a broken variant must be found out.
const SEEDS_FOR_FLAWS: u64 = 400;

#[test]
fn every_seed_ends_well() {
    if let Some(seed) = from_environment("MUSTER_SIM_SEED") {
        let outcome = run(seed, Flaw::None);
        outcome.events.iter().for_each(|event| println!("{event}"));
        return outcome.demand_well();
    }
    let first = from_environment("MUSTER_SIM_FIRST").unwrap_or_default();
    let seeds = from_environment("MUSTER_SIM_SEEDS").unwrap_or(SEEDS);
    let (mut figures, mut ended) = (Figures::default(), 0);
    for outcome in all(first..first + seeds, Flaw::None) {
        outcome.demand_well();
        figures.add(&outcome.figures);
        ended += 1;
    }
    assert_eq!(ended, seeds, "a seed that panics does not end");
    println!("simulated {seeds} seeds: {figures}; violations: 0");
    figures.demand_that_something_happened();
}

/// A registration was deleted in the five milliseconds in which its run ended: what an operator leaves behind is what
/// stands at the commit.
#[test]
fn a_run_that_ends_while_its_registration_is_deleted_is_no_false_alarm() {
    run(200_930, Flaw::None).demand_well();
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..5 {
        let [once, again] = [run(seed, Flaw::None), run(seed, Flaw::None)];
        assert!(once.events.len() > 100, "much happens");
        assert_eq!(once.events, again.events, "seed {seed}");
    }
}

#[test]
fn removing_whatever_is_there_is_found_out() {
    found_out(Flaw::RemovesAnyVersion, "");
}

#[test]
fn creating_what_is_there_already_is_found_out() {
    found_out(Flaw::CreatesOnce, "failed for no good reason");
}

#[test]
fn a_group_that_takes_over_what_another_holds_is_found_out() {
    found_out(Flaw::LetsGroupsTakeOver, "the intruder was let in");
}

#[test]
fn removing_another_device_of_the_same_name_is_found_out() {
    found_out(Flaw::RemovesAnyGeneration, "was owed");
}

#[test]
fn a_disabled_device_that_is_enabled_by_its_move_is_found_out() {
    found_out(Flaw::EnablesOnMove, "has it enabled");
}

#[test]
fn a_run_that_ends_through_what_was_deleted_is_found_out() {
    found_out(Flaw::ForgetsGuards, "has arrived, and its");
}

#[test]
fn a_write_of_a_process_that_lost_its_lease_is_found_out() {
    found_out(Flaw::ForgetsFences, "which was lost");
}

#[test]
fn a_transaction_that_is_sent_again_without_settling_is_found_out() {
    found_out(Flaw::RetriesUnsettled, "took effect twice");
}

#[test]
fn a_node_that_does_not_follow_changes_is_found_out() {
    found_out(Flaw::ServesStaleSnapshots, "was let in after its group");
}

#[test]
fn a_group_that_decides_about_an_individual_enrollment_is_found_out() {
    found_out(Flaw::OverlooksIndividuals, "let in");
}

#[test]
fn a_move_between_groups_that_is_not_on_record_is_found_out() {
    found_out(Flaw::MovesInSilence, "moved in silence");
}

#[test]
fn the_device_of_another_registration_that_is_overwritten_is_found_out() {
    found_out(Flaw::FoldsDeviceIds, "took the device");
}

/// A service or a hub connector with this flaw breaks what must hold, and some seed shows it by a violation that says so.
fn found_out(flaw: Flaw, part: &str) {
    let mut tried = 0;
    for outcome in all(0..SEEDS_FOR_FLAWS, flaw) {
        tried += 1;
        if let Some(violation) = outcome.violations.iter().find(|violation| violation.contains(part)) {
            println!(
                "{flaw:?} was found out by seed {}, the {tried}. that was tried: {violation}",
                outcome.seed
            );
            return;
        }
    }
    panic!("{flaw:?} was not found out by {SEEDS_FOR_FLAWS} seeds");
}

/// The outcomes of all these seeds, as they come; each processor takes its share.
fn all(seeds: std::ops::Range<u64>, flaw: Flaw) -> impl Iterator<Item = Outcome> {
    let (send, outcomes) = std::sync::mpsc::sync_channel(8);
    let threads = std::thread::available_parallelism().map_or(2, usize::from) as u64;
    for thread in 0..threads {
        let (send, mut seeds) = (send.clone(), seeds.clone());
        std::thread::spawn(move || {
            let share = seeds.by_ref().filter(|seed| seed % threads == thread);
            // Whoever listens may have heard enough.
            for seed in share {
                if send.send(run(seed, flaw)).is_err() {
                    return;
                }
            }
        });
    }
    outcomes.into_iter()
}

#[expect(clippy::disallowed_methods, reason = "for whoever replays a seed")]
fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}
