//! The verbs of Muster: prove who a device is, choose its hub, carry the assignment out, keep the enrollments.
//!
//! Read it in this order: [`ports`] says what is needed from outside; [`attest`] turns evidence into proof;
//! [`allocate`] chooses a hub; [`register`] plans and carries out a registration; [`enroll`] keeps the enrollments.
//! Decisions are plain functions over values; the methods of [`Provisioning`] load what a decision needs, and do what
//! it says. There is no socket, no clock and no randomness here but through the ports, and nothing sleeps.

pub mod allocate;
pub mod attest;
pub mod enroll;
mod error;
pub mod ports;
mod record;
pub mod register;

use std::sync::Arc;

pub use error::{Error, RecordKind};
use model::{IdScope, Instance};
use ports::{Clock, Entropy, Hubs, Store};

/// The verbs, over the ports that they need.
pub struct Provisioning {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) hubs: Arc<dyn Hubs>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
}

impl Provisioning {
    /// Over these ports.
    pub fn new(
        store: Arc<dyn Store>,
        hubs: Arc<dyn Hubs>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Provisioning { store, hubs, clock, entropy }
    }

    /// The instance with this ID scope.
    pub async fn instance(&self, scope: &IdScope) -> Result<Option<Arc<Instance>>, Error> {
        Ok(self.store.instance(scope).await?)
    }
}
