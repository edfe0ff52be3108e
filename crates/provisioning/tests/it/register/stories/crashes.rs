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
enum CrashPoint {
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
    /// The removal is on disk.
    Forgotten,
}

const ALL: [CrashPoint; 9] = [
    CrashPoint::Decided,
    CrashPoint::BeforeFetching,
    CrashPoint::BeforePlacing,
    CrashPoint::Placed,
    CrashPoint::Recorded,
    CrashPoint::BeforeLooking,
    CrashPoint::BeforeRemoving,
    CrashPoint::Removed,
    CrashPoint::Forgotten,
];

#[tokio::test]
async fn a_crash_at_every_step_of_a_move() {
    for policy in [Policy::Migrate, Policy::Reset] {
        for at in ALL {
            crash(policy, at).await;
        }
    }
}

async fn crash(policy: Policy, at: CrashPoint) {
    let when = format!("{policy:?}, {at:?}");
    let (world, device) = about_to_move(policy).await;

    move_until(&world, &device, at).await;
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

/// Moves the device up to this step.
async fn move_until(world: &World, device: &Device, at: CrashPoint) {
    let (old, new) = (world.hub(HUBS[0]), world.hub(HUBS[1]));
    let gone = || HubError::Unavailable("the service ended".into());
    if at == CrashPoint::Decided {
        return drop(world.begin(device).await);
    }
    let RegisterOutcome::Running(run) = world.begin(device).await else { panic!("nothing to do") };
    match at {
        CrashPoint::BeforeFetching => old.fail_next(Failure::Before(gone())),
        CrashPoint::BeforePlacing => new.fail_next(Failure::Before(gone())),
        CrashPoint::Placed => new.fail_next(Failure::After(gone())),
        CrashPoint::Recorded => return drop(cut_off(world.provisioning.execute(&run)).await),
        _ => {}
    }
    world.provisioning.execute(&run).await;
    for cleanup in world.cleanups().await {
        match at {
            CrashPoint::BeforeLooking => old.fail_next(Failure::Before(gone())),
            CrashPoint::BeforeRemoving => {
                old.fail_next(Failure::None);
                old.fail_next(Failure::Before(gone()));
            }
            CrashPoint::Removed => {
                old.fail_next(Failure::None);
                old.fail_next(Failure::After(gone()));
            }
            _ => {}
        }
        let scope = sample::scope(SCOPE);
        let cleaning = world.provisioning.clean_up(&scope, &cleanup, None);
        if at == CrashPoint::Forgotten {
            return drop(cut_off(cleaning).await);
        }
        cleaning.await.unwrap();
    }
}
