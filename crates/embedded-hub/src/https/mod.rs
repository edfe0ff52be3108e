//! The device endpoint over HTTPS: a device sends telemetry, and asks for the messages that wait for it. Twins and
//! methods need a connection that stays.

mod devicebound;
mod events;

pub use devicebound::{abandon, ask, settle};
pub use events::send as send_events;
