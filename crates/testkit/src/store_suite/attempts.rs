//! Refused attempts to register.

use model::{Admission, Attempt, Explanation, IdScope, RefusalReason, Timestamp};
use provisioning::ports::{
    ATTEMPTS_OF_A_KIND, ATTEMPTS_OF_ONE, AttemptQuery, AttemptRetention, Page, PageRequest,
};

use super::world::World;
use crate::sample;

/// Returns an attempt of an unknown device; `number` is its time.
fn attempt(id: &str, number: usize) -> Attempt {
    Attempt {
        registration_id: sample::registration_id(id),
        at: Timestamp::from_unix_seconds(number as i64),
        address: Some([192, 0, 2, 1].into()),
        known: false,
        explanation: Explanation {
            presented: vec!["certificate 1, the leaf: CN=dev".into()],
            considered: Vec::new(),
            omitted: 0,
            unfit: Vec::new(),
            outcome: Admission::Refused {
                reason: "no enrollment of this ID scope fits the device".into(),
                code: Some(RefusalReason::NoEnrollment),
            },
        },
    }
}

/// Returns an attempt of a known device; `number` is its time.
fn known_attempt(id: &str, number: usize) -> Attempt {
    Attempt { known: true, ..attempt(id, number) }
}

/// Reads attempts of a registration ID, or of all, that follow a number.
async fn read(world: &World, id: Option<&str>, after: Option<String>, limit: usize) -> Page<Attempt> {
    let registration_id = id.map(sample::registration_id);
    let query = AttemptQuery { registration_id, page: PageRequest { after, limit } };
    world.store.attempts(&world.scope, query).await.unwrap()
}

/// Reads the times of the attempts of a registration ID.
async fn times(world: &World, id: &str) -> Vec<i64> {
    let attempts = read(world, Some(id), None, 1000).await.items;
    attempts.iter().map(|attempt| attempt.at.unix_seconds()).collect()
}

async fn keep(world: &World, attempts: Vec<Attempt>) {
    world.store.keep_attempts(&world.scope, attempts).await.unwrap();
}

pub(super) async fn records(world: World) {
    assert_eq!(times(&world, "dev").await, [0; 0]);
    keep(&world, vec![attempt("dev", 1), attempt("other", 2), known_attempt("DEV", 3)]).await;
    keep(&world, vec![]).await;
    let world = world.reopen().await;
    assert_eq!((times(&world, "dev").await, times(&world, "Other").await), (vec![3, 1], vec![2]));
    assert_eq!(read(&world, Some("other"), None, 1000).await.items, [attempt("other", 2)]);

    world.store.put_instance(sample::instance("two"), sample::by()).await.unwrap();
    let two = world.beside("two");
    assert_eq!(times(&two, "dev").await, [0; 0]);
    keep(&two, vec![attempt("dev", 9)]).await;
    assert_eq!((times(&two, "dev").await, times(&world, "dev").await), (vec![9], vec![3, 1]));
    assert!(world.store.keep_attempts(&sample::scope("none"), vec![attempt("dev", 1)]).await.is_err());
}

pub(super) async fn newest_of_one(world: World) {
    let count = ATTEMPTS_OF_ONE + 3;
    keep(&world, vec![attempt("other", 0)]).await;
    keep(&world, (1..=count).map(|number| attempt("dev", number)).collect()).await;
    let newest: Vec<_> = (4..=count as i64).rev().collect();
    assert_eq!((times(&world, "dev").await, times(&world, "other").await), (newest, vec![0]));
}

/// Attempts of unknown devices replace the oldest ones of unknown devices, never those of known devices.
pub(super) async fn newest_of_all(world: World) {
    keep(&world, vec![known_attempt("known", 0), attempt("first", 0), attempt("second", 0)]).await;
    let unknown = |numbers: std::ops::Range<usize>| {
        numbers.map(|number| attempt(&format!("s{number}"), number)).collect()
    };
    keep(&world, unknown(0..ATTEMPTS_OF_A_KIND - 1)).await;
    assert_eq!((times(&world, "first").await, times(&world, "second").await), (vec![], vec![0]));
    keep(&world, unknown(ATTEMPTS_OF_A_KIND - 1..ATTEMPTS_OF_A_KIND)).await;
    assert_eq!((times(&world, "second").await, times(&world, "s0").await), (vec![], vec![0]));
    assert_eq!(times(&world, "known").await, [0]);
}

/// Attempts of all registration IDs are read in pages, newest first, also those of one.
pub(super) async fn pages(world: World) {
    keep(&world, (1..=4).map(|number| attempt(&format!("s{}", number % 2), number)).collect()).await;
    keep(&world, vec![known_attempt("known", 5)]).await;
    for (id, expected) in [(None, vec![5, 4, 3, 2, 1]), (Some("S1"), vec![3, 1])] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = read(&world, id, after.take(), 2).await;
            found.extend(page.items.iter().map(|attempt| attempt.at.unix_seconds()));
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        assert_eq!(found, expected, "{id:?}");
    }
}

/// Attempts are deleted by the time when they were written.
pub(super) async fn trimmed(world: World) {
    keep(&world, vec![attempt("dev", 1)]).await;
    let [past, future] = [1_500_000_000, 10_000_000_000].map(Timestamp::from_unix_seconds);
    let trim = async |before, of_instances: &[(&str, Timestamp)]| {
        let own = |(scope, before): &(&str, Timestamp)| (IdScope::parse(*scope).unwrap(), *before);
        let of_instances = of_instances.iter().map(own).collect();
        world.store.trim_attempts(AttemptRetention { before, of_instances }).await.unwrap();
        times(&world, "dev").await
    };
    assert_eq!(trim(past, &[]).await, [1]);
    assert_eq!(trim(future, &[("ONE", past)]).await, [1], "the instance keeps them for longer");
    assert_eq!(trim(past, &[("two", future), ("none", future)]).await, [1]);
    assert_eq!(trim(past, &[("one", future)]).await, [0; 0]);
    keep(&world, vec![attempt("dev", 1)]).await;
    assert_eq!(trim(future, &[]).await, [0; 0]);
}
