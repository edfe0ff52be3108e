//! Tests of the endpoint, as an HTTP service over the embedded store.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod access;
mod attempts;
mod audit;
mod bulk;
mod certificates;
mod change_log;
mod damage;
mod documented;
mod enrollments;
mod explain;
mod import;
mod ip_filter;
mod isolation;
mod keys;
mod latency;
mod links;
mod management;
mod openapi;
mod paging;
mod quotas;
mod registrations;
mod revocation;
mod schema;
mod search;
mod settings;
mod transport;
mod usage;
mod warnings;
mod world;
