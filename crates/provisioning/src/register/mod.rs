//! Registering a device, from evidence to assignment.
//!
//! [`crate::Provisioning::begin`] proves who the device is and plans what it gets; a plan that changes where a device lives is
//! on disk before it is returned. [`crate::Provisioning::carry_out`] tells the hub and records the outcome; it may be
//! repeated, also after a crash, and ends in the same place. What a device leaves at a hub is written down in the same
//! commit that makes it superfluous, and [`crate::Provisioning::clean_up`] removes it. Waiting, retrying and sharing one run
//! between several requests is the caller's business: nothing here sleeps.

mod abandoned;
mod admission;
mod ask;
mod attempts;
mod backoff;
mod begin;
mod cancel;
mod carry_out;
mod challenge;
mod cleanup;
mod describe;
mod dispute;
mod elsewhere;
mod explain;
mod identify;
mod operation_id;
mod plan;
mod status;
mod step;
mod tell;
mod topology;
mod waiting_run;

pub use attempts::EarlyRefusal;
pub(crate) use attempts::Waiting;
pub use explain::Described;

use std::{net::IpAddr, time::Duration};

use model::{
    AttestationDigest, Decision, DeviceSpec, IdScope, KeyUse, PendingStep, RawJson, Registration,
    RegistrationId, Status, Tries,
};

use crate::{Error, attest::Evidence};

pub use carry_out::Confirmed;
pub use cleanup::Cleaned;
pub use describe::describe;
pub use waiting_run::{Resumed, WaitingRun};

/// What a device asks for.
#[derive(Debug, Clone)]
pub struct RegisterRequest {
    /// The name it registers under.
    pub registration_id: RegistrationId,
    /// What it presented.
    pub evidence: Evidence,
    /// Free JSON for custom allocation.
    pub payload: Option<RawJson>,
    /// Where it came from, to judge which hub is near; `None` when that is unknown.
    pub address: Option<IpAddr>,
    /// What it gets when it comes back and its enrollment has no reprovision policy.
    pub without_policy: WithoutPolicy,
}

/// What a device gets that comes back under an enrollment without a reprovision policy. Devices that were built before
/// there were such policies expect to stay where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithoutPolicy {
    /// It stays.
    Stays,
    /// Its hub is chosen anew, and its data go with it.
    Migrates,
}

/// What came of a request so far.
#[derive(Debug, Clone)]
pub enum RegisterOutcome {
    /// It is over: failed or disabled.
    Settled(Box<Registration>),
    /// A hub must be told; the run goes on.
    Running(Box<AssignmentRun>),
    /// The device must open this first, in its TPM, and come back with a claim signed by the key inside.
    Challenged(Vec<u8>),
}

/// A run that must be carried out. Two runs for one registration with the same operation ID are the same run.
#[derive(Debug, Clone)]
pub struct AssignmentRun {
    /// The instance's.
    pub scope: IdScope,
    /// The registration as it is on disk, but for the key of a confirmation: see `notes_key`.
    pub registration: Registration,
    work: PendingStep,
    origin: Origin,
    tries: Tries,
    /// What the enrollment accepted as proof when it let the device in.
    admitted_by: Option<AttestationDigest>,
    /// Of a confirmation, which has left no trace on disk: written down if the record changes at the end.
    decision: Option<Decision>,
    /// Of a confirmation whose device used another key than the record names: the commit that counts it corrects the
    /// record, so that noting the key costs no write of its own.
    notes_key: bool,
}

/// Where a run comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// This request made it.
    Started,
    /// It was found on disk. It may have ended since it was read.
    Found,
}

impl AssignmentRun {
    /// The run that a registration read from the store waits for; `None` when it waits for none.
    pub fn found(scope: &IdScope, registration: &Registration) -> Option<AssignmentRun> {
        let begun = AssignmentRun::begun(scope, registration)?;
        Some(AssignmentRun { origin: Origin::Found, ..begun })
    }

    /// The run of a registration that was just written down.
    fn begun(scope: &IdScope, registration: &Registration) -> Option<AssignmentRun> {
        let Status::Assigning { work, tries, admitted_by, .. } = &registration.status else { return None };
        let (scope, registration) = (scope.clone(), registration.clone());
        Some(AssignmentRun {
            work: work.clone(),
            tries: tries.clone(),
            admitted_by: admitted_by.clone(),
            scope,
            registration,
            origin: Origin::Started,
            decision: None,
            notes_key: false,
        })
    }

    /// The run that asks a hub whether it still has a device as the registration says.
    fn confirming(
        scope: &IdScope,
        registration: &Registration,
        admitted_by: AttestationDigest,
        (order, decision): (DeviceSpec, Decision),
    ) -> AssignmentRun {
        AssignmentRun {
            scope: scope.clone(),
            registration: registration.clone(),
            work: PendingStep::Ensure(Box::new(order)),
            origin: Origin::Started,
            tries: Tries::default(),
            admitted_by: Some(admitted_by),
            decision: Some(decision),
            notes_key: false,
        }
    }

    /// The same confirmation of a device that proved itself by this key.
    fn noting(self, key: Option<&KeyUse>) -> AssignmentRun {
        let notes_key = self.registration.key.as_ref() != key;
        AssignmentRun {
            registration: Registration { key: key.cloned(), ..self.registration },
            notes_key,
            ..self
        }
    }

    /// Whether nothing of it is on disk: a confirmation that ends before anybody is told of it leaves no trace.
    pub fn is_in_memory(&self) -> bool {
        !matches!(self.registration.status, Status::Assigning { .. })
    }

    /// The same run after a try that led to no end.
    fn tried(&self, tries: Tries) -> AssignmentRun {
        let mut again = AssignmentRun { origin: Origin::Found, tries: tries.clone(), ..self.clone() };
        if let Status::Assigning { tries: noted, .. } = &mut again.registration.status {
            *noted = tries;
        }
        again
    }

    /// What it waits for: the hub that must be told, or the host of the webhook that must be asked.
    pub fn waits_for(&self) -> &str {
        waits_for(&self.work)
    }

    /// Whether it was read from the store, so that it may have been tried before, or ended since.
    pub fn is_found(&self) -> bool {
        self.origin == Origin::Found
    }
}

fn waits_for(work: &PendingStep) -> &str {
    match work {
        PendingStep::Allocate(ask) => ask.request.webhook.authority(),
        PendingStep::Ensure(order) => order.hub.as_str(),
    }
}

/// What became of a run.
#[derive(Debug, Clone)]
pub enum RunOutcome {
    /// It is over; this is on disk. When another run took its place, this is what that one is at.
    Registration(Box<Registration>),
    /// The registration was deleted meanwhile.
    Deleted,
    /// Something that it needs is unavailable.
    Retry(Box<Retry>),
    /// It is given up: nothing of it was on disk, and it could not be written down.
    GivenUp(Error),
}

/// A run that must be carried out again.
#[derive(Debug, Clone)]
pub struct Retry {
    /// The run as it is to be carried out then.
    pub again: AssignmentRun,
    /// After such a pause.
    pub pause: Duration,
    /// Why, for operators.
    pub reason: String,
    /// Whether operators were told already: the hub holds up other runs as well.
    pub announced: bool,
}
