//! Group commit, isolation of the writes in a batch, and what happens when a commit fails.

use std::{sync::mpsc, time::Duration};

use durable::{Database, WriteError};
use rusqlite::Connection;

use crate::{add, ids, open};

/// Keeps the writer thread busy until the returned sender is dropped, so that the writes meanwhile are
/// one batch.
async fn hold_writer(database: &Database) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel::<()>();
    let (entered, running) = tokio::sync::oneshot::channel();
    let holder = database.clone();
    tokio::spawn(async move {
        let hold = move |_: &Connection| {
            entered.send(()).unwrap();
            let _ = held.recv();
            Ok::<_, rusqlite::Error>(())
        };
        holder.write(hold).await.unwrap();
    });
    running.await.unwrap();
    release
}

/// Runs the writes as one batch and returns their outcomes.
async fn one_batch<T, E, F>(database: &Database, writes: Vec<F>) -> Vec<Result<T, WriteError<E>>>
where
    F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    let release = hold_writer(database).await;
    let mut running = Vec::new();
    for write in writes {
        let database = database.clone();
        running.push(tokio::spawn(async move { database.write(write).await }));
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(release);
    let mut outcomes = Vec::new();
    for write in running {
        outcomes.push(write.await.unwrap());
    }
    outcomes
}

type Note = (i64, Option<i64>);

fn insert((id, parent): Note) -> impl FnOnce(&Connection) -> Result<usize, rusqlite::Error> + Send + 'static {
    move |connection| connection.execute("INSERT INTO note VALUES (?1, 'x', ?2)", (id, parent))
}

#[tokio::test]
async fn concurrent_writes_share_commits() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(&directory.path().join("db"));
    let writers: Vec<_> = (0..400)
        .map(|id| {
            let database = database.clone();
            tokio::spawn(async move { add(&database, id).await })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap().unwrap();
    }
    assert_eq!(ids(&database), (0..400).collect::<Vec<_>>());
    assert!(database.commits() <= 40, "400 writes took {} commits", database.commits());
}

#[tokio::test]
async fn a_write_is_visible_once_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(&directory.path().join("db"));
    for id in 0..20 {
        add(&database, id).await.unwrap();
        assert_eq!(ids(&database).last(), Some(&id));
    }
    assert_eq!(database.commits(), 20, "without concurrency every write is its own commit");
}

#[tokio::test]
async fn a_refused_write_undoes_itself_only() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(&directory.path().join("db"));
    // The third inserts 7 before it fails on the duplicate 3.
    let write = |(first, second): (i64, i64)| {
        move |connection: &Connection| {
            connection.execute("INSERT INTO note (id, text) VALUES (?1, 'x')", [first])?;
            connection.execute("INSERT INTO note (id, text) VALUES (?1, 'x')", [second])
        }
    };
    let outcomes = one_batch(&database, [(1, 2), (3, 4), (7, 3), (5, 6)].map(write).into()).await;
    let refused: Vec<_> =
        outcomes.iter().map(|outcome| matches!(outcome, Err(WriteError::Refused(_)))).collect();
    assert_eq!(refused, [false, false, true, false]);
    assert_eq!(ids(&database), [1, 2, 3, 4, 5, 6]);
    assert_eq!(database.commits(), 2, "the holder's and the batch");
}

#[tokio::test]
async fn a_refused_write_alone_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(&directory.path().join("db"));
    let outcome: Result<(), WriteError<String>> = database
        .write(|connection| {
            connection.execute("INSERT INTO note (id, text) VALUES (1, 'x')", []).unwrap();
            Err("no".to_owned())
        })
        .await;
    assert!(matches!(outcome, Err(WriteError::Refused(reason)) if reason == "no"));
    assert_eq!(ids(&database), [0; 0]);
}

#[tokio::test]
async fn a_failed_commit_loses_the_batch_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(&directory.path().join("db"));
    add(&database, 1).await.unwrap();
    // The deferred foreign key of the second fails at COMMIT.
    let outcomes = one_batch(&database, [(2, None), (3, Some(99)), (4, None)].map(insert).into()).await;
    for outcome in outcomes {
        assert!(
            matches!(&outcome, Err(WriteError::Lost(reason)) if reason.contains("FOREIGN KEY")),
            "{outcome:?}"
        );
    }
    add(&database, 5).await.unwrap();
    assert_eq!(ids(&database), [1, 5]);
}

/// Neither alone nor in a batch does a commit that writes nothing, or undoes what it wrote, prove that writes succeed again.
#[tokio::test]
async fn writes_fail_until_one_has_written_something() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(&directory.path().join("db"));
    let delete =
        |id: i64| move |connection: &Connection| connection.execute("DELETE FROM note WHERE id = ?1", [id]);
    let undone = || {
        |connection: &Connection| {
            connection.execute("INSERT INTO note (id, text) VALUES (7, 'x')", [])?;
            Err::<usize, _>(rusqlite::Error::InvalidQuery)
        }
    };
    for id in 1..3 {
        assert!(matches!(database.write(insert((id, Some(99)))).await, Err(WriteError::Lost(_))));
        assert!(database.is_failing());
        assert!(database.write(undone()).await.is_err());
        database.write(delete(50)).await.unwrap();
        one_batch(&database, vec![delete(51), delete(52)]).await;
        one_batch(&database, vec![undone(), undone()]).await;
        assert!(database.is_failing(), "nothing was written");
        add(&database, id).await.unwrap();
        assert!(!database.is_failing());
    }
    assert_eq!(ids(&database), [1, 2]);
}

#[tokio::test]
async fn a_full_disk_loses_the_batch_and_the_writer_continues() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(&directory.path().join("db"));
    let limit = |pages: i64| {
        move |connection: &Connection| {
            connection
                .query_row("PRAGMA max_page_count", [], |row| row.get(0))
                .and_then(|_: i64| connection.pragma_update(None, "max_page_count", pages))
        }
    };
    database.write(limit(16)).await.unwrap();
    let fill = |id: i64| {
        move |connection: &Connection| {
            let size = if id == 2 { 1_000_000 } else { 1 };
            connection.execute("INSERT INTO note (id, text) VALUES (?1, ?2)", (id, "x".repeat(size)))
        }
    };
    let outcomes = one_batch(&database, [1, 2, 3].map(fill).into()).await;
    assert!(outcomes[1].is_err());
    let kept: Vec<i64> =
        (1..).zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()).map(|(id, _)| id).collect();
    assert_eq!(ids(&database), kept, "what was acknowledged is there and nothing else");
    database.write(limit(1 << 30)).await.unwrap();
    add(&database, 9).await.unwrap();
    assert_eq!(ids(&database).last(), Some(&9));
}

#[tokio::test]
async fn a_panicking_write_is_lost_alone() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(&directory.path().join("db"));
    let write = |id: i64| {
        move |connection: &Connection| {
            let inserted = connection.execute("INSERT INTO note (id, text) VALUES (?1, 'x')", [id]);
            assert_ne!(id, 2, "provoked");
            inserted
        }
    };
    let outcomes = one_batch(&database, [1, 2, 3].map(write).into()).await;
    assert!(matches!(&outcomes[1], Err(WriteError::Lost(reason)) if reason.contains("panicked")));
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok());
    let alone = database.write(|_| -> Result<(), rusqlite::Error> { panic!("provoked") }).await;
    assert!(matches!(alone, Err(WriteError::Lost(_))));
    assert_eq!(ids(&database), [1, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_stays_full_refuses() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(&directory.path().join("db"));
    let release = hold_writer(&database).await;
    let mut running = Vec::new();
    for id in 0..1025 {
        let database = database.clone();
        running.push(tokio::spawn(async move { add(&database, id).await }));
    }
    tokio::time::sleep(durable::QUEUE_WAIT * 2).await; // virtual time
    drop(release);
    let mut full = 0;
    for write in running {
        full += usize::from(matches!(write.await.unwrap(), Err(WriteError::Full)));
    }
    assert_eq!((full, ids(&database).len()), (1, 1024));
}

#[tokio::test]
async fn closing_finishes_what_is_queued_and_refuses_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let database = open(&path);
    let other = database.clone();
    let release = hold_writer(&database).await;
    let queued = tokio::spawn({
        let database = database.clone();
        async move { add(&database, 1).await }
    });
    let closing = tokio::spawn({
        tokio::task::yield_now().await;
        database.close()
    });
    tokio::task::yield_now().await;
    drop(release);
    queued.await.unwrap().unwrap();
    closing.await.unwrap();
    assert!(matches!(add(&other, 2).await, Err(WriteError::Lost(_))));
    drop(other);
    assert_eq!(ids(&open(&path)), [1]);
}

/// Leaves the writer in the belief that more is on its way.
async fn crowd(database: &Database, first_id: i64) {
    let ids = (first_id..first_id + 4).map(|id| insert((id, None)));
    assert!(one_batch(database, ids.collect()).await.iter().all(Result::is_ok));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_crowd_the_writer_waits_for_the_next() {
    const ROUNDS: i64 = 10;
    let directory = tempfile::tempdir().unwrap();
    let database = open(&directory.path().join("db"));
    let mut shared = 0;
    for round in 0..ROUNDS {
        crowd(&database, round * 10).await;
        let before = database.commits();
        let late = |id: i64, after: Duration| {
            let database = database.clone();
            tokio::task::spawn_blocking(move || {
                std::thread::sleep(after); // more exact than the timer of tokio
                tokio::runtime::Handle::current().block_on(add(&database, id))
            })
        };
        let (first, second) = (
            late(round * 10 + 4, Duration::from_millis(5)),
            late(round * 10 + 5, Duration::from_micros(5_500)),
        );
        first.await.unwrap().unwrap();
        second.await.unwrap().unwrap();
        shared += i64::from(database.commits() == before + 1);
    }
    assert!(shared >= ROUNDS / 3, "only {shared} of {ROUNDS} pairs shared a commit");
}

#[tokio::test]
async fn a_batch_is_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(&directory.path().join("db"));
    let outcomes = one_batch(&database, (0..1000).map(|id| insert((id, None))).collect()).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(database.commits(), 3, "the holder's, 512, and the rest");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_while_the_writer_waits_loses_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..10 {
        let path = directory.path().join(format!("db{round}"));
        let database = open(&path);
        crowd(&database, 0).await;
        let writers: Vec<_> = (10..30)
            .map(|id| {
                let database = database.clone();
                tokio::spawn(async move { (id, add(&database, id).await.is_ok()) })
            })
            .collect();
        database.close().await;
        let mut expected: Vec<i64> = (0..4).collect();
        for writer in writers {
            let (id, acknowledged) = writer.await.unwrap();
            expected.extend(acknowledged.then_some(id));
        }
        assert_eq!(ids(&open(&path)), expected);
    }
}

/// Returns the bytes of the write-ahead log.
fn log_bytes(path: &std::path::Path) -> u64 {
    std::fs::metadata(path.with_file_name("db-wal")).map_or(0, |log| log.len())
}

/// Returns a directory on a file system in memory if there is one: thousands of commits are not about the disk here.
fn fast_directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

#[tokio::test]
async fn the_log_of_a_small_file_stays_small_and_grows_with_the_file() {
    let directory = fast_directory();
    let path = directory.path().join("db");
    let database = open(&path);
    let write = async |sql: &'static str, id: i64| {
        let write = move |connection: &Connection| connection.prepare_cached(sql)?.execute([id]);
        database.write(write).await.unwrap();
    };
    let mut largest = 0;
    for id in 0..5_000 {
        write("INSERT INTO note VALUES (?1 % 10, 'x', NULL) ON CONFLICT DO UPDATE SET text = ?1", id).await;
        largest = largest.max(log_bytes(&path));
    }
    assert!(database.file_size() < 100_000, "{}", database.file_size());
    assert!(largest < 1_200_000, "a log of {largest} bytes");
    // One of 20 MB.
    for id in 10..5_000 {
        write("INSERT INTO note VALUES (?1, hex(zeroblob(2000)), NULL)", id).await;
        largest = largest.max(log_bytes(&path));
    }
    assert!((14_000_000..18_000_000).contains(&largest), "a log of {largest} bytes");
}

/// Otherwise a disk that has become full meanwhile would prevent the next start.
#[tokio::test]
async fn a_clean_shutdown_leaves_the_space_that_the_next_start_needs() {
    let directory = fast_directory();
    let path = directory.path().join("db");
    for start in 0..3 {
        let database = open(&path);
        add(&database, start).await.unwrap();
        database.close().await;
        assert_eq!(log_bytes(&path), 0, "all is in the file");
        let index = std::fs::metadata(path.with_file_name("db-shm"));
        assert_eq!(index.map_or(0, |index| index.len()), 32_768, "start {start}");
    }
    assert_eq!(ids(&open(&path)), [0, 1, 2]);
}
