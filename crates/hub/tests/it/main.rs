//! Connectors: the behavior that all kinds share, and how the one over REST handles hubs, or proxies before them, that misbehave.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

mod behaviour;
mod circuit;
mod connectors;
mod faults;
mod link;
mod revocation_lists;
mod script;
mod topology;
mod webhook;
mod world;
