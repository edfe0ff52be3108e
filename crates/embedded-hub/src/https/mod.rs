//! The device endpoint over HTTPS: a device sends telemetry and receives queued messages. Twins and methods need a lasting
//! connection.

mod messages;
mod telemetry;

pub use messages::{abandon, receive, settle};
pub use telemetry::send as send_events;
