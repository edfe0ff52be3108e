//! The files of a service. Missing files of an earlier start are an error, never a first start.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use durable::Sealer;
use store::EmbeddedStore;

/// The folder in the data folder that an interrupted restore leaves.
pub(crate) const PARTIAL_RESTORE: &str = "restore.partial";

/// The files of a service.
#[derive(Debug, Clone)]
pub struct Storage {
    /// The folder of the databases.
    pub data_dir: PathBuf,
    /// The file of the master key, which encrypts secrets at rest.
    pub master_key_file: PathBuf,
    /// The file outside of `data_dir` with the epoch of the database; `None` if restored backups need not be detected.
    pub epoch_file: Option<PathBuf>,
    /// Whether the operator permits a new database beside files of an earlier start.
    pub new_database: bool,
}

/// The files that exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    /// A non-empty database.
    database: bool,
    key: bool,
    /// A non-empty database of an embedded hub.
    hub: bool,
    /// A file that only an earlier start, or an interrupted restore, leaves.
    trace: bool,
}

impl Storage {
    /// Returns the storage of an emulator, which creates missing files.
    pub(crate) fn of_emulator(dir: &Path) -> Storage {
        let (data_dir, master_key_file) = (dir.to_owned(), dir.join("master.key"));
        let storage = Storage { data_dir, master_key_file, epoch_file: None, new_database: false };
        let new_database = !has_content(&storage.database()).unwrap_or(false);
        Storage { new_database, ..storage }
    }

    /// Returns the path of the database.
    pub fn database(&self) -> PathBuf {
        self.data_dir.join("muster.db")
    }

    /// Returns the path of the database of an embedded hub.
    pub(crate) fn hub(&self, name: &str) -> PathBuf {
        self.data_dir.join("hubs").join(format!("{name}.db"))
    }

    /// Returns the embedded hubs that have a database, by name, also those that are not configured any more.
    pub(crate) fn hubs(&self) -> io::Result<Vec<(String, PathBuf)>> {
        let entries = match fs::read_dir(self.data_dir.join("hubs")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut hubs = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let is_database =
                path.extension().is_some_and(|extension| extension == "db") && has_content(&path)?;
            if let (true, Some(name)) = (is_database, path.file_stem().and_then(|name| name.to_str())) {
                hubs.push((name.to_owned(), path));
            }
        }
        hubs.sort();
        Ok(hubs)
    }

    /// Opens the storage, or creates it at a first start. Fails if a part of it is missing.
    pub(crate) fn open(&self) -> anyhow::Result<(Arc<EmbeddedStore>, Sealer)> {
        self.reject_incomplete()?;
        durable::make_private_directory(&self.data_dir.join("hubs"))
            .with_context(|| format!("cannot create {}", self.data_dir.display()))?;
        let path = self.database();
        let sealer = Sealer::load_or_create(&self.master_key_file)?;
        let store = EmbeddedStore::open(&path, sealer.clone()).with_context(|| path.display().to_string())?;
        Ok((Arc::new(store), sealer))
    }

    /// Opens the storage read-only, without changing anything; `None` before the first start.
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

    /// Fails if a part of an earlier start is missing: an empty database beside used hubs would refuse every device, and a
    /// new key cannot read an old database.
    fn reject_incomplete(&self) -> anyhow::Result<()> {
        let found = self.find().with_context(|| format!("cannot look into {}", self.data_dir.display()))?;
        found.reject_incomplete(self)
    }

    fn find(&self) -> io::Result<Found> {
        let hub = !self.hubs()?.is_empty();
        let database = self.database();
        let key = fs::exists(&self.master_key_file)?;
        let own_key = key && self.master_key_file.starts_with(&self.data_dir);
        let trace = own_key
            || fs::exists(database.with_extension("db.lock"))?
            || fs::exists(self.data_dir.join(PARTIAL_RESTORE))?;
        Ok(Found { database: has_content(&database)?, key, hub, trace })
    }

    /// Fails if the folder is not writable and cannot be created.
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
                "{key} is missing, so the databases in {folder} cannot be read: restore the key from a backup, or move \
                 {folder} away to start with an empty database"
            );
        }
        if storage.new_database && self.database {
            bail!("{database} exists: move it away first, then use --new-database again");
        }
        if !storage.new_database && !self.database && (self.hub || self.trace) {
            let other = if self.hub {
                "the databases of embedded hubs"
            } else {
                "files of an earlier start, or of an interrupted restore,"
            };
            bail!(
                "{database} is missing or empty, but {other} exist: restore it from a backup, or start with an empty one by \
                 --new-database"
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

    /// Every combination of missing files, with and without the flag.
    #[test]
    fn missing_files_prevent_the_start() {
        for bits in 0..32 {
            let [database, key, hub, trace, new_database] = [1, 2, 4, 8, 16].map(|bit| bits & bit != 0);
            let (data_dir, master_key_file) = (PathBuf::from("data"), PathBuf::from("data/master.key"));
            let storage = Storage { data_dir, master_key_file, epoch_file: None, new_database };
            let found = Found { database, key, hub, trace };
            let error = found.reject_incomplete(&storage).err().map(|error| error.to_string());
            let expected = match (database, key, hub || trace) {
                (_, false, _) if database || hub => Some("master.key is missing"),
                (true, true, _) if new_database => Some("move it away first"),
                (false, _, true) if !new_database => Some("missing or empty"),
                _ => None,
            };
            match (&error, expected) {
                (None, None) => {}
                (Some(error), Some(expected)) => assert!(error.contains(expected), "{found:?}: {error}"),
                _ => panic!("{found:?}, anew: {new_database}: {error:?} instead of {expected:?}"),
            }
        }
    }

    fn storage(dir: &Path) -> Storage {
        Storage {
            data_dir: dir.join("data"),
            master_key_file: dir.join("data/master.key"),
            epoch_file: None,
            new_database: false,
        }
    }

    #[tokio::test]
    async fn a_missing_database_fails_the_start_and_the_check() {
        let dir = tempfile::tempdir().unwrap();
        let storage = storage(dir.path());
        assert!(storage.look().unwrap().is_none(), "before the first start");
        assert!(!storage.data_dir.exists(), "the check creates nothing");
        let (store, _) = storage.open().unwrap();
        store.as_ref().clone().close().await;
        drop(store);
        assert!(storage.look().unwrap().is_some());
        for lose in
            [(|path: &Path| fs::write(path, "").unwrap()) as fn(&Path), |path| fs::remove_file(path).unwrap()]
        {
            lose(&storage.database());
            for error in [storage.open().err(), storage.look().err()] {
                let error = error.unwrap().to_string();
                assert!(error.contains("missing or empty") && error.contains("--new-database"), "{error}");
            }
        }
        let anew = Storage { new_database: true, ..storage.clone() };
        let (store, _) = anew.open().unwrap();
        store.as_ref().clone().close().await;
        drop(store);
        assert!(anew.open().err().unwrap().to_string().contains("move it away first"));

        fs::remove_file(&storage.master_key_file).unwrap();
        for error in [storage.open().err(), storage.look().err()] {
            assert!(error.unwrap().to_string().contains("master.key is missing"));
        }
        assert!(!storage.master_key_file.exists(), "no key is created beside an encrypted database");
    }

    #[test]
    fn a_key_outside_of_the_data_folder_does_not_show_an_earlier_start() {
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
    fn an_unusable_data_folder_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("data"), "a file").unwrap();
        assert!(storage(dir.path()).look().is_err());
    }
}
