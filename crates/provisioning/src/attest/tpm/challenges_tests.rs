//! Challenges that are asked for again, proved, and forgotten.

use std::sync::atomic::{AtomicU64, Ordering};

use model::{EndorsementKey, StorageRootKey};

use super::*;

#[derive(Default)]
struct Counter(AtomicU64);

impl Entropy for Counter {
    fn fill(&self, buffer: &mut [u8]) {
        let drawn = self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        buffer.iter_mut().zip(drawn.iter().cycle()).for_each(|(to, from)| *to = *from);
    }
}

/// Challenges of one instance, at a time in seconds.
struct World {
    challenges: Challenges,
    entropy: Counter,
    scope: IdScope,
}

impl World {
    fn new() -> World {
        let scope = IdScope::parse("0ne00000001").unwrap();
        World { challenges: Challenges::default(), entropy: Counter::default(), scope }
    }

    fn try_issue(&self, id: &str, tpm: u8, at: i64) -> Result<SymmetricKey, Error> {
        let id = RegistrationId::parse(id).unwrap();
        let place = Place { scope: &self.scope, registration_id: &id };
        let with: (&dyn Entropy, _) = (&self.entropy, Timestamp::from_unix_seconds(at));
        self.challenges.issue(place, identity(tpm), None, with)
    }

    fn issue(&self, id: &str, tpm: u8, at: i64) -> SymmetricKey {
        self.try_issue(id, tpm, at).unwrap()
    }

    fn prove(&self, id: &str, key: &SymmetricKey, operation: Option<&str>, at: i64) {
        let id = RegistrationId::parse(id).unwrap();
        let operation = operation.map(|text| OperationId::parse(text).unwrap());
        let place = Place { scope: &self.scope, registration_id: &id };
        self.challenges.proved(place, key, operation.as_ref(), Timestamp::from_unix_seconds(at));
    }

    /// The keys that are open, the one that waits first, each with what it was used for.
    fn open(&self, id: &str, at: i64) -> Vec<(SymmetricKey, Option<String>)> {
        let id = RegistrationId::parse(id).unwrap();
        let issued = self.challenges.of(Place { scope: &self.scope, registration_id: &id });
        let open = issued.into_iter().filter(|it| it.is_open(Timestamp::from_unix_seconds(at)));
        open.map(|it| (it.key, it.used_for.map(String::from))).collect()
    }
}

/// Of a TPM whose storage root key goes by this number.
fn identity(number: u8) -> TpmIdentity {
    let head = [0, 1, 0, 0x0B, 0, 3, 0, 0x72, 0, 0, 0, 6, 0, 128, 0, 0x43, 0, 0x10, 8, 0, 0, 0, 0, 0, 1, 0];
    let area = [&[0x01, 0x1A], &head[..], &[0xC1; 255], &[number | 1]].concat();
    TpmIdentity {
        endorsement_key: EndorsementKey::from_bytes(area.clone()).unwrap(),
        storage_root_key: StorageRootKey::from_bytes(area).unwrap(),
    }
}

#[test]
fn who_asks_again_gets_the_same_and_another_tpm_another() {
    let world = World::new();
    let key = world.issue("dev-1", 1, 0);
    assert_eq!(world.issue("DEV-1", 1, 60), key);
    assert_eq!(world.open("dev-1", 60 + OPEN_FOR_SECS), [(key.clone(), None)]);
    assert!(world.open("dev-1", 61 + OPEN_FOR_SECS).is_empty());
    let other = world.issue("dev-1", 3, 61);
    assert_ne!(other, key);
    assert_eq!(world.open("dev-1", 61), [(other.clone(), None)], "it replaces the first");
    assert_ne!(world.issue("dev-1", 3, 62 + 2 * OPEN_FOR_SECS), other, "after its time");
    assert!(world.open("dev-2", 0).is_empty());
}

#[test]
fn a_used_challenge_goes_on_proving_until_the_next_is_used() {
    let world = World::new();
    let first = world.issue("dev-1", 1, 0);
    world.prove("dev-1", &first, None, 10);
    assert_eq!(world.open("dev-1", 10), [(first.clone(), None)], "a look-up uses nothing up");
    world.prove("dev-1", &first, Some("5.1.a"), 20);
    let used = (first.clone(), Some("5.1.a".to_owned()));
    assert_eq!(world.open("dev-1", 20), std::slice::from_ref(&used));
    let second = world.issue("dev-1", 1, 30);
    assert_ne!(second, first);
    assert_eq!(world.open("dev-1", 30), [(second.clone(), None), used.clone()]);
    let mut at = 20;
    for _ in 0..10 {
        at += OPEN_FOR_SECS;
        world.prove("dev-1", &first, None, at);
    }
    assert_eq!(world.open("dev-1", at + OPEN_FOR_SECS), [used], "as long as the device polls");
    let third = world.issue("dev-1", 1, at);
    world.prove("dev-1", &third, Some("5.2.b"), at);
    assert_eq!(world.open("dev-1", at), [(third, Some("5.2.b".to_owned()))]);
}

#[test]
fn is_bounded_and_makes_room_when_challenges_run_out() {
    let world = World::new();
    for number in 0..MAX_OPEN {
        world.issue(&format!("dev-{number}"), 1, 0);
    }
    assert!(matches!(world.try_issue("one-more", 1, 0), Err(Error::Busy)));
    world.issue("dev-0", 3, 0);
    let elsewhere = World { scope: IdScope::parse("0ne00000002").unwrap(), ..world };
    elsewhere.issue("one-more", 1, 0);
    let world = World { scope: IdScope::parse("0ne00000001").unwrap(), ..elsewhere };
    world.issue("one-more", 1, OPEN_FOR_SECS + 1);
    assert_eq!(world.challenges.lock()[&world.scope].len(), 1);
}
