//! TPMs: the challenge, its proof, and the hub key that the device gets.

use std::time::Duration;

use model::{
    HubCredentials, IndividualAttestation, IndividualCertificates, IndividualEnrollment, OperationId, Pair,
    Registration, Status, StorageRootKey, SymmetricKey, TpmAttestation,
};
use provisioning::{
    Error,
    attest::{Evidence, tpm::PresentedTpm},
    register::RegisterOutcome,
};
use testkit::{
    ca::Authority,
    hub::Failure,
    sample,
    tpm::{Kind, SoftTpm},
};

use super::{
    token::Token,
    world::{OTHER_SCOPE, SCOPE, World, assigned, disable, individual},
};
use crate::attest::case::certificates;

const ID: &str = "dev-1";

const NOT_OPEN: &str = "not signed with the key of a TPM challenge that is open";

fn tpm() -> SoftTpm {
    SoftTpm::new(Kind::P256, Kind::P256)
}

/// Returns the evidence of a device that names its TPM.
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

/// Returns the proof of a client that names its TPM again.
fn naming(tpm: &SoftTpm, proof: &Evidence) -> Evidence {
    Evidence { tpm: named(tpm).tpm, ..proof.clone() }
}

async fn ask(world: &World, evidence: Evidence) -> Vec<u8> {
    match world.begin_with(SCOPE, ID, evidence).await.unwrap() {
        RegisterOutcome::Challenged(blob) => blob,
        other => panic!("{other:?}"),
    }
}

/// Decrypts a challenge, and returns the proof.
async fn open(world: &World, tpm: &SoftTpm) -> Evidence {
    let opened = tpm.open(&ask(world, named(tpm)).await);
    assert_eq!(opened.resource, format!("{SCOPE}/registrations/{ID}"));
    signed(&opened.key)
}

async fn prove(world: &World, proof: &Evidence) -> Registration {
    match world.begin_with(SCOPE, ID, proof.clone()).await.unwrap() {
        RegisterOutcome::Running(run) => world.finish(&run).await,
        RegisterOutcome::Settled(registration) => *registration,
        RegisterOutcome::Challenged(_) => panic!("a second challenge"),
    }
}

async fn register(world: &World, tpm: &SoftTpm) -> Registration {
    prove(world, &open(world, tpm).await).await
}

async fn poll(world: &World, operation_id: &OperationId, proof: &Evidence) -> Result<Registration, Error> {
    world.provisioning.poll(&world.stored(SCOPE, ID).await, operation_id, proof).await
}

/// Returns the hub key that the device gets, which must be the one that its hub has.
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
    let enrollment = world.store.individual(&scope, &id).await.unwrap().unwrap();
    match enrollment.attestation {
        IndividualAttestation::Tpm(tpm) => tpm.storage_root_key,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_device_answers_its_challenge_and_gets_a_hub_key() {
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

/// The service crashes before the hub is called, and again after: the spec has the key, and the device keeps polling.
#[tokio::test]
async fn a_crash_changes_no_key() {
    let (world, tpm) = (World::new().await, tpm());
    enroll(&world, &tpm).await;
    let proof = open(&world, &tpm).await;
    let RegisterOutcome::Running(run) = world.begin_with(SCOPE, ID, proof.clone()).await.unwrap() else {
        panic!()
    };
    let operation_id = run.registration.operation_id.clone();
    let world = world.restarted().await;
    assert!(poll(&world, &operation_id, &proof).await.is_ok());
    let proof = open(&world, &tpm).await;
    let RegisterOutcome::Running(same) = world.begin_with(SCOPE, ID, proof.clone()).await.unwrap() else {
        panic!()
    };
    assert_eq!(same.registration.operation_id, operation_id);
    let ended = world.finish(&same).await;
    assert_eq!(ended.attestation, run.registration.attestation);
    let key = handed(&world, &tpm, &ended);
    let world = world.restarted().await;
    let again = register(&world, &tpm).await;
    assert_eq!(handed(&world, &tpm, &again), key, "it keeps its key");
    assert_eq!((again.status, world.counted(SCOPE).await), (ended.status, (1, 1)));
}

#[tokio::test]
async fn a_proof_registers_once_and_polls_until_the_run_ends() {
    let (world, tpm) = (World::new().await, tpm());
    enroll(&world, &tpm).await;
    let proof = open(&world, &tpm).await;
    let RegisterOutcome::Running(run) = world.begin_with(SCOPE, ID, proof.clone()).await.unwrap() else {
        panic!()
    };
    let operation_id = run.registration.operation_id.clone();
    for _ in 0..5 {
        world.clock.advance(Duration::from_secs(600));
        assert!(poll(&world, &operation_id, &proof).await.is_ok());
    }
    let RegisterOutcome::Running(joined) = world.begin_with(SCOPE, ID, proof.clone()).await.unwrap() else {
        panic!()
    };
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
    assert!(refusal(poll(&world, &operation_id, &proof).await).contains(NOT_OPEN));
    assert_eq!(world.counted(SCOPE).await, (1, 1));
}

/// The used challenge is recorded, also if a confirmation changes nothing else, so that it is known after a restart.
#[tokio::test]
async fn a_proof_is_used_once_also_after_a_restart() {
    let (mut world, tpm) = (World::new().await, tpm());
    enroll(&world, &tpm).await;
    let mut used: Vec<Evidence> = Vec::new();
    for round in 0..3 {
        let proof = open(&world, &tpm).await;
        assert_eq!(open(&world, &tpm).await.claim.unwrap().mac, proof.claim.clone().unwrap().mac);
        world = world.restarted().await;
        prove(&world, &naming(&tpm, &proof)).await;
        assert_eq!(world.counted(SCOPE).await, (1, round));
        used.push(proof);
        world = world.restarted().await;
        for proof in &used {
            refusal(world.begin_with(SCOPE, ID, proof.clone()).await);
        }
        assert_eq!(world.counted(SCOPE).await, (1, round), "none registers again");
    }
}

/// Challenges are derived, and which one was used is in the record: a proof is good at every process, and once in all.
#[tokio::test]
async fn a_proof_is_used_once_at_whichever_process() {
    let (one, tpm) = (World::new().await, tpm());
    enroll(&one, &tpm).await;
    let two = one.beside().await;
    let proof = naming(&tpm, &open(&one, &tpm).await);
    let registration = prove(&two, &proof).await;
    for world in [&one, &two] {
        let polled = poll(world, &registration.operation_id, &proof).await.unwrap();
        handed(world, &tpm, &polled);
        assert!(refusal(world.begin_with(SCOPE, ID, proof.clone()).await).contains("used already"));
        assert_eq!(world.counted(SCOPE).await, (1, 0));
    }
    let again = naming(&tpm, &open(&two, &tpm).await);
    prove(&one, &again).await;
    assert!(refusal(two.begin_with(SCOPE, ID, again.clone()).await).contains("used already"));
}

/// As `docs/tpm.md` says: after a registration is deleted, the challenge that it used may be answered again until it expires; a
/// replayed proof yields a key that only the device's TPM can decrypt.
#[tokio::test]
async fn a_deleted_registration_forgets_which_challenge_it_used() {
    let (world, tpm) = (World::new().await, tpm());
    enroll(&world, &tpm).await;
    let proof = open(&world, &tpm).await;
    prove(&world, &proof).await;
    assert!(refusal(world.begin_with(SCOPE, ID, proof.clone()).await).contains("used already"));
    world.delete_registration(ID).await;
    let replayed = prove(&world, &proof).await;
    handed(&world, &tpm, &replayed);
    world.delete_registration(ID).await;
    world.clock.advance(Duration::from_secs(30 * 60));
    refusal(world.begin_with(SCOPE, ID, proof.clone()).await);
}

/// Any client may ask with a device's public endorsement key; the device's own challenge stays valid.
#[tokio::test]
async fn no_other_request_displaces_an_open_challenge() {
    let (world, tpm) = (World::new().await, tpm());
    enroll(&world, &tpm).await;
    let proof = open(&world, &tpm).await;
    for _ in 0..10 {
        let mut other = named(&tpm);
        let stranger = self::tpm();
        other.tpm.as_mut().unwrap().storage_root_key = Some(stranger.identity().storage_root_key.clone());
        ask(&world, other).await;
        ask(&world, named(&stranger)).await;
    }
    let registration = prove(&world, &naming(&tpm, &proof)).await;
    handed(&world, &tpm, &registration);
}

/// A storage root key that a client named only once is remembered while it is new.
#[tokio::test]
async fn a_new_storage_root_key_need_not_be_named_again() {
    let (world, tpm) = (World::new().await, tpm());
    enroll(&world, &tpm).await;
    let proof = open(&world, &tpm).await;
    let world = world.restarted().await;
    assert!(refusal(world.begin_with(SCOPE, ID, proof.clone()).await).contains(NOT_OPEN), "forgotten");
    let again = open(&world, &tpm).await;
    assert_eq!(again.claim.as_ref().unwrap().mac, proof.claim.unwrap().mac, "but it is the same challenge");
    prove(&world, &again).await;
    let world = world.restarted().await;
    let known = open(&world, &tpm).await;
    let world = world.restarted().await;
    prove(&world, &known).await;
    assert_eq!(world.counted(SCOPE).await, (1, 1));
}

#[tokio::test]
async fn a_challenge_expires() {
    let (world, tpm) = (World::new().await, tpm());
    enroll(&world, &tpm).await;
    let proof = open(&world, &tpm).await;
    world.clock.advance(Duration::from_secs(30 * 60));
    assert!(refusal(world.begin_with(SCOPE, ID, proof).await).contains(NOT_OPEN));
    register(&world, &tpm).await;
}

#[tokio::test]
async fn other_tpms_are_refused() {
    let (world, tpm, thief) = (World::new().await, tpm(), self::tpm());
    enroll(&world, &tpm).await;
    let theirs = signed(&thief.open(&ask(&world, named(&thief)).await).key);
    assert!(refusal(world.begin_with(SCOPE, ID, theirs.clone()).await).contains(NOT_OPEN));
    let asked = world.begin_with(SCOPE, ID, naming(&thief, &theirs)).await;
    assert_eq!(refusal(asked), "the TPM's endorsement key is not the enrolled one");
    // The attacker knows the public key of the enrolled TPM, and names a storage key of its own with it.
    let mut mixed = named(&tpm);
    mixed.tpm.as_mut().unwrap().storage_root_key = Some(thief.identity().storage_root_key.clone());
    let blob = ask(&world, mixed.clone()).await;
    let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| thief.open(&blob)));
    assert!(opened.is_err(), "its endorsement key opens nothing");
    let guessed = Evidence { tpm: mixed.tpm.clone(), ..signed(&sample::key(1)) };
    assert!(refusal(world.begin_with(SCOPE, ID, guessed.clone()).await).contains(NOT_OPEN));

    register(&world, &tpm).await;
    let cleared = world.begin_with(SCOPE, ID, guessed).await;
    assert!(refusal(cleared).contains("storage root key is not the one it had before"));
    assert_eq!(world.counted(SCOPE).await, (1, 0));
}

/// A challenge is bound to the enrollment that it was issued for, to the registration and to the instance.
#[tokio::test]
async fn a_proof_is_valid_for_nothing_else() {
    let (world, tpm) = (World::new().await, tpm());
    enroll(&world, &tpm).await;
    let key = tpm.open(&ask(&world, named(&tpm)).await).key;
    let other = |scope: &str, id: &str| Token::new(&format!("{scope}/registrations/{id}"), &key).evidence();
    let enrollment =
        IndividualEnrollment { registration_id: sample::registration_id("dev-2"), ..enrolled(&tpm) };
    world.enroll(enrollment).await;
    let asked = world.begin_with(SCOPE, "dev-2", other(SCOPE, "dev-2")).await;
    assert!(refusal(asked).contains(NOT_OPEN));
    let there = provisioning::ports::Change::PutIndividual(Box::new(enrolled(&tpm)));
    world.enroll_in(OTHER_SCOPE, there).await;
    let asked = world.begin_with(OTHER_SCOPE, ID, other(OTHER_SCOPE, ID)).await;
    assert!(refusal(asked).contains(NOT_OPEN));
    assert!(
        refusal(world.begin_with(SCOPE, ID, other(SCOPE, "dev-2")).await)
            .contains("not for this registration")
    );

    enroll(&world, &self::tpm()).await;
    assert!(refusal(world.begin_with(SCOPE, ID, signed(&key)).await).contains(NOT_OPEN));
}

/// The operator writes the enrollment without a storage root key; then the next one is learned, and its owner gets a new hub key.
#[tokio::test]
async fn a_cleared_tpm_is_accepted_once_the_operator_allows_it() {
    let (world, tpm) = (World::new().await, tpm());
    enroll(&world, &tpm).await;
    let before = handed(&world, &tpm, &register(&world, &tpm).await);
    let tpm = tpm.cleared();
    let proof = signed(&tpm.open(&ask(&world, named(&tpm)).await).key);
    let refused = world.begin_with(SCOPE, ID, naming(&tpm, &proof)).await;
    assert!(refusal(refused).contains("storage root key"));
    enroll(&world, &tpm).await;
    let registration = register(&world, &tpm).await;
    assert_ne!(handed(&world, &tpm, &registration), before);
    assert_eq!(known_storage_root_key(&world).await.as_ref(), Some(&tpm.identity().storage_root_key));
}

/// Some clients name their TPM only once, and a poll names none.
#[tokio::test]
async fn a_proof_needs_no_tpm_names_but_a_token() {
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
}

/// Attackers get the same answers, whatever is enrolled under an ID: a challenge if they name a TPM and sign nothing, else a message
/// that depends only on their evidence. All situations by all evidence.
#[tokio::test]
async fn attackers_learn_nothing_from_answers() {
    let (world, stranger, root) = (World::new().await, self::tpm(), Authority::root("Root"));
    let mut situations = vec!["unknown".to_owned()];
    let leaf = Pair::new(Some(root.device("x").certificate()), None).unwrap();
    for (name, attestation) in [
        ("tpm", enrolled(&self::tpm()).attestation),
        ("key", individual(ID).attestation),
        ("leaf", IndividualAttestation::X509(IndividualCertificates::Client(leaf))),
    ] {
        for is_disabled in [false, true] {
            let name = format!("{name}-{is_disabled}");
            let registration_id = sample::registration_id(&name);
            let mut enrollment =
                IndividualEnrollment { registration_id, attestation: attestation.clone(), ..individual(ID) };
            if is_disabled {
                disable(&mut enrollment.settings);
            }
            world.enroll(enrollment).await;
            situations.push(name);
        }
    }
    let token =
        |id: &str, key| Token::new(&format!("{SCOPE}/registrations/{id}"), &sample::key(key)).evidence();
    for (presented, expected) in [
        ("nothing", "Unauthorized"),
        ("token", "Unauthorized"),
        ("certificate", "Invalid certificate."),
        ("TPM", "challenged"),
        ("endorsement key", "Unauthorized"),
        ("token, TPM", "Unauthorized"),
        ("certificate, TPM", "challenged"),
        ("token, certificate", "Unauthorized"),
    ] {
        for id in &situations {
            let mut evidence = if presented.contains("token") { token(id, 99) } else { Evidence::default() };
            if presented.contains("certificate") {
                evidence.certificates =
                    certificates(&[Authority::root("Root").device(id).der()]).certificates;
            }
            if presented.contains("TPM") {
                evidence.tpm = named(&stranger).tpm;
            }
            if presented.contains("endorsement") {
                let endorsement_key = stranger.identity().endorsement_key.clone();
                evidence.tpm = Some(PresentedTpm { endorsement_key, storage_root_key: None });
            }
            let answer = match world.begin_with(SCOPE, id, evidence).await {
                Ok(RegisterOutcome::Challenged(blob)) => {
                    assert_eq!(stranger.open(&blob).resource, format!("{SCOPE}/registrations/{id}"));
                    "challenged"
                }
                Err(Error::Unauthorized { message, .. }) => message,
                other => panic!("{presented} for {id}: {other:?}"),
            };
            assert_eq!(answer, expected, "{presented} for {id}");
        }
    }
    let id = sample::registration_id("unknown");
    let attempts = world.provisioning.attempts(&*world.instance(SCOPE).await, &id).await.unwrap();
    assert!(!attempts.items.is_empty(), "operators see them, also of devices that were challenged");
}

#[tokio::test]
async fn a_disabled_enrollment_learns_no_key_and_hands_over_none() {
    let (world, tpm) = (World::new().await, tpm());
    let mut enrollment = enrolled(&tpm);
    disable(&mut enrollment.settings);
    world.enroll(enrollment).await;
    let registration = register(&world, &tpm).await;
    assert!(matches!(registration.status, Status::Disabled { current: None }));
    assert_eq!(world.provisioning.handover(&registration).unwrap(), None);
    assert_eq!((known_storage_root_key(&world).await, world.calls()), (None, 0));
}

#[tokio::test]
async fn a_run_that_the_hub_refused_uses_up_the_proof() {
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
        world.hub(hub).clear_failures();
    }
    handed(&world, &tpm, &register(&world, &tpm).await);
}
