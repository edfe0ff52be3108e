//! Proving who a device is.

mod authorities;
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
