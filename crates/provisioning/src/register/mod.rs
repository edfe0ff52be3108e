//! Registers a device, from evidence to assignment.
//!
//! [`crate::Provisioning::begin`] verifies who the device is and plans what it gets. A plan that changes where a device lives
//! is on disk before it is returned, as an [`AssignmentRun`]. [`crate::Provisioning::execute`] calls the hub and records the
//! outcome; it may be repeated, also after a crash, and leads to the same outcome. What a device leaves at a hub is recorded
//! in the same commit that makes it superfluous, and [`crate::Provisioning::clean_up`] removes it. Callers wait, retry and
//! share one run between several requests: nothing here sleeps.

mod abandoned;
mod admission;
mod ask;
mod attempts;
mod backoff;
mod begin;
mod cancel;
mod challenge;
mod cleanup;
mod commit;
mod describe;
mod dispute;
mod ensure;
mod execute;
mod explain;
mod failover;
mod identify;
mod operation_id;
mod plan;
mod status;
mod topology;
mod waiting_run;

use std::{net::IpAddr, sync::Arc, time::Duration};

use model::{
    AttestationDigest, Decision, DeviceSpec, IdScope, Instance, LastAttestation, LeaseToken, PendingStep,
    RawJson, Registration, Status, Tries,
};

pub(crate) use attempts::RefusalBuffer;
pub use attempts::{AttemptSearch, EarlyRefusal};
pub use cleanup::CleanupOutcome;
pub use describe::describe;
pub use execute::Confirmation;
pub use explain::DeviceDescription;
pub use waiting_run::{ResumeOutcome, WaitingRun};

use crate::{Error, attest::Evidence, ports::Guard};

/// A device's request to be registered.
#[derive(Debug, Clone)]
pub struct RegisterRequest {
    /// What it presented.
    pub evidence: Evidence,
    /// Free JSON for custom allocation.
    pub payload: Option<RawJson>,
    /// The device's address, by which the nearest hub is estimated; `None` if unknown.
    pub address: Option<IpAddr>,
    /// What happens to a returning device whose enrollment has no reprovision policy.
    pub default_reprovision: DefaultReprovision,
    /// The lease of the runner that is to execute the run. `None` if any runner may.
    pub runner: Option<LeaseToken>,
}

/// What happens to a returning device whose enrollment has no reprovision policy, by the device's API version: devices that
/// are older than these policies expect to stay at their hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultReprovision {
    /// The device stays at its hub.
    Stay,
    /// A hub is chosen anew, and the device's data move there.
    Migrate,
}

/// The outcome of a register request so far.
#[derive(Debug, Clone)]
pub enum RegisterOutcome {
    /// The registration failed or is disabled; nothing remains to be done.
    Settled(Box<Registration>),
    /// A hub or a webhook must be called.
    Running(Box<AssignmentRun>),
    /// The device must decrypt this in its TPM, and return with a claim signed by the key inside.
    Challenged(Vec<u8>),
}

/// A run that must be executed. Two runs for one registration with the same operation ID are the same run.
#[derive(Debug, Clone)]
pub struct AssignmentRun {
    /// The ID scope of the instance.
    pub scope: IdScope,
    /// The registration as stored, but for the key of a confirmation: see `updates_key`.
    pub registration: Registration,
    step: PendingStep,
    origin: Origin,
    /// What the request at hand has read, as long as that is recent.
    read: Option<ReadByRequest>,
    tries: Tries,
    /// What the enrollment accepted as proof when it let the device in.
    admitted_by: Option<AttestationDigest>,
    /// The decision of a confirmation, which is not on disk: recorded if the registration changes at the end.
    decision: Option<Decision>,
    /// Whether the device of a confirmation used another key than the stored registration names. The commit that counts the
    /// confirmation updates the key, so that this costs no write of its own.
    updates_key: bool,
    /// The lease under which it is executed: the fence of its commits.
    runner: Option<LeaseToken>,
}

/// Where a run comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The request at hand started it.
    Request,
    /// It was read from the store, and may have ended since.
    Store,
}

/// What a request read of the store before it started its run. The run need not read it again.
#[derive(Debug, Clone)]
struct ReadByRequest {
    instance: Arc<Instance>,
    /// The version of the enrollment that let the device in. Absent if the request changed the enrollment.
    enrollment: Option<Guard>,
}

impl AssignmentRun {
    /// Returns the unfinished run of a registration that was read from the store, if it has one.
    pub fn from_store(scope: &IdScope, registration: &Registration) -> Option<AssignmentRun> {
        let run = AssignmentRun::started(scope, registration)?;
        Some(AssignmentRun { origin: Origin::Store, ..run })
    }

    /// Returns the run of a registration that was just persisted.
    fn started(scope: &IdScope, registration: &Registration) -> Option<AssignmentRun> {
        let Status::Assigning { step, tries, admitted_by, runner, .. } = &registration.status else {
            return None;
        };
        Some(AssignmentRun {
            scope: scope.clone(),
            registration: registration.clone(),
            step: step.clone(),
            origin: Origin::Request,
            read: None,
            tries: tries.clone(),
            admitted_by: admitted_by.clone(),
            decision: None,
            updates_key: false,
            runner: *runner,
        })
    }

    /// Returns a run that asks a hub whether it still has a device as the registration says.
    fn confirming(
        (scope, runner): (&IdScope, Option<LeaseToken>),
        registration: &Registration,
        admitted_by: AttestationDigest,
        (spec, decision): (DeviceSpec, Decision),
    ) -> AssignmentRun {
        AssignmentRun {
            scope: scope.clone(),
            registration: registration.clone(),
            step: PendingStep::Ensure(Box::new(spec)),
            origin: Origin::Request,
            read: None,
            tries: Tries::default(),
            admitted_by: Some(admitted_by),
            decision: Some(decision),
            updates_key: false,
            runner,
        }
    }

    /// Returns the confirmation of a device that attested thus.
    fn after(self, attestation: LastAttestation) -> AssignmentRun {
        let updates_key = self.registration.attestation != attestation;
        AssignmentRun { registration: Registration { attestation, ..self.registration }, updates_key, ..self }
    }

    /// Returns the run of a request that has read this.
    fn with_read(self, read: Option<ReadByRequest>) -> AssignmentRun {
        AssignmentRun { read, ..self }
    }

    /// Returns the run after a wait: what the request has read may be outdated, and is read again.
    pub fn after_wait(self) -> AssignmentRun {
        self.with_read(None)
    }

    /// Whether it survives this process. A confirmation is not persisted before a device waits for it.
    pub fn is_persisted(&self) -> bool {
        matches!(self.registration.status, Status::Assigning { .. })
    }

    /// Returns the run after a try that must be repeated.
    fn tried(&self, tries: Tries) -> AssignmentRun {
        let mut run =
            AssignmentRun { origin: Origin::Store, tries: tries.clone(), ..self.clone() }.after_wait();
        if let Status::Assigning { tries: stored, .. } = &mut run.registration.status {
            *stored = tries;
        }
        run
    }

    /// Returns the lease under which it is executed; `None` if any runner may execute it.
    pub fn runner(&self) -> Option<LeaseToken> {
        self.runner
    }

    /// Returns the outcome of the run at a runner that has lost its lease. A confirmation that is not persisted ends there: its
    /// device must ask again, for it was not counted.
    pub fn fenced(&self) -> RunOutcome {
        if self.is_persisted() { RunOutcome::TakenOver } else { RunOutcome::Abandoned(Error::Fenced) }
    }

    /// Returns the name of the hub, or the host of the webhook, that the run calls.
    pub fn target(&self) -> &str {
        target(&self.step)
    }

    /// Whether it was read from the store, so that it may have been tried before, or ended since.
    pub fn is_from_store(&self) -> bool {
        self.origin == Origin::Store
    }
}

fn target(step: &PendingStep) -> &str {
    match step {
        PendingStep::Allocate(ask) => ask.request.webhook.authority(),
        PendingStep::Ensure(spec) => spec.hub.as_str(),
    }
}

/// The outcome of executing a run.
#[derive(Debug, Clone)]
pub enum RunOutcome {
    /// The run ended. This is on disk; if superseded, the registration of the newer run.
    Registration(Box<Registration>),
    /// Another runner executes it, for the lease of this one has ended.
    TakenOver,
    /// The registration was deleted meanwhile.
    Deleted,
    /// A hub or a webhook is unavailable, and the run must be executed again.
    Retry(Box<Retry>),
    /// A confirmation could not be persisted; nothing of it was on disk.
    Abandoned(Error),
}

/// A run that must be executed again.
#[derive(Debug, Clone)]
pub struct Retry {
    /// The run to execute.
    pub run: AssignmentRun,
    /// How long to wait first.
    pub backoff: Duration,
    /// The reason, for operators.
    pub reason: String,
    /// Whether operators know the reason already, because the hub holds up other runs as well.
    pub reported: bool,
}
