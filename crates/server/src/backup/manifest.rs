//! What a backup has.

use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::Context;
use durable::Sealer;
use model::Timestamp;
use serde::{Deserialize, Serialize};
use store::{EmbeddedStore, Inspection, NewestChange};

use crate::maintenance::AT_MOST;

/// The longest manifest, in bytes: that of 10,000 hubs.
pub(super) const MAX_MANIFEST_BYTES: u32 = 1 << 20;

/// The list of what a backup has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The version of the program that made it.
    pub program: String,
    /// When the snapshots were taken.
    pub taken_at: Timestamp,
    /// The version of the tables of the store.
    pub schema_version: u32,
    /// The position of its newest change: readers of the change log find what came later after it.
    pub log_position: String,
    /// When that change was made; absent if the log is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_change_at: Option<Timestamp>,
    /// The number of records of each table of the store.
    pub records: BTreeMap<String, u64>,
    /// The names of the records that cannot be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<String>,
    /// The number of devices at each embedded hub.
    pub devices: BTreeMap<String, u64>,
    /// The files.
    pub files: Vec<BackupFile>,
}

/// A file in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFile {
    /// Its name.
    pub name: FileName,
    /// Its length in bytes.
    pub bytes: u64,
}

/// The name of a file in a backup, which is also its path in the data folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum FileName {
    /// The store of the service.
    Store,
    /// The store of the embedded hub with this name.
    Hub(String),
    /// The master key.
    MasterKey,
}

/// A text is not the name of a file in a backup.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of a file in a backup")]
pub struct FileNameError(String);

/// What the files of a folder contain.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) schema_version: u32,
    pub(super) newest: NewestChange,
    pub(super) records: BTreeMap<String, u64>,
    pub(super) damaged: Vec<String>,
    pub(super) devices: BTreeMap<String, u64>,
}

impl Contents {
    /// Reads every record of the files in a folder. Fails if the structure of a file is damaged, or if one is sealed with
    /// another key.
    pub(super) fn read(folder: &Path, hubs: &[String], sealer: &Sealer) -> anyhow::Result<Contents> {
        let path = FileName::Store.path(folder);
        let context = || path.display().to_string();
        let store = EmbeddedStore::look(&path, sealer.clone()).with_context(context)?;
        let Inspection { file, counts, damaged } = store.inspect(AT_MOST)?;
        if let Some(problem) = file.problems.first() {
            anyhow::bail!("{problem}; run `muster store check --repair`");
        }
        anyhow::ensure!(file.is_complete, "the check of the file did not end in time");
        let mut devices = BTreeMap::new();
        for hub in hubs {
            let path = FileName::Hub(hub.clone()).path(folder);
            let count = embedded_hub::count_devices(&path, sealer, AT_MOST);
            devices.insert(hub.clone(), count.with_context(|| path.display().to_string())?);
        }
        Ok(Contents {
            schema_version: store.schema_version()?,
            newest: store.newest_change()?,
            records: counts.into_iter().map(|(table, count)| (table.to_owned(), count)).collect(),
            damaged: damaged.into_iter().map(|(record, _)| record).collect(),
            devices,
        })
    }

    /// Returns whether these are the contents that the manifest lists.
    pub(super) fn are_of(&self, manifest: &Manifest) -> bool {
        self.schema_version == manifest.schema_version
            && self.newest.position.to_string() == manifest.log_position
            && self.records == manifest.records
            && self.damaged == manifest.damaged
            && self.devices == manifest.devices
    }
}

impl Manifest {
    /// Returns the bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Returns the number of records of the store.
    pub fn record_count(&self) -> u64 {
        self.records.values().sum()
    }

    /// Returns whether it has the master key.
    pub fn has_key(&self) -> bool {
        self.files.iter().any(|file| file.name == FileName::MasterKey)
    }

    /// Returns the names of the embedded hubs.
    pub(super) fn hubs(&self) -> Vec<String> {
        let hub = |file: &BackupFile| match &file.name {
            FileName::Hub(name) => Some(name.clone()),
            _ => None,
        };
        self.files.iter().filter_map(hub).collect()
    }

    /// Fails unless it has the store, each file once, and lengths whose sum is a number.
    pub(super) fn reject_incomplete(&self) -> io::Result<()> {
        let mut names: Vec<_> = self.files.iter().map(|file| &file.name).collect();
        names.sort();
        let count = names.len();
        names.dedup();
        if names.len() != count || names.first() != Some(&&FileName::Store) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the list of its files is not complete"));
        }
        let bytes = self.files.iter().try_fold(0, |sum: u64, file| sum.checked_add(file.bytes));
        let overflow =
            || io::Error::new(io::ErrorKind::InvalidData, "the lengths of its files are too large");
        bytes.map(drop).ok_or_else(overflow)
    }
}

impl FileName {
    /// Returns the path of the file in a folder.
    pub fn path(&self, folder: &Path) -> PathBuf {
        folder.join(self.to_string())
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileName::Store => f.write_str("muster.db"),
            FileName::Hub(name) => write!(f, "hubs/{name}.db"),
            FileName::MasterKey => f.write_str("master.key"),
        }
    }
}

impl FromStr for FileName {
    type Err = FileNameError;

    /// Accepts only what stays in the folder.
    fn from_str(text: &str) -> Result<FileName, FileNameError> {
        let hub = |name: &str| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            (!name.is_empty() && name.bytes().all(is_plain)).then(|| FileName::Hub(name.to_owned()))
        };
        let name = match text {
            "muster.db" => Some(FileName::Store),
            "master.key" => Some(FileName::MasterKey),
            _ => text.strip_prefix("hubs/").and_then(|name| name.strip_suffix(".db")).and_then(hub),
        };
        name.ok_or_else(|| FileNameError(text.to_owned()))
    }
}

impl From<FileName> for String {
    fn from(name: FileName) -> String {
        name.to_string()
    }
}

impl TryFrom<String> for FileName {
    type Error = FileNameError;

    fn try_from(text: String) -> Result<FileName, FileNameError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_file_stays_in_its_folder() {
        for text in
            ["", "/etc/passwd", "../muster.db", "hubs/../x.db", "hubs/a/b.db", "hubs/.db", "muster.db-wal"]
        {
            assert_eq!(text.parse::<FileName>(), Err(FileNameError(text.to_owned())));
        }
    }

    /// The lengths come from a file that others may have made.
    #[test]
    fn lengths_that_overflow_are_refused() {
        for (bytes, expected) in [(u64::MAX - 1, true), (u64::MAX, false)] {
            let file = |name: &str, bytes: u64| serde_json::json!({ "name": name, "bytes": bytes });
            let manifest = serde_json::json!({
                "program": "0.1.0", "takenAt": 0, "schemaVersion": 5, "logPosition": "0-0",
                "records": {}, "devices": {}, "files": [file("muster.db", 1), file("hubs/hub.db", bytes)],
            });
            let manifest: Manifest = serde_json::from_value(manifest).unwrap();
            assert_eq!(manifest.reject_incomplete().is_ok(), expected, "{bytes}");
        }
    }

    proptest! {
        #[test]
        fn a_name_is_read_as_it_was_written(text in "muster\\.db|master\\.key|hubs/[a-z0-9_.-]{0,8}\\.db|\\PC{0,9}") {
            if let Ok(name) = text.parse::<FileName>() {
                prop_assert_eq!(name.to_string(), text);
                prop_assert!(name.path(Path::new("folder")).starts_with("folder"));
            }
        }
    }
}
