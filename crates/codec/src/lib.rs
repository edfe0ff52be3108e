//! MQTT 3.1.1 and AMQP 1.0 as bytes: packets, frames and messages, encoded and decoded without IO.
//!
//! Knows nothing of device provisioning or hubs. What is decoded borrows nothing from the read buffer, and every length
//! that a peer announces is checked against a limit of the caller before anything is allocated for it.

pub mod amqp;
pub mod mqtt;
#[cfg(test)]
mod notation;
