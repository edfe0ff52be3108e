//! The tables of the embedded store.
//!
//! Each record is one row: where it belongs, its version, and the sealed document that holds all of it. Only what a
//! listing or a comparison needs stands beside it in clear. Records are found by the number of their instance (one or
//! two bytes where the ID scope would take a dozen, in every row and index) and their lower-case ID.
//!
//! Rows stay in the order of arrival and are found through an index. A registration is written again moments after it
//! was first written; then its row shares a page with its neighbours in time, where a table in the order of IDs (`WITHOUT
//! ROWID`) would write a page of its own for each. Measured with 200,000 devices (`examples/load.rs`): 81 instead of 133
//! µs of CPU for both writes, and 26 instead of 63 for an enrollment, whose row is also too long for such a table.

use durable::Schema;

pub(crate) const SCHEMA: Schema = Schema {
    application: "muster-store",
    version: 6,
    migrations: &[FIRST, SECOND, THIRD, FOURTH, FIFTH, SIXTH],
};

/// The first version that has a change log.
pub(super) const FIRST_WITH_LOG: u32 = 3;

const FIRST: &str = "
    CREATE TABLE instances (
        number   INTEGER PRIMARY KEY,
        scope    TEXT NOT NULL UNIQUE,
        document BLOB NOT NULL
    ) STRICT;

    -- expires: seconds since 1970 after which its first client certificate is not valid; NULL if it has none.
    CREATE TABLE individuals (
        instance INTEGER NOT NULL,
        id       TEXT NOT NULL,
        etag     TEXT NOT NULL,
        expires  INTEGER,
        document BLOB NOT NULL,
        UNIQUE (instance, id)
    ) STRICT;
    CREATE INDEX expiring ON individuals (instance, expires) WHERE expires IS NOT NULL;

    CREATE TABLE groups (
        instance INTEGER NOT NULL,
        id       TEXT NOT NULL,
        etag     TEXT NOT NULL,
        document BLOB NOT NULL,
        UNIQUE (instance, id)
    ) STRICT;

    -- CA certificates by name.
    CREATE TABLE certificates (
        instance INTEGER NOT NULL,
        id       TEXT NOT NULL,
        etag     TEXT NOT NULL,
        document BLOB NOT NULL,
        UNIQUE (instance, id)
    ) STRICT;

    -- Revocation lists by the name of their CA certificate.
    CREATE TABLE revocation_lists (
        instance INTEGER NOT NULL,
        id       TEXT NOT NULL,
        etag     TEXT NOT NULL,
        document BLOB NOT NULL,
        UNIQUE (instance, id)
    ) STRICT;

    -- Blocked certificates by SHA-256 thumbprint.
    CREATE TABLE blocks (
        instance INTEGER NOT NULL,
        id       TEXT NOT NULL,
        etag     TEXT NOT NULL,
        document BLOB NOT NULL,
        UNIQUE (instance, id)
    ) STRICT;

    -- group_id: the lower-case ID of the group it came through; NULL if it came through an individual enrollment.
    -- status: its kind. Nearly all are assigned, so the index holds the others, and those are found without one.
    CREATE TABLE registrations (
        instance INTEGER NOT NULL,
        id       TEXT NOT NULL,
        etag     TEXT NOT NULL,
        group_id TEXT,
        status   TEXT NOT NULL,
        document BLOB NOT NULL,
        UNIQUE (instance, id)
    ) STRICT;
    CREATE INDEX registrations_of ON registrations (instance, group_id, id) WHERE group_id IS NOT NULL;
    CREATE INDEX registrations_in ON registrations (instance, status, id) WHERE status <> 'assigned';

    -- id: hub and device ID, the latter in its own case; due: ticks of the time of the next try.
    CREATE TABLE cleanups (
        instance INTEGER NOT NULL,
        id       TEXT NOT NULL,
        etag     TEXT NOT NULL,
        hub      TEXT NOT NULL,
        due      INTEGER NOT NULL,
        document BLOB NOT NULL,
        UNIQUE (instance, id)
    ) STRICT;
    CREATE INDEX cleanups_due ON cleanups (instance, hub, due);

    -- Registrations that were refused, the newest with the highest number. known: whether their name was.
    CREATE TABLE attempts (
        number   INTEGER PRIMARY KEY,
        instance INTEGER NOT NULL,
        id       TEXT NOT NULL,
        known    INTEGER NOT NULL,
        document BLOB NOT NULL
    ) STRICT;
    CREATE INDEX attempts_of ON attempts (instance, id);
    CREATE INDEX attempts_of_a_kind ON attempts (instance, known);

    -- day: days since 1970-01-01; kind: the name of the kind of operation.
    CREATE TABLE usage (
        instance INTEGER NOT NULL,
        day      INTEGER NOT NULL,
        kind     TEXT NOT NULL,
        count    INTEGER NOT NULL,
        PRIMARY KEY (instance, day, kind)
    ) STRICT, WITHOUT ROWID;
";

const SECOND: &str = "
    -- SQL of version 2, in the order in which it was added.

    -- A CA may have several revocation lists. ca: the name of the CA certificate; id: that name for the list of version 1,
    -- else that name, a line feed and the ID of the list.
    ALTER TABLE revocation_lists ADD COLUMN ca TEXT NOT NULL DEFAULT '';
    UPDATE revocation_lists SET ca = id;
    CREATE INDEX revocation_lists_of ON revocation_lists (instance, ca);

    -- given_up: its document is worth nothing; the next one that is written takes over the records of its number.
    ALTER TABLE instances ADD COLUMN given_up INTEGER NOT NULL DEFAULT 0;

    -- The hubs that registrations have places at, so that a row and its index hold a number and not a name.
    CREATE TABLE hubs (
        number INTEGER PRIMARY KEY,
        name   TEXT NOT NULL UNIQUE
    ) STRICT;

    -- at: where the device lives; to: where it is on its way to. The device ID is NULL when it is the row's own ID.
    ALTER TABLE registrations ADD COLUMN at_hub INTEGER;
    ALTER TABLE registrations ADD COLUMN at_device TEXT;
    ALTER TABLE registrations ADD COLUMN to_hub INTEGER;
    ALTER TABLE registrations ADD COLUMN to_device TEXT;
    CREATE INDEX registrations_at ON registrations (at_hub, ifnull(at_device, id)) WHERE at_hub IS NOT NULL;
    CREATE INDEX registrations_to ON registrations (to_hub, ifnull(to_device, id)) WHERE to_hub IS NOT NULL;

    -- Registrations of version 1, whose places are only in their documents until they are read for the first time.
    CREATE TABLE unplaced (
        instance INTEGER NOT NULL,
        id       TEXT NOT NULL,
        PRIMARY KEY (instance, id)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO unplaced SELECT instance, id FROM registrations;
";

const THIRD: &str = "
    -- SQL of version 3, in the order in which it was added.

    -- Changes of records, in the order of their commits. Positions have no gaps: a row that is undone gives its number back,
    -- and rows are removed from the front. The newest one never is, so that a number is not given twice.
    -- time: milliseconds since 1970; kind, operation: numbers of `LogKind` and `LogOperation`; version: the etag, as a number
    -- if it is 16 hex digits; actor: 0 an operator, 1 a device, from 16 on a job; name: of the policy or the device, NULL if
    -- it is the key; address: 4 or 16 bytes.
    CREATE TABLE log (
        position  INTEGER PRIMARY KEY,
        time      INTEGER NOT NULL,
        instance  INTEGER NOT NULL,
        kind      INTEGER NOT NULL,
        operation INTEGER NOT NULL,
        key       TEXT NOT NULL,
        version   ANY,
        actor     INTEGER NOT NULL,
        name      TEXT,
        address   BLOB
    ) STRICT;
    -- What is kept in memory: few rows, which a handle reads that is behind.
    CREATE INDEX log_of_configuration ON log (position) WHERE kind < 16;

    -- writer: whose the positions are, another one after the database was restored; configured: the position of the newest
    -- change of configuration, whether or not the log still has it.
    CREATE TABLE log_state (
        one        INTEGER PRIMARY KEY CHECK (one = 1),
        writer     INTEGER NOT NULL,
        configured INTEGER NOT NULL
    ) STRICT;
    INSERT INTO log_state VALUES (1, random() & 9223372036854775807, 0);
";

const FOURTH: &str = "
    -- SQL of version 4, in the order in which it was added.

    -- Leases, which later programs keep in memory: they only write a row here to prove that writes succeed.
    CREATE TABLE leases (
        token  INTEGER PRIMARY KEY AUTOINCREMENT,
        name   TEXT NOT NULL UNIQUE,
        holder TEXT NOT NULL,
        until  INTEGER NOT NULL
    ) STRICT;
";

const FIFTH: &str = "
    -- SQL of version 5, in the order in which it was added.

    -- Attempts are numbered by the microseconds since 1970 when they were written, or higher where several were written at
    -- once. Those of earlier versions count as written now.
    UPDATE attempts SET number = number + CAST(strftime('%s', 'now') AS INTEGER) * 1000000;
";

/// Not released yet: SQL is added to it. `tests/it/migration.rs` brings databases of versions 1 to 5 here.
const SIXTH: &str = "
    -- SQL of version 6, in the order in which it was added.

    -- What records are found by, `name=value`. kind: a number of `SearchedKind`. The rows follow the change log, and can be filled
    -- anew at any time.
    CREATE TABLE search_terms (
        instance INTEGER NOT NULL,
        kind     INTEGER NOT NULL,
        term     TEXT NOT NULL,
        id       TEXT NOT NULL,
        PRIMARY KEY (instance, kind, term, id)
    ) STRICT, WITHOUT ROWID;

    -- terms: all of a record, one on each line.
    CREATE TABLE search_records (
        instance INTEGER NOT NULL,
        kind     INTEGER NOT NULL,
        id       TEXT NOT NULL,
        terms    TEXT NOT NULL,
        PRIMARY KEY (instance, kind, id)
    ) STRICT, WITHOUT ROWID;

    -- progress: a `SearchProgress` as JSON.
    CREATE TABLE search_progress (
        instance INTEGER PRIMARY KEY,
        progress TEXT NOT NULL
    ) STRICT;
";
