//! A cleanup removes only the device that it names.

use model::{CleanupHold, DeviceId, Generation, HoldReason};
use provisioning::register::CleanupOutcome;
use testkit::{hub::Failure, sample};

use super::{Policy, STAY, about_to_move, at_home, wanting};
use crate::register::world::{Device, HUBS, SCOPE, World, assigned};

/// Returns a device that has moved from the first hub to the second.
async fn moved() -> (World, Device) {
    let (world, device) = about_to_move(Policy::Migrate).await;
    world.register(&device).await;
    (world, device)
}

fn id() -> DeviceId {
    DeviceId::parse("dev-1").unwrap()
}

/// Returns the generation of the device at the first hub.
fn first_generation(world: &World) -> Option<Generation> {
    let device = world.hub(HUBS[0]).device(&id())?;
    Generation::parse(device.generation.to_string()).ok()
}

async fn confirm(world: &World) {
    world.provisioning.confirm_cleanups(&*world.instance(SCOPE).await, &sample::operator()).await.unwrap();
}

/// The device may have changed between its move and its removal.
#[tokio::test]
async fn only_the_device_that_was_left_is_removed() {
    type Happens = fn(&World);
    let cases: [(&str, Happens, CleanupOutcome); 5] = [
        ("nothing", |_| {}, CleanupOutcome::Removed),
        ("deleted", |world| world.hub(HUBS[0]).lose(&id()), CleanupOutcome::Absent),
        // The etag that If-Match compares is the same for both.
        (
            "made anew, with the same version",
            |world| {
                let version = world.at(HUBS[0], "dev-1").version;
                world.hub(HUBS[0]).recreate(&id());
                world.hub(HUBS[0]).change(&id(), |device| device.version = version);
            },
            CleanupOutcome::Foreign,
        ),
        ("made anew", |world| world.hub(HUBS[0]).recreate(&id()), CleanupOutcome::Foreign),
        (
            "changed",
            |world| world.hub(HUBS[0]).change(&id(), |device| device.version += 1),
            CleanupOutcome::Removed,
        ),
    ];
    for (case, happens, expected) in cases {
        let (world, _) = moved().await;
        happens(&world);
        let is_left = expected == CleanupOutcome::Foreign;
        assert_eq!(world.clean_up().await, [expected], "{case}");
        assert_eq!(world.hub(HUBS[0]).device(&id()).is_some(), is_left, "{case}");
        assert_eq!(world.cleanups().await, [], "{case}");
    }
}

/// A backup was made while a cleanup was pending. The cleanup was done since, and the device moved back.
#[tokio::test]
async fn a_restored_backup_removes_no_device_that_moved_back() {
    let (world, device) = moved().await;
    let owed = world.cleanups().await;
    assert_eq!(world.clean_up().await, [CleanupOutcome::Removed]);
    world.enroll(wanting("dev-1", Policy::Migrate, &HUBS[..1])).await;
    assert_eq!(assigned(&world.register(&device).await).hub.as_str(), HUBS[0]);
    // The cleanup of the backup is back, also if the restore is not noticed, or an operator confirms it.
    for confirmed in [false, true] {
        for cleanup in &owed {
            world.owe(cleanup.clone()).await;
        }
        if confirmed {
            confirm(&world).await;
        }
        assert!(world.clean_up().await.contains(&CleanupOutcome::Foreign), "{confirmed}");
        assert!(world.hub(HUBS[0]).device(&id()).is_some(), "it lives there");
    }
}

/// Records of an earlier version name no generation, nor do some hubs; a run may have been abandoned before the hub answered.
#[tokio::test]
async fn a_cleanup_without_a_generation_waits_for_an_operator() {
    let (world, _) = moved().await;
    let [mut old] = world.cleanups().await.try_into().unwrap();
    old.residue.generation = None;
    world.owe(old).await;
    for is_new in [true, false] {
        assert_eq!(world.clean_up().await, [CleanupOutcome::Held { is_new }]);
    }
    assert!(world.hub(HUBS[0]).device(&id()).is_some());
    let [held] = &world.cleanups().await[..] else { panic!("it is still owed") };
    assert!(held.tries.last().is_some_and(|last| last.reason.contains("confirmed")), "{held:?}");
    confirm(&world).await;
    assert_eq!(
        world.provisioning.clean_up(&sample::scope(SCOPE), held, None).await.unwrap(),
        CleanupOutcome::Superseded
    );
    assert_eq!(world.clean_up().await, [CleanupOutcome::Removed], "confirmed");

    let (world, _) = moved().await;
    world.hub(HUBS[0]).keep_generations_secret(true);
    assert_eq!(
        world.clean_up().await,
        [CleanupOutcome::Held { is_new: true }],
        "the hub names none any more"
    );
    world.hub(HUBS[0]).keep_generations_secret(false);
    assert_eq!(world.clean_up().await, [CleanupOutcome::Removed]);
}

/// A confirmation is for cleanups that are pending then, and never for a device that is known to be another one.
#[tokio::test]
async fn a_confirmation_removes_no_device_that_is_known_to_be_another_one() {
    let (world, _) = moved().await;
    let hold = CleanupHold { reason: HoldReason::Restored, since: sample::record("a").created };
    world.change_instance(|instance| instance.cleanups_held = Some(hold)).await;
    let (hub, instance) = (sample::hub_name(HUBS[0]), world.instance(SCOPE).await);
    assert_eq!(world.provisioning.cleanups_due(&instance, &hub, 9).await.unwrap(), []);
    world.hub(HUBS[0]).recreate(&id());
    confirm(&world).await;
    let instance = world.instance(SCOPE).await;
    assert_eq!(instance.cleanups_held, None);
    assert_eq!(world.provisioning.cleanups_due(&instance, &hub, 9).await.unwrap().len(), 1);
    assert_eq!(world.clean_up().await, [CleanupOutcome::Foreign]);
}

/// A registration of a version without generations gets one when the device returns, or else when it moves.
#[tokio::test]
async fn an_old_registration_gets_the_generation_of_its_device() {
    let (world, device) = at_home(STAY).await;
    world.forget_generation("dev-1").await;
    let before = world.counted(SCOPE).await;
    assert_eq!(assigned(&world.register(&device).await).generation, first_generation(&world));
    let stored = world.record("dev-1").await.unwrap();
    assert_eq!(assigned(&stored).generation, first_generation(&world));
    world.register(&device).await;
    let record = world.record("dev-1").await.unwrap().record;
    assert_eq!(record, stored.record, "from then on a confirmation writes nothing");
    assert_eq!(world.counted(SCOPE).await, (before.0, before.1 + 2));

    let (world, device) = about_to_move(Policy::Migrate).await;
    world.forget_generation("dev-1").await;
    world.register(&device).await;
    let [cleanup] = &world.cleanups().await[..] else { panic!("not one") };
    assert_eq!(cleanup.residue.generation, first_generation(&world));
    assert_eq!(world.clean_up().await, [CleanupOutcome::Removed]);
}

/// A device that the hub lost, or an operator deleted, is created again when it returns, with a new generation.
#[tokio::test]
async fn a_device_that_was_lost_gets_its_new_generation() {
    let (world, device) = at_home(Policy::Migrate).await;
    let first = first_generation(&world);
    world.hub(HUBS[0]).lose(&id());
    assert_eq!(assigned(&world.register(&device).await).generation, first_generation(&world));
    assert_ne!(first_generation(&world), first);
    world.enroll(wanting("dev-1", Policy::Migrate, &HUBS[1..2])).await;
    world.register(&device).await;
    assert_eq!(world.clean_up().await, [CleanupOutcome::Removed]);
}

/// The answer that names the generation is lost, and the run is abandoned.
#[tokio::test]
async fn the_cleanup_of_a_run_without_an_answer_waits_for_an_operator() {
    let (world, device) = about_to_move(Policy::Migrate).await;
    let run = world.run(&device).await;
    let lost = provisioning::ports::HubError::Unavailable("lost".into());
    world.hub(HUBS[1]).fail_next(Failure::After(lost));
    world.provisioning.execute(&run).await;
    let instance = world.instance(SCOPE).await;
    world
        .provisioning
        .cancel_registration(&instance, &sample::operator(), &sample::registration_id("dev-1"), None)
        .await
        .unwrap();
    assert_eq!(world.clean_up().await, [CleanupOutcome::Held { is_new: true }]);
    confirm(&world).await;
    assert_eq!(world.clean_up().await, [CleanupOutcome::Removed]);
    assert_eq!(world.hubs_of("dev-1"), [sample::hub_name(HUBS[0])]);
}

impl World {
    async fn owe(&self, cleanup: model::Cleanup) {
        self.enroll_in(SCOPE, provisioning::ports::Change::PutCleanup(Box::new(cleanup))).await;
    }

    /// Removes the generation, as in records of earlier versions.
    async fn forget_generation(&self, id: &str) {
        let mut record = self.record(id).await.unwrap();
        let model::Status::Assigned(at) = &mut record.status else { panic!("it is not assigned") };
        at.generation = None;
        self.enroll_in(SCOPE, provisioning::ports::Change::PutRegistration(Box::new(record))).await;
    }
}
