//! A server is killed, stopped, replicated and shared.

use super::*;

#[test]
fn a_killed_server_starts_again_with_its_data() {
    let server = Postgres::start(Durability::Fsync);
    let [one, two] = [server.database(), server.database()];
    server.execute(&one.name, "CREATE TABLE t (n int); INSERT INTO t VALUES (7)");
    server.kill();
    server.start_again();
    assert_eq!(server.execute(&one.name, "SELECT n FROM t"), "7");
    assert_eq!(
        server.execute(&two.name, "SELECT to_regclass('t') IS NULL"),
        "t",
        "each test has its own database"
    );
    server.stop();
    server.start_again();
    assert_eq!(server.execute(&one.name, "SELECT count(*) FROM t"), "1");

    let folder = server.files.sockets();
    drop(server);
    assert!(!path_exists(&folder), "its files are deleted");
}

#[test]
fn a_standby_has_what_its_primary_committed() {
    let primary = Postgres::start(Durability::Fsync);
    let standby = primary.start_standby("second");
    primary.execute("postgres", "ALTER SYSTEM SET synchronous_standby_names = 'second'");
    primary.execute("postgres", "SELECT pg_reload_conf()");
    primary.execute("postgres", "CREATE TABLE t (n int)");
    while primary.execute("postgres", "SELECT sync_state FROM pg_stat_replication") != "sync" {
        std::thread::sleep(POLL_INTERVAL);
    }
    primary.execute("postgres", "INSERT INTO t VALUES (7)");
    primary.kill();
    standby.promote();
    assert_eq!(standby.execute("postgres", "INSERT INTO t SELECT n + 1 FROM t RETURNING n"), "8");
}

#[test]
fn the_shared_server_makes_a_database_for_each_test() {
    let [one, two] = [Postgres::shared().database(), Postgres::shared().database()];
    assert_ne!(one.url(), two.url());
    let server = format!("postgres://postgres@127.0.0.1:{}/", Postgres::shared().port());
    assert_eq!(one.url(), server + &one.name + "?sslmode=disable");
}
