//! Attestation.

mod blocks;
pub mod case;
mod crl_scope;
mod group;
mod hostile;
mod individual;
mod refusals;
mod spelling;
mod symmetric_key;
mod trust;
