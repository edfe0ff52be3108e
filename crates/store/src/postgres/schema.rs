//! The tables in the database: their versions, their creation, and whether a program can use those that it finds.
//!
//! SQL that PostgreSQL, CockroachDB and YugabyteDB share: no function, trigger or sequence, one DDL statement at a time. Keys
//! are compared byte by byte, whatever the database's own collation is, because listings continue after a key.

use durable::Sealer;

use super::session::{Failure, Pauses, Session};
use crate::broken;

/// How often a statement is tried that may meet the same one of another process.
const STATEMENT_TRIES: usize = 5;

const KEY_CHECK: &[u8] = b"key_check";

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// It was written by a later release.
    #[error(
        "the database has version {found} of the tables, and this program knows them up to version {known}"
    )]
    Newer {
        /// The version of the tables.
        found: i32,
        /// The last version that the program knows.
        known: i32,
    },
    /// It was written by an earlier release.
    #[error(
        "the database has version {found} of the tables, and this program needs version {known}: run `muster store migrate`, \
         while the nodes of the release before go on serving"
    )]
    Older {
        /// The version of the tables.
        found: i32,
        /// The version that the program needs.
        known: i32,
    },
    /// The sealing key is not the one that its documents are sealed with.
    #[error(
        "the master key is not the one that this database was written with: copy the file of another node"
    )]
    WrongKey,
    /// Records of this file are missing.
    #[error(
        "the copy of {0} into this database is not finished: repeat `muster store copy --from sqlite:{0}`, which continues it"
    )]
    UnfinishedCopy(String),
    /// A copy needs an empty database.
    #[error("the database has instances, and is not an unfinished copy: copy to an empty one")]
    NotEmpty,
}

/// The versions of the tables that a program knows, as the statements that lead to each from the one before.
///
/// They only add: nodes of the release before serve from the tables meanwhile and afterwards. They can be repeated, because a
/// process may end in the middle. Each ends with a semicolon at the end of a line.
#[derive(Debug, Clone)]
pub struct Schema(Vec<&'static str>);

impl Default for Schema {
    /// Returns the versions that this release knows.
    fn default() -> Schema {
        Schema(vec![FIRST, SECOND, THIRD])
    }
}

impl Schema {
    /// Returns the versions up to this one, which is all that an earlier release knew.
    #[must_use]
    pub fn up_to(mut self, version: usize) -> Schema {
        self.0.truncate(version);
        self
    }

    /// Returns the versions with another one after them, as a later release knows them.
    #[must_use]
    pub fn followed_by(mut self, statements: &'static str) -> Schema {
        self.0.push(statements);
        self
    }

    /// Returns the number of the last version.
    pub(super) fn version(&self) -> i32 {
        i32::try_from(self.0.len()).unwrap_or(i32::MAX)
    }

    /// Returns the statements that lead from a version to the next.
    pub(super) fn after(&self, version: i32) -> impl Iterator<Item = &'static str> {
        let next = usize::try_from(version).ok().and_then(|version| self.0.get(version));
        next.copied().into_iter().flat_map(statements)
    }

    /// Creates the tables in an empty database. Several processes may do so at the same time. Where all are there, nothing is run:
    /// even a statement that creates nothing locks its table, and waits behind a vacuum with every writer behind it.
    pub(super) async fn create(&self, session: &Session) -> Result<(), Failure> {
        if version(session).await.is_ok_and(|version| version.is_some()) {
            return Ok(());
        }
        for statement in self.0.iter().flat_map(|version| statements(version)) {
            run(session, statement, STATEMENT_TRIES).await?;
        }
        // Last, because it says that all are there.
        session
            .execute("INSERT INTO schema VALUES (1, $1) ON CONFLICT DO NOTHING", &[&self.version()])
            .await?;
        Ok(())
    }

    /// Returns the writer of the change log, if the database is one that this program can use with this key. The first key that
    /// a database is used with becomes its key.
    pub(super) async fn check(
        &self,
        session: &Session,
        sealer: &Sealer,
    ) -> Result<Result<i64, SchemaError>, Failure> {
        let found = version(session).await?;
        let found =
            found.ok_or_else(|| Failure::Refused(broken("the tables of the database lack their version")))?;
        if let Err(error) = self.accept(found) {
            return Ok(Err(error));
        }
        let sealed = sealer.seal(KEY_CHECK, b"");
        session.execute("INSERT INTO key_check VALUES (1, $1) ON CONFLICT DO NOTHING", &[&sealed]).await?;
        let row = session.query_opt("SELECT k.sealed, l.writer FROM key_check k, log_state l", &[]).await?;
        let row = row.ok_or_else(|| Failure::Refused(broken("the database lacks its log state")))?;
        let sealed: Vec<u8> = row.try_get(0)?;
        Ok(match sealer.open(KEY_CHECK, &sealed) {
            Ok(_) => Ok(row.try_get(1)?),
            Err(_) => Err(SchemaError::WrongKey),
        })
    }

    /// Accepts the tables of this program and of the release after it.
    fn accept(&self, found: i32) -> Result<(), SchemaError> {
        let known = self.version();
        if found > known + 1 {
            Err(SchemaError::Newer { found, known })
        } else if found < known {
            Err(SchemaError::Older { found, known })
        } else {
            Ok(())
        }
    }
}

/// Returns the version of the tables; `None` if they are not all there yet.
pub(super) async fn version(session: &Session) -> Result<Option<i32>, Failure> {
    let row = session.query_opt("SELECT version FROM schema", &[]).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

/// Runs a statement. Repeats it if it fails, because another process may create the same at this moment, which has no error code
/// of its own, or have locked the table.
pub(super) async fn run(session: &Session, statement: &str, tries: usize) -> Result<(), Failure> {
    let mut pauses = Pauses::default();
    for _ in 1..tries {
        if session.run(statement).await.is_ok() {
            return Ok(());
        }
        pauses.next().await;
    }
    Ok(session.run(statement).await?)
}

fn statements(version: &str) -> impl Iterator<Item = &str> {
    version.split(";\n").map(str::trim).filter(|statement| !statement.is_empty())
}

/// Version 1.
const FIRST: &str = r#"
-- Instances by number, which is never given twice.
CREATE TABLE IF NOT EXISTS instances (
    number   int4 PRIMARY KEY,
    scope    text COLLATE "C" NOT NULL UNIQUE,
    document bytea NOT NULL
);

-- expires: seconds since 1970 after which its first client certificate is not valid; NULL if it has none.
CREATE TABLE IF NOT EXISTS individuals (
    instance int4 NOT NULL, id text COLLATE "C" NOT NULL, etag text NOT NULL, expires bigint, document bytea NOT NULL,
    PRIMARY KEY (instance, id)
);
CREATE INDEX IF NOT EXISTS expiring ON individuals (instance, expires, id) WHERE expires IS NOT NULL;

CREATE TABLE IF NOT EXISTS groups (
    instance int4 NOT NULL, id text COLLATE "C" NOT NULL, etag text NOT NULL, document bytea NOT NULL,
    PRIMARY KEY (instance, id)
);
CREATE TABLE IF NOT EXISTS certificates (
    instance int4 NOT NULL, id text COLLATE "C" NOT NULL, etag text NOT NULL, document bytea NOT NULL,
    PRIMARY KEY (instance, id)
);

-- ca: the lower-case name of the CA certificate.
CREATE TABLE IF NOT EXISTS revocation_lists (
    instance int4 NOT NULL, id text COLLATE "C" NOT NULL, etag text NOT NULL, ca text NOT NULL, document bytea NOT NULL,
    PRIMARY KEY (instance, id)
);
CREATE TABLE IF NOT EXISTS blocks (
    instance int4 NOT NULL, id text COLLATE "C" NOT NULL, etag text NOT NULL, document bytea NOT NULL,
    PRIMARY KEY (instance, id)
);

-- status: its kind; group_id: the lower-case ID of the group
-- it came through, NULL if it came through an individual enrollment.
CREATE TABLE IF NOT EXISTS registrations (
    instance int4 NOT NULL, id text COLLATE "C" NOT NULL, etag text NOT NULL, status text NOT NULL,
    group_id text COLLATE "C", document bytea NOT NULL,
    PRIMARY KEY (instance, id)
);
CREATE INDEX IF NOT EXISTS registrations_of ON registrations (instance, group_id, id) WHERE group_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS registrations_in ON registrations (instance, status, id) WHERE status <> 'assigned';

-- The devices at hubs that registrations have: where each is, and where it is moved to.
CREATE TABLE IF NOT EXISTS hub_devices (
    hub text COLLATE "C" NOT NULL, device text COLLATE "C" NOT NULL, instance int4 NOT NULL, id text COLLATE "C" NOT NULL,
    PRIMARY KEY (hub, device)
);
CREATE INDEX IF NOT EXISTS hub_devices_of ON hub_devices (instance, id);

-- id: hub and device ID, the latter in its own case; due: ticks of the time of the next try.
CREATE TABLE IF NOT EXISTS cleanups (
    instance int4 NOT NULL, id text COLLATE "C" NOT NULL, etag text NOT NULL, hub text NOT NULL, due bigint NOT NULL,
    document bytea NOT NULL,
    PRIMARY KEY (instance, id)
);
CREATE INDEX IF NOT EXISTS cleanups_due ON cleanups (instance, hub, due);

-- Registrations that were refused. number: microseconds since 1970, by the database's clock; known: whether the ID was.
CREATE TABLE IF NOT EXISTS attempts (
    instance int4 NOT NULL, id text COLLATE "C" NOT NULL, number bigint NOT NULL, known bool NOT NULL, document bytea NOT NULL,
    PRIMARY KEY (instance, id, number)
);
CREATE INDEX IF NOT EXISTS attempts_of_a_kind ON attempts (instance, known, number);

-- Each lane has a row of its own, so that no row is waited for; the count is the sum. day: days since 1970-01-01.
CREATE TABLE IF NOT EXISTS usage (
    instance int4 NOT NULL, day int4 NOT NULL, kind text NOT NULL, lane int4 NOT NULL, count bigint NOT NULL,
    PRIMARY KEY (instance, day, kind, lane)
);

-- Connections that write, one row each: see `lane.rs`. A row is taken over by the next process and never deleted, for positions of
-- the change log go on from it: there are as many as ever wrote at the same time.
CREATE TABLE IF NOT EXISTS lanes (
    lane int4 PRIMARY KEY, epoch bigint NOT NULL, seq bigint NOT NULL, until timestamptz NOT NULL
);

-- Changes of records. position: the sequence of the lane (39 bits) and the number within the batch (24 bits); at: milliseconds
-- since 1970; written: by the database's clock; version: the etag; actor: 0 an operator, 1 a device, from 16 on a job; name: of
-- the policy or the device, NULL if it is the key; address: 4 or 16 bytes.
CREATE TABLE IF NOT EXISTS log (
    instance int4 NOT NULL, lane int4 NOT NULL, position bigint NOT NULL, written timestamptz NOT NULL, at bigint NOT NULL,
    kind smallint NOT NULL, operation smallint NOT NULL, key text NOT NULL, version text,
    actor smallint NOT NULL, name text, address bytea,
    PRIMARY KEY (instance, lane, position)
);
CREATE INDEX IF NOT EXISTS log_by_age ON log (written, lane, position);

-- The last position of each lane that was removed from the log.
CREATE TABLE IF NOT EXISTS log_trimmed (
    instance int4 NOT NULL, lane int4 NOT NULL, position bigint NOT NULL,
    PRIMARY KEY (instance, lane)
);

-- writer: whose the positions are, another one after the database was restored.
CREATE TABLE IF NOT EXISTS log_state (one int4 PRIMARY KEY CHECK (one = 1), writer bigint NOT NULL);
INSERT INTO log_state VALUES (1, floor(random() * 1099511627776)::bigint) ON CONFLICT DO NOTHING;

-- The version of the configuration of all instances. Its row is locked by every commit that changes one, so that versions
-- have no gaps and are in the order of commits.
CREATE TABLE IF NOT EXISTS configuration (one int4 PRIMARY KEY CHECK (one = 1), version bigint NOT NULL);
INSERT INTO configuration VALUES (1, 0) ON CONFLICT DO NOTHING;

-- Rows of configuration by the version with which they changed. kind: a number of `LogKind`.
CREATE TABLE IF NOT EXISTS changes (
    version bigint NOT NULL, instance int4 NOT NULL, kind smallint NOT NULL, id text COLLATE "C" NOT NULL,
    PRIMARY KEY (version, instance, kind, id)
);

-- Leases. A change of holder is a new row: its number is the fencing token.
CREATE TABLE IF NOT EXISTS leases (
    token bigint PRIMARY KEY, name text NOT NULL UNIQUE, holder text NOT NULL, until timestamptz NOT NULL
);
CREATE TABLE IF NOT EXISTS lease_tokens (one int4 PRIMARY KEY CHECK (one = 1), last bigint NOT NULL);
INSERT INTO lease_tokens VALUES (1, 0) ON CONFLICT DO NOTHING;

-- Proves the key that documents are sealed with.
CREATE TABLE IF NOT EXISTS key_check (one int4 PRIMARY KEY CHECK (one = 1), sealed bytea NOT NULL);
CREATE TABLE IF NOT EXISTS schema (one int4 PRIMARY KEY CHECK (one = 1), version int4 NOT NULL);
"#;

/// Version 2.
const SECOND: &str = "
-- source: the file that records are being copied from. Without the row the copy is finished, or there was none.
CREATE TABLE IF NOT EXISTS unfinished_copy (one int4 PRIMARY KEY CHECK (one = 1), source text NOT NULL);
";

/// Version 3.
const THIRD: &str = r#"
-- What records are found by, `name=value`. kind: a number of `SearchedKind`. The rows follow the change log, and can be filled
-- anew at any time.
CREATE TABLE IF NOT EXISTS search_terms (
    instance int4 NOT NULL, kind int2 NOT NULL, term text COLLATE "C" NOT NULL, id text COLLATE "C" NOT NULL,
    PRIMARY KEY (instance, kind, term, id)
);

-- terms: all of a record, one on each line.
CREATE TABLE IF NOT EXISTS search_records (
    instance int4 NOT NULL, kind int2 NOT NULL, id text COLLATE "C" NOT NULL, terms text NOT NULL,
    PRIMARY KEY (instance, kind, id)
);

-- progress: a `SearchProgress` as JSON.
CREATE TABLE IF NOT EXISTS search_progress (instance int4 PRIMARY KEY, progress text NOT NULL);
"#;

#[cfg(test)]
mod tests {
    use super::*;

    /// In CockroachDB `int` has eight bytes, which are not read as an `i32`.
    #[test]
    fn numbers_name_their_size() {
        for tables in [FIRST, SECOND, THIRD] {
            let words: Vec<_> = tables.split(|letter: char| !letter.is_alphanumeric()).collect();
            assert!(words.contains(&"int4") && !words.contains(&"int"));
        }
    }
}
