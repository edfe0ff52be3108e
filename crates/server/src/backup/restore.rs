//! Restoring a backup into an empty folder.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use durable::Sealer;
use store::EmbeddedStore;

use crate::{
    backup::{
        manifest::{BackupFile, Contents, FileName, Manifest},
        reader::BackupReader,
        staging::Staging,
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
            (true, _) => Ok(()),
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
        let staging = Staging::begin(&self.data_dir.join(PARTIAL_RESTORE))?;
        let folder = staging.path();
        extract(backup, folder, step)?;
        let key_file = self.key_of(manifest, folder)?;
        let sealer = Sealer::load(&key_file)?;
        let contents = Contents::read(folder, &manifest.hubs(), &sealer).context("the backup")?;
        anyhow::ensure!(contents.are_of(manifest), "the files do not have what the backup lists");
        durable::begin_epoch_of_copy(&FileName::Store.path(folder))?;
        self.publish(folder, &key_file)
            .with_context(|| format!("cannot write into {}", self.data_dir.display()))
    }

    /// Returns the file with the key of the backup: the one in it, or else the one that is there.
    fn key_of(&self, manifest: &Manifest, folder: &Path) -> anyhow::Result<PathBuf> {
        let (own, there) = (FileName::MasterKey.path(folder), &self.master_key_file);
        if !manifest.has_key() {
            anyhow::ensure!(
                there.exists(),
                "the backup does not have the master key, and {} does not exist: copy the key there, or name its file by \
                 --master-key-file",
                there.display()
            );
            return Ok(there.clone());
        }
        if there.exists() && fs::read_to_string(there)?.trim() != fs::read_to_string(&own)?.trim() {
            bail!(
                "{} exists and is not the master key of the backup: name another file by --master-key-file",
                there.display()
            );
        }
        Ok(own)
    }

    /// Moves the checked files to their places. Until the store is there, which comes last, the service does not start.
    fn publish(&self, folder: &Path, key_file: &Path) -> anyhow::Result<()> {
        durable::install_key(key_file, &self.master_key_file)?;
        fs::rename(folder.join("hubs"), self.data_dir.join("hubs"))?;
        durable::sync_directory(&self.data_dir)?;
        fs::rename(FileName::Store.path(folder), FileName::Store.path(&self.data_dir))?;
        durable::sync_directory(&self.data_dir)?;
        Ok(())
    }
}

/// Fails if this program cannot read the tables of a backup.
fn reject_newer(manifest: &Manifest) -> anyhow::Result<()> {
    let Manifest { program, schema_version, .. } = manifest;
    anyhow::ensure!(
        *schema_version <= EmbeddedStore::SCHEMA_VERSION,
        "the backup was made by muster {program} and has schema version {schema_version}; this program knows versions up to \
         {}: restore it with that version or a newer one",
        EmbeddedStore::SCHEMA_VERSION
    );
    Ok(())
}

/// Writes the files of a backup into a folder; they are on disk when this returns.
fn extract(backup: BackupReader<impl Read>, folder: &Path, mut step: impl FnMut(u64)) -> anyhow::Result<()> {
    fs::create_dir(folder.join("hubs"))?;
    backup.read_files(|BackupFile { name, .. }, content| {
        let context = || format!("cannot restore {name}");
        let mut file = create(&name.path(folder)).with_context(context)?;
        loop {
            let copied = io::copy(&mut content.take(1 << 20), &mut file).with_context(context)?;
            if copied == 0 {
                return file.sync_all().with_context(context);
            }
            step(copied);
        }
    })?;
    Ok(durable::sync_directory(&folder.join("hubs"))?)
}

fn create(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().create_new(true).write(true).mode(0o600).open(path)
}
