//! The second round trip: writes what was decided, and commits it.

use std::collections::{BTreeMap, BTreeSet};

use model::Attribution;

use super::{
    super::{
        log::first_position,
        session::{Failure, Session, Step},
    },
    RowId,
    decide::{Decision, Logged, Writes},
    lock::{HubDevice, LaneRow},
    sql,
};
use crate::{
    batch::{Columns, Row, RowKey},
    log_row::Signature,
    table::Table,
};

/// Writes what was decided, and commits.
pub(in crate::postgres) async fn write(
    session: &Session,
    decision: &Decision<'_>,
    lane: LaneRow,
) -> Result<(), Failure> {
    let writes = &decision.writes;
    let empty = Placeholders::default();
    let mut steps = Vec::new();
    for table in Table::OF_INSTANCE {
        steps.extend(rows(table, writes, &empty));
    }
    steps.extend(devices(writes));
    steps.extend(instances(writes));
    steps.extend(usage(writes, lane));
    steps.extend(log(writes, lane));
    steps.extend(changes(writes));
    steps.push(Step::plain("COMMIT"));
    session.pipeline(&steps).await?;
    Ok(())
}

/// Returns the statements that write rows of a table.
fn rows<'a>(table: Table, writes: &'a Writes<'a>, empty: &'a Placeholders) -> Vec<Step<'a>> {
    let (absent, deleted) = (keys(table, &writes.absent), keys(table, &writes.deleted));
    let (replaced, created) = (with_rows(table, &writes.replaced), with_rows(table, &writes.created));
    let mut steps = Vec::new();
    if !absent.is_empty() {
        let placeholders: Vec<_> =
            absent.iter().map(|row_id| (row_id.0, row_id.1, empty.of(table))).collect();
        steps.extend([sql::insert(table, &placeholders), sql::delete(table, &absent)]);
    }
    if !deleted.is_empty() {
        steps.push(sql::delete(table, &deleted));
    }
    if !replaced.is_empty() {
        steps.push(sql::update(table, &replaced));
    }
    if !created.is_empty() {
        steps.push(sql::insert(table, &created));
    }
    steps
}

fn keys<'a>(table: Table, ids: &BTreeSet<RowId<'a>>) -> Vec<RowId<'a>> {
    ids.iter().filter(|row_id| row_id.1.table == table).copied().collect()
}

fn with_rows<'a>(table: Table, rows: &BTreeMap<RowId<'a>, &'a Row>) -> Vec<(i32, &'a RowKey, &'a Row)> {
    let of_table = rows.iter().filter(|(row_id, _)| row_id.1.table == table);
    of_table.map(|(row_id, row)| (row_id.0, row_id.1, *row)).collect()
}

/// Rows that are created and deleted again, where none may exist: another transaction that creates a row of the same key waits
/// for the end of this one.
struct Placeholders {
    individual: Row,
    registration: Row,
    cleanup: Row,
    list: Row,
    other: Row,
}

impl Default for Placeholders {
    fn default() -> Self {
        let row = |columns| Row { etag: String::new(), document: Vec::new(), columns };
        Placeholders {
            individual: row(Columns::Individual { expires: None }),
            registration: row(Columns::Registration { status: "", group: None, hub_devices: (None, None) }),
            cleanup: row(Columns::Cleanup { hub: String::new(), due: 0 }),
            list: row(Columns::RevocationList { ca: String::new() }),
            other: row(Columns::None),
        }
    }
}

impl Placeholders {
    fn of(&self, table: Table) -> &Row {
        match table {
            Table::Individuals => &self.individual,
            Table::Registrations => &self.registration,
            Table::Cleanups => &self.cleanup,
            Table::RevocationLists => &self.list,
            _ => &self.other,
        }
    }
}

fn devices<'a>(writes: &'a Writes<'a>) -> Vec<Step<'a>> {
    let mut steps = Vec::new();
    if !writes.released.is_empty() {
        let (hubs, names) = split(writes.released.iter());
        steps.push(Step::new(RELEASE, vec![Box::new(hubs), Box::new(names)]));
    }
    if !writes.claimed.is_empty() {
        let (hubs, names) = split(writes.claimed.iter().map(|(device, _)| device));
        let instances: Vec<i32> = writes.claimed.iter().map(|(_, owner)| owner.0).collect();
        let ids: Vec<&str> = writes.claimed.iter().map(|(_, owner)| owner.1.as_str()).collect();
        steps.push(Step::new(
            CLAIM,
            vec![Box::new(hubs), Box::new(names), Box::new(instances), Box::new(ids)],
        ));
    }
    steps
}

fn split<'a>(devices: impl Iterator<Item = &'a HubDevice>) -> (Vec<&'a str>, Vec<&'a str>) {
    devices.map(|(hub, device)| (hub.as_str(), device.as_str())).unzip()
}

fn instances<'a>(writes: &'a Writes<'a>) -> Option<Step<'a>> {
    let rows = &writes.instances;
    let scopes: Vec<&str> = rows.keys().copied().collect();
    let numbers: Vec<i32> = rows.values().map(|(number, _)| *number).collect();
    let documents: Vec<&[u8]> = rows.values().map(|(_, document)| *document).collect();
    let step = || Step::new(PUT_INSTANCES, vec![Box::new(numbers), Box::new(scopes), Box::new(documents)]);
    (!rows.is_empty()).then(step)
}

fn usage(writes: &Writes<'_>, lane: LaneRow) -> Option<Step<'static>> {
    let rows = &writes.usage;
    let instances: Vec<i32> = rows.keys().map(|key| key.0).collect();
    let days: Vec<i32> = rows.keys().map(|key| key.1).collect();
    let kinds: Vec<&'static str> = rows.keys().map(|key| key.2).collect();
    let counts: Vec<i64> = rows.values().copied().collect();
    let step = || {
        Step::new(
            COUNT,
            vec![
                Box::new(lane.number),
                Box::new(instances),
                Box::new(days),
                Box::new(kinds),
                Box::new(counts),
            ],
        )
    };
    (!rows.is_empty()).then(step)
}

/// Returns the statement that writes an entry of the change log for each change.
fn log<'a>(writes: &'a Writes<'a>, lane: LaneRow) -> Option<Step<'a>> {
    if writes.log.is_empty() {
        return None;
    }
    let mut rows = LogColumns::default();
    let mut last: Option<(&Attribution, Signature)> = None;
    for logged in &writes.log {
        let signature = match last.take() {
            Some((by, signature)) if std::ptr::eq(by, logged.by) => signature,
            _ => Signature::new(logged.by),
        };
        rows.push(logged, &signature);
        last = Some((logged.by, signature));
    }
    Some(rows.into_step(lane))
}

#[derive(Default)]
struct LogColumns<'a> {
    instances: Vec<i32>,
    times: Vec<i64>,
    kinds: Vec<i16>,
    operations: Vec<i16>,
    keys: Vec<&'a str>,
    versions: Vec<Option<&'a str>>,
    actors: Vec<i16>,
    names: Vec<Option<String>>,
    addresses: Vec<Option<Vec<u8>>>,
}

impl<'a> LogColumns<'a> {
    fn push(&mut self, logged: &'a Logged<'a>, by: &Signature) {
        let change = logged.change;
        let version = change.row.as_ref().map(|row| row.etag.as_str()).filter(|etag| !etag.is_empty());
        self.instances.push(logged.instance);
        self.times.push(by.millis);
        self.kinds.push(i16::from(change.key.table.log_kind().code()));
        self.operations.push(i16::from(by.operation));
        self.keys.push(change.log_key());
        self.versions.push(version);
        self.actors.push(i16::from(by.actor));
        self.names.push(by.name_beside(change.log_key()).map(str::to_owned));
        self.addresses.push(by.address.clone());
    }

    fn into_step(self, lane: LaneRow) -> Step<'a> {
        let first = first_position(lane.seq);
        Step::new(
            LOG,
            vec![
                Box::new(lane.number),
                Box::new(first),
                Box::new(self.instances),
                Box::new(self.times),
                Box::new(self.kinds),
                Box::new(self.operations),
                Box::new(self.keys),
                Box::new(self.versions),
                Box::new(self.actors),
                Box::new(self.names),
                Box::new(self.addresses),
            ],
        )
    }
}

/// Returns the statements that note which configuration is changed.
fn changes<'a>(writes: &'a Writes<'a>) -> Vec<Step<'a>> {
    let Some(version) = writes.version else { return Vec::new() };
    let of = |logged: &'a Logged<'a>| {
        let (kind, key) = (logged.change.key.table.log_kind(), &logged.change.key);
        kind.is_configuration().then(|| (logged.instance, i16::from(kind.code()), key.id.as_str()))
    };
    let changed: BTreeSet<(i32, i16, &str)> = writes.log.iter().filter_map(of).collect();
    let instances: Vec<i32> = changed.iter().map(|key| key.0).collect();
    let kinds: Vec<i16> = changed.iter().map(|key| key.1).collect();
    let ids: Vec<&str> = changed.iter().map(|key| key.2).collect();
    vec![
        Step::new("UPDATE configuration SET version = $1", vec![Box::new(version)]),
        Step::new(NOTE, vec![Box::new(version), Box::new(instances), Box::new(kinds), Box::new(ids)]),
    ]
}

const RELEASE: &str = "
    DELETE FROM hub_devices h USING unnest($1::text[], $2::text[]) AS c(hub, device)
    WHERE h.hub = c.hub AND h.device = c.device";

const CLAIM: &str = "
    INSERT INTO hub_devices (hub, device, instance, id)
    SELECT * FROM unnest($1::text[], $2::text[], $3::int4[], $4::text[])";

const PUT_INSTANCES: &str = "
    INSERT INTO instances (number, scope, document) SELECT * FROM unnest($1::int4[], $2::text[], $3::bytea[])
    ON CONFLICT (number) DO UPDATE SET document = excluded.document";

const COUNT: &str = "
    INSERT INTO usage (instance, day, kind, lane, count)
    SELECT c.instance, c.day, c.kind, $1::int4, c.count
    FROM unnest($2::int4[], $3::int4[], $4::text[], $5::bigint[]) AS c(instance, day, kind, count)
    ON CONFLICT (instance, day, kind, lane) DO UPDATE SET count = usage.count + excluded.count";

const LOG: &str = "
    INSERT INTO log (instance, lane, position, written, at, kind, operation, key, version, actor, name, address)
    SELECT c.instance, $1::int4, $2::bigint + c.ord, now(), c.at, c.kind, c.operation, c.key, c.version, c.actor, c.name,
           c.address
    FROM unnest($3::int4[], $4::bigint[], $5::smallint[], $6::smallint[], $7::text[], $8::text[], $9::smallint[],
                $10::text[], $11::bytea[])
        WITH ORDINALITY AS c(instance, at, kind, operation, key, version, actor, name, address, ord)";

const NOTE: &str = "
    INSERT INTO changes (version, instance, kind, id)
    SELECT $1::bigint, * FROM unnest($2::int4[], $3::smallint[], $4::text[])";
