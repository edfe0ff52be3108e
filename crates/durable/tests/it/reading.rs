//! Reads, which plan each query once.

use rusqlite::StatementStatus;

use crate::open;

#[test]
fn a_query_is_planned_once_whatever_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder.path().join("notes.db"));
    let planned_again = database.read(|connection| {
        let mut statement =
            connection.prepare_cached("SELECT id FROM note WHERE text = ?1 ORDER BY id LIMIT ?2")?;
        for limit in 1..10 {
            let mut rows = statement.query(("note", limit))?;
            while rows.next()?.is_some() {}
        }
        Ok::<_, rusqlite::Error>(statement.get_status(StatementStatus::RePrepare))
    });
    assert_eq!(planned_again.unwrap(), 0);
}
