//! Distinguishes a database that continues from one that was restored from a backup, or copied.
//!
//! The database and a small file outside of its folder hold the same epoch and advance together, the database first. A
//! restored folder brings an older epoch with it, but not the file.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Write},
    path::Path,
    str::FromStr,
};

use aws_lc_rs::rand;
use rusqlite::Connection;

use crate::{Database, WriteError, directory, schema};

/// A point in the history of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    /// The identity of the database: 16 random bytes, generated when it was first marked.
    lineage: [u8; 16],
    /// How many times it has advanced since then.
    count: u64,
}

/// The relation of a database to its mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continuity {
    /// It was never marked.
    Unmarked,
    /// It continues from where it was left.
    Continued,
    /// It is older than its mark, or another one: it was restored from a backup.
    Restored,
    /// It was marked elsewhere: the folder was copied or moved to this machine, or the mark was lost.
    Copied,
}

impl Epoch {
    /// Generates the first epoch of a new database.
    pub fn first() -> io::Result<Epoch> {
        let mut lineage = [0; 16];
        rand::fill(&mut lineage).map_err(|_| io::Error::other("no randomness"))?;
        Ok(Epoch { lineage, count: 0 })
    }

    /// Returns the epoch after this one.
    #[must_use]
    pub fn next(&self) -> Epoch {
        Epoch { count: self.count + 1, ..self.clone() }
    }

    /// Compares the epoch in the database with its mark. A mark that has never advanced may be left over from a first start
    /// that was interrupted.
    pub fn compare(database: Option<&Epoch>, mark: Option<&Epoch>) -> Continuity {
        match (database, mark) {
            (None, None | Some(Epoch { count: 0, .. })) => Continuity::Unmarked,
            (None, Some(_)) => Continuity::Restored,
            (Some(_), None) => Continuity::Copied,
            (Some(database), Some(mark)) if database.lineage != mark.lineage => Continuity::Restored,
            (Some(database), Some(mark)) if database.count < mark.count => Continuity::Restored,
            (Some(_), Some(_)) => Continuity::Continued,
        }
    }

    /// Reads a mark; `None` when there is no such file. Fails when the file cannot be read or does not hold a mark.
    pub fn read_mark(file: &Path) -> io::Result<Option<Epoch>> {
        match fs::read_to_string(file) {
            Ok(text) => text.parse().map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a mark, replaces an earlier one, and returns when it is on disk.
    pub fn write_mark(&self, file: &Path) -> io::Result<()> {
        let folder = directory::of_file(file);
        fs::create_dir_all(folder)?;
        let new = file.with_extension("new");
        let mut written = File::create(&new)?;
        writeln!(written, "{self}")?;
        written.sync_all()?;
        fs::rename(&new, file)?;
        File::open(folder)?.sync_all()
    }

    /// Writes it into a database.
    pub(crate) fn put(&self, connection: &Connection) -> rusqlite::Result<()> {
        schema::put_meta(connection, EPOCH, self.to_string())
    }
}

impl Database {
    /// Reads the epoch that the database holds; `None` when it was never marked.
    pub fn epoch(&self) -> rusqlite::Result<Option<Epoch>> {
        let text: Option<String> = self.read(|connection| schema::meta(connection, EPOCH))?;
        Ok(text.and_then(|text| text.parse().ok()))
    }

    /// Writes the epoch that the database is in.
    pub async fn put_epoch(&self, epoch: &Epoch) -> Result<(), WriteError<rusqlite::Error>> {
        let epoch = epoch.clone();
        self.write(move |connection| epoch.put(connection)).await
    }

    /// Removes the epoch: the database counts as never marked.
    pub async fn clear_epoch(&self) -> Result<(), WriteError<rusqlite::Error>> {
        let sql = "DELETE FROM meta WHERE key = ?1";
        self.write(|connection| connection.execute(sql, [EPOCH]).map(drop)).await
    }
}

const EPOCH: &str = "epoch";

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x} {}", u128::from_be_bytes(self.lineage), self.count)
    }
}

impl FromStr for Epoch {
    type Err = io::Error;

    fn from_str(text: &str) -> io::Result<Epoch> {
        let parts = text.trim_end().split_once(' ');
        let lineage = parts.and_then(|(lineage, _)| u128::from_str_radix(lineage, 16).ok());
        let count = parts.and_then(|(_, count)| count.parse().ok());
        match (lineage, count) {
            (Some(lineage), Some(count)) => Ok(Epoch { lineage: lineage.to_be_bytes(), count }),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "not the mark of a database")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_continues_only_from_its_own_mark() {
        let (first, other) = (Epoch::first().unwrap(), Epoch::first().unwrap());
        let second = first.next();
        for (database, mark, expected) in [
            (None, None, Continuity::Unmarked),
            (None, Some(&first), Continuity::Unmarked),
            (None, Some(&second), Continuity::Restored),
            (Some(&first), None, Continuity::Copied),
            (Some(&second), Some(&second), Continuity::Continued),
            // The database advances first.
            (Some(&second), Some(&first), Continuity::Continued),
            (Some(&first), Some(&second), Continuity::Restored),
            (Some(&other), Some(&first), Continuity::Restored),
        ] {
            assert_eq!(Epoch::compare(database, mark), expected, "{database:?} {mark:?}");
        }
    }

    #[test]
    fn a_mark_is_read_as_it_was_written_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("deeper/muster.epoch");
        assert_eq!(Epoch::read_mark(&file).unwrap(), None);
        let epoch = Epoch::first().unwrap().next();
        for epoch in [&epoch, &epoch.next()] {
            epoch.write_mark(&file).unwrap();
            assert_eq!(Epoch::read_mark(&file).unwrap().as_ref(), Some(epoch));
        }
        for damaged in ["", "x", "0123", "0123 x", "x 7"] {
            fs::write(&file, damaged).unwrap();
            assert!(Epoch::read_mark(&file).is_err(), "{damaged}");
        }
    }
}
