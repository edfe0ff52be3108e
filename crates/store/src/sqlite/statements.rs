//! The SQL that changes records: the same statements for each table that a commit can change.
//!
//! Parameters: `?1` instance, `?2` ID; when writing also `?3` etag and `?4` document, for individual enrollments `?5`
//! expires, for registrations `?5` status and `?6` group, for cleanups `?5` hub and `?6` due, for revocation lists `?5`
//! the name of the CA. The expected version, where there is one, comes last.

use crate::table::Table;

/// The statements of one table. Each returns the number of rows that it found.
#[derive(Debug)]
pub(crate) struct Statements {
    /// Inserts a row unless one exists.
    pub(crate) insert: &'static str,
    /// Replaces a row; that of a registration only if its group stays, so that the index of groups need not be written.
    pub(crate) update: &'static str,
    /// The same for a row of the expected version.
    pub(crate) update_version: &'static str,
    /// Deletes a row.
    pub(crate) delete: &'static str,
    /// The same for a row of the expected version.
    pub(crate) delete_version: &'static str,
    /// Whether there is a row.
    pub(crate) exists: &'static str,
    /// Whether there is a row of the expected version.
    pub(crate) is_version: &'static str,
}

impl Statements {
    /// Returns the statements of a table; instances and attempts have statements of their own.
    pub(crate) fn of(table: Table) -> Option<&'static Statements> {
        Some(match table {
            Table::Individuals => &INDIVIDUALS,
            Table::Groups => &GROUPS,
            Table::Certificates => &CERTIFICATES,
            Table::RevocationLists => &REVOCATION_LISTS,
            Table::Blocks => &BLOCKS,
            Table::Registrations => &REGISTRATIONS,
            Table::Cleanups => &CLEANUPS,
            Table::Instances | Table::Attempts => return None,
        })
    }
}

/// Counts one operation (`?1` instance, `?2` day, `?3` kind).
pub(crate) const COUNT_OPERATION: &str = "
    INSERT INTO usage (instance, day, kind, count) VALUES (?1, ?2, ?3, 1)
    ON CONFLICT DO UPDATE SET count = count + 1";

/// Finds the number of an instance (`?1` lower-case ID scope).
pub(crate) const NUMBER: &str = "SELECT number FROM instances WHERE scope = ?1";

/// Creates or replaces an instance (`?1` lower-case ID scope, `?2` document) and returns its number.
pub(crate) const PUT_INSTANCE: &str = "
    INSERT INTO instances (scope, document) VALUES (?1, ?2)
    ON CONFLICT DO UPDATE SET document = excluded.document, given_up = 0 RETURNING number";

/// Groups, CA certificates and blocks have the same columns.
macro_rules! plain {
    ($table:literal) => {
        Statements {
            insert: concat!(
                "INSERT INTO ",
                $table,
                " (instance, id, etag, document) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING"
            ),
            update: concat!(
                "UPDATE ",
                $table,
                " SET etag = ?3, document = ?4 WHERE instance = ?1 AND id = ?2"
            ),
            update_version: concat!(
                "UPDATE ",
                $table,
                " SET etag = ?3, document = ?4 WHERE instance = ?1 AND id = ?2 AND etag = ?5"
            ),
            delete: concat!("DELETE FROM ", $table, " WHERE instance = ?1 AND id = ?2"),
            delete_version: concat!("DELETE FROM ", $table, " WHERE instance = ?1 AND id = ?2 AND etag = ?3"),
            exists: concat!("SELECT 1 FROM ", $table, " WHERE instance = ?1 AND id = ?2"),
            is_version: concat!("SELECT 1 FROM ", $table, " WHERE instance = ?1 AND id = ?2 AND etag = ?3"),
        }
    };
}

/// Of individual enrollments.
static INDIVIDUALS: Statements = Statements {
    insert: "INSERT INTO individuals (instance, id, etag, document, expires)
             VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
    update: "UPDATE individuals SET etag = ?3, document = ?4, expires = ?5 WHERE instance = ?1 AND id = ?2",
    update_version: "UPDATE individuals SET etag = ?3, document = ?4, expires = ?5
                     WHERE instance = ?1 AND id = ?2 AND etag = ?6",
    delete: "DELETE FROM individuals WHERE instance = ?1 AND id = ?2",
    delete_version: "DELETE FROM individuals WHERE instance = ?1 AND id = ?2 AND etag = ?3",
    exists: "SELECT 1 FROM individuals WHERE instance = ?1 AND id = ?2",
    is_version: "SELECT 1 FROM individuals WHERE instance = ?1 AND id = ?2 AND etag = ?3",
};

/// Of groups.
static GROUPS: Statements = plain!("groups");

/// Of CA certificates.
static CERTIFICATES: Statements = plain!("certificates");

/// Of revocation lists.
static REVOCATION_LISTS: Statements = Statements {
    insert: "INSERT INTO revocation_lists (instance, id, etag, document, ca)
             VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
    update: "UPDATE revocation_lists SET etag = ?3, document = ?4, ca = ?5 WHERE instance = ?1 AND id = ?2",
    update_version: "UPDATE revocation_lists SET etag = ?3, document = ?4, ca = ?5
                     WHERE instance = ?1 AND id = ?2 AND etag = ?6",
    delete: "DELETE FROM revocation_lists WHERE instance = ?1 AND id = ?2",
    delete_version: "DELETE FROM revocation_lists WHERE instance = ?1 AND id = ?2 AND etag = ?3",
    exists: "SELECT 1 FROM revocation_lists WHERE instance = ?1 AND id = ?2",
    is_version: "SELECT 1 FROM revocation_lists WHERE instance = ?1 AND id = ?2 AND etag = ?3",
};

/// Of blocks.
static BLOCKS: Statements = plain!("blocks");

/// Of registrations.
static REGISTRATIONS: Statements = Statements {
    insert: "INSERT INTO registrations (instance, id, etag, document, status, group_id)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
    update: "UPDATE registrations SET etag = ?3, document = ?4, status = ?5
             WHERE instance = ?1 AND id = ?2 AND group_id IS ?6",
    update_version: "UPDATE registrations SET etag = ?3, document = ?4, status = ?5
                     WHERE instance = ?1 AND id = ?2 AND group_id IS ?6 AND etag = ?7",
    delete: "DELETE FROM registrations WHERE instance = ?1 AND id = ?2",
    delete_version: "DELETE FROM registrations WHERE instance = ?1 AND id = ?2 AND etag = ?3",
    exists: "SELECT 1 FROM registrations WHERE instance = ?1 AND id = ?2",
    is_version: "SELECT 1 FROM registrations WHERE instance = ?1 AND id = ?2 AND etag = ?3",
};

/// Of cleanups.
static CLEANUPS: Statements = Statements {
    insert: "INSERT INTO cleanups (instance, id, etag, document, hub, due)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
    update: "UPDATE cleanups SET etag = ?3, document = ?4, hub = ?5, due = ?6 WHERE instance = ?1 AND id = ?2",
    update_version: "UPDATE cleanups SET etag = ?3, document = ?4, hub = ?5, due = ?6
                     WHERE instance = ?1 AND id = ?2 AND etag = ?7",
    delete: "DELETE FROM cleanups WHERE instance = ?1 AND id = ?2",
    delete_version: "DELETE FROM cleanups WHERE instance = ?1 AND id = ?2 AND etag = ?3",
    exists: "SELECT 1 FROM cleanups WHERE instance = ?1 AND id = ?2",
    is_version: "SELECT 1 FROM cleanups WHERE instance = ?1 AND id = ?2 AND etag = ?3",
};
