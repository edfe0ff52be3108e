//! Golden files for writing, tables of cases for parsing.

mod golden;
mod reading;
pub(super) mod samples;
mod schemas;
