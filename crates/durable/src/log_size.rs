//! The size limit of the write-ahead log: about the size of the file, within bounds. A small database then has no log of many
//! times its size, and a large one checkpoints rarely.

use rusqlite::Connection;

/// The fewest pages of the log before a checkpoint: 1 MB, some hundred small commits.
const MIN_PAGES: u32 = 256;

/// The most pages before a checkpoint: 16 MB, the measured optimum between the cost of its fsyncs and the size of the log.
const MAX_PAGES: u32 = 4000;

/// The log file is truncated to this multiple of the pages of a checkpoint after a long read or a burst made it larger.
const KEPT: u32 = 4;

/// Bytes of a page.
pub(crate) const PAGE_BYTES: u32 = 4096;

/// Commits between two checks of the size of the file.
const COMMITS: u32 = 64;

/// The limit that is set on a connection's log.
pub(crate) struct LogSize {
    pages: u32,
    commits: u32,
}

impl LogSize {
    /// Sets the limit by the current size of the file.
    pub(crate) fn fit(connection: &Connection) -> rusqlite::Result<LogSize> {
        let pages = wanted(connection)?;
        set(connection, pages)?;
        Ok(LogSize { pages, commits: 0 })
    }

    /// Counts a commit; raises the limit from time to time if the file has grown.
    pub(crate) fn count_commit(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.commits += 1;
        if self.pages == MAX_PAGES || self.commits < COMMITS {
            return Ok(());
        }
        self.commits = 0;
        let pages = wanted(connection)?;
        if pages > self.pages {
            set(connection, pages)?;
            self.pages = pages;
        }
        Ok(())
    }
}

fn wanted(connection: &Connection) -> rusqlite::Result<u32> {
    let pages: u32 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
    Ok(pages.clamp(MIN_PAGES, MAX_PAGES))
}

fn set(connection: &Connection, pages: u32) -> rusqlite::Result<()> {
    connection.pragma_update(None, "wal_autocheckpoint", pages)?;
    connection.pragma_update(None, "journal_size_limit", pages * PAGE_BYTES * KEPT)
}
