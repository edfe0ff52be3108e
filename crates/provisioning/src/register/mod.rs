//! Registering a device, from evidence to assignment.
//!
//! [`Provisioning::begin`] proves who the device is and plans what it gets; a plan that changes where a device lives is
//! on disk before it is returned. [`Provisioning::carry_out`] tells the hub and records the outcome; it may be
//! repeated, also after a crash, and ends in the same place. Waiting, retrying and sharing one run between several
//! requests is the caller's business: nothing here sleeps.

mod attempts;
mod begin;
mod carry_out;
mod challenge;
mod explain;
mod identify;
mod operation_id;
mod plan;
mod status;
mod surroundings;

pub(crate) use attempts::Waiting;
pub use explain::Described;

use std::net::IpAddr;

use model::{HubName, IdScope, OperationId, Order, Registration, RegistrationId, Status};
use serde_json::Value;

use crate::{attest::Evidence, ports::Delay};

/// What a device asks for.
#[derive(Debug, Clone)]
pub struct RegisterRequest {
    /// The name it registers under.
    pub registration_id: RegistrationId,
    /// What it presented.
    pub evidence: Evidence,
    /// Free JSON for custom allocation.
    pub payload: Option<Value>,
    /// Where it came from, to judge which hub is near; `None` when that is unknown.
    pub address: Option<IpAddr>,
}

/// What came of a request so far.
#[derive(Debug, Clone)]
pub enum Begun {
    /// It is over: failed or disabled.
    Settled(Box<Registration>),
    /// A hub must be told; the run goes on.
    Running(Box<Run>),
    /// The device must open this first, in its TPM, and come back with a claim signed by the key inside.
    Challenged(Vec<u8>),
}

impl Begun {
    fn operation_id(&self) -> Option<&OperationId> {
        match self {
            Begun::Settled(registration) => Some(&registration.operation_id),
            Begun::Running(run) => Some(&run.registration.operation_id),
            Begun::Challenged(_) => None,
        }
    }
}

/// A run that must be carried out. Two runs for one registration with the same operation ID are the same run.
#[derive(Debug, Clone)]
pub struct Run {
    /// The instance's.
    pub scope: IdScope,
    /// The registration as it is on disk.
    pub registration: Registration,
    order: Order,
    origin: Origin,
}

/// Where a run comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// This request made it.
    Begun,
    /// It was found on disk. It may have ended since it was read.
    Found,
}

impl Run {
    /// The run that a registration read from the store waits for; `None` when it waits for none.
    pub fn found(scope: &IdScope, registration: &Registration) -> Option<Run> {
        let Status::Assigning { order, .. } = &registration.status else { return None };
        let (scope, registration) = (scope.clone(), registration.clone());
        Some(Run { scope, order: Order::clone(order), registration, origin: Origin::Found })
    }

    /// The hub that must be told.
    pub fn hub(&self) -> &HubName {
        &self.order.hub
    }
}

/// What became of a run.
#[derive(Debug, Clone)]
pub enum Ended {
    /// It is over; this is on disk. When another run took its place, this is what that one is at.
    Registration(Box<Registration>),
    /// The registration was deleted meanwhile.
    Deleted,
    /// The hub is unavailable, or the store is: the run must be carried out again later.
    Later(Delay),
}
