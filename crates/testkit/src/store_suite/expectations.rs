//! Preconditions of changes: each one, for each state and each kind of record.

use provisioning::ports::{
    Change, Expect,
    Outcome::{self, Applied, Exists, Missing, OtherVersion},
};

use crate::{ca::Authority, sample};

use super::{
    trust::{name, no_revocations},
    world::{
        Versioned, World, put_block, put_certificate, put_group, put_individual, put_list, put_registration,
    },
};

/// The state, the precondition, and the outcomes of a write and of a deletion.
const CASES: &[(State, Expected, Outcome, Outcome)] = &[
    (State::Nothing, Expected::Absent, Applied, Applied),
    (State::Nothing, Expected::Present, Missing, Missing),
    (State::Nothing, Expected::SameVersion, Missing, Missing),
    (State::Nothing, Expected::Anything, Applied, Applied),
    (State::Record, Expected::Absent, Exists, Exists),
    (State::Record, Expected::Present, Applied, Applied),
    (State::Record, Expected::SameVersion, Applied, Applied),
    (State::Record, Expected::OtherVersion, OtherVersion, OtherVersion),
    (State::Record, Expected::Anything, Applied, Applied),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Nothing,
    Record,
}

#[derive(Debug, Clone, Copy)]
enum Expected {
    Absent,
    Present,
    SameVersion,
    OtherVersion,
    Anything,
}

impl Expected {
    fn to_expect(self) -> Expect {
        match self {
            Expected::Absent => Expect::Absent,
            Expected::Present => Expect::Present,
            Expected::SameVersion => Expect::Version(sample::etag(BEFORE)),
            Expected::OtherVersion => Expect::Version(sample::etag("another")),
            Expected::Anything => Expect::Anything,
        }
    }
}

pub(super) async fn individuals(world: World) {
    for case in CASES {
        let before = sample::individual("dev").with_etag(BEFORE);
        let changes = Changes {
            clear: Change::DeleteIndividual(before.registration_id.clone()),
            prepare: put_individual(before.clone()),
            put: put_individual(before.with_etag(AFTER)),
        };
        let read = async || world.individual("dev").await.map(|record| record.etag().to_string());
        check(&world, *case, changes, read).await;
    }
}

pub(super) async fn groups(world: World) {
    for case in CASES {
        let before = sample::group("line").with_etag(BEFORE);
        let changes = Changes {
            clear: Change::DeleteGroup(before.group_id.clone()),
            prepare: put_group(before.clone()),
            put: put_group(before.with_etag(AFTER)),
        };
        let read = async || world.group("line").await.map(|record| record.etag().to_string());
        check(&world, *case, changes, read).await;
    }
}

pub(super) async fn certificates(world: World) {
    let ca = Authority::root("Root").certificate();
    for case in CASES {
        let before = sample::ca_certificate("ca", &ca).with_etag(BEFORE);
        let changes = Changes {
            clear: Change::DeleteCertificate(before.name.clone()),
            prepare: put_certificate(before.clone()),
            put: put_certificate(before.with_etag(AFTER)),
        };
        let read = async || Some(world.trust().await.certificate(&name())?.etag().to_string());
        check(&world, *case, changes, read).await;
    }
}

pub(super) async fn revocation_lists(world: World) {
    let crl = no_revocations(&Authority::root("Root"));
    for case in CASES {
        let before = sample::revocation_list("ca", &crl).with_etag(BEFORE);
        let changes = Changes {
            clear: Change::DeleteRevocationList(before.authority.clone(), before.id.clone()),
            prepare: put_list(before.clone()),
            put: put_list(before.with_etag(AFTER)),
        };
        let read = async || Some(world.trust().await.lists_under(&name()).next()?.etag().to_string());
        check(&world, *case, changes, read).await;
    }
}

pub(super) async fn blocks(world: World) {
    let ca = Authority::root("Root").certificate();
    for case in CASES {
        let before = sample::block(&ca).with_etag(BEFORE);
        let changes = Changes {
            clear: Change::DeleteBlock(before.thumbprint.clone()),
            prepare: put_block(before.clone()),
            put: put_block(before.with_etag(AFTER)),
        };
        let read = async || Some(world.trust().await.block(ca.thumbprint())?.etag().to_string());
        check(&world, *case, changes, read).await;
    }
}

pub(super) async fn registrations(world: World) {
    // A write may move a registration to another group, or out of a group.
    let individual = || sample::registration("dev").with_etag(BEFORE);
    let grouped = || sample::registration_of("dev", "line").with_etag(BEFORE);
    let other = || sample::registration_of("dev", "other").with_etag(BEFORE);
    let moves = [
        (individual(), individual()),
        (grouped(), grouped()),
        (grouped(), other()),
        (grouped(), individual()),
    ];
    for (before, after) in moves {
        for case in CASES {
            let changes = Changes {
                clear: Change::DeleteRegistration(before.registration_id.clone()),
                prepare: put_registration(before.clone()),
                put: put_registration(after.clone().with_etag(AFTER)),
            };
            let read = async || world.registration("dev").await.map(|record| record.etag().to_string());
            check(&world, *case, changes, read).await;
        }
    }
}

/// The changes of one kind of record: `clear` and `prepare` create a state; `put` and `clear` are tested on it.
struct Changes {
    clear: Change,
    prepare: Change,
    put: Change,
}

async fn check(
    world: &World,
    (state, expected, on_put, on_delete): (State, Expected, Outcome, Outcome),
    changes: Changes,
    read: impl AsyncFn() -> Option<String>,
) {
    let before = (state == State::Record).then(|| BEFORE.to_owned());
    let trials = [(&changes.put, on_put, Some(AFTER.to_owned())), (&changes.clear, on_delete, None)];
    for (change, outcome, after) in trials {
        world.apply([changes.clear.clone()]).await;
        world.apply(before.iter().map(|_| changes.prepare.clone())).await;
        let got = world.commit(vec![(expected.to_expect(), change.clone())]).await;
        assert_eq!(got, [outcome], "{state:?}, {expected:?}: {change:?}");
        let stored = if outcome == Applied { after } else { before.clone() };
        assert_eq!(read().await, stored, "{state:?}, {expected:?}: {change:?}");
    }
}

const BEFORE: &str = "before";
const AFTER: &str = "after";
