//! Writes a batch, in the transaction of the writer thread.

use durable::rusqlite::{self, Connection, ToSql};
use model::{Day, Etag, LogKind, OperationKind};
use provisioning::ports::{Expect, Outcome};

use crate::{
    batch::{Batch, Columns, Row, RowChange, RowGuard, RowKey},
    log_row::Signature,
    sqlite::{
        hub_devices::{self, HubDeviceIndex},
        log::{self, LogWriter},
        statements::{COUNT_OPERATION, NUMBER, PUT_INSTANCE, Statements},
    },
    table::Table,
};

/// Parameters of the update of a registration of an expected version.
const PARAMETERS: usize = 7;

/// Writes a batch, which is not fenced, and returns the outcomes of its guards and changes.
pub(crate) fn apply(connection: &Connection, batch: &Batch) -> rusqlite::Result<Vec<Outcome>> {
    let signature = Signature::new(&batch.by);
    let mut writer = Writer { connection, signature: &signature, instance: batch.instance };
    let guards = batch.guards.iter().map(|guard| writer.check(guard));
    let mut outcomes = guards.collect::<rusqlite::Result<Vec<_>>>()?;
    if outcomes.iter().any(|outcome| *outcome != Outcome::Applied) {
        outcomes.resize(outcomes.len() + batch.changes.len(), Outcome::LeftOut);
        return Ok(outcomes);
    }
    let mut changes = Vec::with_capacity(batch.changes.len());
    for change in &batch.changes {
        changes.push(match change.is_left_out(changes.last()) {
            true => Outcome::LeftOut,
            false => writer.change(&batch.scope, change)?,
        });
    }
    if let Some(operation) = batch.counted(&changes) {
        writer.count(operation)?;
    }
    outcomes.extend(changes);
    Ok(outcomes)
}

/// Writes to one instance.
struct Writer<'a> {
    connection: &'a Connection,
    signature: &'a Signature,
    /// The number of the instance, once it has one.
    instance: Option<i64>,
}

impl Writer<'_> {
    /// Returns [`Outcome::Applied`] when a guard holds.
    fn check(&self, guard: &RowGuard) -> rusqlite::Result<Outcome> {
        let (key, version) = match guard {
            RowGuard::Row(key, version) => (key, version),
            RowGuard::Unchanged(table, since) => return self.check_unchanged(table.log_kind(), *since),
        };
        let target = self.target(key)?;
        Ok(match version {
            Some(version) if target.is_version(version)? => Outcome::Applied,
            Some(_) if target.exists()? => Outcome::OtherVersion,
            Some(_) => Outcome::Missing,
            None if target.exists()? => Outcome::Exists,
            None => Outcome::Applied,
        })
    }

    fn check_unchanged(&self, kind: LogKind, since: u64) -> rusqlite::Result<Outcome> {
        let is_meant = |it: &log::Changed| {
            it.kind == kind && (kind == LogKind::Instance || Some(it.instance) == self.instance)
        };
        let is_unchanged = match log::configured(self.connection)? {
            version if version == since => true,
            version if version < since => false,
            _ => log::changed_since(self.connection, since)?.is_some_and(|all| !all.iter().any(is_meant)),
        };
        Ok(if is_unchanged { Outcome::Applied } else { Outcome::OtherVersion })
    }

    /// Makes a change if its expectation holds, and logs it.
    fn change(&mut self, scope: &str, change: &RowChange) -> rusqlite::Result<Outcome> {
        let (table, expect) = (change.key.table, &change.expect);
        let outcome = match (table, &change.row) {
            (Table::Instances, Some(row)) => self.put_instance(scope, change, row)?,
            (_, Some(row)) => self.target(&change.key)?.put(row, expect)?,
            (_, None) => match self.target(&change.key)?.delete(expect)? {
                // Nothing was there, and nothing changed.
                None => return Ok(Outcome::Applied),
                Some(outcome) => outcome,
            },
        };
        if outcome == Outcome::Applied {
            let version = change.row.as_ref().map(|row| row.etag.as_str()).filter(|etag| !etag.is_empty());
            let (connection, signature) = (self.connection, self.signature);
            let instance = self.instance.unwrap_or_default();
            LogWriter { connection, instance, signature }.note(
                table.log_kind(),
                change.log_key(),
                version,
            )?;
        }
        Ok(outcome)
    }

    fn put_instance(&mut self, scope: &str, change: &RowChange, row: &Row) -> rusqlite::Result<Outcome> {
        let stored = self.connection.prepare_cached(NUMBER)?.exists([scope])?;
        if let Some(refusal) = change.refusal(stored.then_some("")) {
            return Ok(refusal);
        }
        let mut statement = self.connection.prepare_cached(PUT_INSTANCE)?;
        self.instance = Some(statement.query_row((scope, &row.document), |row| row.get(0))?);
        Ok(Outcome::Applied)
    }

    fn count(&self, (kind, day): (OperationKind, Day)) -> rusqlite::Result<()> {
        let values = (self.instance, day.number(), kind.name());
        self.connection.prepare_cached(COUNT_OPERATION)?.execute(values).map(drop)
    }

    fn target<'a>(&'a self, key: &'a RowKey) -> rusqlite::Result<Target<'a>> {
        let (connection, instance) = (self.connection, self.instance.unwrap_or_default());
        let statements = Statements::of(key.table).ok_or(rusqlite::Error::InvalidQuery)?;
        Ok(Target { connection, statements, instance, id: &key.id })
    }
}

/// The row that a change is about, whether or not it exists.
struct Target<'a> {
    connection: &'a Connection,
    statements: &'static Statements,
    instance: i64,
    id: &'a str,
}

impl Target<'_> {
    fn put(&self, row: &Row, expect: &Expect) -> rusqlite::Result<Outcome> {
        let Columns::Registration { hub_devices, .. } = &row.columns else {
            return self.put_row(row, expect);
        };
        let index = HubDeviceIndex::new(hub_devices);
        let Some(columns) = index.claim(self.connection, self.instance, self.id)? else {
            return Ok(Outcome::Taken);
        };
        let outcome = self.put_row(row, expect)?;
        if outcome == Outcome::Applied {
            hub_devices::note(self.connection, self.instance, self.id, &columns)?;
        }
        Ok(outcome)
    }

    fn put_row(&self, row: &Row, expect: &Expect) -> rusqlite::Result<Outcome> {
        if *expect == Expect::Absent {
            return Ok(if self.insert(row)? { Outcome::Applied } else { Outcome::Exists });
        }
        if self.update(row, expect)? {
            return Ok(Outcome::Applied);
        }
        // Not there, of another version, or a registration that came through another group than before.
        if self.remove(expect)? || allows_nothing(expect) {
            self.insert(row)?;
            return Ok(Outcome::Applied);
        }
        self.unmet(expect)
    }

    /// Deletes the row; `None` when there is none and none is expected.
    fn delete(&self, expect: &Expect) -> rusqlite::Result<Option<Outcome>> {
        Ok(match expect {
            Expect::Absent => self.exists()?.then_some(Outcome::Exists),
            _ if self.remove(expect)? => Some(Outcome::Applied),
            _ if allows_nothing(expect) => None,
            _ => Some(self.unmet(expect)?),
        })
    }

    fn insert(&self, row: &Row) -> rusqlite::Result<bool> {
        self.execute(self.statements.insert, Some(row), None)
    }

    fn update(&self, row: &Row, expect: &Expect) -> rusqlite::Result<bool> {
        match expect {
            Expect::Version(etag) => self.execute(self.statements.update_version, Some(row), Some(etag)),
            Expect::Absent | Expect::Anything | Expect::Following | Expect::Present => {
                self.execute(self.statements.update, Some(row), None)
            }
        }
    }

    fn remove(&self, expect: &Expect) -> rusqlite::Result<bool> {
        match expect {
            Expect::Version(etag) => self.execute(self.statements.delete_version, None, Some(etag)),
            Expect::Absent | Expect::Anything | Expect::Following | Expect::Present => {
                self.execute(self.statements.delete, None, None)
            }
        }
    }

    /// Returns why nothing was found that meets the expectation.
    fn unmet(&self, expect: &Expect) -> rusqlite::Result<Outcome> {
        let other_version = matches!(expect, Expect::Version(_)) && self.exists()?;
        Ok(if other_version { Outcome::OtherVersion } else { Outcome::Missing })
    }

    fn exists(&self) -> rusqlite::Result<bool> {
        self.connection.prepare_cached(self.statements.exists)?.exists((self.instance, self.id))
    }

    fn is_version(&self, version: &Etag) -> rusqlite::Result<bool> {
        let key = (self.instance, self.id, version.as_str());
        self.connection.prepare_cached(self.statements.is_version)?.exists(key)
    }

    /// Returns whether the statement found a row.
    fn execute(&self, sql: &str, row: Option<&Row>, version: Option<&Etag>) -> rusqlite::Result<bool> {
        let version = version.map(Etag::as_str);
        let mut values: Vec<&dyn ToSql> = Vec::with_capacity(PARAMETERS);
        values.extend([&self.instance as &dyn ToSql, &self.id]);
        if let Some(row) = row {
            values.extend([&row.etag as &dyn ToSql, &row.document]);
            match &row.columns {
                Columns::None => {}
                Columns::Individual { expires } => values.push(expires),
                Columns::Registration { status, group, hub_devices: _ } => {
                    values.extend([status as &dyn ToSql, group]);
                }
                Columns::Cleanup { hub, due } => values.extend([hub as &dyn ToSql, due]),
                Columns::RevocationList { ca } => values.push(ca),
            }
        }
        values.extend(version.iter().map(|version| version as &dyn ToSql));
        let found = self.connection.prepare_cached(sql)?.execute(values.as_slice())?;
        Ok(found > 0)
    }
}

/// Whether a change may find nothing under its ID.
fn allows_nothing(expect: &Expect) -> bool {
    matches!(expect, Expect::Anything | Expect::Following)
}
