//! The hub from outside: its REST API, its device endpoint, and the calls of the provisioning service.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

mod amqp;
mod amqp_device;
mod device;
mod ensure;
mod flows;
mod hostile;
mod https;
mod listeners;
mod migration;
mod queue;
mod rest;
mod sessions;
mod world;
