//! Checks the structure of a file for damage, for a bounded time.

use std::{sync::mpsc, thread, time::Duration};

use rusqlite::{Connection, ErrorCode};

/// How thoroughly a file is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Every page (`PRAGMA quick_check`).
    Pages,
    /// Also whether tables and indexes agree (`PRAGMA integrity_check`), which takes several times as long.
    Indexes,
}

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileCheck {
    /// SQLite's messages about problems, at most a hundred.
    pub problems: Vec<String>,
    /// Whether the whole file was checked in time.
    pub is_complete: bool,
}

impl FileCheck {
    /// Checks the file of a connection on this thread.
    pub(crate) fn run(
        connection: &Connection,
        depth: Depth,
        at_most: Duration,
    ) -> rusqlite::Result<FileCheck> {
        let (done, is_done) = mpsc::channel::<()>();
        let interrupt = connection.get_interrupt_handle();
        thread::scope(|scope| {
            scope.spawn(move || {
                if is_done.recv_timeout(at_most) == Err(mpsc::RecvTimeoutError::Timeout) {
                    interrupt.interrupt();
                }
            });
            let outcome = check(connection, depth);
            drop(done);
            outcome
        })
    }
}

fn check(connection: &Connection, depth: Depth) -> rusqlite::Result<FileCheck> {
    let sql = match depth {
        Depth::Pages => "PRAGMA quick_check(100)",
        Depth::Indexes => "PRAGMA integrity_check(100)",
    };
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut problems = Vec::new();
    loop {
        match rows.next() {
            Ok(Some(row)) => {
                let line: String = row.get(0)?;
                problems.extend((line != "ok").then_some(line));
            }
            Ok(None) => return Ok(FileCheck { problems, is_complete: true }),
            Err(error) => match error.sqlite_error_code() {
                Some(ErrorCode::OperationInterrupted) => {
                    return Ok(FileCheck { problems, is_complete: false });
                }
                // Damage that ends the check itself.
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                    problems.push(error.to_string());
                    return Ok(FileCheck { problems, is_complete: true });
                }
                _ => return Err(error),
            },
        }
    }
}
