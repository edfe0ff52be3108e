//! Configuration and wiring of the server, and the emulator. Contains no decisions of the domain.

pub mod app;
mod audit;
pub mod backup;
mod compute;
pub mod config;
mod configured;
mod continuity;
pub mod copy;
pub mod dev;
mod file_check;
mod identity_provider;
mod links;
pub mod logging;
pub mod maintenance;
mod metrics;
mod migrations;
mod pages;
mod ports;
mod reconcile;
pub mod reload;
mod server_certificates;
pub mod storage;
pub mod store_location;
mod watch;
mod web;

pub use net::raise_descriptor_limit;
pub use ports::SystemClock;
use service_api::AUDIT;
pub use store::Inspection;
