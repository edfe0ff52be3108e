//! The handle: open, write, read, close.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak, atomic::Ordering},
    thread::{self, JoinHandle},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::{mpsc, oneshot};

use crate::{
    directory,
    file_check::{Depth, FileCheck},
    job::Write,
    lock::SingleProcess,
    log_size::LogSize,
    readers::{MMAP_BYTES, Readers, keep_statements},
    schema::{self, Migration, OpenError, Schema},
    seal::Sealer,
    writer::{Message, Progress, Writer},
};

/// An open database. Clones share it; dropping the last one waits for the queued writes and closes the file.
#[derive(Clone)]
pub struct Database {
    shared: Arc<Shared>,
}

/// Why a write failed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError<E> {
    /// The queue stayed full for [`QUEUE_WAIT`]: the storage is slower than the load. The write was not run.
    #[error("the database is overloaded: its write queue is full")]
    Full,
    /// The commit failed, the write panicked, or the database is closed. No reader saw the write, and it can be tried again.
    /// Only a crash right after a failed fsync could bring it back, so a second try should be harmless.
    #[error("the write was lost: {0}")]
    Lost(String),
    /// The write itself returned this error; its changes are undone.
    #[error(transparent)]
    Refused(#[from] E),
}

/// Why a sealing key was not accepted for a database.
#[derive(Debug, thiserror::Error)]
pub enum KeyCheckError {
    /// The database's values were sealed with another key.
    #[error("the sealing key is not the one this database was written with")]
    WrongKey,
    /// The check could not be read or written.
    #[error("the sealing key cannot be checked: {0}")]
    Storage(String),
}

struct Shared {
    /// Whether the last process that had the file open did not close it.
    was_cut_off: bool,
    readers: Readers,
    /// `None` while the last handle is being dropped, and where the file is only looked at.
    queue: Option<mpsc::Sender<Message>>,
    progress: Arc<Progress>,
    /// Of the process, while a writer holds it. Empty where the file is only looked at.
    lock: Weak<SingleProcess>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Database {
    /// Opens the file, creates it (0600) and its directories (0700) when missing, and migrates it to the schema's version.
    pub fn open(path: &Path, schema: &Schema) -> Result<Database, OpenError> {
        let path = std::path::absolute(path) // SQLite would take a relative `file:…` for a URI
            .map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        directory::make_private_directory(directory::of_file(&path))
            .map_err(|source| OpenError::Io { path: path.clone(), source })?;
        let lock = SingleProcess::take(&path)?;
        let was_cut_off = has_log(&path);
        create_file(&path)?;
        let sqlite = |source| schema::sqlite_error(&path, schema.application, source);
        let mut connection = open_for_writing(&path).map_err(sqlite)?;
        schema.apply(&mut connection, &path)?;
        log_ahead(&connection, schema, &path)?; // last: it changes the file, which may have been refused as foreign
        Database::start(path, connection, (Arc::new(lock), Arc::default()), was_cut_off)
    }

    /// Opens a second handle on the same file, with a writer and readers of its own. The two share no more than two processes
    /// would, except that they count their [`commits`](Database::commits) together.
    pub fn beside(&self) -> Result<Database, OpenError> {
        let path = self.shared.readers.path().to_owned();
        let closed = || io::Error::new(io::ErrorKind::NotConnected, "the database is closed");
        let lock = self.shared.lock.upgrade();
        let lock = lock.ok_or_else(|| OpenError::Io { path: path.clone(), source: closed() })?;
        let connection =
            open_for_writing(&path).map_err(|source| OpenError::Sqlite { path: path.clone(), source })?;
        Database::start(path, connection, (lock, Arc::clone(&self.shared.progress)), false)
    }

    /// Opens the file for reading only, also while another process has it open. Creates, migrates and writes nothing: a file
    /// of an older schema is read as it is, and writes fail with [`WriteError::Lost`].
    pub fn look(path: &Path, schema: &Schema) -> Result<Database, OpenError> {
        let path =
            std::path::absolute(path).map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        fs::metadata(&path).map_err(|source| OpenError::Io { path: path.clone(), source })?;
        let was_cut_off = has_log(&path);
        let readers = Readers::new(path.clone());
        readers
            .open_one()
            .map_err(|source| schema::sqlite_error(&path, schema.application, source))
            .and_then(|connection| schema.accept(&connection, &path))?;
        let (progress, lock, thread) = (Arc::default(), Weak::new(), Mutex::default());
        Ok(Database {
            shared: Arc::new(Shared { was_cut_off, readers, queue: None, progress, lock, thread }),
        })
    }

    /// Returns whether the last process that had the file open ended without closing it: it was killed, or the machine stopped.
    pub fn was_cut_off(&self) -> bool {
        self.shared.was_cut_off
    }

    /// Returns the version of the tables in the file.
    pub fn schema_version(&self) -> rusqlite::Result<u32> {
        Ok(self.read(|connection| schema::meta(connection, "schema_version"))?.unwrap_or(0))
    }

    /// Returns what opening the file for writing would do to its tables, if anything.
    pub fn pending_migration(&self, schema: &Schema) -> rusqlite::Result<Option<Migration>> {
        let (from, to) = (self.schema_version()?, schema.version);
        Ok((from < to).then_some(Migration { from, to }))
    }

    /// Returns the size of the file in bytes, without its write-ahead log.
    pub fn file_size(&self) -> u64 {
        fs::metadata(self.shared.readers.path()).map_or(0, |metadata| metadata.len())
    }

    /// Checks the structure of the file for at most this time. Reads all of it on the calling thread; meanwhile the write-ahead
    /// log does not shrink.
    pub fn check_file(&self, depth: Depth, at_most: Duration) -> rusqlite::Result<FileCheck> {
        FileCheck::run(&self.open_reader()?, depth, at_most)
    }

    /// Opens a connection for one long read.
    pub(crate) fn open_reader(&self) -> rusqlite::Result<Connection> {
        self.shared.readers.open_one()
    }

    /// Rebuilds all indexes from their tables.
    pub async fn rebuild_indexes(&self) -> Result<(), WriteError<rusqlite::Error>> {
        self.write(|connection| connection.execute_batch("REINDEX")).await
    }

    /// Runs `write` on the writer thread in the current batch, in a savepoint of its own: an `Err` undoes this write only.
    /// Resolves after the batch's COMMIT is on disk.
    ///
    /// The closure must be short, must not begin or end transactions, and sees the earlier writes of its batch. Dropping the
    /// future does not cancel a queued write.
    pub async fn write<T, E, F>(&self, write: F) -> Result<T, WriteError<E>>
    where
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let reply = move |outcome| drop(reply.send(outcome)); // the caller may have stopped waiting
        self.enqueue(Message::Write(Box::new(Write::new(write, reply)))).await?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Runs a short read on the calling thread, on a pooled read-only connection. Use `prepare_cached`.
    ///
    /// Sees every write that was acknowledged before. Each statement has its own snapshot; statements that must agree belong
    /// in one `unchecked_transaction`. Long reads keep the write-ahead log from shrinking.
    pub fn read<T, E>(&self, read: impl FnOnce(&Connection) -> Result<T, E>) -> Result<T, E>
    where
        E: From<rusqlite::Error>,
    {
        self.shared.readers.with(read)
    }

    /// Rejects a wrong sealing key before anything is read with it. The first key that a database is checked with becomes its
    /// key.
    pub fn check_key(&self, sealer: &Sealer) -> Result<(), KeyCheckError> {
        let stored: Option<Vec<u8>> = self
            .read(|connection| schema::meta(connection, KEY_CHECK))
            .map_err(|error: rusqlite::Error| KeyCheckError::Storage(error.to_string()))?;
        match stored {
            Some(sealed) => {
                sealer.open(KEY_CHECK.as_bytes(), &sealed).map(drop).map_err(|_| KeyCheckError::WrongKey)
            }
            None if self.shared.queue.is_none() => Ok(()),
            None => self.put_key_check(sealer),
        }
    }

    /// Makes this the key of the database and overwrites its key check, which may be damaged.
    pub fn put_key_check(&self, sealer: &Sealer) -> Result<(), KeyCheckError> {
        let sealed = sealer.seal(KEY_CHECK.as_bytes(), b"");
        self.write_blocking(move |connection| schema::put_meta(connection, KEY_CHECK, sealed))
            .map_err(|error| KeyCheckError::Storage(error.to_string()))
    }

    /// Returns the number of batches that were committed since the database was opened, by all handles on the file. A batch is
    /// counted before its writes are acknowledged: while the count does not change, a reader that is up to date stays so.
    pub fn commits(&self) -> u64 {
        self.shared.progress.commits.load(Ordering::Acquire)
    }

    /// Returns whether the last batch of writes was lost, as on a full disk.
    pub fn is_failing(&self) -> bool {
        self.shared.progress.is_failing.load(Ordering::Relaxed)
    }

    /// Finishes the queued writes, folds the write-ahead log into the file and closes it.
    ///
    /// Writes through other handles end with [`WriteError::Lost`] from here on.
    pub async fn close(self) {
        let (done, closed) = oneshot::channel();
        // A reader that closes last leaves the empty log and its index on the disk, unlike the writer: the next open needs them,
        // and the disk may be full then.
        let _ = self.read(|_| Ok::<_, rusqlite::Error>(()));
        if self.enqueue::<()>(Message::Close(done)).await.is_ok() {
            let _ = closed.await; // an error means the thread is already gone
        }
        self.shared.readers.close_idle();
    }

    fn start(
        path: PathBuf,
        connection: Connection,
        (lock, progress): (Arc<SingleProcess>, Arc<Progress>),
        was_cut_off: bool,
    ) -> Result<Database, OpenError> {
        let (sender, queue) = mpsc::channel(QUEUE);
        let held = Arc::downgrade(&lock);
        let log =
            LogSize::fit(&connection).map_err(|source| OpenError::Sqlite { path: path.clone(), source })?;
        let writer = Writer { connection, queue, progress: Arc::clone(&progress), log, lock };
        let thread = thread::Builder::new()
            .name("db-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|source| OpenError::Io { path: path.clone(), source })?;
        let readers = Readers::new(path);
        let thread = Mutex::new(Some(thread));
        let shared = Shared { was_cut_off, readers, queue: Some(sender), progress, lock: held, thread };
        Ok(Database { shared: Arc::new(shared) })
    }

    async fn enqueue<E>(&self, message: Message) -> Result<(), WriteError<E>> {
        let Some(queue) = &self.shared.queue else { return Err(gone()) };
        let message = match queue.try_send(message) {
            Ok(()) => return Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(gone()),
            Err(mpsc::error::TrySendError::Full(message)) => message,
        };
        match queue.send_timeout(message, QUEUE_WAIT).await {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(gone()),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => Err(WriteError::Full),
        }
    }

    /// Does what [`write`](Database::write) does, for start-up code outside of async functions.
    pub fn write_blocking<T, E, F>(&self, write: F) -> Result<T, WriteError<E>>
    where
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let (reply, answer) = std::sync::mpsc::sync_channel(1);
        let reply = move |outcome| drop(reply.send(outcome));
        let Some(queue) = &self.shared.queue else { return Err(gone()) };
        queue.try_send(Message::Write(Box::new(Write::new(write, reply)))).map_err(|error| match error {
            mpsc::error::TrySendError::Closed(_) => gone(),
            mpsc::error::TrySendError::Full(_) => WriteError::Full,
        })?;
        answer.recv().unwrap_or_else(|_| Err(gone()))
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Database").field("readers", &self.shared.readers).finish_non_exhaustive()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.queue = None;
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        // A closure may have owned the last handle; then this is the writer thread itself.
        if thread.thread().id() != thread::current().id() && thread.join().is_err() {
            tracing::error!("the database writer panicked");
        }
    }
}

fn gone<E>() -> WriteError<E> {
    WriteError::Lost("the database is closed".to_owned())
}

/// Returns whether there is a write-ahead log that was not checkpointed into the file, as a clean end does.
pub(crate) fn has_log(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    fs::metadata(log).is_ok_and(|log| log.len() > 0)
}

/// Creates the file before SQLite would, to set its mode and to make its name survive a power loss.
fn create_file(path: &Path) -> Result<(), OpenError> {
    let make = || -> io::Result<()> {
        if !fs::exists(path)? {
            OpenOptions::new().create(true).append(true).mode(0o600).open(path)?.sync_all()?;
        }
        directory::sync(directory::of_file(path)) // always: an earlier process may have been killed before it did
    };
    make().map_err(|source| OpenError::Io { path: path.to_owned(), source })
}

pub(crate) fn open_for_writing(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.pragma_update(None, "page_size", 4096)?; // only a new file takes it; documents are about 1 kB
    connection.pragma_update(None, "synchronous", "FULL")?; // an acknowledged write survives power loss
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "mmap_size", MMAP_BYTES)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?; // savepoints journal there
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    keep_statements(&connection)?;
    Ok(connection)
}

/// Turns the write-ahead log on. Fails on file systems that do not support one, such as some network file systems, which do
/// not lock reliably either: there SQLite returns another mode.
fn log_ahead(connection: &Connection, schema: &Schema, path: &Path) -> Result<(), OpenError> {
    let mode: String = connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
        .map_err(|source| schema::sqlite_error(path, schema.application, source))?;
    if mode.eq_ignore_ascii_case("wal") {
        return Ok(());
    }
    let source = io::Error::new(io::ErrorKind::Unsupported, "the file system takes no write-ahead log");
    Err(OpenError::Io { path: path.to_owned(), source })
}

/// The most writes that wait for the writer: about a hundred milliseconds of work.
const QUEUE: usize = 1024;

/// How long a write waits for a place in the queue before it fails with [`WriteError::Full`].
pub const QUEUE_WAIT: Duration = Duration::from_secs(5);

/// Page cache of the writer in KiB; grows only with use.
const CACHE_KIB: i64 = 32 * 1024;

/// Row of `meta` with the key check, and its sealing context.
const KEY_CHECK: &str = "key_check";
