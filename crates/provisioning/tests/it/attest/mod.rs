//! Proving who a device is.

pub mod case;
mod group;
mod hostile;
mod individual;
mod symmetric_key;
