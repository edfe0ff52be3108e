//! The work that no request does, and the work of a request that outlives it.
//!
//! [`AssignmentRunner`] executes assignment runs, and retries them until they end; [`Reconciler`] finds runs that nothing
//! executes, and cleanups that are due, and has them done. Decisions are in `provisioning`: here is when and how often.

mod assignments;
mod memory;
mod rate;
mod reconciler;
mod shares;

pub use assignments::{AssignmentRunner, RunLimits};
pub use reconciler::Reconciler;
