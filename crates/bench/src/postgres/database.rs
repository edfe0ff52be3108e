//! A PostgreSQL server with one database, its CPU time, and its size.

use std::time::Duration;

use anyhow::Context;
use testkit::postgres::{Database as Address, Durability, Postgres};

use crate::cpu;

/// As an administrator would set them for a machine of this size; other settings are PostgreSQL's defaults.
const SETTINGS: [(&str, &str); 2] = [("shared_buffers", "1GB"), ("max_wal_size", "4GB")];

/// A running server. It ends on drop, and its files are deleted.
pub struct Database {
    server: Postgres,
    address: Address,
}

/// What is in a database, and what was written to its log.
#[derive(Debug, Clone, Copy)]
pub struct Contents {
    /// The rows that registrations write.
    pub rows: u64,
    /// The bytes of all tables and indexes.
    pub bytes: u64,
    /// The bytes of the write-ahead log so far.
    pub wal: u64,
}

impl Database {
    /// Starts a server. Its commits are durable.
    pub fn start() -> Database {
        let server = Postgres::start_with(Durability::Fsync, &SETTINGS);
        let address = server.database();
        Database { server, address }
    }

    /// Returns where it is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Returns the CPU time of all processes of the server so far.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        cpu::time_with_children(self.server.process_id())
    }

    /// Returns what is in it now.
    pub fn contents(&self) -> anyhow::Result<Contents> {
        let line = self.server.execute(&self.address.name, CONTENTS);
        let mut figures = line.split('|').map(str::parse::<u64>);
        let mut next = || anyhow::Ok(figures.next().context("a figure is missing")??);
        Ok(Contents { rows: next()?, bytes: next()?, wal: next()? })
    }

    /// Vacuums and writes everything out, which would happen during the measurement otherwise.
    pub fn settle(&self) {
        for statement in ["VACUUM ANALYZE", "CHECKPOINT"] {
            self.server.execute(&self.address.name, statement);
        }
    }
}

const CONTENTS: &str = "
    SELECT (SELECT count(*) FROM registrations) + (SELECT count(*) FROM hub_devices) + (SELECT count(*) FROM log),
           (SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class
            WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace),
           pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint";
