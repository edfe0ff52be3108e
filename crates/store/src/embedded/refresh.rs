//! Keeps the snapshot in memory as new as the file, whether this handle changed the file or another one.
//!
//! No writer touches the snapshot. Before each use the handle asks whether anything was committed since it looked last,
//! which costs nothing while nothing was; then whether the configuration changed, which is one row; and only then reads the
//! change log and the records that it names.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::Guard;
use durable::rusqlite::{self, Connection};
use model::{
    Block, CaCertificate, CaReference, EnrollmentGroup, EnrollmentGroupId, IdScope, ListId, LogKind,
    RevocationList, Sha256Thumbprint,
};
use provisioning::ports::{DamagedRecord, StoreError};

use crate::embedded::load::{self, Small};
use crate::embedded::log::{self, Changed};
use crate::embedded::snapshot::{Absence, Snapshot, SnapshotChange};
use crate::embedded::{EmbeddedStore, broken};

impl EmbeddedStore {
    /// What is kept in memory, as new as every commit that was acknowledged.
    pub(super) fn snapshot(&self) -> Result<Guard<Arc<Snapshot>>, StoreError> {
        let commits = self.database.commits();
        if self.memory.compared.load(Ordering::Acquire) < commits {
            self.refresh(commits)?;
        }
        Ok(self.memory.current.load())
    }

    /// Brings the snapshot up to these commits.
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

    /// The snapshot after this one; `None` when the configuration is as it was.
    fn next(&self, connection: &Connection, current: &Snapshot) -> rusqlite::Result<Option<Snapshot>> {
        if log::configured(connection)? == current.position {
            return Ok(None);
        }
        let transaction = connection.unchecked_transaction()?;
        let position = log::configured(&transaction)?;
        let changed = match position < current.position {
            true => None,
            false => log::changed_since(&transaction, current.position)?,
        };
        let Some(changed) = changed else { return self.reload(&transaction, current).map(Some) };
        let mut next = Snapshot::clone(current);
        next.position = position;
        for change in changed {
            self.take_up(&transaction, &mut next, &change)?;
        }
        Ok(Some(next))
    }

    /// Everything, read anew.
    fn reload(&self, connection: &Connection, current: &Snapshot) -> rusqlite::Result<Snapshot> {
        load::snapshot(connection, &self.documents, current.without_instances())
    }

    /// Reads one record that was changed.
    fn take_up(
        &self,
        connection: &Connection,
        next: &mut Snapshot,
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
        if changed.kind == LogKind::Instance {
            take_up_instance(&small, next);
        } else if let Some(kin) = next.kin_of(&scope) {
            let (kept, damaged) = read_record(&small, changed)?;
            kin.change(kept.as_slice());
            kin.unreadable = kin.unreadable.iter().cloned().chain(damaged).collect();
        }
        Ok(())
    }
}

fn take_up_instance(small: &Small<'_>, next: &mut Snapshot) {
    let (kin, whole) = match next.kin_of(small.scope) {
        Some(kin) => (kin.clone(), Ok(())),
        None => small.kin(),
    };
    match whole.and_then(|()| small.instance()) {
        Ok(Some(instance)) => next.put_loaded(instance, kin),
        Ok(None) => next.put_absent(small.scope.clone(), Absence::GivenUp, kin),
        Err(damaged) => next.put_absent(small.scope.clone(), Absence::Damaged(damaged), kin),
    }
}

/// What became of a record, and why it cannot be read if it cannot.
fn read_record(
    small: &Small<'_>,
    changed: &Changed,
) -> rusqlite::Result<(Option<SnapshotChange>, Option<DamagedRecord>)> {
    let key = changed.key.as_str();
    let (put, gone) = match changed.kind {
        LogKind::EnrollmentGroup => {
            let read = small.one::<EnrollmentGroup>("groups", key)?;
            (
                read.map(|it| it.map(SnapshotChange::PutGroup)),
                EnrollmentGroupId::parse(key).ok().map(SnapshotChange::DeleteGroup),
            )
        }
        LogKind::CaCertificate => {
            let read = small.one::<CaCertificate>("certificates", key)?;
            let gone = CaReference::parse(key).ok().map(SnapshotChange::DeleteCertificate);
            (read.map(|it| it.map(SnapshotChange::PutCertificate)), gone)
        }
        LogKind::RevocationList => {
            let read = small.one::<RevocationList>("revocation_lists", key)?;
            let (ca, id) = key.split_once('\n').unwrap_or((key, ListId::FIRST));
            let gone = CaReference::parse(ca)
                .ok()
                .map(|ca| SnapshotChange::DeleteRevocationList(ca, ListId::named(id)));
            (read.map(|it| it.map(SnapshotChange::PutRevocationList)), gone)
        }
        LogKind::Block => {
            let read = small.one::<Block>("blocks", key)?;
            (
                read.map(|it| it.map(SnapshotChange::PutBlock)),
                Sha256Thumbprint::parse(key).ok().map(SnapshotChange::DeleteBlock),
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
    /// The right to change the snapshot.
    pub(super) fn alone(&self) -> std::sync::MutexGuard<'_, ()> {
        self.refreshing.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Stops serving an instance.
    pub(super) fn set_aside(&self, scope: &IdScope) {
        let _alone = self.alone();
        let mut next = Snapshot::clone(&self.current.load());
        next.set_aside(scope);
        self.current.store(Arc::new(next));
    }
}
