//! Golden files for everything that is written, tables for everything that is read.

mod golden;
mod reading;
pub(super) mod samples;
