//! The change log: what is in it, who reads it, and how far back.

use std::net::IpAddr;

use model::{
    Actor, Attribution, Instance, Job, ListId, LogCursor, LogEntry, LogKind, LogOperation, LogPosition,
    Timestamp,
};
use provisioning::ports::{
    Change, Commit, Expect, InstanceUpdate, LogError, LogFilter, LogPage, LogQuery, LogRetention, Outcome,
};

use crate::{ca::Authority, sample};

use super::{
    trust::no_revocations,
    world::{World, put_block, put_certificate, put_group, put_individual, put_list, put_registration},
};

/// Changes of every kind, each with the attribution of its commit.
pub(super) async fn every_change(world: World) {
    let start = world.log().await.len();
    let mut expected = Vec::new();
    for (number, (actor, operation, change, entries)) in changes().into_iter().enumerate() {
        let at = Timestamp::from_unix_seconds(1_800_000_000 + number as i64);
        let by = Attribution { actor, operation, at };
        let commit = Commit { changes: vec![(Expect::Anything, change)], ..Commit::by(by.clone()) };
        assert_eq!(world.store.commit(&world.scope, commit).await.unwrap(), [Outcome::Applied]);
        expected.extend(entries.into_iter().map(|entry| (entry, lower_case(&by))));
    }
    let log = world.log().await.split_off(start);
    let shown = |it: LogEntry| ((it.kind, it.key, it.version.is_some()), it.attribution);
    let version = Some(sample::registration("Dev-1").record.etag.to_string());
    assert!(log.iter().any(|it| it.kind == LogKind::Registration && it.version == version));
    assert_eq!(log.into_iter().map(shown).collect::<Vec<_>>(), expected);
}

/// Kind and key of a record, and whether it is there afterwards.
type Entry = (LogKind, String, bool);

fn changes() -> Vec<(Actor, LogOperation, Change, Vec<Entry>)> {
    use LogKind::{Block, CaCertificate, Cleanup, Enrollment, EnrollmentGroup, Registration, RevocationList};
    let root = Authority::root("Root");
    let ca = sample::ca_certificate("Root", &root.certificate());
    let list = sample::revocation_list("Root", &no_revocations(&root));
    let block = sample::block(&root.certificate());
    let thumbprint = block.thumbprint.clone();
    let device = |id: &str, address| {
        let registration_id = sample::registration_id(id);
        Actor::Device { registration_id, address }
    };
    let v6 = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
    let cleanup = sample::cleanup("hub.example", "Dev-1");
    let place = cleanup.residue.hub_device.clone();
    let (operator, job) = (sample::operator, Actor::System);
    let put = |kind, key: &str| (kind, key.to_owned(), true);
    let gone = |kind, key: &str| (kind, key.to_owned(), false);
    let step = |actor, operation, change, entries: &[Entry]| (actor, operation, change, entries.to_vec());
    let (key, shown) = (place.key().into_owned(), thumbprint.as_str());
    let individual = put_individual(sample::individual("Dev-1"));
    let registration = put_registration(sample::registration("Dev-1"));
    let without_device = Change::DeleteIndividual(sample::registration_id("dev-1"));
    let unregistered = Change::DeleteRegistration(sample::registration_id("dev-1"));
    let without_ca = Change::DeleteCertificate(sample::ca_reference("ROOT"));
    let without_list = Change::DeleteRevocationList(sample::ca_reference("ROOT"), ListId::first());
    let without_group = Change::DeleteGroup(sample::group_id("line"));
    let (listed, cleaned) = (job(Job::RevocationLists), job(Job::Cleanups));
    let (to_clean, clean) = (Change::PutCleanup(Box::new(cleanup)), Change::DeleteCleanup(place.clone()));
    use LogOperation as Op;
    vec![
        step(operator(), Op::EnrollmentPut, individual, &[put(Enrollment, "dev-1")]),
        step(
            operator(),
            Op::EnrollmentBulk,
            put_group(sample::group("Line")),
            &[put(EnrollmentGroup, "line")],
        ),
        step(operator(), Op::CertificatePut, put_certificate(ca), &[put(CaCertificate, "root")]),
        step(listed, Op::RevocationPut, put_list(list), &[put(RevocationList, "root")]),
        step(sample::management_operator(), Op::BlockPut, put_block(block), &[put(Block, shown)]),
        step(
            device("Dev-1", Some(v6)),
            Op::RegistrationRegister,
            registration,
            &[put(Registration, "dev-1")],
        ),
        step(device("dev-2", None), Op::CleanupTry, to_clean, &[put(Cleanup, &key)]),
        step(cleaned, Op::CleanupTry, clean, &[gone(Cleanup, &key)]),
        step(
            sample::subject(),
            Op::BlockDelete,
            Change::DeleteBlock(thumbprint.clone()),
            &[gone(Block, shown)],
        ),
        step(operator(), Op::CertificateDelete, without_ca, &[gone(CaCertificate, "root")]),
        step(operator(), Op::RevocationDelete, without_list, &[gone(RevocationList, "root")]),
        step(operator(), Op::EnrollmentDelete, without_device, &[gone(Enrollment, "dev-1")]),
        step(operator(), Op::RegistrationDelete, unregistered, &[gone(Registration, "dev-1")]),
        step(operator(), Op::EnrollmentDelete, without_group, &[gone(EnrollmentGroup, "line")]),
    ]
}

/// Devices are logged by their lower-case IDs.
fn lower_case(by: &Attribution) -> Attribution {
    let actor = match &by.actor {
        Actor::Device { registration_id, address } => Actor::Device {
            registration_id: sample::registration_id(&registration_id.key()),
            address: *address,
        },
        other => other.clone(),
    };
    Attribution { actor, ..by.clone() }
}

/// The entry of an instance names the linked hub that is changed, and every handle follows it.
pub(super) async fn linked_hubs(world: World) {
    let [one, two] = world.open_twice().await;
    let current = one.instances().await.remove(0);
    for (name, hub) in [("first", Some("Hub.example")), ("second", None)] {
        let next = Instance { name: name.to_owned(), ..Instance::clone(&current) };
        let linked_hub = hub.map(sample::hub_name);
        let update = InstanceUpdate { linked_hub, ..next.into() };
        let expected = one.instances().await.remove(0);
        assert!(one.store.replace_instance(&expected, update, sample::by()).await.unwrap());
        assert_eq!(two.instances().await[0].name, name);
        let entry = two.log().await.pop().unwrap();
        let key = hub.map(|hub| sample::hub_name(hub).to_string()).unwrap_or_default();
        assert_eq!((entry.kind, entry.key), (LogKind::Instance, key));
    }
}

pub(super) async fn nothing(world: World) {
    let start = world.log().await.len();
    world.apply([Change::DeleteGroup(sample::group_id("line"))]).await;
    world.commit(vec![(Expect::Present, put_group(sample::group("line")))]).await;
    let wrong = Expect::Version(sample::etag("wrong"));
    world.commit(vec![(wrong, Change::DeleteIndividual(sample::registration_id("dev")))]).await;
    world.try_commit(Vec::new(), Some(model::OperationKind::EnrollmentRead)).await.unwrap();
    let left_out = vec![
        (Expect::Present, put_group(sample::group("line"))),
        (Expect::Following, put_group(sample::group("other"))),
    ];
    world.commit(left_out).await;
    assert_eq!(world.log().await.len(), start);
}

/// A reader that passes its position back sees every change once and in order, while writers write.
pub(super) async fn followed(world: World) {
    let world = std::sync::Arc::new(world);
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let world = std::sync::Arc::clone(&world);
            tokio::spawn(async move {
                for number in 0..CHANGES {
                    let id = format!("dev-{writer}-{number}");
                    // Every other commit makes two changes, of which readers see both or none.
                    let twin =
                        (number % 2 == 0).then(|| put_individual(sample::individual(&format!("{id}-b"))));
                    world.apply([put_individual(sample::individual(&id))].into_iter().chain(twin)).await;
                }
            })
        })
        .collect();
    let (mut after, mut seen) = (LogCursor::default(), Vec::<LogEntry>::new());
    let expected = WRITERS * (CHANGES + CHANGES / 2) + 1; // and the instance
    while seen.len() < expected {
        let query = LogQuery { after, limit: 7, ..LogQuery::default() };
        let page = world.store.read_log(&world.scope, query).await.unwrap();
        // A cursor goes through text on its way back.
        after = page.next.to_string().parse().unwrap();
        seen.extend(page.entries);
        tokio::task::yield_now().await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let is_sorted = seen
        .iter()
        .enumerate()
        .all(|(at, entry)| seen[..at].iter().all(|before| is_earlier(before.position, entry.position)));
    assert!(is_sorted, "each later than the ones before");
    let mut keys: Vec<_> = seen.iter().map(|entry| entry.key.clone()).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), expected, "each once");
    let query = LogQuery { after, limit: 7, ..LogQuery::default() };
    let page = world.store.read_log(&world.scope, query).await.unwrap();
    assert_eq!((page.entries, page.more), (Vec::new(), false));
}

/// Whether a position may come before another one. Positions of different writers may come in any order.
fn is_earlier(left: LogPosition, right: LogPosition) -> bool {
    left.writer() != right.writer() || left < right
}

pub(super) async fn isolation(world: World) {
    world.store.put_instance(sample::instance("two"), sample::by()).await.unwrap();
    let two = world.beside("two");
    for number in 0..20 {
        let (world, id) = if number % 2 == 0 { (&world, "mine") } else { (&two, "theirs") };
        world.apply([put_group(sample::group(&format!("{id}-{number}")))]).await;
    }
    let keys = |log: Vec<LogEntry>| log.into_iter().map(|entry| entry.key).collect::<Vec<_>>();
    let (mine, theirs) = (keys(world.log().await), keys(two.log().await));
    assert!(mine.iter().all(|key| key.is_empty() || key.starts_with("mine-")), "{mine:?}");
    assert!(theirs.iter().all(|key| key.is_empty() || key.starts_with("theirs-")), "{theirs:?}");
    assert_eq!((mine.len(), theirs.len()), (11, 11));
    assert_eq!(world.beside("unknown").log().await, []);
}

pub(super) async fn filters(world: World) {
    let put = async |id: &str, actor: Actor, second: i64| {
        let at = Timestamp::from_unix_seconds(2_000_000_000 + second);
        let by = Attribution { actor, operation: LogOperation::RegistrationRegister, at };
        let change = put_registration(sample::registration_of(id, "line"));
        let commit = Commit { changes: vec![(Expect::Anything, change)], ..Commit::by(by) };
        world.store.commit(&world.scope, commit).await.unwrap();
    };
    for second in 0..10 {
        let id = format!("dev-{}", second % 3);
        let registration_id = sample::registration_id(&id);
        put(&id, Actor::Device { registration_id, address: None }, second).await;
    }
    put("dev-0", Actor::System(Job::Assignments), 10).await;
    put("dev-0", sample::subject(), 11).await;
    let count = async |filter: LogFilter| {
        let query = LogQuery { filter, limit: 1000, ..LogQuery::default() };
        world.store.read_log(&world.scope, query).await.unwrap().entries.len()
    };
    let text = |text: &str| Some(text.to_owned());
    let since = |second: i64| Some(Timestamp::from_unix_seconds(2_000_000_000 + second));
    let all = LogFilter::default();
    assert_eq!(count(all.clone()).await, 13);
    assert_eq!(count(LogFilter { kind: Some(LogKind::Instance), ..all.clone() }).await, 1);
    assert_eq!(count(LogFilter { key: text("DEV-0"), ..all.clone() }).await, 6);
    assert_eq!(count(LogFilter { actor: text("dev-0"), ..all.clone() }).await, 4);
    assert_eq!(count(LogFilter { actor: text("assignments"), ..all.clone() }).await, 1);
    assert_eq!(count(LogFilter { actor: text("ALICE"), ..all.clone() }).await, 1);
    assert_eq!(count(LogFilter { since: since(9), ..all.clone() }).await, 3);
    assert_eq!(count(LogFilter { since: since(0), ..all.clone() }).await, 12);
    assert_eq!(count(LogFilter { since: since(12), ..all.clone() }).await, 0);
    assert_eq!(count(LogFilter { since: since(9), key: text("dev-0"), ..all }).await, 3);
}

pub(super) async fn trimmed(world: World) {
    for number in 0..50 {
        world.apply([put_individual(sample::individual(&format!("dev-{number}")))]).await;
    }
    let read = async |after: LogCursor, limit| {
        world.store.read_log(&world.scope, LogQuery { after, limit, ..LogQuery::default() }).await
    };
    let (first, all) = (read(LogCursor::default(), 10).await.unwrap(), world.log().await);
    let trim = async |rows| {
        let keep = LogRetention { since: Timestamp::from_unix_seconds(0), rows };
        assert!(!world.store.trim_log(keep).await.unwrap(), "so few go at once");
    };
    trim(41).await; // the position that was read is the last that is not kept
    assert_eq!(read(first.next.clone(), 1000).await.unwrap().entries, all[10..]);
    trim(40).await;
    let refused = read(first.next.clone(), 1000).await;
    assert!(matches!(refused, Err(LogError::Trimmed)), "{refused:?}");
    assert_eq!(read(LogCursor::default(), 1000).await.unwrap().entries, all[11..]);

    // All that is old goes but the newest, so that positions go on from there.
    let keep = LogRetention { since: Timestamp::from_unix_seconds(9_000_000_000), rows: 1000 };
    world.store.trim_log(keep).await.unwrap();
    let last = read(LogCursor::default(), 1000).await.unwrap();
    assert_eq!(last.entries, all[50..]);
    world.apply([put_individual(sample::individual("after"))]).await;
    let LogPage { entries, .. } = read(last.next, 1000).await.unwrap();
    assert_eq!(entries.len(), 1);
    assert!(is_earlier(all[50].position, entries[0].position));

    for foreign in [LogPosition::new(entries[0].position.writer(), 1 << 62), LogPosition::new(7, 7)] {
        let mut after = LogCursor::default();
        after.advance(foreign);
        let refused = read(after, 10).await;
        assert!(matches!(refused, Err(LogError::Foreign)), "{refused:?}");
    }
}

const WRITERS: usize = 8;
const CHANGES: usize = 20;
