//! What was acknowledged survives SIGKILL.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use durable::Database;

use crate::{add, ids, open};

/// The environment variable by which the child process gets the path of the database.
const CHILD_PATH: &str = "DURABLE_CRASH_PATH";
const ROUNDS: u64 = 6;
const WRITERS: i64 = 16;

/// Kills a writing child again and again on the same file. After each kill every write it had reported as
/// acknowledged must be there, pairwise complete.
#[test]
fn acknowledged_writes_survive_sigkill() {
    if let Some(path) = std::env::var_os(CHILD_PATH) {
        return write_until_killed(Path::new(&path));
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let mut acknowledged: Vec<i64> = Vec::new();
    for round in 0..ROUNDS {
        acknowledged.extend(run_and_kill(&path, Duration::from_millis(60 + 41 * round)));
        let stored = ids(&open(&path));
        let lost: Vec<_> = acknowledged.iter().filter(|id| stored.binary_search(id).is_err()).collect();
        assert!(lost.is_empty(), "round {round}: acknowledged but lost: {lost:?}");
        let torn = stored.iter().filter(|id| stored.binary_search(&-**id).is_err()).count();
        assert_eq!(torn, 0, "round {round}: one half of a write without the other");
    }
    assert!(acknowledged.len() > 100, "only {} writes were acknowledged", acknowledged.len());
}

/// Starts a child, kills it, and returns the numbers that it acknowledged.
fn run_and_kill(path: &Path, after: Duration) -> Vec<i64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::acknowledged_writes_survive_sigkill", "--nocapture"])
        .env(CHILD_PATH, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let first = lines.find_map(acknowledgement);
    std::thread::sleep(after);
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    let rest = lines.filter_map(acknowledgement);
    first.into_iter().chain(rest).collect()
}

fn write_until_killed(path: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let database = open(path);
        let start = ids(&database).last().map_or(1, |last| last + 1);
        let writers: Vec<_> =
            (0..WRITERS).map(|writer| tokio::spawn(write_pairs(database.clone(), start + writer))).collect();
        for writer in writers {
            writer.await.unwrap();
        }
    });
}

/// Writes pairs of rows, and prints an acknowledgement after each.
async fn write_pairs(database: Database, first: i64) {
    for id in (first..).step_by(WRITERS as usize) {
        let pair = move |connection: &rusqlite::Connection| {
            let mut insert = connection.prepare_cached("INSERT INTO note (id, text) VALUES (?1, 'pair')")?;
            insert.execute([id])?;
            insert.execute([-id]).map(drop)
        };
        database.write(pair).await.unwrap();
        println!("ack {id}.");
    }
}

#[tokio::test]
async fn a_file_copied_after_close_is_complete() {
    let directory = tempfile::tempdir().unwrap();
    let (path, copy) = (directory.path().join("db"), directory.path().join("copy"));
    let database = open(&path);
    for id in 0..50 {
        add(&database, id).await.unwrap();
    }
    database.close().await;
    std::fs::copy(&path, &copy).unwrap();
    assert_eq!(ids(&open(&copy)).len(), 50);
}

/// Parses an acknowledgement. A line without its full stop was cut off by the kill.
fn acknowledgement(line: impl AsRef<str>) -> Option<i64> {
    line.as_ref().strip_prefix("ack ")?.strip_suffix('.')?.parse().ok()
}
