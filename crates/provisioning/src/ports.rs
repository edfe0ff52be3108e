//! Everything that provisioning needs from outside.
//!
//! A [`Store`] keeps instances, enrollments, registrations, trust and usage; it has no rules about their content. Its ports
//! are small traits by role, one file each, and a function takes the roles that it uses. Reads see every write that was
//! acknowledged before, through whichever handle. The one way to change records is [`Commits::commit`]: guards, changes with
//! what each expects to find, and the operation that they count as, atomically on disk when it returns. Every engine passes
//! the conformance suite in `testkit`.
//!
//! What is needed of hubs is in `ports/hubs.rs`, of webhooks in `ports/webhook.rs`; the rest is on this page.

mod attempts;
mod cleanups;
mod commits;
mod devices;
mod enrollments;
mod hubs;
mod instances;
mod leases;
mod log;
mod page;
mod registrations;
mod revocation_lists;
mod runs;
mod search_table;
mod topology;
mod usage;
mod webhook;

use async_trait::async_trait;
use model::Timestamp;

pub use attempts::{ATTEMPTS_OF_A_KIND, ATTEMPTS_OF_ONE, AttemptQuery, AttemptRetention, Attempts};
pub use cleanups::Cleanups;
pub use commits::{Change, Commit, Commits, Expect, Guard, Guarded, Outcome};
pub use devices::{DeviceRecords, Devices, Found, HubDeviceRecords, Owner};
pub use enrollments::Enrollments;
pub use hubs::{
    Before, Delay, Ensured, HubConnector, HubDevice, HubError, HubRight, HubVersion, Hubs, Removed,
};
pub use instances::{Instances, RecordCounts};
pub use leases::{Lease, LeaseName, Leases, RunnerId};
pub use log::{ChangeLog, LogError, LogFilter, LogLimits, LogPage, LogQuery, LogRetention};
pub use page::{Page, PageRequest, StoreError};
pub use registrations::Registrations;
pub use revocation_lists::RevocationListSource;
pub use runs::{AssignmentRuns, RunStatus};
pub use search_table::{
    FoundTerm, SearchRecord, SearchState, SearchTable, SearchUpdate, TermPosition, TermRange,
};
pub use topology::{HubTopology, Unknown};
pub use usage::Usage;
pub use webhook::{AllocationWebhook, WebhookCall, WebhookOutcome};

pub use crate::configuration::{InstanceUpdate, InstanceWriter};
pub use crate::damage::{DamagedRecord, KnownDamage};
pub use crate::hub_health::{Circuit, HubHealth};

/// Durable memory: all roles of a store. Everything but the instances themselves belongs to one instance, which is named by
/// its ID scope.
pub trait Store:
    InstanceWriter
    + Enrollments
    + Registrations
    + Devices
    + Cleanups
    + Commits
    + Attempts
    + ChangeLog
    + SearchTable
    + Leases
    + Usage
    + Damage
{
}

impl<T> Store for T where
    T: InstanceWriter
        + Enrollments
        + Registrations
        + Devices
        + Cleanups
        + Commits
        + Attempts
        + ChangeLog
        + SearchTable
        + Leases
        + Usage
        + Damage
{
}

/// Records that are stored and cannot be read.
#[async_trait]
pub trait Damage: Send + Sync {
    /// Returns every damaged record that was met since the store was opened and still exists, with the ID scope of its
    /// instance.
    async fn known_damage(&self) -> Result<KnownDamage, StoreError>;
}

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Returns the time now.
    fn now(&self) -> Timestamp;
}

/// A source of random bytes.
pub trait Entropy: Send + Sync {
    /// Fills the whole buffer with unpredictable bytes.
    fn fill(&self, buffer: &mut [u8]);
}

/// Runs computations that take longer than an async thread should be held: a signature of P-521 takes half a millisecond.
#[async_trait]
pub trait Compute: Send + Sync {
    /// Runs a computation to its end.
    async fn run(&self, work: Box<dyn FnOnce() + Send>);
}

/// Runs computations on the calling thread, as suits a single device.
#[derive(Debug, Clone, Copy, Default)]
pub struct ComputeInPlace;

#[async_trait]
impl Compute for ComputeInPlace {
    async fn run(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}
