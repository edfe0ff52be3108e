//! A move during which the service crashes, at each step in turn. In the end the device is at its new hub with its data, once, and
//! at no other.

use provisioning::{ports::HubError, register::RegisterOutcome};
use testkit::{hub::Failure, sample};

use super::{Policy, about_to_move, reported};
use crate::register::{
    random::cut_off,
    world::{Device, HUBS, SCOPE, World, assigned},
};

/// The step at which the service crashes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ends {
    /// The decision is on disk, and no reply was sent.
    Decided,
    /// Before the old hub was asked for the device's data.
    BeforeFetching,
    /// Before the new hub was called, with the data read.
    BeforePlacing,
    /// The new hub has the device, which is not recorded.
    Placed,
    /// The assignment is on disk, and no reply was sent.
    Recorded,
    /// Before the cleanup read the device at the old hub.
    BeforeLooking,
    /// The cleanup has read the device, and not removed it yet.
    BeforeRemoving,
    /// The device was removed, which is not recorded.
    Removed,
    /// That is on disk as well.
    Forgotten,
}

const ALL: [Ends; 9] = [
    Ends::Decided,
    Ends::BeforeFetching,
    Ends::BeforePlacing,
    Ends::Placed,
    Ends::Recorded,
    Ends::BeforeLooking,
    Ends::BeforeRemoving,
    Ends::Removed,
    Ends::Forgotten,
];

#[tokio::test]
async fn a_crash_at_every_step_of_a_move() {
    for policy in [Policy::Migrate, Policy::Reset] {
        for ends in ALL {
            crash(policy, ends).await;
        }
    }
}

async fn crash(policy: Policy, ends: Ends) {
    let when = format!("{policy:?}, {ends:?}");
    let (world, device) = about_to_move(policy).await;

    go(&world, &device, ends).await;
    for name in HUBS {
        world.hub(name).clear_failures();
    }
    let world = world.restarted().await;
    for run in world.unfinished(10).await {
        world.finish(&run).await;
    }
    world.clean_up().await;

    let record = world.record("dev-1").await.unwrap();
    assert_eq!(assigned(&record).hub.as_str(), HUBS[1], "{when}");
    assert_eq!(world.hubs_of("dev-1"), [sample::hub_name(HUBS[1])], "{when}");
    let expected = if policy == Policy::Migrate { reported() } else { Default::default() };
    assert_eq!(world.at(HUBS[1], "dev-1").reported, expected, "{when}");
    assert_eq!(world.cleanups().await, [], "{when}");
    assert_eq!(world.counted(SCOPE).await, (1, 1), "{when}");
}

/// As far as the service comes.
async fn go(world: &World, device: &Device, ends: Ends) {
    let (old, new) = (world.hub(HUBS[0]), world.hub(HUBS[1]));
    let gone = || HubError::Unavailable("the service ended".into());
    if ends == Ends::Decided {
        return drop(cut_off(world.begin(device)).await);
    }
    let RegisterOutcome::Running(run) = world.begin(device).await else { panic!("nothing to do") };
    match ends {
        Ends::BeforeFetching => old.fail_next(Failure::Before(gone())),
        Ends::BeforePlacing => new.fail_next(Failure::Before(gone())),
        Ends::Placed => new.fail_next(Failure::After(gone())),
        Ends::Recorded => return drop(cut_off(world.provisioning.execute(&run)).await),
        _ => {}
    }
    world.provisioning.execute(&run).await;
    for cleanup in world.cleanups().await {
        match ends {
            Ends::BeforeLooking => old.fail_next(Failure::Before(gone())),
            Ends::BeforeRemoving => {
                old.fail_next(Failure::None);
                old.fail_next(Failure::Before(gone()));
            }
            Ends::Removed => {
                old.fail_next(Failure::None);
                old.fail_next(Failure::After(gone()));
            }
            _ => {}
        }
        let scope = sample::scope(SCOPE);
        let cleaning = world.provisioning.clean_up(&scope, &cleanup, None);
        if ends == Ends::Forgotten {
            return drop(cut_off(cleaning).await);
        }
        cleaning.await.unwrap();
    }
}
