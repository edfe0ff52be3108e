//! Tests of the device client with scripted servers, over real sockets.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod login;
mod registering;
mod running;
mod script;
mod sessions;
