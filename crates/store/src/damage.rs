//! The damaged records that were found: each is logged once, counted for monitoring, and forgotten when it is written or
//! deleted.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use provisioning::{
    RecordKind,
    ports::{DamagedRecord, KnownDamage},
};

/// The most records that are remembered, about 200 bytes each; further ones are only counted.
const MAX_KNOWN: usize = 10_000;

/// The most records that are logged one by one: a database that is half damaged must not fill the disk with its log.
const MAX_LOGGED: usize = 100;

/// The damaged records that were found.
#[derive(Debug, Default)]
pub(crate) struct DamageLog {
    known: Mutex<Known>,
    /// Whether there are any. Reads and writes of sound records check no more than this.
    any: AtomicBool,
}

#[derive(Debug, Default)]
struct Known {
    /// By ID scope, kind and ID.
    records: BTreeMap<(String, RecordKind, String), String>,
    more: u64,
}

impl DamageLog {
    /// Whether there are any.
    pub(crate) fn is_any_known(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Remembers a record, and logs it the first time.
    pub(crate) fn note(&self, scope: &str, record: &DamagedRecord) {
        let DamagedRecord { kind, id, reason } = record;
        let mut known = self.lock();
        let key = (scope.to_owned(), *kind, id.clone());
        if known.records.contains_key(&key) {
            return;
        }
        if known.records.len() >= MAX_KNOWN {
            known.more += 1;
            return;
        }
        known.records.insert(key, reason.clone());
        self.any.store(true, Ordering::Release);
        match known.records.len() {
            ..MAX_LOGGED => tracing::error!(
                instance.id_scope = ?scope,
                record.kind = %kind,
                record.id = ?id,
                reason,
                "a stored record is damaged; delete it, or restore it from a backup; `muster store check` finds all"
            ),
            MAX_LOGGED => tracing::error!("more stored records are damaged: `muster store check` names them"),
            _ => {}
        }
    }

    /// Forgets a record that was written, deleted or read.
    pub(crate) fn forget(&self, scope: &str, kind: RecordKind, id: &str) {
        if !self.is_any_known() {
            return;
        }
        let mut known = self.lock();
        known.records.remove(&(scope.to_owned(), kind, id.to_owned()));
        self.any.store(!known.records.is_empty(), Ordering::Release);
    }

    /// Returns all of them.
    pub(crate) fn known(&self) -> KnownDamage {
        let known = self.lock();
        let record = |((scope, kind, id), reason): (&(String, RecordKind, String), &String)| {
            (scope.clone(), DamagedRecord { kind: *kind, id: id.clone(), reason: reason.clone() })
        };
        KnownDamage { records: known.records.iter().map(record).collect(), more: known.more }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str) -> DamagedRecord {
        DamagedRecord { kind: RecordKind::Registration, id: id.to_owned(), reason: "altered".to_owned() }
    }

    #[test]
    fn what_is_known_is_bounded_and_goes_with_the_record() {
        let log = DamageLog::default();
        log.forget("one", RecordKind::Registration, "a");
        for _ in 0..2 {
            log.note("one", &record("a"));
        }
        log.note("two", &record("a"));
        assert_eq!(log.known().records.len(), 2);
        log.forget("one", RecordKind::Registration, "a");
        assert_eq!(log.known(), KnownDamage { records: vec![("two".to_owned(), record("a"))], more: 0 });
        log.forget("two", RecordKind::Registration, "a");
        assert_eq!((log.known(), log.any.load(Ordering::Acquire)), (KnownDamage::default(), false));
        for number in 0..MAX_KNOWN + 7 {
            log.note("one", &record(&number.to_string()));
        }
        assert_eq!((log.known().records.len(), log.known().more), (MAX_KNOWN, 7));
    }
}
