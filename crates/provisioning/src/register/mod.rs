//! Registering a device, from evidence to assignment.
//!
//! [`crate::Provisioning::begin`] proves who the device is and plans what it gets; a plan that changes where a device lives is
//! on disk before it is returned. [`crate::Provisioning::carry_out`] tells the hub and records the outcome; it may be
//! repeated, also after a crash, and ends in the same place. What a device leaves at a hub is written down in the same
//! commit that makes it superfluous, and [`crate::Provisioning::clean_up`] removes it. Waiting, retrying and sharing one run
//! between several requests is the caller's business: nothing here sleeps.

mod admission;
mod ask;
mod attempts;
mod begin;
mod cancel;
mod carry_out;
mod challenge;
mod cleanup;
mod dispute;
mod elsewhere;
mod explain;
mod identify;
mod in_words;
mod leaving;
mod operation_id;
mod pauses;
mod plan;
mod status;
mod step;
mod surroundings;
mod tell;
mod waiting_run;

pub use attempts::EarlyRefusal;
pub(crate) use attempts::Waiting;
pub use explain::Described;

use std::{net::IpAddr, time::Duration};

use model::{
    AttestationDigest, Decision, IdScope, KeyUse, Order, RawJson, Registration, RegistrationId, Status,
    Tries, Work,
};

use crate::{Error, attest::Evidence};

pub use carry_out::Confirmed;
pub use cleanup::Cleaned;
pub use in_words::in_words;
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
pub enum Begun {
    /// It is over: failed or disabled.
    Settled(Box<Registration>),
    /// A hub must be told; the run goes on.
    Running(Box<Run>),
    /// The device must open this first, in its TPM, and come back with a claim signed by the key inside.
    Challenged(Vec<u8>),
}

/// A run that must be carried out. Two runs for one registration with the same operation ID are the same run.
#[derive(Debug, Clone)]
pub struct Run {
    /// The instance's.
    pub scope: IdScope,
    /// The registration as it is on disk, but for the key of a confirmation: see `notes_key`.
    pub registration: Registration,
    work: Work,
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
    Begun,
    /// It was found on disk. It may have ended since it was read.
    Found,
}

impl Run {
    /// The run that a registration read from the store waits for; `None` when it waits for none.
    pub fn found(scope: &IdScope, registration: &Registration) -> Option<Run> {
        let begun = Run::begun(scope, registration)?;
        Some(Run { origin: Origin::Found, ..begun })
    }

    /// The run of a registration that was just written down.
    fn begun(scope: &IdScope, registration: &Registration) -> Option<Run> {
        let Status::Assigning { work, tries, admitted_by, .. } = &registration.status else { return None };
        let (scope, registration) = (scope.clone(), registration.clone());
        Some(Run {
            work: work.clone(),
            tries: tries.clone(),
            admitted_by: admitted_by.clone(),
            scope,
            registration,
            origin: Origin::Begun,
            decision: None,
            notes_key: false,
        })
    }

    /// The run that asks a hub whether it still has a device as the registration says.
    fn confirming(
        scope: &IdScope,
        registration: &Registration,
        admitted_by: AttestationDigest,
        (order, decision): (Order, Decision),
    ) -> Run {
        Run {
            scope: scope.clone(),
            registration: registration.clone(),
            work: Work::Order(Box::new(order)),
            origin: Origin::Begun,
            tries: Tries::default(),
            admitted_by: Some(admitted_by),
            decision: Some(decision),
            notes_key: false,
        }
    }

    /// The same confirmation of a device that proved itself by this key.
    fn noting(self, key: Option<&KeyUse>) -> Run {
        let notes_key = self.registration.key.as_ref() != key;
        Run { registration: Registration { key: key.cloned(), ..self.registration }, notes_key, ..self }
    }

    /// Whether nothing of it is on disk: a confirmation that ends before anybody is told of it leaves no trace.
    pub fn is_in_memory(&self) -> bool {
        !matches!(self.registration.status, Status::Assigning { .. })
    }

    /// The same run after a try that led to no end.
    fn tried(&self, tries: Tries) -> Run {
        let mut again = Run { origin: Origin::Found, tries: tries.clone(), ..self.clone() };
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

fn waits_for(work: &Work) -> &str {
    match work {
        Work::Ask(ask) => ask.request.webhook.authority(),
        Work::Order(order) => order.hub.as_str(),
    }
}

/// What became of a run.
#[derive(Debug, Clone)]
pub enum Ended {
    /// It is over; this is on disk. When another run took its place, this is what that one is at.
    Registration(Box<Registration>),
    /// The registration was deleted meanwhile.
    Deleted,
    /// Something that it needs is unavailable.
    Later(Box<Later>),
    /// It is given up: nothing of it was on disk, and it could not be written down.
    GivenUp(Error),
}

/// A run that must be carried out again.
#[derive(Debug, Clone)]
pub struct Later {
    /// The run as it is to be carried out then.
    pub again: Run,
    /// After such a pause.
    pub pause: Duration,
    /// Why, for operators.
    pub reason: String,
    /// Whether operators were told already: the hub holds up other runs as well.
    pub announced: bool,
}
