//! Proving who a device is.

mod blocks;
pub mod case;
mod crl_scope;
mod group;
mod hostile;
mod individual;
mod names;
mod pss;
mod refusals;
mod spelling;
mod symmetric_key;
mod trust;
