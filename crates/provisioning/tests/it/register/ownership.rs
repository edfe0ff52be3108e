//! To which enrollment group a device belongs, and how another enrollment takes it over.

use std::time::Duration;

use model::{
    Decision, DecisionOutcome, DecisionResult, EnrollmentGroup, EnrollmentRef, FailureReason,
    GroupAttestation, Instance, Registration, RegistrationIds,
    RegistrationOwnership::{self, FirstCome, Movable},
    Status,
};
use provisioning::{
    Error,
    attest::Evidence,
    ports::{Change, HubError},
    register::{DeviceDescription, RegisterOutcome},
};
use testkit::{ca::Authority, hub::Failure, log::LogEvents, sample};
use tracing::Level;

use super::{
    token::Token,
    world::{OTHER_SCOPE, SCOPE, World, assigned, disable, group, group_by, individual},
};
use crate::attest::case::{certificates, group_of};

const DEVICE: &str = "dev-1";

/// Creates groups by keys: `a` has those with number 20, `b` those with number 30.
async fn world(rule: RegistrationOwnership) -> World {
    let world = World::new().await;
    set(&world, rule).await;
    world.enroll_group(group("a")).await;
    world.enroll_group(group_by("b", GroupAttestation::SymmetricKey(sample::keys(30)))).await;
    world
}

async fn set(world: &World, registrations: RegistrationOwnership) {
    let instance = Instance::clone(&*world.instance(SCOPE).await);
    world.store.put_instance(Instance { registrations, ..instance }, sample::by()).await.unwrap();
}

fn of_group(number: u8) -> Evidence {
    of_group_in(SCOPE, number)
}

fn of_group_in(scope: &str, number: u8) -> Evidence {
    Token::new(&format!("{scope}/registrations/{DEVICE}"), &sample::key(number).derive(DEVICE)).evidence()
}

async fn register(world: &World, evidence: &Evidence) -> Registration {
    match world.begin_with(SCOPE, DEVICE, evidence.clone()).await.unwrap() {
        RegisterOutcome::Running(run) => world.finish(&run).await,
        RegisterOutcome::Settled(registration) => *registration,
        RegisterOutcome::Challenged(_) => panic!("a challenge"),
    }
}

async fn refused(world: &World, evidence: &Evidence) -> String {
    match world.begin_with(SCOPE, DEVICE, evidence.clone()).await {
        Err(Error::Unauthorized { message, reason }) => {
            let expected = if evidence.claim.is_some() { "Unauthorized" } else { "Invalid certificate." };
            assert_eq!(message, expected, "the device does not learn of another enrollment");
            reason
        }
        other => panic!("{other:?}"),
    }
}

fn through(registration: &Registration) -> &str {
    match &registration.enrollment {
        EnrollmentRef::Individual => "individual",
        EnrollmentRef::Group(id) => id.as_str(),
    }
}

fn latest(registration: &Registration) -> &Decision {
    registration.decisions.latest().unwrap()
}

/// Returns the enrollment of the device's registration, and the group from which the last decision says that it moved.
async fn end(world: &World) -> (String, Option<String>) {
    let record = world.record(DEVICE).await.unwrap();
    let moved_from = latest(&record).moved_from.as_ref().map(ToString::to_string);
    (through(&record).to_owned(), moved_from)
}

#[tokio::test]
async fn a_move_between_groups_is_recorded() {
    let world = world(Movable).await;
    let first = register(&world, &of_group(20)).await;
    assert_eq!(end(&world).await, ("a".into(), None));
    let moved = register(&world, &of_group(30)).await;
    assert_eq!(end(&world).await, ("b".into(), Some("a".into())));
    assert_eq!(assigned(&moved).hub, assigned(&first).hub, "it stays at its hub, as its policy says");
    register(&world, &of_group(30)).await;
    assert_eq!(moved.decisions, world.record(DEVICE).await.unwrap().decisions, "it moved once");
}

/// The warning is logged once for each move, also during a run, and never for a device that stays, is refused, or whose group was
/// deleted.
#[tokio::test]
async fn a_move_between_groups_is_warned_of_once() {
    let world = world(Movable).await;
    let (warnings, _guard) = LogEvents::collect(Level::WARN);
    for number in [20, 20] {
        register(&world, &of_group(number)).await;
    }
    assert_eq!(warnings.take(), [""; 0], "it stays");
    register(&world, &of_group(30)).await;
    let warned = warnings.take();
    let [line] = &warned[..] else { panic!("{warned:?}") };
    for part in
        [SCOPE, "registration.id=dev-1", "from=a ", "to=\"the enrollment group b\"", "moved to another"]
    {
        assert!(line.contains(part), "no {part} in {line}");
    }
    register(&world, &of_group(30)).await;
    assert_eq!(warnings.take(), [""; 0], "it has moved already");

    // Twice; the second request joins the run of the first.
    world.enroll(individual(DEVICE)).await;
    let own = Token::new(&format!("{SCOPE}/registrations/{DEVICE}"), &sample::key(10)).evidence();
    world.begin_with(SCOPE, DEVICE, own.clone()).await.unwrap();
    world.begin_with(SCOPE, DEVICE, own).await.unwrap();
    let warned = warnings.take();
    assert!(
        matches!(&warned[..], [line] if line.contains("from=b") && line.contains("its individual enrollment")),
        "{warned:?}"
    );

    world.delete_registration(DEVICE).await;
    // Its hub has the device, which would be taken over.
    crate::register::world::HUBS
        .iter()
        .for_each(|hub| world.hub(hub).lose(&model::DeviceId::parse(DEVICE).unwrap()));
    world.delete_enrollment(DEVICE).await;
    register(&world, &of_group(20)).await;
    set(&world, FirstCome).await;
    refused(&world, &of_group(30)).await;
    world.enroll_in(SCOPE, Change::DeleteGroup(sample::group_id("a"))).await;
    register(&world, &of_group(30)).await;
    assert_eq!(warnings.take(), [""; 0], "a refusal and the end of a group are no moves");
}

#[tokio::test]
async fn first_come_refuses_a_move_between_groups() {
    let world = world(FirstCome).await;
    let first = register(&world, &of_group(20)).await;
    let reason = refused(&world, &of_group(30)).await;
    assert!(reason.contains("registered through the enrollment group a, which exists"), "{reason}");
    assert_eq!(world.record(DEVICE).await.as_ref(), Some(&first), "a refusal changes nothing");
    assert_eq!(register(&world, &of_group(20)).await, first, "the device is let in as before");

    let registration_id = sample::registration_id(DEVICE);
    let device = DeviceDescription { scope: None, registration_id, evidence: of_group(30) };
    let explained = world.provisioning.explain(&*world.instance(SCOPE).await, &device).await.unwrap();
    assert_eq!(explained.considered.len(), 2, "{explained:?}");
    let model::Admission::Refused { reason, .. } = explained.outcome else { panic!("{explained:?}") };
    assert!(reason.contains("the enrollment group a"), "{reason}");
}

#[tokio::test]
async fn a_move_to_a_disabled_group_is_recorded() {
    let world = world(Movable).await;
    register(&world, &of_group(20)).await;
    let mut other = group_by("b", GroupAttestation::SymmetricKey(sample::keys(30)));
    disable(&mut other.settings);
    world.enroll_group(other).await;
    let moved = register(&world, &of_group(30)).await;
    assert!(matches!(moved.status, Status::Disabled { current: Some(_) }), "{moved:?}");
    let DecisionOutcome::Ended(ended) = &moved.decisions.latest().unwrap().outcome else {
        panic!("{moved:?}")
    };
    let DecisionResult::Failed(failure) = &ended.result else { panic!("{ended:?}") };
    assert_eq!(failure.reason, FailureReason::EnrollmentDisabled);
    assert_eq!(end(&world).await, ("b".into(), Some("a".into())));
}

/// A deleted record does not own a device, whatever the rule.
#[tokio::test]
async fn a_deleted_group_and_a_deleted_registration_own_no_device() {
    for rule in [Movable, FirstCome] {
        let world = world(rule).await;
        register(&world, &of_group(20)).await;
        world.enroll_in(SCOPE, Change::DeleteGroup(sample::group_id("a"))).await;
        register(&world, &of_group(30)).await;
        assert_eq!(end(&world).await, ("b".into(), None), "{rule:?}");

        world.enroll_group(group("a")).await;
        world.delete_registration(DEVICE).await;
        register(&world, &of_group(20)).await;
        assert_eq!(end(&world).await, ("a".into(), None), "{rule:?}");
    }
}

#[tokio::test]
async fn an_individual_enrollment_takes_its_device_from_a_group_under_every_rule() {
    for rule in [Movable, FirstCome] {
        let world = world(rule).await;
        register(&world, &of_group(20)).await;
        world.enroll(individual(DEVICE)).await;
        let own = Token::new(&format!("{SCOPE}/registrations/{DEVICE}"), &sample::key(10)).evidence();
        register(&world, &own).await;
        assert_eq!(end(&world).await, ("individual".into(), Some("a".into())), "{rule:?}");
    }
}

/// A group that gives a device no hub cannot reserve its ID.
#[tokio::test]
async fn a_registration_without_a_hub_owns_no_device() {
    let world = world(FirstCome).await;
    let mut disabled = group("a");
    disable(&mut disabled.settings);
    world.enroll_group(disabled).await;
    let registration = register(&world, &of_group(20)).await;
    assert!(matches!(registration.status, Status::Disabled { current: None }));
    register(&world, &of_group(30)).await;
    assert_eq!(end(&world).await, ("b".into(), None));
}

/// A disabled group prevents its devices from moving to another group by its key.
#[tokio::test]
async fn a_disabled_group_keeps_its_devices() {
    let world = world(FirstCome).await;
    register(&world, &of_group(20)).await;
    let mut disabled = group("a");
    disable(&mut disabled.settings);
    world.enroll_group(disabled).await;
    refused(&world, &of_group(30)).await;
    let registration = register(&world, &of_group(20)).await;
    assert!(matches!(registration.status, Status::Disabled { current: Some(_) }));
    refused(&world, &of_group(30)).await;
}

/// During a run, the run continues for the other group, with a decision of its own.
#[tokio::test]
async fn a_move_during_an_assignment_is_recorded_or_refused() {
    for rule in [Movable, FirstCome] {
        let world = world(rule).await;
        for hub in ["hub-1.example", "hub-2.example"] {
            world.hub(hub).fail_next(Failure::Before(HubError::Unavailable("down".into())));
        }
        let begun = world.begin_with(SCOPE, DEVICE, of_group(20)).await.unwrap();
        assert!(matches!(begun, RegisterOutcome::Running(_)));
        if rule == FirstCome {
            refused(&world, &of_group(30)).await;
            assert_eq!(end(&world).await, ("a".into(), None));
        } else {
            world.begin_with(SCOPE, DEVICE, of_group(30)).await.unwrap();
            assert_eq!(end(&world).await, ("b".into(), Some("a".into())));
            assert_eq!(world.record(DEVICE).await.unwrap().decisions.iter().count(), 2);
        }
    }
}

/// Only a register call moves a device: polls and lookups by another group's key return nothing of it.
#[tokio::test]
async fn another_group_does_not_see_the_registration() {
    let world = world(Movable).await;
    let first = register(&world, &of_group(20)).await;
    let stored = world.stored(SCOPE, DEVICE).await;
    let look_up = async |evidence: Evidence| world.provisioning.look_up(&stored, &evidence).await;
    let poll =
        async |evidence: Evidence| world.provisioning.poll(&stored, &first.operation_id, &evidence).await;
    assert_eq!(look_up(of_group(20)).await.unwrap(), first);
    assert_eq!(poll(of_group(20)).await.unwrap(), first);
    for outcome in [look_up(of_group(30)).await, poll(of_group(30)).await] {
        assert!(matches!(outcome, Err(Error::Unauthorized { .. })), "{outcome:?}");
    }
}

#[tokio::test]
async fn the_same_id_in_another_instance_is_another_device() {
    let world = world(FirstCome).await;
    register(&world, &of_group(20)).await;
    let mut there = group_by("b", GroupAttestation::SymmetricKey(sample::keys(30)));
    // At a hub where the first does not live.
    let lives = world.record(DEVICE).await.unwrap().assignment().unwrap().hub.clone();
    let mut others = world.instance(OTHER_SCOPE).await.linked_hubs.clone().into_iter().map(|hub| hub.name);
    there.settings.hubs = vec![others.find(|hub| *hub != lives).unwrap()];
    world.enroll_in(OTHER_SCOPE, Change::PutGroup(Box::new(there))).await;
    let begun = world.begin_with(OTHER_SCOPE, DEVICE, of_group_in(OTHER_SCOPE, 30)).await.unwrap();
    let RegisterOutcome::Running(run) = begun else { panic!("{begun:?}") };
    assert_eq!(latest(&run.registration).moved_from, None);
}

fn by_certificate(id: &str, authority: &Authority) -> EnrollmentGroup {
    group_by(id, group_of("x", authority).attestation)
}

/// Groups that share a signing certificate, or whose certificates stand above each other: the device stays with its own.
#[tokio::test]
async fn a_device_with_a_certificate_stays_with_its_group() {
    let root = Authority::root("Root");
    let line = root.intermediate("Line");
    let leaf = line.device(DEVICE);
    let evidence = certificates(&[leaf.der(), line.identity().der()]);
    for (case, added) in
        [("the same certificate", by_certificate("a", &root)), ("nearer", by_certificate("a", &line))]
    {
        let world = World::new().await;
        world.enroll_group(by_certificate("b", &root)).await;
        register(&world, &evidence).await;
        world.enroll_group(added.clone()).await;
        world.clock.advance(Duration::from_secs(1));
        register(&world, &evidence).await;
        assert_eq!(end(&world).await, ("b".into(), None), "{case}");

        // It is the group of its registration that holds it: without one, the first or the nearest takes it.
        world.delete_registration(DEVICE).await;
        register(&world, &evidence).await;
        assert_eq!(end(&world).await, ("a".into(), None), "{case}");

        // A disabled group keeps out whom it reaches, also from the group that would have them.
        let mut disabled = added;
        disable(&mut disabled.settings);
        world.delete_registration(DEVICE).await;
        world.enroll_in(SCOPE, Change::DeleteGroup(sample::group_id("a"))).await;
        register(&world, &evidence).await;
        world.enroll_group(disabled).await;
        let registration = register(&world, &evidence).await;
        assert!(matches!(registration.status, Status::Disabled { .. }), "{case}: {registration:?}");
    }
}

/// When its group no longer admits a device, another may, unless the rule forbids it.
#[tokio::test]
async fn a_device_whose_group_does_not_admit_it_any_more_moves() {
    let (old, new) = (Authority::root("Old"), Authority::root("New"));
    for rule in [Movable, FirstCome] {
        let world = World::new().await;
        set(&world, rule).await;
        world.enroll_group(by_certificate("b", &old)).await;
        world.enroll_group(by_certificate("c", &new)).await;
        register(&world, &certificates(&[old.device(DEVICE).der()])).await;
        let renewed = certificates(&[new.device(DEVICE).der()]);
        match rule {
            Movable => {
                register(&world, &renewed).await;
                assert_eq!(end(&world).await, ("c".into(), Some("b".into())));
            }
            FirstCome => {
                let reason = refused(&world, &renewed).await;
                assert!(reason.contains("the enrollment group b"), "{reason}");
            }
        }
    }
}

fn for_ids(group: EnrollmentGroup, patterns: &[&str]) -> EnrollmentGroup {
    EnrollmentGroup { registration_ids: Some(RegistrationIds::parse(patterns).unwrap()), ..group }
}

/// Returns the enrollment that admits the device `id` with this evidence, or the reason why none does.
async fn admitted(world: &World, id: &str, evidence: Evidence) -> Result<String, String> {
    match world.begin_with(SCOPE, id, evidence).await {
        Ok(RegisterOutcome::Running(run)) => Ok(through(&run.registration).to_owned()),
        Err(Error::Unauthorized { reason, .. }) => Err(reason),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_group_admits_only_the_ids_that_it_is_for() {
    let world = World::new().await;
    world.enroll_group(for_ids(group("a"), &["plant-a-*"])).await;
    let evidence =
        |id: &str| Token::new(&format!("{SCOPE}/registrations/{id}"), &sample::key(20).derive(id)).evidence();
    assert_eq!(admitted(&world, "plant-a-7", evidence("plant-a-7")).await, Ok("a".into()));
    assert_eq!(admitted(&world, "Plant-A-8", evidence("Plant-A-8")).await, Ok("a".into()));
    let reason = admitted(&world, "plant-b-7", evidence("plant-b-7")).await.unwrap_err();
    assert_eq!(reason, "no enrollment of this ID scope fits the device");

    // A registration does not outlast what the group is for.
    world.enroll_group(for_ids(group("a"), &["other"])).await;
    admitted(&world, "plant-a-7", evidence("plant-a-7")).await.unwrap_err();
}

/// One manufacturer's CA cannot name another's devices, also where a group above would take any ID.
#[tokio::test]
async fn a_ca_cannot_name_devices_of_another_group() {
    let root = Authority::root("Root");
    let (one, two) = (root.intermediate("Maker A"), root.intermediate("Maker B"));
    let world = World::new().await;
    world.enroll_group(by_certificate("all", &root)).await;
    let evidence = |authority: &Authority, id: &str| {
        certificates(&[authority.device(id).der(), authority.identity().der()])
    };
    assert_eq!(admitted(&world, "b-0", evidence(&one, "b-0")).await, Ok("all".into()));
    world.enroll_group(for_ids(by_certificate("a", &one), &["a-*"])).await;
    world.enroll_group(for_ids(by_certificate("b", &two), &["b-*"])).await;
    for (authority, id, expected) in
        [(&one, "a-1", Ok("a")), (&two, "b-1", Ok("b")), (&one, "b-1", Err("a-*")), (&one, "b-0", Err("a-*"))]
    {
        let outcome = admitted(&world, id, evidence(authority, id)).await;
        match expected {
            Ok(group) => assert_eq!(outcome, Ok(group.to_owned()), "{id}"),
            Err(part) => assert!(outcome.as_ref().is_err_and(|it| it.contains(part)), "{id}: {outcome:?}"),
        }
    }
    let straight = certificates(&[root.device("b-2").der()]);
    assert_eq!(admitted(&world, "b-2", straight).await, Ok("all".into()), "the root's own devices are free");
}

/// Two groups of one CA that differ in what they are for; a disabled one keeps out its own IDs only.
#[tokio::test]
async fn groups_of_one_ca_share_its_devices_by_their_ids() {
    let (root, world) = (Authority::root("Root"), World::new().await);
    let mut disabled = for_ids(by_certificate("a", &root), &["a-*"]);
    world.enroll_group(disabled.clone()).await;
    world.enroll_group(for_ids(by_certificate("b", &root), &["b-*"])).await;
    let evidence = |id: &str| certificates(&[root.device(id).der()]);
    for (id, group) in [("a-1", "a"), ("b-1", "b")] {
        assert_eq!(admitted(&world, id, evidence(id)).await, Ok(group.into()));
    }
    admitted(&world, "c-1", evidence("c-1")).await.unwrap_err();
    disable(&mut disabled.settings);
    world.enroll_group(disabled).await;
    assert_eq!(admitted(&world, "b-2", evidence("b-2")).await, Ok("b".into()));
    let begun = world.begin_with(SCOPE, "a-2", evidence("a-2")).await.unwrap();
    assert!(matches!(begun, RegisterOutcome::Settled(it) if matches!(it.status, Status::Disabled { .. })));
}
