//! TPMs: a challenge, its proof, and the key that the device is handed for its hub.

use std::time::Duration;

use model::{
    HubCredentials, IndividualAttestation, IndividualEnrollment, OperationId, Registration, Status,
    StorageRootKey, SymmetricKey, TpmAttestation,
};
use provisioning::{
    Error,
    attest::{Evidence, tpm::PresentedTpm},
    register::Begun,
};
use testkit::{
    hub::Failure,
    sample,
    tpm::{Kind, SoftTpm},
};

use super::{
    token::Token,
    world::{OTHER_SCOPE, SCOPE, World, assigned, disable, individual},
};

const ID: &str = "dev-1";

fn tpm() -> SoftTpm {
    SoftTpm::new(Kind::P256, Kind::P256)
}

/// What a device says of its TPM before it can prove anything.
fn named(tpm: &SoftTpm) -> Evidence {
    let identity = tpm.identity();
    let presented = PresentedTpm {
        endorsement_key: identity.endorsement_key.clone(),
        storage_root_key: Some(identity.storage_root_key.clone()),
    };
    Evidence { tpm: Some(presented), ..Evidence::default() }
}

fn enrolled(tpm: &SoftTpm) -> IndividualEnrollment {
    let endorsement_key = tpm.identity().endorsement_key.clone();
    let attestation = IndividualAttestation::Tpm(TpmAttestation { endorsement_key, storage_root_key: None });
    IndividualEnrollment { attestation, ..individual(ID) }
}

async fn enroll(world: &World, tpm: &SoftTpm) {
    world.enroll(enrolled(tpm)).await;
}

fn signed(key: &SymmetricKey) -> Evidence {
    Token::new(&format!("{SCOPE}/registrations/{ID}"), key).evidence()
}

fn refusal<T: std::fmt::Debug>(outcome: Result<T, Error>) -> String {
    match outcome {
        Err(Error::Unauthorized { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

async fn ask(world: &World, evidence: Evidence) -> Vec<u8> {
    match world.begin_with(SCOPE, ID, evidence).await.unwrap() {
        Begun::Challenged(blob) => blob,
        other => panic!("{other:?}"),
    }
}

/// Opens a challenge: the evidence that the device has then.
async fn open(world: &World, tpm: &SoftTpm) -> Evidence {
    let opened = tpm.open(&ask(world, named(tpm)).await);
    assert_eq!(opened.resource, format!("{SCOPE}/registrations/{ID}"));
    signed(&opened.key)
}

async fn prove(world: &World, proof: &Evidence) -> Registration {
    match world.begin_with(SCOPE, ID, proof.clone()).await.unwrap() {
        Begun::Running(run) => world.finish(&run).await,
        Begun::Settled(registration) => *registration,
        Begun::Challenged(_) => panic!("a second challenge"),
    }
}

async fn register(world: &World, tpm: &SoftTpm) -> Registration {
    prove(world, &open(world, tpm).await).await
}

async fn poll(world: &World, operation_id: &OperationId, proof: &Evidence) -> Result<Registration, Error> {
    let id = sample::registration_id(ID);
    world.provisioning.poll(&*world.instance(SCOPE).await, &id, operation_id, proof).await
}

/// The key that the device is handed, which must be the one that its hub knows.
fn handed(world: &World, tpm: &SoftTpm, registration: &Registration) -> SymmetricKey {
    let opened = tpm.open(&world.provisioning.handover(registration).unwrap().unwrap());
    let place = assigned(registration);
    assert_eq!(opened.resource, format!("{}/devices/{}", place.hub, place.device_id));
    let at_hub = world.hub(place.hub.as_str()).device(&place.device_id).unwrap();
    let HubCredentials::SymmetricKeys(pair) = at_hub.credentials else { panic!("{at_hub:?}") };
    assert_eq!(pair.primary, opened.key);
    opened.key
}

async fn known_storage_root_key(world: &World) -> Option<StorageRootKey> {
    let id = sample::registration_id(ID);
    let scope = sample::scope(SCOPE);
    let enrollment =
        provisioning::ports::Store::individual(&world.store, &scope, &id).await.unwrap().unwrap();
    match enrollment.attestation {
        IndividualAttestation::Tpm(tpm) => tpm.storage_root_key,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_device_opens_its_challenge_and_is_handed_a_key() {
    for (endorsement, storage) in [(Kind::Rsa, Kind::Rsa), (Kind::P256, Kind::P256), (Kind::Rsa, Kind::P256)]
    {
        let (world, tpm) = (World::new().await, SoftTpm::new(endorsement, storage));
        enroll(&world, &tpm).await;
        let proof = open(&world, &tpm).await;
        assert_eq!(world.record(ID).await, None, "a challenge leaves nothing behind");
        assert_eq!(known_storage_root_key(&world).await, None);
        let registration = prove(&world, &proof).await;
        assert_eq!(registration, world.record(ID).await.unwrap());
        assert_eq!(known_storage_root_key(&world).await.as_ref(), Some(&tpm.identity().storage_root_key));
        handed(&world, &tpm, &registration);
        let polled = poll(&world, &registration.operation_id, &proof).await.unwrap();
        handed(&world, &tpm, &polled);
        assert_eq!(world.counted(SCOPE).await, (1, 0));
    }
}

/// The service stops before the hub is told, and again after: the order has the key.
#[tokio::test]
async fn a_crash_changes_no_key() {
    let (world, tpm) = (World::new().await, tpm());
    enroll(&world, &tpm).await;
    let proof = open(&world, &tpm).await;
    let Begun::Running(run) = world.begin_with(SCOPE, ID, proof.clone()).await.unwrap() else { panic!() };
    let operation_id = run.registration.operation_id.clone();
    let world = world.restarted().await;
    assert!(refusal(poll(&world, &operation_id, &proof).await).contains("no TPM challenge is open"));
    let proof = open(&world, &tpm).await;
    let Begun::Running(same) = world.begin_with(SCOPE, ID, proof.clone()).await.unwrap() else { panic!() };
    assert_eq!(same.registration.operation_id, operation_id);
    let ended = world.finish(&same).await;
    assert_eq!(ended.tpm, run.registration.tpm);
    let key = handed(&world, &tpm, &ended);
    let world = world.restarted().await;
    let again = register(&world, &tpm).await;
    assert_eq!(handed(&world, &tpm, &again), key, "it keeps its key");
    assert_eq!((again, world.counted(SCOPE).await), (ended, (1, 1)));
}

#[tokio::test]
async fn a_proof_registers_once_and_polls_as_long_as_it_takes() {
    let (world, tpm) = (World::new().await, tpm());
    enroll(&world, &tpm).await;
    let proof = open(&world, &tpm).await;
    let Begun::Running(run) = world.begin_with(SCOPE, ID, proof.clone()).await.unwrap() else { panic!() };
    let operation_id = run.registration.operation_id.clone();
    for _ in 0..5 {
        world.clock.advance(Duration::from_secs(600));
        assert!(poll(&world, &operation_id, &proof).await.is_ok());
    }
    let Begun::Running(joined) = world.begin_with(SCOPE, ID, proof.clone()).await.unwrap() else { panic!() };
    assert_eq!(
        joined.registration.operation_id, operation_id,
        "while it goes on, the same is asked for again"
    );
    world.finish(&run).await;
    let replayed = world.begin_with(SCOPE, ID, proof.clone()).await;
    let expected = format!("the proof was used already, for operation {operation_id}");
    assert_eq!(refusal(replayed), expected);
    assert!(poll(&world, &operation_id, &proof).await.is_ok());
    assert_eq!(world.counted(SCOPE).await, (1, 0));

    let next = open(&world, &tpm).await;
    assert!(poll(&world, &operation_id, &proof).await.is_ok(), "a new challenge takes nothing away");
    assert!(refusal(world.begin_with(SCOPE, ID, proof.clone()).await).contains("used already"));
    prove(&world, &next).await;
    assert!(refusal(poll(&world, &operation_id, &proof).await).contains("fits neither key"));
    assert_eq!(world.counted(SCOPE).await, (1, 1));
}

#[tokio::test]
async fn a_challenge_runs_out() {
    let (world, tpm) = (World::new().await, tpm());
    enroll(&world, &tpm).await;
    let proof = open(&world, &tpm).await;
    world.clock.advance(Duration::from_secs(15 * 60 + 1));
    assert!(refusal(world.begin_with(SCOPE, ID, proof).await).contains("no TPM challenge is open"));
    register(&world, &tpm).await;
}

#[tokio::test]
async fn other_tpms_are_refused() {
    let (world, tpm, thief) = (World::new().await, tpm(), self::tpm());
    enroll(&world, &tpm).await;
    let asked = world.begin_with(SCOPE, ID, named(&thief)).await;
    assert_eq!(refusal(asked), "the TPM's endorsement key is not the enrolled one");
    // It knows the public key of the enrolled one, and lets it be challenged together with a storage key of its own.
    let mut mixed = named(&tpm);
    mixed.tpm.as_mut().unwrap().storage_root_key = Some(thief.identity().storage_root_key.clone());
    let blob = ask(&world, mixed.clone()).await;
    let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| thief.open(&blob)));
    assert!(opened.is_err(), "its endorsement key opens nothing");
    let guessed = Evidence { tpm: mixed.tpm.clone(), ..signed(&sample::key(1)) };
    assert!(refusal(world.begin_with(SCOPE, ID, guessed).await).contains("fits neither key"));

    register(&world, &tpm).await;
    let cleared = world.begin_with(SCOPE, ID, mixed).await;
    assert!(refusal(cleared).contains("storage root key is not the one it had before"));
    assert_eq!(world.counted(SCOPE).await, (1, 0));
}

/// A challenge is bound to the enrollment that it was issued for, to the registration and to the instance.
#[tokio::test]
async fn a_proof_is_good_for_nothing_else() {
    let (world, tpm) = (World::new().await, tpm());
    enroll(&world, &tpm).await;
    let key = tpm.open(&ask(&world, named(&tpm)).await).key;
    let other = |scope: &str, id: &str| Token::new(&format!("{scope}/registrations/{id}"), &key).evidence();
    let enrollment =
        IndividualEnrollment { registration_id: sample::registration_id("dev-2"), ..enrolled(&tpm) };
    world.enroll(enrollment).await;
    let asked = world.begin_with(SCOPE, "dev-2", other(SCOPE, "dev-2")).await;
    assert!(refusal(asked).contains("no TPM challenge is open"));
    let there = provisioning::ports::Change::PutIndividual(Box::new(enrolled(&tpm)));
    world.enroll_in(OTHER_SCOPE, there).await;
    let asked = world.begin_with(OTHER_SCOPE, ID, other(OTHER_SCOPE, ID)).await;
    assert!(refusal(asked).contains("no TPM challenge is open"));
    assert!(
        refusal(world.begin_with(SCOPE, ID, other(SCOPE, "dev-2")).await)
            .contains("not for this registration")
    );

    enroll(&world, &self::tpm()).await;
    let asked = world.begin_with(SCOPE, ID, signed(&key)).await;
    assert_eq!(refusal(asked), "the TPM's endorsement key is not the enrolled one");
}

/// The operator writes the enrollment without a storage root key; then the next one is learned, and its holder gets a
/// key of its own.
#[tokio::test]
async fn a_cleared_tpm_comes_back_when_the_operator_says_so() {
    let (world, tpm) = (World::new().await, tpm());
    enroll(&world, &tpm).await;
    let before = handed(&world, &tpm, &register(&world, &tpm).await);
    let tpm = tpm.cleared();
    assert!(refusal(world.begin_with(SCOPE, ID, named(&tpm)).await).contains("storage root key"));
    enroll(&world, &tpm).await;
    let registration = register(&world, &tpm).await;
    assert_ne!(handed(&world, &tpm, &registration), before);
    assert_eq!(known_storage_root_key(&world).await.as_ref(), Some(&tpm.identity().storage_root_key));
}

/// Some clients name their TPM only once, and a poll names none.
#[tokio::test]
async fn what_a_device_must_send() {
    let (world, tpm) = (World::new().await, tpm());
    enroll(&world, &tpm).await;
    let nothing = world.begin_with(SCOPE, ID, Evidence::default()).await;
    assert_eq!(refusal(nothing), "the enrollment wants a TPM and the device named none");
    let mut endorsement_only = named(&tpm);
    endorsement_only.tpm.as_mut().unwrap().storage_root_key = None;
    assert!(refusal(world.begin_with(SCOPE, ID, endorsement_only.clone()).await).contains("did not send"));
    let registration = register(&world, &tpm).await;
    tpm.open(&ask(&world, endorsement_only).await);
    assert!(refusal(poll(&world, &registration.operation_id, &named(&tpm)).await).contains("SAS token"));
    let elsewhere = world.begin_with(SCOPE, "nobody", named(&tpm)).await;
    assert_eq!(refusal(elsewhere), "no enrollment of this ID scope fits the device");
}

#[tokio::test]
async fn a_disabled_enrollment_learns_and_hands_over_nothing() {
    let (world, tpm) = (World::new().await, tpm());
    let mut enrollment = enrolled(&tpm);
    disable(&mut enrollment.settings);
    world.enroll(enrollment).await;
    let registration = register(&world, &tpm).await;
    assert!(matches!(registration.status, Status::Disabled { standing: None }));
    assert_eq!(world.provisioning.handover(&registration).unwrap(), None);
    assert_eq!((known_storage_root_key(&world).await, world.calls()), (None, 0));
}

#[tokio::test]
async fn an_operation_that_a_hub_refused_uses_the_proof_up() {
    let (world, tpm) = (World::new().await, tpm());
    enroll(&world, &tpm).await;
    let refused = provisioning::ports::HubError::Refused("full".into());
    for hub in ["hub-1.example", "hub-2.example"] {
        world.hub(hub).fail_next(Failure::Before(refused.clone()));
    }
    let proof = open(&world, &tpm).await;
    let failed = prove(&world, &proof).await;
    assert!(matches!(failed.status, Status::Failed { .. }));
    assert_eq!(world.provisioning.handover(&failed).unwrap(), None);
    assert!(refusal(world.begin_with(SCOPE, ID, proof).await).contains("used already"));
    for hub in ["hub-1.example", "hub-2.example"] {
        world.hub(hub).fail_no_more();
    }
    handed(&world, &tpm, &register(&world, &tpm).await);
}
