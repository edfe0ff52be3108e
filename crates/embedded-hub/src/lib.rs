//! A small IoT hub of its own: device registry, twins, direct methods and messages over a service REST,
//! and a device endpoint over HTTPS, MQTT 3.1.1 and AMQP 1.0. Stock SDKs work with it.
//!
//! It is a neighbour of the provisioning service, not a room in it: they share no state, and the
//! service reaches it only through [`Hub::ensure_device`] and [`Hub::delete_device`].
//!
//! ```text
//!   rest/   operators ──► registry, bulk, twins, methods, messages ──┐
//!   mqtt/   devices   ──► twins, methods, messages, telemetry        ├──► storage/  one SQLite file
//!   amqp/   devices   ──► twins, methods, messages, telemetry        │
//!   https/  devices   ──► messages, telemetry                        │
//!   ensure  the provisioning service                                 ┘
//! ```
//!
//! Decisions are plain functions over values: [`twin`] says what a change makes of a twin, `identity`
//! what an update makes of a device, `access` who may do what. The verbs on [`Hub`] run them inside one
//! durable write each. Not here: modules, jobs, configurations, digital twins, file upload, telemetry
//! consumers (telemetry is counted), and services over AMQP.

mod access;
mod admission;
mod amqp;
mod bulk;
mod config;
mod connections;
mod device_link;
mod device_twin;
mod digital_twin;
mod ensure;
mod failure;
mod https;
mod hub;
mod identity;
mod keys;
mod messages;
mod methods;
mod mqtt;
mod registry;
mod rest;
mod serve;
mod storage;
mod telemetry;
pub mod twin;
mod twins;
mod view;

pub use bulk::{BulkRefusal, MAX_BULK_DEVICES};
pub use config::{HubClock, HubConfig, Policy, Right};
pub use ensure::{Deleted, DeviceSettings, Effect, Ensured};
pub use failure::HubFailure;
pub use hub::{Counts, Hub};
pub use messages::{CloudMessage, MAX_MESSAGE_BYTES};
pub use rest::{Access, routes};
pub use serve::{Listeners, limits, serve};
pub use storage::{StorageError, check};
