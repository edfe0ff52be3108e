//! What the key of a challenge depends on.

use model::{EndorsementKey, StorageRootKey};

use super::*;
use crate::enroll::samples;

/// Returns the identity of a TPM whose keys have these numbers.
fn identity(endorsement: u8, storage: u8) -> TpmIdentity {
    let head = [0, 1, 0, 0x0B, 0, 3, 0, 0x72, 0, 0, 0, 6, 0, 128, 0, 0x43, 0, 0x10, 8, 0, 0, 0, 0, 0, 1, 0];
    let area = |number: u8| [&[0x01, 0x1A], &head[..], &[0xC1; 255], &[number | 1]].concat();
    TpmIdentity {
        endorsement_key: EndorsementKey::from_bytes(area(endorsement)).unwrap(),
        storage_root_key: StorageRootKey::from_bytes(area(storage)).unwrap(),
    }
}

fn used(number: u64, period: i64) -> TpmHandover {
    let (primary, secondary) = (samples::key(1), samples::key(2));
    TpmHandover {
        identity: identity(1, 1),
        hub_keys: model::SymmetricKeyPair { primary, secondary },
        challenge: Some(Challenge { number, period }),
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

#[test]
fn a_key_stays_for_its_period_and_is_accepted_in_the_next() {
    let (instance, id) = (samples::instance("one"), RegistrationId::parse("dev-1").unwrap());
    let key = |now: i64| {
        let challenges = Challenges::of(&instance, &id, None, at(now));
        challenges.key(&identity(1, 3), challenges.next()).unwrap()
    };
    let open = |now: i64| {
        let challenges = Challenges::of(&instance, &id, None, at(now));
        challenges.open().map(|challenge| challenges.key(&identity(1, 3), challenge).unwrap())
    };
    let start = 7 * PERIOD_SECS;
    assert_eq!(key(start), key(start + PERIOD_SECS - 1), "who asks again gets the same");
    assert_ne!(key(start), key(start + PERIOD_SECS));
    for (later, is_open) in [(0, true), (2 * PERIOD_SECS - 1, true), (2 * PERIOD_SECS, false)] {
        assert_eq!(open(start + later).contains(&key(start)), is_open, "{later}");
    }
    assert_eq!(key(-1), key(-PERIOD_SECS), "before 1970 as well");
}

/// Each part of a challenge is changed in turn.
#[test]
fn a_key_is_good_for_nothing_else() {
    let (one, two) = (samples::instance("one"), samples::instance("two"));
    let rekeyed = Instance { operation_key: samples::key(77), ..one.clone() };
    let (dev, other) = (RegistrationId::parse("dev-1").unwrap(), RegistrationId::parse("dev-2").unwrap());
    let (first, second) = (used(0, 0), used(1, 0));
    let key =
        |instance: &Instance, id: &RegistrationId, last: Option<&TpmHandover>, tpm: &TpmIdentity, now| {
            let challenges = Challenges::of(instance, id, last, at(now));
            challenges.key(tpm, challenges.next()).unwrap()
        };
    let keys = [
        key(&one, &dev, None, &identity(1, 3), 0),
        key(&two, &dev, None, &identity(1, 3), 0),
        key(&rekeyed, &dev, None, &identity(1, 3), 0),
        key(&one, &other, None, &identity(1, 3), 0),
        key(&one, &dev, None, &identity(5, 3), 0),
        key(&one, &dev, None, &identity(1, 5), 0),
        key(&one, &dev, None, &identity(3, 1), 0),
        key(&one, &dev, None, &identity(1, 3), PERIOD_SECS),
        key(&one, &dev, Some(&first), &identity(1, 3), 0),
        key(&one, &dev, Some(&second), &identity(1, 3), 0),
    ];
    for (at, key) in keys.iter().enumerate() {
        assert!(keys.iter().skip(at + 1).all(|other| other != key), "{at}");
    }
    let upper = RegistrationId::parse("DEV-1").unwrap();
    assert_eq!(key(&one, &upper, None, &identity(1, 3), 0), keys[0], "IDs compare without case");
}
