//! The ways to hubs: what every kind of connector does, on both kinds; and what the one over REST does when a hub, or what
//! is in front of it, misbehaves.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

mod behaviour;
mod circuit;
mod connectors;
mod faults;
mod link;
mod script;
mod topology;
mod webhook;
mod world;
