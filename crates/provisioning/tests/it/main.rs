//! Tests of the provisioning crate that need a store, hubs or certificates.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod attest;
mod enroll;
mod register;
mod trust;

use testkit::postgres::Database;

/// The environment variable by which long properties run a tenth of their cases: `make mutants` sets it.
const FEW_CASES: &str = "MUSTER_FEW_CASES";

/// Returns the number of cases of a long property; fewer on a database, of which each case takes one.
fn cases(usual: u32) -> u32 {
    let are_few = std::env::var_os(FEW_CASES).is_some() || Database::is_chosen();
    if are_few { usual / 10 } else { usual }
}
