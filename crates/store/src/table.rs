//! The tables that every engine has.

use model::LogKind;
use provisioning::RecordKind;

/// A table of records with sealed documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Instances, one row for each ID scope.
    Instances,
    /// Individual enrollments by registration ID.
    Individuals,
    /// Enrollment groups by ID.
    Groups,
    /// CA certificates by name.
    Certificates,
    /// Revocation lists by the name of their CA, and a line feed and their ID but for the first of a CA.
    RevocationLists,
    /// Blocks by the SHA-256 thumbprint of the certificate.
    Blocks,
    /// Registrations by ID.
    Registrations,
    /// Cleanups by hub and device ID.
    Cleanups,
    /// Refused attempts, several for each registration ID.
    Attempts,
}

impl Table {
    /// All tables but the instances, in the order in which people list them.
    pub const OF_INSTANCE: [Table; 8] = [
        Table::Individuals,
        Table::Groups,
        Table::Certificates,
        Table::RevocationLists,
        Table::Blocks,
        Table::Registrations,
        Table::Cleanups,
        Table::Attempts,
    ];

    /// The tables of what devices are judged by.
    pub const OF_CONFIGURATION: [Table; 4] =
        [Table::Groups, Table::Certificates, Table::RevocationLists, Table::Blocks];

    /// Returns the name. Documents are sealed for it, so it never changes.
    pub const fn name(self) -> &'static str {
        match self {
            Table::Instances => "instances",
            Table::Individuals => "individuals",
            Table::Groups => "groups",
            Table::Certificates => "certificates",
            Table::RevocationLists => "revocation_lists",
            Table::Blocks => "blocks",
            Table::Registrations => "registrations",
            Table::Cleanups => "cleanups",
            Table::Attempts => "attempts",
        }
    }

    /// Returns the table with this name.
    pub fn from_name(name: &str) -> Option<Table> {
        std::iter::once(Table::Instances).chain(Table::OF_INSTANCE).find(|table| table.name() == name)
    }

    /// Returns what the change log calls a record.
    pub const fn log_kind(self) -> LogKind {
        match self {
            Table::Instances => LogKind::Instance,
            Table::Individuals => LogKind::Enrollment,
            Table::Groups => LogKind::EnrollmentGroup,
            Table::Certificates => LogKind::CaCertificate,
            Table::RevocationLists => LogKind::RevocationList,
            Table::Blocks => LogKind::Block,
            Table::Registrations => LogKind::Registration,
            Table::Cleanups => LogKind::Cleanup,
            Table::Attempts => LogKind::Attempt,
        }
    }

    /// Returns the table of the records that the change log calls so.
    pub const fn of(kind: LogKind) -> Table {
        match kind {
            LogKind::Instance => Table::Instances,
            LogKind::Enrollment => Table::Individuals,
            LogKind::EnrollmentGroup => Table::Groups,
            LogKind::CaCertificate => Table::Certificates,
            LogKind::RevocationList => Table::RevocationLists,
            LogKind::Block => Table::Blocks,
            LogKind::Registration => Table::Registrations,
            LogKind::Cleanup => Table::Cleanups,
            LogKind::Attempt => Table::Attempts,
        }
    }

    /// Returns what people call a record.
    pub const fn record_kind(self) -> RecordKind {
        match self {
            Table::Instances => RecordKind::Instance,
            Table::Individuals => RecordKind::Enrollment,
            Table::Groups => RecordKind::EnrollmentGroup,
            Table::Certificates => RecordKind::CaCertificate,
            Table::RevocationLists => RecordKind::RevocationList,
            Table::Blocks => RecordKind::Block,
            Table::Registrations => RecordKind::Registration,
            Table::Cleanups => RecordKind::Cleanup,
            Table::Attempts => RecordKind::Attempt,
        }
    }
}
