//! Listeners and the MQTT driver, through real sockets and in memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

mod accept;
mod amqp;
mod amqp_parts;
mod https;
mod mqtt;
mod mqtt_parts;
mod mqtts;
mod pki;
mod proxy;
mod slow;
mod tls;
mod unproven;
mod websocket;
