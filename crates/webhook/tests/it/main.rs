//! The client against real HTTPS servers.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod asking;
mod server;
