//! The device client against servers that follow a script, over real sockets.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod registering;
mod running;
mod script;
mod sessions;
