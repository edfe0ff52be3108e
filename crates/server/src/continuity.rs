//! Noticing at the start that the database was restored from a backup or copied, and holding its cleanups then.
//!
//! A cleanup that was owed when a backup was made may be done since, and its device may have moved back: run again, it
//! would remove a device that lives there. So cleanups of such a database wait until an operator confirms them.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use durable::{Continuity, Epoch};
use model::{Attribution, CleanupHold, HoldReason, Instance, Job, LogOperation};
use net::CancellationToken;
use provisioning::ports::{Clock, Instances};
use store::EmbeddedStore;

/// How often the epoch advances: a backup that is older than this is noticed.
const INTERVAL: Duration = Duration::from_secs(60);

/// Advances the epoch of a database, in it and in the file outside of its folder.
pub(crate) struct EpochKeeper {
    store: Arc<EmbeddedStore>,
    file: PathBuf,
    epoch: Epoch,
}

/// Returns why the cleanups of a database must wait, if they must.
pub(crate) fn hold_reason(store: &EmbeddedStore, file: &Path) -> anyhow::Result<Option<HoldReason>> {
    let mark = read_mark(file);
    Ok(match Epoch::compare(store.epoch()?.as_ref(), mark.as_ref()) {
        Continuity::Unmarked | Continuity::Continued => None,
        Continuity::Restored => Some(HoldReason::Restored),
        Continuity::Copied => Some(HoldReason::Copied),
    })
}

/// A file that cannot be read tells nothing, so it counts as lost.
fn read_mark(file: &Path) -> Option<Epoch> {
    Epoch::read_mark(file).unwrap_or_else(|error| {
        tracing::warn!(%error, file = %file.display(), "the epoch file cannot be read");
        None
    })
}

impl EpochKeeper {
    /// Compares the database with the file, and holds the cleanups of all its instances if it does not go on from there.
    /// Writes nothing where it does: a start must succeed on a full disk. `None` when no file can be written: then
    /// restored databases are not noticed, and the log says so.
    pub(crate) async fn begin(
        store: &Arc<EmbeddedStore>,
        file: &Path,
        clock: &dyn Clock,
    ) -> anyhow::Result<Option<EpochKeeper>> {
        let reason = hold_reason(store, file)?;
        if let Some(reason) = reason {
            store.begin_new_log().await?;
            hold(store, CleanupHold { reason, since: clock.now() }).await?;
        }
        let keeper = |epoch| EpochKeeper { store: Arc::clone(store), file: file.to_owned(), epoch };
        if let (None, Some(epoch)) = (reason, store.epoch()?) {
            return Ok(Some(keeper(epoch)));
        }
        let first = keeper(Epoch::first()?);
        match first.mark_anew().await {
            Ok(()) => Ok(Some(first)),
            Err(error) => {
                tracing::warn!(
                    %error,
                    file = %file.display(),
                    "the epoch file cannot be written: a database that is restored from a backup will not be noticed; \
                     name another file by epoch_file"
                );
                Ok(None)
            }
        }
    }

    /// The file first: a database whose mark cannot be written stays unmarked.
    async fn mark_anew(&self) -> io::Result<()> {
        self.epoch.write_mark(&self.file)?;
        self.store.put_epoch(&self.epoch).await.map_err(io::Error::other)
    }

    /// Advances the epoch at once and again and again until `shutdown`.
    pub(crate) async fn keep(mut self, shutdown: CancellationToken) {
        let mut failing = false;
        loop {
            match self.advance().await {
                Ok(()) => failing = false,
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(%error, file = %self.file.display(), "the epoch of the database cannot advance");
                }
                Err(_) => {}
            }
            if shutdown.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_none() {
                return;
            }
        }
    }

    /// The database first: cut off between the two, it is ahead of its mark, and goes on.
    async fn advance(&mut self) -> io::Result<()> {
        let next = self.epoch.next();
        self.store.put_epoch(&next).await.map_err(io::Error::other)?;
        next.write_mark(&self.file)?;
        self.epoch = next;
        Ok(())
    }
}

async fn hold(store: &EmbeddedStore, hold: CleanupHold) -> anyhow::Result<()> {
    for instance in store.snapshot().await?.instances() {
        tracing::error!(
            instance.id_scope = %instance.id_scope,
            reason = %hold.reason,
            "no device is removed from a hub that it left until an operator confirms it: \
             muster registration cleanups --confirm"
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
    use testkit::sample;

    use super::*;
    use crate::ports::SystemClock;

    struct Place {
        dir: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Place {
            Place { dir: tempfile::tempdir().unwrap() }
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
    async fn a_restored_database_is_noticed_and_one_that_goes_on_is_not() {
        let place = Place::new();
        assert_eq!(place.run("data", 1).await, None, "a first start");
        assert_eq!(place.run("data", 0).await, None, "a restart");
        place.copy("data", "backup");
        assert_eq!(place.run("data", 1).await, None, "it goes on after the backup");
        place.copy("backup", "data");
        assert_eq!(place.run("data", 1).await, Some(HoldReason::Restored));
        assert_eq!(place.run("data", 1).await, Some(HoldReason::Restored), "until an operator confirms");
    }

    #[tokio::test]
    async fn a_database_without_its_file_was_copied() {
        let place = Place::new();
        assert_eq!(place.run("data", 2).await, None);
        std::fs::remove_file(place.file()).unwrap();
        assert_eq!(place.run("data", 1).await, Some(HoldReason::Copied));
    }

    #[tokio::test]
    async fn a_database_of_before_epochs_is_marked_at_its_first_start() {
        let place = Place::new();
        let database = place.dir.path().join("data/muster.db");
        let store = EmbeddedStore::open(&database, Sealer::from_key([7; 32])).unwrap();
        store.put_instance(sample::instance("0neA"), sample::by()).await.unwrap();
        store.close().await;
        place.copy("data", "backup");
        assert_eq!(place.run("data", 1).await, None);
        place.copy("backup", "data");
        assert_eq!(place.run("data", 1).await, Some(HoldReason::Restored), "it holds no epoch, and had one");
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_written_leaves_the_database_unmarked() {
        let place = Place::new();
        let store = EmbeddedStore::open(&place.dir.path().join("data/muster.db"), Sealer::from_key([7; 32]));
        let store = Arc::new(store.unwrap());
        std::fs::write(place.dir.path().join("taken"), "a file").unwrap();
        let file = place.dir.path().join("taken/data.epoch");
        for _ in 0..2 {
            assert!(EpochKeeper::begin(&store, &file, &SystemClock).await.unwrap().is_none());
        }
        assert_eq!(store.epoch().unwrap(), None);
    }
}
