//! Where everything durable is kept, and whether it is all there: what is missing is never taken for a first start.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use durable::Sealer;
use store::EmbeddedStore;

/// The files of a service.
#[derive(Debug, Clone)]
pub struct Storage {
    /// Where everything durable is kept.
    pub data_dir: PathBuf,
    /// The key that seals secrets at rest.
    pub master_key_file: PathBuf,
    /// Where the epoch of the database is kept outside of `data_dir`; `None` where restored backups need no notice.
    pub epoch_file: Option<PathBuf>,
    /// Whether the operator wants a new database where there are signs of an earlier one.
    pub starts_anew: bool,
}

/// What was found of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    /// A database with something in it.
    database: bool,
    key: bool,
    /// A database of an embedded hub with something in it.
    hub: bool,
    /// What only an earlier start leaves.
    trace: bool,
}

impl Storage {
    /// That of an emulator, which is there to be tried out: what is missing is made.
    pub(crate) fn of_emulator(dir: &Path) -> Storage {
        let (data_dir, master_key_file) = (dir.to_owned(), dir.join("master.key"));
        let storage = Storage { data_dir, master_key_file, epoch_file: None, starts_anew: false };
        let starts_anew = !has_content(&storage.database()).unwrap_or(false);
        Storage { starts_anew, ..storage }
    }

    /// The service's database.
    pub(crate) fn database(&self) -> PathBuf {
        self.data_dir.join("muster.db")
    }

    /// The database of an embedded hub.
    pub(crate) fn hub(&self, name: &str) -> PathBuf {
        self.data_dir.join("hubs").join(format!("{name}.db"))
    }

    /// Opens what is there, or makes it at a first start.
    pub(crate) fn open(&self) -> anyhow::Result<(Arc<EmbeddedStore>, Sealer)> {
        self.reject_incomplete()?;
        durable::make_private_directory(&self.data_dir.join("hubs"))
            .with_context(|| format!("cannot create {}", self.data_dir.display()))?;
        let path = self.database();
        let sealer = Sealer::load_or_create(&self.master_key_file)?;
        let store = EmbeddedStore::open(&path, sealer.clone()).with_context(|| path.display().to_string())?;
        Ok((Arc::new(store), sealer))
    }

    /// Looks at what is there without changing anything; `None` before the first start.
    pub(crate) fn look(&self) -> anyhow::Result<Option<(EmbeddedStore, Sealer)>> {
        self.reject_incomplete()?;
        self.reject_unusable_directory()?;
        let path = self.database();
        if !has_content(&path)? {
            return Ok(None);
        }
        let sealer = Sealer::load(&self.master_key_file)?;
        let store = EmbeddedStore::look(&path, sealer.clone()).with_context(|| path.display().to_string())?;
        Ok(Some((store, sealer)))
    }

    /// Refuses to start where a part of an earlier service is missing: an empty service beside the hubs of a full one would
    /// turn every device away, and a new key could not read an old database.
    fn reject_incomplete(&self) -> anyhow::Result<()> {
        let found = self.find().with_context(|| format!("cannot look into {}", self.data_dir.display()))?;
        found.reject_incomplete(self)
    }

    fn find(&self) -> io::Result<Found> {
        let mut hub = false;
        match fs::read_dir(self.data_dir.join("hubs")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            entries => {
                for entry in entries? {
                    let path = entry?.path();
                    hub |= path.extension().is_some_and(|extension| extension == "db") && has_content(&path)?;
                }
            }
        }
        let database = self.database();
        let key = fs::exists(&self.master_key_file)?;
        let key_of_ours = key && self.master_key_file.starts_with(&self.data_dir);
        let trace = key_of_ours || fs::exists(database.with_extension("db.lock"))?;
        Ok(Found { database: has_content(&database)?, key, hub, trace })
    }

    /// Refuses a directory that nothing can be written into, or that cannot be made.
    fn reject_unusable_directory(&self) -> anyhow::Result<()> {
        let there = self.data_dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
        let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
        let probe = there.join(format!(".muster-check-{}", std::process::id()));
        fs::File::create_new(&probe).and_then(|_| fs::remove_file(&probe)).with_context(|| {
            format!("data_dir {}: cannot write into {}", self.data_dir.display(), there.display())
        })
    }
}

impl Found {
    fn reject_incomplete(self, storage: &Storage) -> anyhow::Result<()> {
        let (database, key) = (storage.database(), &storage.master_key_file);
        let (database, key) = (database.display(), key.display());
        let folder = storage.data_dir.display();
        if !self.key && (self.database || self.hub) {
            bail!(
                "{key} is missing, and without it the databases in {folder} cannot be read: restore it from a backup. To \
                 start anew, move {folder} away first"
            );
        }
        if storage.starts_anew && self.database {
            bail!("{database} is there: to start anew, move it away first, then say --new-database again");
        }
        if !storage.starts_anew && !self.database && (self.hub || self.trace) {
            let other = if self.hub { "the databases of embedded hubs" } else { "files of an earlier start" };
            bail!(
                "{database} is missing or empty, but {other} are there: restore it from a backup, or start with an empty \
                 one on purpose: --new-database"
            );
        }
        Ok(())
    }
}

fn has_content(path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len() > 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every combination of what can be missing, with and without the flag.
    #[test]
    fn what_is_missing_is_no_first_start() {
        for bits in 0..32 {
            let [database, key, hub, trace, starts_anew] = [1, 2, 4, 8, 16].map(|bit| bits & bit != 0);
            let (data_dir, master_key_file) = (PathBuf::from("data"), PathBuf::from("data/master.key"));
            let storage = Storage { data_dir, master_key_file, epoch_file: None, starts_anew };
            let found = Found { database, key, hub, trace };
            let told = found.reject_incomplete(&storage).err().map(|error| error.to_string());
            let expected = match (database, key, hub || trace) {
                (_, false, _) if database || hub => Some("master.key is missing"),
                (true, true, _) if starts_anew => Some("move it away first"),
                (false, _, true) if !starts_anew => Some("missing or empty"),
                _ => None,
            };
            match (&told, expected) {
                (None, None) => {}
                (Some(told), Some(expected)) => assert!(told.contains(expected), "{found:?}: {told}"),
                _ => panic!("{found:?}, anew: {starts_anew}: {told:?} instead of {expected:?}"),
            }
        }
    }

    fn storage(dir: &Path) -> Storage {
        Storage {
            data_dir: dir.join("data"),
            master_key_file: dir.join("data/master.key"),
            epoch_file: None,
            starts_anew: false,
        }
    }

    #[tokio::test]
    async fn a_lost_database_is_missed_at_the_start_and_by_a_look() {
        let dir = tempfile::tempdir().unwrap();
        let storage = storage(dir.path());
        assert!(storage.look().unwrap().is_none(), "the first start is to come");
        assert!(!storage.data_dir.exists(), "a look makes nothing");
        let (store, _) = storage.open().unwrap();
        store.as_ref().clone().close().await;
        drop(store);
        assert!(storage.look().unwrap().is_some());
        for lose in
            [(|path: &Path| fs::write(path, "").unwrap()) as fn(&Path), |path| fs::remove_file(path).unwrap()]
        {
            lose(&storage.database());
            for told in [storage.open().err(), storage.look().err()] {
                let told = told.unwrap().to_string();
                assert!(told.contains("missing or empty") && told.contains("--new-database"), "{told}");
            }
        }
        let anew = Storage { starts_anew: true, ..storage.clone() };
        let (store, _) = anew.open().unwrap();
        store.as_ref().clone().close().await;
        drop(store);
        assert!(anew.open().err().unwrap().to_string().contains("move it away first"));

        fs::remove_file(&storage.master_key_file).unwrap();
        for told in [storage.open().err(), storage.look().err()] {
            assert!(told.unwrap().to_string().contains("master.key is missing"));
        }
        assert!(!storage.master_key_file.exists(), "no key is made beside a database that has one");
    }

    #[test]
    fn a_key_that_was_put_elsewhere_is_no_sign_of_an_earlier_start() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("secrets/master.key");
        Sealer::load_or_create(&key).unwrap();
        let storage = Storage { master_key_file: key, ..storage(dir.path()) };
        storage.open().unwrap();
        fs::write(storage.hub("hub1"), "something").unwrap();
        fs::write(storage.database(), "").unwrap();
        assert!(storage.open().is_err());
    }

    #[test]
    fn a_directory_that_cannot_be_used_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("data"), "a file").unwrap();
        assert!(storage(dir.path()).look().is_err());
    }
}
