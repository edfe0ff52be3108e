//! Keeps the snapshot in memory as new as the file, whether this handle changed the file or another one.
//!
//! No writer touches the snapshot. Before each use the handle asks whether anything was committed since it looked last,
//! which costs nothing while nothing was; then whether the configuration changed, which is one row; and only then reads the
//! change log and the records that it names.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use certpath::Sha256Thumbprint;
use durable::rusqlite::{self, Connection};
use model::{
    Block, CaCertificate, CaReference, EnrollmentGroup, EnrollmentGroupId, IdScope, ListId, LogKind,
    RevocationList,
};
use provisioning::configuration::{ConfigurationChange, Snapshot};
use provisioning::ports::{DamagedRecord, StoreError};

use crate::broken;
use crate::embedded::EmbeddedStore;
use crate::embedded::load::{self, Small};
use crate::embedded::log::{self, Changed};
use crate::embedded::snapshot::{InstanceRow, InstanceTable};
use crate::table::Table;

impl EmbeddedStore {
    /// Returns what is kept in memory, as new as every commit that was acknowledged.
    pub(super) fn instance_table(&self) -> Result<Arc<InstanceTable>, StoreError> {
        let commits = self.database.commits();
        if self.memory.compared.load(Ordering::Acquire) < commits {
            self.refresh(commits)?;
        }
        Ok(self.memory.current.load_full())
    }

    pub(super) fn current_snapshot(&self) -> Result<Arc<Snapshot>, StoreError> {
        Ok(Arc::clone(self.instance_table()?.snapshot()))
    }

    /// Brings the table up to these commits.
    fn refresh(&self, commits: u64) -> Result<(), StoreError> {
        let _alone = self.memory.alone();
        if self.memory.compared.load(Ordering::Acquire) >= commits {
            return Ok(());
        }
        let current = self.memory.current.load_full();
        let next = self.database.read(|connection| {
            // What cannot follow reads everything: a damaged log is no reason to turn everybody away.
            self.next(connection, &current).or_else(|_| self.reload(connection, &current).map(Some))
        });
        if let Some(next) = next.map_err(|error: rusqlite::Error| broken(error))? {
            self.memory.current.store(Arc::new(next));
        }
        self.memory.compared.store(commits, Ordering::Release);
        Ok(())
    }

    /// Returns the table after this one; `None` when the configuration is as it was.
    fn next(
        &self,
        connection: &Connection,
        current: &InstanceTable,
    ) -> rusqlite::Result<Option<InstanceTable>> {
        let known = current.snapshot().version();
        if log::configured(connection)? == known {
            return Ok(None);
        }
        let transaction = connection.unchecked_transaction()?;
        let version = log::configured(&transaction)?;
        let changed = match version < known {
            true => None,
            false => log::changed_since(&transaction, known)?,
        };
        let Some(changed) = changed else { return self.reload(&transaction, current).map(Some) };
        let mut next = InstanceTable::clone(current);
        for change in changed {
            self.take_up(&transaction, &mut next, &change)?;
        }
        Ok(Some(next.at(version)))
    }

    /// Reads everything anew.
    fn reload(&self, connection: &Connection, current: &InstanceTable) -> rusqlite::Result<InstanceTable> {
        load::instance_table(connection, &self.documents, current.cleared())
    }

    /// Reads one record that was changed.
    fn take_up(
        &self,
        connection: &Connection,
        next: &mut InstanceTable,
        changed: &Changed,
    ) -> rusqlite::Result<()> {
        let scope = match next.scope_of_number(changed.instance) {
            Some(scope) => scope.clone(),
            None => match load::scope(connection, changed.instance)? {
                Some(scope) => scope,
                None => return Ok(()),
            },
        };
        let small = Small { connection, documents: &self.documents, number: changed.instance, scope: &scope };
        let row = next.row_mut(&scope);
        if changed.kind == LogKind::Instance {
            let row = match row {
                Some(InstanceRow { number, configuration, .. }) => InstanceRow {
                    number: *number,
                    configuration: configuration.clone(),
                    content: small.instance(),
                },
                None => small.row(),
            };
            next.put(scope, row);
        } else if let Some(row) = row {
            let (change, damaged) = read_record(&small, changed)?;
            row.configuration.apply(change.as_slice());
            row.configuration.add_unreadable(damaged);
        }
        Ok(())
    }
}

/// Returns what became of a record, and why it cannot be read if it cannot.
fn read_record(
    small: &Small<'_>,
    changed: &Changed,
) -> rusqlite::Result<(Option<ConfigurationChange>, Option<DamagedRecord>)> {
    let key = changed.key.as_str();
    let (put, gone) = match changed.kind {
        LogKind::EnrollmentGroup => {
            let read = small.one::<EnrollmentGroup>(Table::Groups, key)?;
            (
                read.map(|it| it.map(ConfigurationChange::PutGroup)),
                EnrollmentGroupId::parse(key).ok().map(ConfigurationChange::DeleteGroup),
            )
        }
        LogKind::CaCertificate => {
            let read = small.one::<CaCertificate>(Table::Certificates, key)?;
            let gone = CaReference::parse(key).ok().map(ConfigurationChange::DeleteCertificate);
            (read.map(|it| it.map(ConfigurationChange::PutCertificate)), gone)
        }
        LogKind::RevocationList => {
            let read = small.one::<RevocationList>(Table::RevocationLists, key)?;
            let (ca, id) = key.split_once('\n').unwrap_or((key, ListId::FIRST));
            let gone = CaReference::parse(ca)
                .ok()
                .map(|ca| ConfigurationChange::DeleteRevocationList(ca, ListId::named(id)));
            (read.map(|it| it.map(ConfigurationChange::PutRevocationList)), gone)
        }
        LogKind::Block => {
            let read = small.one::<Block>(Table::Blocks, key)?;
            (
                read.map(|it| it.map(ConfigurationChange::PutBlock)),
                Sha256Thumbprint::parse(key).ok().map(ConfigurationChange::DeleteBlock),
            )
        }
        LogKind::Instance
        | LogKind::Enrollment
        | LogKind::Registration
        | LogKind::Cleanup
        | LogKind::Attempt => (Ok(None), None),
    };
    Ok(match put {
        Ok(Some(put)) => (Some(put), None),
        Ok(None) => (gone, None),
        Err(damaged) => (gone, Some(damaged)),
    })
}

impl super::Memory {
    /// Returns the right to change the table.
    pub(super) fn alone(&self) -> std::sync::MutexGuard<'_, ()> {
        self.refreshing.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Stops serving an instance.
    pub(super) fn set_aside(&self, scope: &IdScope) {
        let _alone = self.alone();
        let next = InstanceTable::clone(&self.current.load()).without(scope);
        self.current.store(Arc::new(next));
    }
}
