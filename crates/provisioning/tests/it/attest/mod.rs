//! Proving who a device is.

mod authorities;
pub mod case;
mod group;
mod hostile;
mod individual;
mod names;
mod symmetric_key;
