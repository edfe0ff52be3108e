//! Which files are opened, and what that does to them.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use durable::{Database, Depth, FileCheck, KeyCheckError, OpenError, Schema, Sealer};

use crate::{NOTES, add, ids, open};

/// Where the child process of `a_second_process_is_refused` finds the database.
const CHILD_PATH: &str = "DURABLE_HOLD_PATH";

fn refused(path: &Path, schema: &Schema) -> OpenError {
    let before = fs::read(path).unwrap();
    let error = Database::open(path, schema).unwrap_err();
    assert_eq!(fs::read(path).unwrap(), before, "a refused file is not changed");
    error
}

#[tokio::test]
async fn contents_survive_reopening_and_files_are_private() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made/for/it/db");
    let database = open(&path);
    add(&database, 1).await.unwrap();
    drop(database);
    let database = open(&path);
    assert_eq!(ids(&database), [1]);
    add(&database, 2).await.unwrap();
    for entry in fs::read_dir(path.parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
    }
    let made = fs::metadata(directory.path().join("made")).unwrap();
    assert_eq!(made.permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn a_closed_database_is_complete_in_one_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let database = open(&path);
    add(&database, 1).await.unwrap();
    assert_eq!(ids(&database), [1]); // a reader is pooled
    database.close().await;
    let mut names: Vec<_> =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["db", "db-shm", "db-wal", "db.lock"], "the log is empty, its index keeps its place");
    let copy = directory.path().join("copy");
    fs::copy(&path, &copy).unwrap();
    assert_eq!(ids(&open(&copy)), [1]);
}

#[tokio::test]
async fn durability_settings_are_in_force() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(&directory.path().join("db"));
    let settings = database
        .write(|connection| {
            let read = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, String>(0));
            let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            Ok::<_, rusqlite::Error>((read("journal_mode")?, number("synchronous")?, number("foreign_keys")?))
        })
        .await
        .unwrap();
    assert_eq!(settings, ("wal".to_owned(), 2, 1));
    let write = database.read(|connection| connection.execute("DELETE FROM note", []));
    assert!(write.is_err(), "readers cannot write");
}

#[tokio::test]
async fn missing_migrations_run_and_failed_ones_change_nothing() {
    const FIRST: &str = "CREATE TABLE a (x INTEGER) STRICT; INSERT INTO a VALUES (1)";
    let one = Schema { application: "m", version: 1, migrations: &[FIRST] };
    let bad = Schema {
        version: 2,
        migrations: &[FIRST, "INSERT INTO a VALUES (2); INSERT INTO nowhere VALUES (1)"],
        ..one
    };
    let two = Schema { version: 2, migrations: &[FIRST, "INSERT INTO a SELECT x + 10 FROM a"], ..one };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let rows = |database: Database| {
        let sum =
            database.read(|connection| connection.query_row("SELECT sum(x) FROM a", [], |row| row.get(0)));
        let sum: Result<i64, rusqlite::Error> = sum;
        sum.unwrap()
    };
    assert_eq!(rows(Database::open(&path, &one).unwrap()), 1);
    let failed = Database::open(&path, &bad).unwrap_err();
    assert!(matches!(failed, OpenError::Migration { from: 1, .. }), "{failed}");
    assert_eq!(rows(Database::open(&path, &one).unwrap()), 1);
    assert_eq!(rows(Database::open(&path, &two).unwrap()), 12);
    assert_eq!(rows(Database::open(&path, &two).unwrap()), 12, "a migration runs once");
    let newer = refused(&path, &one);
    assert!(matches!(newer, OpenError::TooNew { found: 2, supported: 1, .. }), "{newer}");
}

#[test]
fn foreign_files_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    drop(open(&path));
    let error = refused(&path, &Schema { application: "other", ..NOTES });
    assert_eq!(error.to_string(), format!("{} belongs to notes, not to other", path.display()));

    let path = directory.path().join("sqlite");
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let error = refused(&path, &NOTES);
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");

    let path = directory.path().join("text");
    fs::write(&path, "not a database, but long enough to look at it. ".repeat(20)).unwrap();
    let error = refused(&path, &NOTES);
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");

    let error = Database::open(directory.path(), &NOTES).unwrap_err();
    assert!(error.to_string().contains("cannot open"), "{error}");
}

#[test]
fn a_schema_must_count_its_migrations() {
    let directory = tempfile::tempdir().unwrap();
    let error = Database::open(&directory.path().join("db"), &Schema { version: 2, ..NOTES }).unwrap_err();
    assert!(matches!(error, OpenError::Schema { version: 2, migrations: 1, .. }), "{error}");
}

#[test]
fn a_second_handle_is_refused_until_the_first_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let first = open(&path);
    assert!(matches!(Database::open(&path, &NOTES).unwrap_err(), OpenError::InUse { .. }));
    let clone = first.clone();
    drop(first);
    assert!(matches!(Database::open(&path, &NOTES).unwrap_err(), OpenError::InUse { .. }));
    drop(clone);
    drop(open(&path));
}

#[test]
fn a_second_process_is_refused() {
    if let Some(path) = std::env::var_os(CHILD_PATH) {
        let _held = open(Path::new(&path));
        println!("\nholding");
        std::io::stdin().read_line(&mut String::new()).unwrap();
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "opening::a_second_process_is_refused", "--nocapture"])
        .env(CHILD_PATH, &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "holding"));
    let error = Database::open(&path, &NOTES).unwrap_err();
    assert_eq!(error.to_string(), format!("{} is in use by another process", path.display()));
    child.kill().unwrap();
    child.wait().unwrap();
    drop(open(&path)); // the lock went with the process
}

#[tokio::test]
async fn the_key_of_the_first_start_is_required() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let (right, wrong) = (Sealer::from_key([1; 32]), Sealer::from_key([2; 32]));
    let database = open(&path);
    database.check_key(&right).unwrap();
    database.check_key(&right).unwrap();
    assert!(matches!(database.check_key(&wrong), Err(KeyCheckError::WrongKey)));
    drop(database);
    let database = open(&path);
    assert!(matches!(database.check_key(&wrong), Err(KeyCheckError::WrongKey)));
    database.check_key(&right).unwrap();
}

/// An inspection changes nothing, even beside a process that has the file open, and sees what that process wrote.
#[tokio::test]
async fn a_file_is_inspected_beside_its_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    assert!(matches!(Database::look(&path, &NOTES), Err(OpenError::Io { .. })));
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0, "nothing is made");
    let database = open(&path);
    add(&database, 1).await.unwrap();
    let look = Database::look(&path, &NOTES).unwrap();
    add(&database, 2).await.unwrap();
    assert_eq!(ids(&look), [1, 2]);
    assert!(matches!(add(&look, 3).await, Err(durable::WriteError::Lost(_))));
    drop(look);
    database.close().await;
    let before = fs::read(&path).unwrap();
    assert_eq!(ids(&Database::look(&path, &NOTES).unwrap()), [1, 2]);
    assert_eq!(fs::read(&path).unwrap(), before);
    let newer = Schema { version: 0, migrations: &[], ..NOTES };
    assert!(matches!(Database::look(&path, &newer), Err(OpenError::TooNew { found: 1, .. })));
    let other = Schema { application: "other", ..NOTES };
    assert!(matches!(Database::look(&path, &other), Err(OpenError::Foreign { .. })));
    fs::write(&path, "").unwrap();
    assert!(matches!(Database::look(&path, &NOTES), Err(OpenError::Foreign { .. })));
}

#[tokio::test]
async fn an_unclean_shutdown_and_damage_are_detected() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let database = open(&path);
    assert!(!database.was_cut_off());
    for id in 0..2_000 {
        add(&database, id).await.unwrap();
    }
    let copy = directory.path().join("copy");
    fs::copy(&path, &copy).unwrap();
    fs::copy(directory.path().join("db-wal"), directory.path().join("copy-wal")).unwrap();
    database.close().await;
    assert!(!open(&path).was_cut_off(), "it was closed");
    let cut_off = open(&copy);
    assert!(cut_off.was_cut_off());
    let patient = Duration::from_secs(60);
    for depth in [Depth::Pages, Depth::Indexes] {
        let found = cut_off.check_file(depth, patient).unwrap();
        assert_eq!(found, FileCheck { problems: Vec::new(), is_complete: true });
    }
    drop(cut_off);

    let mut bytes = fs::read(&path).unwrap();
    let page = bytes.len() / 4096 - 1;
    bytes[page * 4096..(page + 1) * 4096].fill(0x5a);
    fs::write(&path, bytes).unwrap();
    let damaged = open(&path);
    let found = damaged.check_file(Depth::Pages, patient).unwrap();
    assert!(found.is_complete && !found.problems.is_empty(), "{found:?}");
}
