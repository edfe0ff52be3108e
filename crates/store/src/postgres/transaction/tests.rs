//! What is decided, without a database.

use std::collections::BTreeSet;

use model::{Day, DeviceId, HubDeviceRef, LeaseToken, OperationKind};
use provisioning::ports::{
    Expect,
    Outcome::{self, Applied, Exists, LeftOut, Missing, OtherVersion, Taken},
};
use testkit::sample;

use super::{
    decide::{Decision, decide},
    lock::{HubDevice, Locked},
};
use crate::{
    batch::{Batch, Columns, Row, RowChange, RowGuard, RowKey},
    table::Table,
};

const INSTANCE: i32 = 1;

fn key(table: Table, id: &str) -> RowKey {
    RowKey { table, id: id.to_owned() }
}

fn version(etag: &str) -> Expect {
    Expect::Version(sample::etag(etag))
}

fn device(name: &str) -> HubDeviceRef {
    HubDeviceRef { hub: sample::hub_name("hub.example"), device_id: DeviceId::parse(name).unwrap() }
}

fn name(device: &str) -> HubDevice {
    ("hub.example".to_owned(), device.to_owned())
}

/// Returns the change of a registration; without an etag it is deleted.
fn change(id: &str, expect: Expect, etag: Option<&str>, has: Option<&str>) -> RowChange {
    let columns =
        Columns::Registration { status: "assigned", group: None, hub_devices: (has.map(device), None) };
    let row = etag.map(|etag| Row { etag: etag.to_owned(), document: Vec::new(), columns });
    RowChange { key: key(Table::Registrations, id), expect, row, subject: None }
}

/// Returns a batch that counts an operation.
fn batch(changes: Vec<RowChange>) -> Batch {
    let operation = Some((OperationKind::Registration, Day::from_number(7)));
    let (instance, by) = (Some(i64::from(INSTANCE)), sample::by());
    Batch { scope: "one".to_owned(), instance, fence: None, guards: Vec::new(), changes, operation, by }
}

fn found(rows: &[(&str, &str)]) -> Locked {
    let row = |(id, etag): &(&str, &str)| ((INSTANCE, key(Table::Registrations, id)), (*etag).to_owned());
    Locked { versions: rows.iter().map(row).collect(), ..Locked::default() }
}

fn outcomes(decision: &Decision<'_>) -> Vec<Vec<Outcome>> {
    decision.outcomes.iter().map(|outcomes| outcomes.clone().unwrap()).collect()
}

fn counted(decision: &Decision<'_>) -> i64 {
    decision.writes.usage.values().sum()
}

#[test]
fn each_batch_has_its_own_outcome() {
    let batches = [
        batch(vec![change("a", version("1"), Some("2"), None)]),
        batch(vec![change("b", version("1"), Some("2"), None)]),
        batch(vec![change("c", version("1"), Some("2"), None)]),
        batch(vec![change("d", Expect::Absent, Some("1"), None)]),
        batch(vec![change("a", Expect::Absent, Some("1"), None)]),
        batch(Vec::new()),
    ];
    let batches: Vec<&Batch> = batches.iter().collect();
    let decision = decide(&found(&[("a", "1"), ("b", "0")]), &batches);
    let expected = [vec![Applied], vec![OtherVersion], vec![Missing], vec![Applied], vec![Exists], vec![]];
    assert_eq!(outcomes(&decision), expected);
    assert_eq!(counted(&decision), 3);
    let writes = &decision.writes;
    assert_eq!((writes.replaced.len(), writes.created.len(), writes.deleted.len()), (1, 1, 0));
    assert_eq!(writes.log.len(), 2);
}

#[test]
fn a_batch_finds_what_the_ones_before_it_leave() {
    let batches = [
        batch(vec![change("a", version("1"), Some("2"), None)]),
        batch(vec![change("a", version("1"), Some("3"), None)]),
        batch(vec![change("a", version("2"), Some("4"), None)]),
        batch(vec![change("b", Expect::Absent, Some("1"), None)]),
        batch(vec![change("b", version("1"), None, None)]),
    ];
    let batches: Vec<&Batch> = batches.iter().collect();
    let decision = decide(&found(&[("a", "1")]), &batches);
    let expected = [vec![Applied], vec![OtherVersion], vec![Applied], vec![Applied], vec![Applied]];
    assert_eq!(outcomes(&decision), expected);
    let writes = &decision.writes;
    let replaced: Vec<&str> = writes.replaced.values().map(|row| row.etag.as_str()).collect();
    assert_eq!(replaced, ["4"], "written once, as the last one left it");
    assert!(writes.created.is_empty() && writes.deleted.is_empty(), "it came and went");
    assert_eq!((writes.log.len(), counted(&decision)), (4, 4));
}

#[test]
fn a_change_follows_the_one_before_it() {
    let follow = |id: &str| change(id, Expect::Following, None, None);
    let batches = [
        batch(vec![change("a", version("0"), Some("2"), None), follow("b"), follow("c")]),
        batch(vec![change("a", version("1"), Some("2"), None), follow("b"), follow("gone")]),
    ];
    let batches: Vec<&Batch> = batches.iter().collect();
    let decision = decide(&found(&[("a", "1"), ("b", "1"), ("c", "1")]), &batches);
    let expected = [vec![OtherVersion, LeftOut, LeftOut], vec![Applied; 3]];
    assert_eq!(outcomes(&decision), expected);
    assert_eq!(decision.writes.deleted.len(), 1);
    assert_eq!(decision.writes.log.len(), 2, "what was not there is not logged");
}

#[test]
fn of_two_registrations_the_first_gets_a_device() {
    let put = |id: &str, has| change(id, Expect::Anything, Some("2"), has);
    let batches = [
        batch(vec![put("a", Some("x"))]),
        batch(vec![put("b", Some("x"))]),
        batch(vec![put("c", Some("taken"))]),
        batch(vec![change("a", Expect::Present, None, None)]),
        batch(vec![put("b", Some("x"))]),
    ];
    let batches: Vec<&Batch> = batches.iter().collect();
    let mut locked = found(&[]);
    locked.owners.insert(name("taken"), (2, "c".to_owned()));
    locked.owners.insert(name("left"), (INSTANCE, "a".to_owned()));
    let decision = decide(&locked, &batches);
    let expected = [vec![Applied], vec![Taken], vec![Taken], vec![Applied], vec![Applied]];
    assert_eq!(outcomes(&decision), expected);
    assert_eq!(decision.writes.released, [name("left")]);
    assert_eq!(decision.writes.claimed, [(name("x"), (INSTANCE, "b".to_owned()))]);
}

#[test]
fn a_batch_is_fenced_alone() {
    let token = LeaseToken::new(7);
    let fenced =
        |id: &str| Batch { fence: Some(token), ..batch(vec![change(id, Expect::Absent, Some("1"), None)]) };
    let batches = [fenced("a"), batch(vec![change("b", Expect::Absent, Some("1"), None)])];
    let batches: Vec<&Batch> = batches.iter().collect();
    let decision = decide(&found(&[]), &batches);
    assert_eq!(decision.outcomes, [None, Some(vec![Applied])]);
    assert_eq!((decision.writes.created.len(), counted(&decision)), (1, 1));
    let locked = Locked { leases: [token].into(), ..found(&[]) };
    assert_eq!(decide(&locked, &batches).outcomes, [Some(vec![Applied]), Some(vec![Applied])]);
}

#[test]
fn a_guard_holds_for_the_whole_batch() {
    let guarded = |guard, id: &str| Batch {
        guards: vec![guard],
        ..batch(vec![change(id, Expect::Absent, Some("1"), None)])
    };
    let row =
        |id: &str, etag: Option<&str>| RowGuard::Row(key(Table::Registrations, id), etag.map(sample::etag));
    let batches = [
        guarded(row("a", Some("1")), "b"),
        guarded(row("a", Some("0")), "c"),
        guarded(row("b", None), "d"),
        guarded(row("e", None), "f"),
    ];
    let batches: Vec<&Batch> = batches.iter().collect();
    let decision = decide(&found(&[("a", "1")]), &batches);
    let expected = [vec![Applied; 2], vec![OtherVersion, LeftOut], vec![Exists, LeftOut], vec![Applied; 2]];
    assert_eq!(outcomes(&decision), expected);
    let absent: Vec<&str> = decision.writes.absent.iter().map(|(_, key)| key.id.as_str()).collect();
    assert_eq!(absent, ["e"]);
}

/// The row is there until the transaction deletes it, so a placeholder for it cannot be inserted.
#[test]
fn a_row_that_the_transaction_deletes_needs_no_placeholder() {
    let deleting = batch(vec![change("a", Expect::Anything, None, None)]);
    let guard = RowGuard::Row(key(Table::Registrations, "a"), None);
    let guarded = Batch { guards: vec![guard], ..batch(vec![change("b", Expect::Absent, Some("1"), None)]) };
    let decision = decide(&found(&[("a", "1")]), &[&deleting, &guarded]);
    assert_eq!(outcomes(&decision), [vec![Applied], vec![Applied; 2]]);
    assert!(decision.writes.absent.is_empty(), "{:?}", decision.writes.absent);
    assert_eq!(decision.writes.deleted.len(), 1);
}

#[test]
fn a_guard_of_a_version_of_the_configuration() {
    let guarded = |since| Batch {
        guards: vec![RowGuard::Unchanged(Table::RevocationLists, since)],
        ..batch(Vec::new())
    };
    let lists = Table::RevocationLists.log_kind().code();
    let mut locked = found(&[]);
    locked.configuration.version = 9;
    locked.configuration.next = 20;
    locked.configuration.noted = BTreeSet::from([2, 4, 5, 7, 8]);
    locked.configuration.changed.insert((INSTANCE, lists), 5);
    locked.configuration.changed.insert((2, lists), 8);
    let outcome = |since| outcomes(&decide(&locked, &[&guarded(since)]))[0][0];
    for since in 0..=30 {
        let expected = if [9, 8, 7, 5].contains(&since) { Applied } else { OtherVersion };
        assert_eq!(outcome(since), expected, "{since}");
    }

    // A list that the same transaction writes counts, too.
    let columns = Columns::RevocationList { ca: "ca".to_owned() };
    let row = Some(Row { etag: "1".to_owned(), document: Vec::new(), columns });
    let list =
        RowChange { key: key(Table::RevocationLists, "ca"), expect: Expect::Anything, row, subject: None };
    let (writing, reading) = (batch(vec![list]), guarded(9));
    let decision = decide(&locked, &[&writing, &reading]);
    assert_eq!(outcomes(&decision), [vec![Applied], vec![OtherVersion]]);
    assert_eq!(decision.writes.version, Some(20));
}
