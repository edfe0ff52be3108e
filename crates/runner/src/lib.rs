//! The work that no request does, and assignment runs, which outlive their requests.
//!
//! A [`Runner`] claims a lease for itself and one for each of its jobs, and renews them. [`AssignmentRunner`] executes assignment
//! runs under the first, and retries them until they end; the reconciler finds those that nothing executes. Decisions are in
//! `provisioning`: here is when, how often, and by which process. IO is behind ports.

mod assignments;
mod jobs;
mod lease;
mod memory;
mod rate;
mod reconciler;
mod runner;
mod shares;

pub use assignments::{AssignmentRunner, RunLimits};
pub use jobs::{ExpiringCount, ExpiringCounts, JobPorts, Retention};
pub use lease::LeaseTimes;
pub use runner::{Runner, RunnerLimits};
