//! Detects at the start that the database was restored from a backup or copied, and holds its cleanups.
//!
//! A cleanup in a backup may have been done since, and its device may have moved back: repeating it would remove a device
//! that belongs there. Therefore cleanups of such a database wait until an operator confirms them.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use durable::{Continuity, Epoch};
use model::{Attribution, CleanupHold, HoldReason, Instance, Job, LogOperation};
use net::CancellationToken;
use provisioning::ports::{Clock, Store};
use store::EmbeddedStore;

/// The interval at which the epoch advances. A backup that is older than this is detected.
const INTERVAL: Duration = Duration::from_secs(60);

/// Advances the epoch of a database, in the database and in the file outside of its folder.
pub(crate) struct EpochKeeper {
    store: Arc<EmbeddedStore>,
    file: PathBuf,
    epoch: Epoch,
}

/// Returns why the cleanups of a database must wait, if so.
pub(crate) fn hold_reason(store: &EmbeddedStore, file: &Path) -> anyhow::Result<Option<HoldReason>> {
    let mark = read_mark(file);
    Ok(match Epoch::compare(store.epoch()?.as_ref(), mark.as_ref()) {
        Continuity::Unmarked | Continuity::Continued => None,
        Continuity::Restored => Some(HoldReason::Restored),
        Continuity::Copied => Some(HoldReason::Copied),
    })
}

/// Reads the epoch in the file. An unreadable file counts as missing.
fn read_mark(file: &Path) -> Option<Epoch> {
    Epoch::read_mark(file).unwrap_or_else(|error| {
        tracing::warn!(%error, file = %file.display(), "cannot read the epoch file; it counts as missing");
        None
    })
}

impl EpochKeeper {
    /// Compares the epochs of database and file, and holds the cleanups of all instances if they differ. Writes nothing if
    /// they agree, because a start must succeed on a full disk. Returns `None` if the file cannot be written: then restored
    /// databases are not detected, which is logged.
    pub(crate) async fn begin(
        store: &Arc<EmbeddedStore>,
        file: &Path,
        clock: &dyn Clock,
    ) -> anyhow::Result<Option<EpochKeeper>> {
        let reason = hold_reason(store, file)?;
        if let Some(reason) = reason {
            store.begin_new_log().await?;
            hold(&**store, CleanupHold { reason, since: clock.now() }).await?;
        }
        let keeper = |epoch| EpochKeeper { store: Arc::clone(store), file: file.to_owned(), epoch };
        if let (None, Some(epoch)) = (reason, store.epoch()?) {
            return Ok(Some(keeper(epoch)));
        }
        let first = keeper(Epoch::first()?);
        match first.mark_anew().await {
            Ok(()) => Ok(Some(first)),
            Err(error) => {
                if reason.is_some() {
                    first.accept_mark().await?;
                }
                tracing::warn!(
                    %error,
                    file = %file.display(),
                    "cannot write the epoch file, so a database restored from a backup will not be detected; set \
                     epoch_file to a writable file"
                );
                Ok(None)
            }
        }
    }

    /// Writes the file first, so that a database stays unmarked if the file cannot be written.
    async fn mark_anew(&self) -> io::Result<()> {
        self.epoch.write_mark(&self.file)?;
        self.store.put_epoch(&self.epoch).await.map_err(io::Error::other)
    }

    /// Gives the database the epoch in the file, or none, like the file: the next start must not hold again what an operator has
    /// confirmed.
    async fn accept_mark(&self) -> anyhow::Result<()> {
        match read_mark(&self.file) {
            Some(mark) => self.store.put_epoch(&mark).await?,
            None => self.store.clear_epoch().await?,
        }
        Ok(())
    }

    /// Advances the epoch at once, and then periodically until `shutdown`.
    pub(crate) async fn keep(mut self, shutdown: CancellationToken) {
        let mut failing = false;
        loop {
            match self.advance().await {
                Ok(()) => failing = false,
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(%error, file = %self.file.display(), "cannot advance the epoch of the database");
                }
                Err(_) => {}
            }
            if shutdown.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_none() {
                return;
            }
        }
    }

    /// Writes the database first: after a crash in between it is ahead of the file, which is accepted.
    async fn advance(&mut self) -> io::Result<()> {
        let next = self.epoch.next();
        self.store.put_epoch(&next).await.map_err(io::Error::other)?;
        next.write_mark(&self.file)?;
        self.epoch = next;
        Ok(())
    }
}

/// Holds the cleanups of all instances.
pub(crate) async fn hold(store: &impl Store, hold: CleanupHold) -> anyhow::Result<()> {
    for instance in store.snapshot().await?.instances() {
        tracing::error!(
            instance.id_scope = %instance.id_scope,
            reason = %hold.reason,
            "the database was restored or copied: no device is removed from a previous hub until \
             `muster registration cleanups --confirm`"
        );
        let cleanups_held = Some(hold.clone());
        let by = Attribution::by_job(Job::Configuration, LogOperation::InstanceHold, hold.since);
        store.put_instance(Instance { cleanups_held, ..Instance::clone(&instance) }, by).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use durable::Sealer;
    use provisioning::ports::{InstanceWriter, Instances};
    use testkit::sample;

    use super::*;
    use crate::ports::SystemClock;

    struct Folders {
        dir: tempfile::TempDir,
    }

    impl Folders {
        fn new() -> Folders {
            Folders { dir: tempfile::tempdir().unwrap() }
        }

        fn file(&self) -> PathBuf {
            self.dir.path().join("data.epoch")
        }

        /// Starts, advances this many times, stops; returns why cleanups are held.
        async fn run(&self, folder: &str, times: usize) -> Option<HoldReason> {
            let database = self.dir.path().join(folder).join("muster.db");
            let store = Arc::new(EmbeddedStore::open(&database, Sealer::from_key([7; 32])).unwrap());
            let held = store.snapshot().await.unwrap().instances();
            if held.is_empty() {
                store.put_instance(sample::instance("0neA"), sample::by()).await.unwrap();
            }
            let mut keeper =
                EpochKeeper::begin(&store, &self.file(), &SystemClock).await.unwrap().expect("a file");
            for _ in 0..times {
                keeper.advance().await.unwrap();
            }
            drop(keeper);
            let instance = store.instance(&sample::scope("0neA")).await.unwrap().unwrap();
            Arc::into_inner(store).unwrap().close().await;
            instance.cleanups_held.as_ref().map(|hold| hold.reason)
        }

        fn copy(&self, from: &str, to: &str) {
            let (from, to) = (self.dir.path().join(from), self.dir.path().join(to));
            std::fs::create_dir_all(&to).unwrap();
            std::fs::copy(from.join("muster.db"), to.join("muster.db")).unwrap();
        }
    }

    #[tokio::test]
    async fn a_restored_database_is_detected_and_a_continued_one_is_not() {
        let folders = Folders::new();
        assert_eq!(folders.run("data", 1).await, None, "a first start");
        assert_eq!(folders.run("data", 0).await, None, "a restart");
        folders.copy("data", "backup");
        assert_eq!(folders.run("data", 1).await, None, "it continues after the backup");
        folders.copy("backup", "data");
        assert_eq!(folders.run("data", 1).await, Some(HoldReason::Restored));
        assert_eq!(folders.run("data", 1).await, Some(HoldReason::Restored), "until an operator confirms");
    }

    #[tokio::test]
    async fn a_database_without_its_file_counts_as_copied() {
        let folders = Folders::new();
        assert_eq!(folders.run("data", 2).await, None);
        std::fs::remove_file(folders.file()).unwrap();
        assert_eq!(folders.run("data", 1).await, Some(HoldReason::Copied));
    }

    #[tokio::test]
    async fn a_database_without_an_epoch_is_marked_at_its_first_start() {
        let folders = Folders::new();
        let database = folders.dir.path().join("data/muster.db");
        let store = EmbeddedStore::open(&database, Sealer::from_key([7; 32])).unwrap();
        store.put_instance(sample::instance("0neA"), sample::by()).await.unwrap();
        store.close().await;
        folders.copy("data", "backup");
        assert_eq!(folders.run("data", 1).await, None);
        folders.copy("backup", "data");
        assert_eq!(folders.run("data", 1).await, Some(HoldReason::Restored), "it has no epoch, but had one");
    }

    /// Also where the file never can be written: with an older mark that can be read, or without one.
    #[tokio::test]
    async fn a_copy_is_held_once_if_its_file_cannot_be_written() {
        for mark in [None, Some(Epoch::first().unwrap().next())] {
            let folders = Folders::new();
            assert_eq!(folders.run("data", 2).await, None);
            let file = folders.file();
            std::fs::remove_file(&file).unwrap();
            if let Some(mark) = &mark {
                mark.write_mark(&file).unwrap();
            }
            std::fs::create_dir(file.with_extension("new")).unwrap();
            let database = folders.dir.path().join("data/muster.db");
            let store = Arc::new(EmbeddedStore::open(&database, Sealer::from_key([7; 32])).unwrap());
            assert!(hold_reason(&store, &file).unwrap().is_some());
            for _ in 0..2 {
                let _ = EpochKeeper::begin(&store, &file, &SystemClock).await.unwrap();
                assert_eq!(hold_reason(&store, &file).unwrap(), None, "{mark:?}");
            }
        }
    }

    #[tokio::test]
    async fn an_unwritable_file_leaves_the_database_unmarked() {
        let folders = Folders::new();
        let store =
            EmbeddedStore::open(&folders.dir.path().join("data/muster.db"), Sealer::from_key([7; 32]));
        let store = Arc::new(store.unwrap());
        std::fs::write(folders.dir.path().join("taken"), "a file").unwrap();
        let file = folders.dir.path().join("taken/data.epoch");
        for _ in 0..2 {
            assert!(EpochKeeper::begin(&store, &file, &SystemClock).await.unwrap().is_none());
        }
        assert_eq!(store.epoch().unwrap(), None);
    }
}
