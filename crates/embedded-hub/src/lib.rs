//! A small IoT hub: device registry, twins, direct methods and messages over a REST API for services, and a device endpoint
//! over HTTPS, MQTT 3.1.1 and AMQP 1.0. Stock SDKs work with it.
//!
//! It shares no state with the provisioning service, which calls it only through [`Hub::ensure_device`],
//! [`Hub::receive_device`] and [`Hub::delete_device`].
//!
//! ```text
//!   rest/   operators ──► registry, bulk, twins, methods, messages ──┐
//!   mqtt/   devices   ──► twins, methods, messages, telemetry        ├──► storage/  one SQLite file
//!   amqp/   devices   ──► twins, methods, messages, telemetry        │
//!   https/  devices   ──► messages, telemetry                        │
//!   registry/ensure.rs  the provisioning service                     ┘
//! ```
//!
//! Decisions are pure functions over values: [`twin`] applies changes to twins, `registry/identity` updates to devices, and
//! `auth` checks tokens and certificates. The methods of [`Hub`] run them inside one durable write each. Not supported: modules,
//! jobs, configurations, digital twins, file upload, consumers of telemetry (it is counted), and services over AMQP.

mod amqp;
mod auth;
mod config;
mod connections;
mod failure;
mod https;
mod hub;
mod messages;
mod methods;
mod mqtt;
mod registry;
mod rest;
mod serve;
mod storage;
mod twins;

pub use config::{HubClock, HubConfig, Policy, Right};
pub use failure::HubFailure;
pub use hub::{Counts, Hub};
pub use messages::{CloudMessage, MAX_MESSAGE_BYTES};
pub use registry::{BulkRefusal, Deletion, DeviceSettings, Effect, EnsuredDevice, MAX_BULK_DEVICES};
pub use rest::{Access, routes};
pub use serve::{Listeners, limits, serve};
pub use storage::{BackupError, StorageError, check, count_devices, file_snapshot};
pub use twins::twin;
