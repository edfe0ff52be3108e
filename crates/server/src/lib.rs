//! The program's server half: configuration, and the wiring of everything that runs. It knows everything and decides
//! nothing.

pub mod app;
mod attempts;
mod change_log;
mod compute;
pub mod config;
mod continuity;
pub mod dev;
mod fetches;
mod file_check;
mod links;
pub mod logging;
pub mod maintenance;
mod metrics;
mod ports;
mod reconcile;
pub mod reload;
mod server_certificates;
pub mod storage;
mod trust;
mod watch;
mod web;

pub use net::raise_descriptor_limit;
pub use ports::SystemClock;
use service_api::AUDIT;
pub use store::Inspection;
