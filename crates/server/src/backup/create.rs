//! Taking a backup.

use std::{
    fs::{self, File},
    io::{self, Cursor, Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use durable::{FileSnapshot, KeyFile, Sealer};
use model::Timestamp;
use provisioning::ports::Clock;

use crate::{
    backup::{
        MAGIC,
        manifest::{BackupFile, Contents, FileName, Manifest},
        reader::BackupReader,
    },
    ports::SystemClock,
    storage::Storage,
};

/// The bytes that are written between two reports of progress.
const STEP_BYTES: u64 = 1 << 20;

/// Snapshots of all files of a service, of one moment.
#[derive(Debug)]
pub struct Backup {
    taken_at: Timestamp,
    store: FileSnapshot,
    hubs: Vec<(String, FileSnapshot)>,
    sealer: Sealer,
    /// The master key, if the backup gets it.
    key: Option<KeyFile>,
}

/// Copies of the snapshots that were checked.
#[derive(Debug)]
pub struct StagedBackup {
    folder: PathBuf,
    /// Never written to a file in clear: the medium of a backup is not where the operator keeps the key.
    key: Option<KeyFile>,
    manifest: Manifest,
}

impl Backup {
    /// Takes the snapshots. The service may be running. With `with_key` the backup gets the master key.
    pub fn begin(storage: &Storage, with_key: bool) -> anyhow::Result<Backup> {
        let Some((store, sealer)) = storage.look()? else {
            bail!("there is no database in {} yet", storage.data_dir.display());
        };
        let store = store.file_snapshot()?;
        let mut hubs = Vec::new();
        for (name, path) in storage.hubs().context("cannot list the embedded hubs")? {
            let parsed = FileName::Hub(name.clone()).to_string().parse::<FileName>();
            parsed.with_context(|| format!("{}: move it away", path.display()))?;
            let snapshot = embedded_hub::file_snapshot(&path, &sealer);
            hubs.push((name, snapshot.with_context(|| path.display().to_string())?));
        }
        let key = with_key.then(|| KeyFile::load(&storage.master_key_file)).transpose()?;
        Ok(Backup { taken_at: SystemClock.now(), store, hubs, sealer, key })
    }

    /// Returns the bytes of all files.
    pub fn bytes(&self) -> anyhow::Result<u64> {
        let hubs = self.hubs.iter().map(|(_, snapshot)| snapshot.bytes());
        Ok(self.store.bytes()? + hubs.sum::<Result<u64, _>>()?)
    }

    /// Copies the snapshots into an empty folder, and checks the copies: structure, and that every record can be read. `step`
    /// is called with the bytes of each step.
    pub fn stage(self, folder: &Path, mut step: impl FnMut(u64)) -> anyhow::Result<StagedBackup> {
        durable::make_private_directory(&folder.join("hubs")).context("cannot create a folder")?;
        let mut names = vec![FileName::Store];
        self.store.copy(&FileName::Store.path(folder), &mut step).context("cannot copy the store")?;
        drop(self.store); // its write-ahead log may shrink again
        let mut hubs = Vec::new();
        for (hub, snapshot) in self.hubs {
            let name = FileName::Hub(hub.clone());
            snapshot.copy(&name.path(folder), &mut step).with_context(|| format!("cannot copy {name}"))?;
            names.push(name);
            hubs.push(hub);
        }
        let sealer = self.key.as_ref().map_or(self.sealer, KeyFile::sealer);
        let contents = Contents::read(folder, &hubs, &sealer)?;
        let mut files = files(folder, names)?;
        let key_bytes = self.key.as_ref().map(|key| key.text().len() as u64);
        files.extend(key_bytes.map(|bytes| BackupFile { name: FileName::MasterKey, bytes }));
        let manifest = manifest(self.taken_at, contents, files);
        Ok(StagedBackup { folder: folder.to_owned(), key: self.key, manifest })
    }
}

fn files(folder: &Path, names: Vec<FileName>) -> anyhow::Result<Vec<BackupFile>> {
    let file = |name: FileName| {
        let bytes = fs::metadata(name.path(folder))?.len();
        Ok(BackupFile { name, bytes })
    };
    names.into_iter().map(file).collect::<io::Result<_>>().context("cannot read the copies")
}

fn manifest(taken_at: Timestamp, contents: Contents, files: Vec<BackupFile>) -> Manifest {
    Manifest {
        program: env!("CARGO_PKG_VERSION").to_owned(),
        taken_at,
        schema_version: contents.schema_version,
        log_position: contents.newest.position.to_string(),
        newest_change_at: contents.newest.at,
        records: contents.records,
        damaged: contents.damaged,
        devices: contents.devices,
        files,
    }
}

impl StagedBackup {
    /// Returns what it has.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn content(&self, name: &FileName) -> io::Result<Box<dyn Read>> {
        Ok(match (name, &self.key) {
            (FileName::MasterKey, Some(key)) => Box::new(Cursor::new(key.text())),
            _ => Box::new(File::open(name.path(&self.folder))?),
        })
    }

    /// Writes it, and calls `step` with the bytes of each step.
    pub fn write(&self, output: &mut impl Write, mut step: impl FnMut(u64)) -> anyhow::Result<()> {
        let manifest = serde_json::to_vec(&self.manifest)?;
        let length = u32::try_from(manifest.len()).context("the list of files is too long")?;
        for part in [&MAGIC[..], &length.to_be_bytes(), &manifest] {
            output.write_all(part)?;
        }
        for BackupFile { name, bytes } in &self.manifest.files {
            let mut left = *bytes;
            let mut content = self.content(name)?;
            while left > 0 {
                let copied = io::copy(&mut content.by_ref().take(left.min(STEP_BYTES)), output)?;
                anyhow::ensure!(copied > 0, "the copy of {name} became shorter");
                left -= copied;
                step(copied);
            }
        }
        Ok(())
    }

    /// Reads what was written to its end, and fails unless it is this backup, byte for byte.
    pub fn compare(&self, written: impl Read, mut step: impl FnMut(u64)) -> anyhow::Result<()> {
        let reader = BackupReader::open(written)?;
        anyhow::ensure!(*reader.manifest() == self.manifest, "the list of files was not written as it is");
        reader.read_files(|BackupFile { name, .. }, written| {
            let mut content = self.content(name)?;
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            loop {
                content.by_ref().take(STEP_BYTES).read_to_end(&mut ours)?;
                written.take(STEP_BYTES).read_to_end(&mut theirs)?;
                anyhow::ensure!(ours == theirs, "{name} was not written as it is");
                if ours.is_empty() {
                    return Ok(());
                }
                step(ours.len() as u64);
                ours.clear();
                theirs.clear();
            }
        })
    }
}
