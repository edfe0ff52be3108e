//! The device provisioning endpoint over real TLS sockets.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod amqp;
mod amqp_tpm;
mod challenged;
mod errors;
mod http;
mod https;
mod ip_filter;
mod isolation;
mod leases;
mod lines;
mod look_up;
mod mqtt;
mod mqtt_client;
mod mqtt_connect;
mod mqtt_illegal;
mod quotas;
mod rate;
mod round_trips;
mod slow_hubs;
mod tls;
mod tpm;
mod traces;
mod transports;
mod world;
