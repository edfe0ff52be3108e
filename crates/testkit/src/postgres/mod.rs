//! PostgreSQL servers for tests: with files of their own, on the loopback address only.
//!
//! A test takes a database of the server that its test binary shares: `Postgres::shared().database()`. A test that kills,
//! stops or replicates a server starts one of its own: `Postgres::start(Durability::Fsync)`.

mod files;
mod programs;
#[cfg(test)]
mod tests;

use std::{
    io,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, MutexGuard, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use self::{files::Files, programs::Programs};
use crate::server_certificate::ServerCertificate;

/// The time limit of a start with recovery, on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The maximum number of first starts: another process may take a free port before the server binds it.
const MAX_STARTS: u32 = 10;

/// The logins of a server with TLS (`pg_hba.conf`).
const LOGINS: &str = "local all all trust
host all postgres 127.0.0.1/32 trust
hostssl all muster 127.0.0.1/32 scram-sha-256
";

/// What the tables of a later release may have in addition: it leaves to this one what is there.
pub const NEXT_RELEASE: &str = "
CREATE TABLE IF NOT EXISTS of_the_next_release (instance int NOT NULL, id text NOT NULL, PRIMARY KEY (instance, id));
ALTER TABLE registrations ADD COLUMN IF NOT EXISTS seen bigint;
ALTER TABLE individuals ADD COLUMN IF NOT EXISTS note text NOT NULL DEFAULT '';
ALTER TABLE usage ADD COLUMN IF NOT EXISTS region int NOT NULL DEFAULT 0;
ALTER TABLE log ADD COLUMN IF NOT EXISTS reason text;
CREATE INDEX CONCURRENTLY IF NOT EXISTS registrations_by_time ON registrations (instance, seen);
";

/// Enough for three nodes and the connections of the tests themselves.
const MAX_CONNECTIONS: u32 = 300;

/// What a write survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The end of the server's processes; for tests that kill them.
    Fsync,
    /// Nothing; for all other tests, which are faster with it.
    NoFsync,
}

/// A PostgreSQL server. It ends on drop, or with the test process, however that ends.
pub struct Postgres {
    files: Files,
    programs: Programs,
    port: u16,
    durability: Durability,
    settings: Vec<(&'static str, &'static str)>,
    postmaster: Mutex<Option<Child>>,
    databases: AtomicU32,
}

/// An empty database, which exists as long as its server.
#[derive(Debug, Clone)]
pub struct Database {
    /// The name.
    pub name: String,
    /// The port of the server on the loopback address.
    pub port: u16,
}

impl Database {
    /// Returns an empty database of the shared server if the tests are to run on PostgreSQL instead of the embedded store:
    /// `MUSTER_TEST_STORE=postgresql`.
    pub fn chosen() -> Option<Database> {
        Database::is_chosen().then(|| Postgres::shared().database())
    }

    /// Returns whether the tests are to run on PostgreSQL.
    pub fn is_chosen() -> bool {
        let chosen = std::env::var_os("MUSTER_TEST_STORE");
        assert!(
            chosen.as_ref().is_none_or(|chosen| chosen == "postgresql"),
            "MUSTER_TEST_STORE is absent, for the embedded store, or postgresql"
        );
        chosen.is_some()
    }

    /// Returns the URL for clients. The server has no TLS.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{}?sslmode=disable", self.port, self.name)
    }
}

impl Postgres {
    /// Returns the server of this test binary, which starts with the first call. Never kill or stop it.
    pub fn shared() -> &'static Postgres {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| Postgres::start(Durability::NoFsync))
    }

    /// Starts a server on a free port.
    pub fn start(durability: Durability) -> Postgres {
        Postgres::start_with(durability, &[])
    }

    /// Starts a server with these settings beside those of all tests, which they override.
    pub fn start_with(durability: Durability, settings: &[(&'static str, &'static str)]) -> Postgres {
        let (programs, files) = Postgres::create();
        Postgres::first_start(files, programs, durability, settings.to_vec())
    }

    /// Starts a server with this certificate, where the role `muster`, which is still to be created, logs in over TLS alone and
    /// with a password.
    pub fn start_with_tls(certificate: &ServerCertificate) -> Postgres {
        let (programs, files) = Postgres::create();
        files.write_private("server.crt", &certificate.certificate, &programs);
        files.write_private("server.key", &certificate.key, &programs);
        files.write_private("pg_hba.conf", LOGINS, &programs);
        Postgres::first_start(files, programs, Durability::NoFsync, vec![("ssl", "on")])
    }

    /// Creates the files of a server.
    fn create() -> (Programs, Files) {
        let programs = Programs::find();
        let files = Files::create(&programs);
        programs.run("initdb", |initdb| {
            initdb.args([
                "--auth=trust",
                "--locale=C",
                "--encoding=UTF8",
                "--username=postgres",
                "--no-sync",
            ]);
            initdb.arg("--pgdata").arg(files.data())
        });
        (programs, files)
    }

    /// Starts a standby that follows this server, to which it is known by this name (`synchronous_standby_names`).
    pub fn start_standby(&self, name: &str) -> Postgres {
        let programs = Programs::find();
        let files = Files::create(&programs);
        programs.run("pg_basebackup", |backup| {
            backup
                .args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--pgdata"])
                .arg(files.data());
            let primary = format!("host=127.0.0.1 port={} user=postgres application_name={name}", self.port);
            backup.arg("--dbname").arg(primary)
        });
        Postgres::first_start(files, programs, self.durability, self.settings.clone())
    }

    fn first_start(
        files: Files,
        programs: Programs,
        durability: Durability,
        settings: Vec<(&'static str, &'static str)>,
    ) -> Postgres {
        let (postmaster, databases) = (Mutex::new(None), AtomicU32::new(0));
        let mut server = Postgres { files, programs, port: 0, durability, settings, postmaster, databases };
        for _ in 0..MAX_STARTS {
            server.port = free_port();
            if server.try_start() {
                return server;
            }
        }
        panic!("PostgreSQL does not start: {}", server.files.end_of_log());
    }

    /// Makes an empty database.
    pub fn database(&self) -> Database {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.execute("postgres", &format!("CREATE DATABASE {name}"));
        Database { name, port: self.port }
    }

    /// Runs a statement in a database and returns the rows that it prints, columns separated by `|`; panics if it fails.
    pub fn execute(&self, database: &str, sql: &str) -> String {
        let port = self.port.to_string();
        let output = self.programs.run("psql", |psql| {
            psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]);
            psql.args(["--host=127.0.0.1", "--username=postgres", "--port", &port]);
            psql.args(["--dbname", database, "--command", sql])
        });
        output.trim_end().to_owned()
    }

    /// Dumps a database with `pg_dump`, and returns the file.
    pub fn dump(&self, database: &str) -> PathBuf {
        let (file, port) = (self.files.sockets().join(format!("{database}.dump")), self.port.to_string());
        self.programs.run("pg_dump", |dump| {
            dump.args(["--host=127.0.0.1", "--username=postgres", "--port", &port, "--format=custom"]);
            dump.arg("--file").arg(&file).arg(database)
        });
        file
    }

    /// Loads a dump into an empty database with `pg_restore`.
    pub fn load(&self, database: &str, dump: &Path) {
        let port = self.port.to_string();
        self.programs.run("pg_restore", |restore| {
            restore.args(["--host=127.0.0.1", "--username=postgres", "--port", &port, "--exit-on-error"]);
            restore.args(["--dbname", database]).arg(dump)
        });
    }

    /// Returns the log of the server so far.
    pub fn log(&self) -> String {
        self.files.log()
    }

    /// Returns the port on the loopback address. It stays the same when the server starts again.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the process ID of the postmaster, whose children are the other processes of the server.
    pub fn process_id(&self) -> u32 {
        self.postmaster().as_ref().expect("the server runs").id()
    }

    /// Kills the server: SIGKILL for the postmaster and all of its processes.
    pub fn kill(&self) {
        let mut postmaster = self.postmaster();
        let mut child = postmaster.take().expect("the server runs");
        let id = pid(&child);
        // A stopped postmaster forks no more.
        signal(id, Signal::STOP);
        let children = files::children_of(id);
        signal(id, Signal::KILL);
        for child in children {
            signal(child, Signal::KILL);
        }
        child.wait().unwrap();
    }

    /// Stops the server cleanly; connections are closed.
    pub fn stop(&self) {
        let mut child = self.postmaster().take().expect("the server runs");
        signal(pid(&child), Signal::INT);
        child.wait().unwrap();
    }

    /// Starts the server after [`kill`](Postgres::kill) or [`stop`](Postgres::stop), and returns when it accepts connections.
    pub fn start_again(&self) {
        let started = Instant::now();
        // It refuses to start as long as a killed process of the previous one holds the shared memory.
        while !self.try_start() {
            assert!(
                started.elapsed() < START_TIMEOUT,
                "PostgreSQL does not start again: {}",
                self.files.end_of_log()
            );
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Makes a standby a primary, and returns when it accepts writes.
    pub fn promote(&self) {
        self.execute("postgres", "SELECT pg_promote()");
    }

    /// Starts the postmaster. Returns false if it ended before it accepted connections.
    fn try_start(&self) -> bool {
        let mut running = self.postmaster();
        assert!(running.is_none(), "the server runs");
        let mut child = self.postmaster_command().spawn().expect("postgres starts");
        let started = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if self.is_ready() {
                *running = Some(child);
                return true;
            }
            if started.elapsed() > START_TIMEOUT {
                signal(pid(&child), Signal::QUIT);
                child.wait().unwrap();
                panic!("PostgreSQL does not become ready: {}", self.files.end_of_log());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        false
    }

    fn postmaster_command(&self) -> Command {
        let mut command = self.programs.command("postgres");
        command.arg("-D").arg(self.files.data()).args(["-p", &self.port.to_string()]);
        let (fsync, pages) = match self.durability {
            Durability::Fsync => ("on", "on"),
            Durability::NoFsync => ("off", "off"),
        };
        let sockets = self.files.sockets();
        let of_all = [
            ("listen_addresses", "127.0.0.1"),
            ("unix_socket_directories", path_text(&sockets)),
            ("max_connections", &MAX_CONNECTIONS.to_string()),
            ("shared_buffers", "32MB"),
            ("fsync", fsync),
            ("full_page_writes", pages),
        ];
        // The last one of a name counts.
        for (name, value) in of_all.into_iter().chain(self.settings.iter().copied()) {
            command.args(["-c", &format!("{name}={value}")]);
        }
        let log = self.files.append_to_log();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command
    }

    fn is_ready(&self) -> bool {
        let mut command = self.programs.command("pg_isready");
        command.args(["--quiet", "--host=127.0.0.1", "--port", &self.port.to_string()]);
        // Not by its port alone: that may have been taken by the server of another test.
        path_exists(&self.files.sockets().join(format!(".s.PGSQL.{}", self.port)))
            && command.status().is_ok_and(|status| status.success())
    }

    fn postmaster(&self) -> MutexGuard<'_, Option<Child>> {
        // A test that panicked in a call leaves it as it is.
        self.postmaster.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut child) = self.postmaster().take() {
            signal(pid(&child), Signal::QUIT);
            let _ = child.wait();
        }
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// Sends a signal to a process that may have ended.
fn signal(process: Pid, signal: Signal) {
    match kill_process(process, signal).map_err(io::Error::from) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => panic!("{process:?}: {error}"),
        _ => {}
    }
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn path_exists(path: &Path) -> bool {
    std::fs::exists(path).unwrap_or(false)
}

fn path_text(path: &Path) -> &str {
    path.to_str().expect("the folder for temporary files has a name in UTF-8")
}
