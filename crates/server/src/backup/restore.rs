//! Restoring a backup into an empty folder.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use durable::KeyFile;
use store::EmbeddedStore;

use crate::{
    backup::{
        manifest::{BackupFile, Contents, FileName, Manifest},
        reader::BackupReader,
        staging::{self, Staging},
    },
    storage::PARTIAL_RESTORE,
};

/// Where a backup is restored to.
#[derive(Debug, Clone)]
pub struct RestoreTarget {
    /// The data folder, which is created, or empty.
    pub data_dir: PathBuf,
    /// The file of the master key. A key that is there is used, and never replaced.
    pub master_key_file: PathBuf,
}

impl RestoreTarget {
    /// Fails unless the data folder is missing or empty, but for what an interrupted restore left.
    pub fn reject_used(&self) -> anyhow::Result<()> {
        let folder = self.data_dir.display();
        let entries = match fs::read_dir(&self.data_dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries.with_context(|| format!("cannot look into {folder}"))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry?.file_name());
        }
        let was_interrupted = names.iter().any(|name| name == PARTIAL_RESTORE);
        names.retain(|name| name != PARTIAL_RESTORE);
        match (names.is_empty(), was_interrupted) {
            (true, true) => staging::reject_foreign(&self.data_dir.join(PARTIAL_RESTORE)),
            (true, false) => Ok(()),
            (false, true) => bail!(
                "{folder} has what an interrupted restore left: remove everything in it, then restore again"
            ),
            (false, false) => bail!(
                "{folder} is not empty, and nothing in it is overwritten: restore into a new folder, or move its contents away"
            ),
        }
    }

    /// Restores a backup: extracts its files beside their places, reads every record, and only then moves them there, the store
    /// last. `step` is called with the bytes of each step. A failure leaves the folder as it was.
    pub fn restore(
        &self,
        backup: BackupReader<impl Read>,
        step: impl FnMut(u64),
    ) -> anyhow::Result<Manifest> {
        self.reject_used()?;
        let manifest = backup.manifest().clone();
        reject_newer(&manifest)?;
        let is_new = !self.data_dir.exists();
        let restored = self.restore_files(&manifest, backup, step);
        if restored.is_err() && is_new {
            // Fails if it is not empty, and then stays.
            let _ = fs::remove_dir(&self.data_dir);
        }
        restored.map(|()| manifest)
    }

    fn restore_files(
        &self,
        manifest: &Manifest,
        backup: BackupReader<impl Read>,
        step: impl FnMut(u64),
    ) -> anyhow::Result<()> {
        durable::make_private_directory(&self.data_dir)
            .with_context(|| format!("cannot create {}", self.data_dir.display()))?;
        let staging = Staging::begin(&self.data_dir.join(PARTIAL_RESTORE))?;
        let folder = staging.path();
        let key = self.key_of(extract(backup, folder, step)?)?;
        let contents = Contents::read(folder, &manifest.hubs(), &key.sealer()).context("the backup")?;
        ensure!(contents.are_of(manifest), "the files do not have what the backup lists");
        durable::begin_epoch_of_copy(&FileName::Store.path(folder))?;
        self.install(&key)?;
        self.publish(folder).with_context(|| format!("cannot write into {}", self.data_dir.display()))
    }

    /// Returns the key of the backup: its own, or else the one that is there.
    fn key_of(&self, own: Option<KeyFile>) -> anyhow::Result<KeyFile> {
        let path = &self.master_key_file;
        let there = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            _ => Some(KeyFile::load(path)?),
        };
        match (own, there) {
            (None, None) => bail!(
                "the backup does not have the master key, and {} does not exist: copy the key there, or name its file by \
                 --master-key-file",
                path.display()
            ),
            (Some(own), Some(there)) if own != there => bail!(
                "{} exists and is not the master key of the backup: name another file by --master-key-file",
                path.display()
            ),
            (_, Some(key)) | (Some(key), None) => Ok(key),
        }
    }

    /// Moves the checked files to their places. Until the store is there, which comes last, the service does not start.
    fn publish(&self, folder: &Path) -> io::Result<()> {
        fs::rename(folder.join("hubs"), self.data_dir.join("hubs"))?;
        durable::sync_directory(&self.data_dir)?;
        fs::rename(FileName::Store.path(folder), FileName::Store.path(&self.data_dir))?;
        durable::sync_directory(&self.data_dir)
    }

    /// Writes the file of the key, and reads it again. One that is there may be on a read-only file system.
    fn install(&self, key: &KeyFile) -> anyhow::Result<()> {
        let path = &self.master_key_file;
        if fs::symlink_metadata(path).is_err() {
            key.install(path)
                .with_context(|| format!("cannot write the master key to {}", path.display()))?;
        }
        ensure!(KeyFile::load(path)? == *key, "{} is not the master key of the backup", path.display());
        Ok(())
    }
}

/// Fails if this program cannot read the tables of a backup.
fn reject_newer(manifest: &Manifest) -> anyhow::Result<()> {
    let Manifest { program, schema_version, .. } = manifest;
    ensure!(
        *schema_version <= EmbeddedStore::SCHEMA_VERSION,
        "the backup was made by muster {program} and has schema version {schema_version}; this program knows versions up to \
         {}: restore it with that version or a newer one",
        EmbeddedStore::SCHEMA_VERSION
    );
    Ok(())
}

/// Writes the files of a backup into a folder, where they are on disk when this returns, except for the key, which it returns.
fn extract(
    backup: BackupReader<impl Read>,
    folder: &Path,
    mut step: impl FnMut(u64),
) -> anyhow::Result<Option<KeyFile>> {
    let hubs = folder.join("hubs");
    durable::make_private_directory(&hubs)?;
    let mut key = None;
    backup.read_files(|BackupFile { name, bytes }, content| {
        let context = || format!("cannot restore {name}");
        if *name == FileName::MasterKey {
            key = Some(read_key(content).with_context(context)?);
            step(*bytes);
            return Ok(());
        }
        let mut file = create(&name.path(folder)).with_context(context)?;
        loop {
            let copied = io::copy(&mut content.take(1 << 20), &mut file).with_context(context)?;
            if copied == 0 {
                return file.sync_all().with_context(context);
            }
            step(copied);
        }
    })?;
    durable::sync_directory(&hubs)?;
    Ok(key)
}

fn read_key(content: &mut dyn Read) -> anyhow::Result<KeyFile> {
    let mut text = String::new();
    content.take(KeyFile::MAX_BYTES).read_to_string(&mut text)?;
    KeyFile::parse(&text).context("it is not a key: expected 32 bytes in base64")
}

fn create(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().create_new(true).write(true).mode(0o600).open(path)
}
