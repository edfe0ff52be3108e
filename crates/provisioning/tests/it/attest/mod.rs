//! Proving who a device is.

pub mod case;
mod group;
mod hostile;
mod individual;
mod names;
mod symmetric_key;
