//! The first round trip: locks what batches are about.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use model::LeaseToken;
use tokio_postgres::Row;

use super::{
    super::{
        number,
        session::{Failure, Session, Step},
    },
    RowId,
    sql::{self, Strength},
};
use crate::{
    batch::{Batch, Columns, RowGuard, RowKey},
    table::Table,
};

/// What was found, as it stays until the end of the transaction.
#[derive(Debug, Default)]
pub(in crate::postgres) struct Locked {
    /// The versions of the rows that exist.
    pub(super) versions: HashMap<(i32, RowKey), String>,
    /// The registrations that devices at hubs belong to.
    pub(super) owners: BTreeMap<HubDevice, Owner>,
    /// The leases that are current.
    pub(super) leases: HashSet<LeaseToken>,
    /// The numbers of instances by ID scope, if one is written.
    pub(super) instances: BTreeMap<String, i32>,
    /// What is known of changes of the configuration, if that is changed or depended on.
    pub(super) configuration: ConfigurationState,
}

impl Locked {
    /// Returns the version of a row that exists.
    pub(super) fn version(&self, row_id: RowId<'_>) -> Option<&str> {
        self.versions.get(&(row_id.0, row_id.1.clone())).map(String::as_str)
    }
}

/// The name of a hub, and the ID of a device there.
pub(super) type HubDevice = (String, String);

/// The instance and ID of a registration.
pub(super) type Owner = (i32, String);

/// The version of the configuration, and when which part of it was changed.
#[derive(Debug, Clone, Default)]
pub(super) struct ConfigurationState {
    pub(super) version: i64,
    /// The version that follows if this transaction changes the configuration.
    pub(super) next: i64,
    /// Of the versions that guards name, those of which all later changes are known.
    pub(super) noted: BTreeSet<i64>,
    /// The version of the last change by instance and number of `LogKind`.
    pub(super) changed: HashMap<(i32, u8), i64>,
}

/// The row of a lane, as a transaction leaves it.
#[derive(Debug, Clone, Copy)]
pub(in crate::postgres) struct LaneRow {
    pub(in crate::postgres) number: i32,
    /// Another one when another process takes the lane.
    pub(in crate::postgres) epoch: i64,
    /// Raised by every transaction.
    pub(in crate::postgres) seq: i64,
}

/// Begins a transaction that moves the row of its lane here, and locks what the batches are about. Fails if the row is not
/// where the transaction before left it, or another process has the lane.
pub(in crate::postgres) async fn lock(
    session: &Session,
    lane: LaneRow,
    batches: &[&Batch],
) -> Result<Locked, Failure> {
    let moved = Step::new(MOVE, vec![Box::new(lane.number), Box::new(lane.epoch), Box::new(lane.seq)]);
    let mut steps = vec![(Step::plain("BEGIN"), Content::Nothing), (moved, Content::Lane)];
    steps.extend(Wanted::of(batches).steps());
    let (steps, contents): (Vec<Step<'_>>, Vec<Content>) = steps.into_iter().unzip();
    let results = session.pipeline(&steps).await?;
    let mut locked = Locked::default();
    for (content, rows) in contents.into_iter().zip(results) {
        locked.add(content, &rows)?;
    }
    Ok(locked)
}

/// What the rows of a statement are.
#[derive(Debug, Clone, Copy)]
enum Content {
    Nothing,
    Lane,
    Version,
    Noted,
    Changes,
    Instances,
    Leases,
    Rows(Table),
    Owners,
}

/// What batches are about. The sets are sorted, so that transactions lock in the same order.
#[derive(Default)]
struct Wanted<'a> {
    needs_configuration: bool,
    needs_instances: bool,
    /// Versions of the configuration since which nothing may have changed.
    unchanged_since: BTreeSet<i64>,
    fences: BTreeSet<i64>,
    changed: BTreeMap<Table, BTreeSet<RowId<'a>>>,
    guarded: BTreeMap<Table, BTreeSet<RowId<'a>>>,
    /// Devices that registrations are to have.
    devices: BTreeSet<(&'a str, &'a str)>,
}

impl<'a> Wanted<'a> {
    fn of(batches: &[&'a Batch]) -> Wanted<'a> {
        let mut wanted = Wanted::default();
        batches.iter().for_each(|batch| wanted.add(batch));
        wanted
    }

    fn add(&mut self, batch: &'a Batch) {
        let instance = batch.instance.map_or(0, number);
        self.fences.extend(batch.fence.map(|token| token.number().cast_signed()));
        for guard in &batch.guards {
            match guard {
                RowGuard::Row(key, _) => {
                    self.guarded.entry(key.table).or_default().insert((instance, key));
                }
                RowGuard::Unchanged(_, since) => _ = self.unchanged_since.insert(since.cast_signed()),
            }
        }
        for change in &batch.changes {
            self.needs_configuration |= change.key.table.log_kind().is_configuration();
            if change.key.table == Table::Instances {
                self.needs_instances = true;
                continue;
            }
            self.changed.entry(change.key.table).or_default().insert((instance, &change.key));
            if let Some(Columns::Registration { hub_devices: (at, to), .. }) =
                change.row.as_ref().map(|row| &row.columns)
            {
                let devices = at.iter().chain(to);
                self.devices.extend(devices.map(|device| (device.hub.as_str(), device.device_id.as_str())));
            }
        }
    }

    /// Returns the statements in the order in which they lock. The version of the configuration is first, so that commits that
    /// change it never wait for each other in a circle.
    fn steps(&self) -> Vec<(Step<'static>, Content)> {
        let mut steps = Vec::new();
        if self.needs_configuration || !self.unchanged_since.is_empty() {
            steps.push((Step::plain(VERSION), Content::Version));
        }
        if !self.unchanged_since.is_empty() {
            let since: Vec<i64> = self.unchanged_since.iter().copied().collect();
            steps.push((Step::new(NOTED, vec![Box::new(since)]), Content::Noted));
            steps.push((Step::plain(CHANGES), Content::Changes));
        }
        if self.needs_instances {
            steps.push((Step::plain("SELECT scope, number FROM instances"), Content::Instances));
        }
        if !self.fences.is_empty() {
            let fences: Vec<i64> = self.fences.iter().copied().collect();
            steps.push((Step::new(LEASES, vec![Box::new(fences)]), Content::Leases));
        }
        for table in Table::OF_INSTANCE {
            let none = BTreeSet::new();
            let changed = self.changed.get(&table).unwrap_or(&none);
            let guarded = self.guarded.get(&table).unwrap_or(&none);
            // A lock that would have to become a stronger one makes transactions wait for each other in a circle.
            let guarded: Vec<_> = guarded.difference(changed).copied().collect();
            let changed: Vec<_> = changed.iter().copied().collect();
            let sets = [(guarded, Strength::Share), (changed, Strength::Update)];
            let sets = sets.iter().filter(|(keys, _)| !keys.is_empty());
            steps.extend(
                sets.map(|(keys, strength)| (sql::lock(table, *strength, keys), Content::Rows(table))),
            );
        }
        if let Some(registrations) = self.changed.get(&Table::Registrations) {
            let (instances, ids): (Vec<i32>, Vec<String>) =
                registrations.iter().map(|(instance, key)| (*instance, key.id.clone())).unzip();
            let (hubs, devices): (Vec<String>, Vec<String>) =
                self.devices.iter().map(|(hub, device)| ((*hub).to_owned(), (*device).to_owned())).unzip();
            steps.push((Step::new(DEVICES_OF, vec![Box::new(instances), Box::new(ids)]), Content::Owners));
            steps.push((Step::new(OWNERS, vec![Box::new(hubs), Box::new(devices)]), Content::Owners));
        }
        steps
    }
}

impl Locked {
    fn add(&mut self, content: Content, rows: &[Row]) -> Result<(), Failure> {
        if matches!(content, Content::Lane) && rows.is_empty() {
            return Err(Failure::Lost("the row of the lane is missing".to_owned()));
        }
        for row in rows {
            match content {
                Content::Nothing | Content::Lane => {}
                Content::Version => {
                    (self.configuration.version, self.configuration.next) =
                        (row.try_get(0)?, row.try_get(1)?);
                }
                Content::Noted => _ = self.configuration.noted.insert(row.try_get(0)?),
                Content::Changes => {
                    let kind = u8::try_from(row.try_get::<_, i16>(1)?).unwrap_or(u8::MAX);
                    self.configuration.changed.insert((row.try_get(0)?, kind), row.try_get(2)?);
                }
                Content::Instances => _ = self.instances.insert(row.try_get(0)?, row.try_get(1)?),
                Content::Leases => {
                    let token: i64 = row.try_get(0)?;
                    self.leases.insert(LeaseToken::new(token.cast_unsigned()));
                }
                Content::Rows(table) => {
                    let key = RowKey { table, id: row.try_get(1)? };
                    self.versions.insert((row.try_get(0)?, key), row.try_get(2)?);
                }
                Content::Owners => {
                    let device = (row.try_get(0)?, row.try_get(1)?);
                    self.owners.insert(device, (row.try_get(2)?, row.try_get(3)?));
                }
            }
        }
        Ok(())
    }
}

/// The row of the lane is locked before all others, so that settling what became of a transaction waits for its end.
const MOVE: &str = "
    UPDATE lanes SET seq = CASE WHEN epoch = $2 AND seq = $3::bigint - 1 THEN $3::bigint END,
                     until = now() + interval '60 seconds' WHERE lane = $1 RETURNING seq";

/// A version follows at a random distance: a database that has lost changes, by a failover or because it was restored, never
/// gives one of their versions to another change.
const VERSION: &str = "
    SELECT version, version + 1 + floor(random() * 1073741824)::bigint FROM configuration FOR UPDATE";

/// The versions that are noted: the oldest notes go first, so that all after one of these are there.
const NOTED: &str = "SELECT DISTINCT version FROM changes WHERE version = ANY($1::bigint[])";

/// The last changes by instance and kind.
const CHANGES: &str = "SELECT instance, kind, max(version) FROM changes GROUP BY instance, kind";

/// Another runner that takes a lease over waits for the end of the transaction; its holder can renew it meanwhile.
const LEASES: &str = "SELECT token FROM leases WHERE token = ANY($1::bigint[]) FOR KEY SHARE";

const DEVICES_OF: &str = "
    SELECT h.hub, h.device, h.instance, h.id FROM unnest($1::int4[], $2::text[]) AS k(instance, id)
    JOIN hub_devices h ON h.instance = k.instance AND h.id = k.id FOR UPDATE OF h";

const OWNERS: &str = "
    SELECT h.hub, h.device, h.instance, h.id FROM unnest($1::text[], $2::text[]) AS k(hub, device)
    JOIN hub_devices h ON h.hub = k.hub AND h.device = k.device FOR UPDATE OF h";
