//! A file as it was at one moment, read and copied while others write.

use std::{fs::File, io, os::unix::fs::OpenOptionsExt, path::Path};

use rusqlite::{
    Connection, OpenFlags,
    backup::{Backup, StepResult},
    ffi::{Error, SQLITE_BUSY},
};

use crate::{
    Database,
    database::{has_log, open_for_writing},
    epoch::Epoch,
    schema::OpenError,
};

/// Pages that are copied between two reports of progress: 4 MB.
const PAGES: std::ffi::c_int = 1024;

/// A file as it was when the snapshot was taken. The write-ahead log does not shrink while one exists.
#[derive(Debug)]
pub struct FileSnapshot {
    /// In a read transaction, which shows the same state of the file until it ends.
    connection: Connection,
}

impl Database {
    /// Takes a snapshot, which has every write that was acknowledged before.
    pub fn file_snapshot(&self) -> rusqlite::Result<FileSnapshot> {
        let connection = self.open_reader()?;
        connection.execute_batch("BEGIN")?;
        // The transaction begins with its first read.
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        Ok(FileSnapshot { connection })
    }
}

impl FileSnapshot {
    /// Returns its size in bytes.
    pub fn bytes(&self) -> rusqlite::Result<u64> {
        let number = |pragma| self.connection.pragma_query_value(None, pragma, |row| row.get::<_, u32>(0));
        Ok(u64::from(number("page_count")?) * u64::from(number("page_size")?))
    }

    /// Copies it page by page to a file (0600) that does not exist, and calls `copied` with the bytes of each step. The copy
    /// is not synced to the disk.
    pub fn copy(&self, to: &Path, copied: impl FnMut(u64)) -> Result<(), OpenError> {
        let created = File::options().create_new(true).write(true).mode(0o600).open(to);
        created.map_err(|source| OpenError::Io { path: to.to_owned(), source })?;
        self.copy_pages(to, copied).map_err(|source| OpenError::Sqlite { path: to.to_owned(), source })
    }

    fn copy_pages(&self, to: &Path, mut copied: impl FnMut(u64)) -> rusqlite::Result<()> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut target = Connection::open_with_flags(to, flags)?;
        target.pragma_update_and_check(None, "journal_mode", "OFF", |_| Ok(()))?;
        target.pragma_update(None, "synchronous", "OFF")?;
        let backup = Backup::new(&self.connection, &mut target)?;
        let (mut pages, page_bytes) = (0, self.bytes()? / self.pages()?.max(1));
        loop {
            let result = backup.step(PAGES)?;
            let progress = backup.progress();
            let done = u64::try_from(progress.pagecount - progress.remaining).unwrap_or(0);
            copied((done - pages) * page_bytes);
            pages = done;
            match result {
                StepResult::Done => return Ok(()),
                StepResult::More => {}
                // Within a read transaction no writer is waited for, and no other process has the copy.
                _ => return Err(rusqlite::Error::SqliteFailure(Error::new(SQLITE_BUSY), None)),
            }
        }
    }

    fn pages(&self) -> rusqlite::Result<u64> {
        self.connection.pragma_query_value(None, "page_count", |row| row.get::<_, u32>(0)).map(u64::from)
    }
}

/// Gives a closed copy of a database an epoch of its own: however recent it is, the start then detects that it is a copy. The
/// file is on disk when this returns.
pub fn begin_epoch_of_copy(file: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::Io { path: file.to_owned(), source };
    let epoch = Epoch::first().map_err(failed)?;
    let sqlite = |source| OpenError::Sqlite { path: file.to_owned(), source };
    let connection = open_for_writing(file).map_err(sqlite)?;
    epoch.put(&connection).map_err(sqlite)?;
    connection.close().map_err(|(_, source)| sqlite(source))?;
    if has_log(file) {
        return Err(failed(io::Error::other("its write-ahead log was not checkpointed")));
    }
    File::open(file).and_then(|file| file.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::{Continuity, Depth, Schema};

    const SCHEMA: Schema = Schema {
        application: "test",
        version: 1,
        migrations: &["CREATE TABLE t (n INTEGER PRIMARY KEY, b BLOB)"],
    };

    /// Inserts rows of nearly a page.
    async fn insert(database: &Database, count: u32) {
        let insert =
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?1)
                      INSERT INTO t (b) SELECT randomblob(3000) FROM numbers";
        database.write(move |connection| connection.execute(insert, [count])).await.unwrap();
    }

    fn count(database: &Database) -> u64 {
        let sql = "SELECT count(*) FROM t";
        database
            .read(|connection| connection.query_row(sql, [], |row| row.get::<_, i64>(0)))
            .unwrap()
            .unsigned_abs()
    }

    /// Also from a reader of its own, as in another process, and with more pages than one step copies.
    #[tokio::test]
    async fn a_copy_has_what_was_written_before_the_snapshot_and_nothing_later() {
        let dir = tempfile::tempdir().unwrap();
        let (path, copy) = (dir.path().join("one.db"), dir.path().join("copy.db"));
        let database = Database::open(&path, &SCHEMA).unwrap();
        let enough = 2 * u32::try_from(PAGES).unwrap();
        insert(&database, enough).await;
        let snapshot = Database::look(&path, &SCHEMA).unwrap().file_snapshot().unwrap();
        insert(&database, 500).await;
        let (mut steps, insert) = (Vec::new(), "INSERT INTO t (b) VALUES (randomblob(3000))");
        let written = |step| {
            steps.push(step);
            database.write_blocking(move |connection| connection.execute(insert, [])).unwrap();
        };
        snapshot.copy(&copy, written).unwrap();
        assert!(steps.len() > 2, "{steps:?}");
        assert_eq!(steps.iter().sum::<u64>(), snapshot.bytes().unwrap());
        assert_eq!(fs::metadata(&copy).unwrap().len(), snapshot.bytes().unwrap());
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(snapshot.copy(&copy, |_| ()), Err(OpenError::Io { .. })), "no file is replaced");
        let copied = Database::look(&copy, &SCHEMA).unwrap();
        assert_eq!(count(&copied), u64::from(enough));
        assert_eq!(count(&database), u64::from(enough) + 500 + steps.len() as u64);
        let check = copied.check_file(Depth::Indexes, std::time::Duration::from_secs(60)).unwrap();
        assert_eq!((check.problems, check.is_complete), (Vec::new(), true));
    }

    #[tokio::test]
    async fn a_copy_of_this_moment_is_not_taken_for_the_original() {
        let dir = tempfile::tempdir().unwrap();
        let (path, copy) = (dir.path().join("one.db"), dir.path().join("copy.db"));
        let database = Database::open(&path, &SCHEMA).unwrap();
        let mark = Epoch::first().unwrap().next();
        database.put_epoch(&mark).await.unwrap();
        database.file_snapshot().unwrap().copy(&copy, |_| ()).unwrap();
        let epoch = || Database::look(&copy, &SCHEMA).unwrap().epoch().unwrap();
        assert_eq!(Epoch::compare(epoch().as_ref(), Some(&mark)), Continuity::Continued);
        begin_epoch_of_copy(&copy).unwrap();
        assert_eq!(Epoch::compare(epoch().as_ref(), Some(&mark)), Continuity::Restored);
        assert_eq!(Epoch::compare(epoch().as_ref(), None), Continuity::Copied);
    }
}
