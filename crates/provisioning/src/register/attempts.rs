//! Registrations that were refused, kept for operators.
//!
//! Whoever is refused waits for no disk: a refusal is put down in memory, and [`Provisioning::flush_refusals`] writes
//! what has buffered. What a flood of refusals can take is bounded at each step: of what is put down between two
//! writes, of what is kept of one name, and of what is kept in all. Every attempt is kept within those bounds, whether its
//! name is known or not, because a name that nobody enrolled is the commonest reason. But names that are unknown have
//! places of their own, so that a stranger who tries many of them pushes out strangers only.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use model::{Attempt, EnrollmentRef, Explanation, IdScope, Instance, Registration, RegistrationId};
use rustls_pki_types::CertificateDer;

use crate::{
    Error, Provisioning,
    attest::{self, AttestationTrace, Evidence, Proof, Refusal, tpm::RegistrationRef},
    ports::{ATTEMPTS_OF_ONE, Page, StoreError},
    register::challenge::challenge_or_refuse,
};

/// The most attempts that wait to be written, of one instance: of a whole fleet that fails at once, enough to see why.
const MAX_WAITING: usize = 100;

/// Of those, the most under names that are not known.
const MAX_STRANGERS_WAITING: usize = MAX_WAITING / 2;

/// Attempts that wait to be written.
#[derive(Debug, Default)]
pub(crate) struct RefusalBuffer {
    buffered: Mutex<BufferedRefusals>,
}

#[derive(Debug, Default)]
struct BufferedRefusals {
    attempts: HashMap<IdScope, Vec<Attempt>>,
    dropped: u64,
}

impl RefusalBuffer {
    /// Whether there is a place. An attempt that finds none is counted and not kept.
    fn has_place(&self, scope: &IdScope, known: bool) -> bool {
        let mut buffered = self.lock();
        let places = if known { MAX_WAITING } else { MAX_STRANGERS_WAITING };
        let has_place = buffered.attempts.get(scope).map_or(0, Vec::len) < places;
        buffered.dropped += u64::from(!has_place);
        has_place
    }

    fn put(&self, scope: &IdScope, attempt: Attempt) {
        self.lock().attempts.entry(scope.clone()).or_default().push(attempt);
    }

    /// Puts attempts back that could not be written, before those that came meanwhile; the oldest give way.
    fn put_back(&self, scope: &IdScope, mut attempts: Vec<Attempt>) {
        let mut buffered = self.lock();
        let waiting = buffered.attempts.entry(scope.clone()).or_default();
        attempts.append(waiting);
        let surplus = attempts.len().saturating_sub(MAX_WAITING);
        attempts.drain(..surplus);
        *waiting = attempts;
        buffered.dropped += surplus as u64;
    }

    /// Those under a name, newest first.
    fn of(&self, scope: &IdScope, id: &RegistrationId) -> Vec<Attempt> {
        let buffered = self.lock();
        let of_instance = buffered.attempts.get(scope).into_iter().flatten();
        of_instance.filter(|attempt| attempt.registration_id == *id).rev().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BufferedRefusals> {
        self.buffered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who asks to be let in.
#[derive(Clone, Copy)]
pub(super) struct Applicant<'a> {
    pub(super) registration_id: &'a RegistrationId,
    pub(super) evidence: &'a Evidence,
    /// Where it comes from; `None` when that is unknown.
    pub(super) address: Option<IpAddr>,
}

/// A registration that was refused before its evidence was judged: in the TLS handshake, at the login, or because the request
/// cannot be read.
#[derive(Debug, Clone)]
pub struct EarlyRefusal {
    /// The name that the client gave.
    pub registration_id: RegistrationId,
    /// Where it comes from; `None` when that is unknown.
    pub address: Option<IpAddr>,
    /// The certificates that it showed, if any.
    pub certificates: Arc<[CertificateDer<'static>]>,
    /// Why it was refused. May quote the client, and holds no secret.
    pub reason: String,
}

impl Provisioning {
    /// Who the device is; when it is refused, that is put down for operators.
    pub(super) async fn identify_or_note(
        &self,
        instance: &Instance,
        applicant: Applicant<'_>,
        previous: Option<&Registration>,
    ) -> Result<Proof, Error> {
        let Applicant { registration_id, evidence, .. } = applicant;
        let trace = self.evaluate(instance, registration_id, evidence, previous).await?;
        match &trace.outcome {
            Err(_) => self.buffer_refusal(instance, applicant, &trace, previous),
            Ok(Proof::Challenge(tpm)) => {
                self.remember(RegistrationRef { scope: &instance.id_scope, registration_id }, tpm);
            }
            Ok(Proof::Attested(_)) => {}
        }
        challenge_or_refuse(trace.outcome, evidence)
    }

    /// Puts a refusal down that no judgement made.
    pub(super) fn refuse(
        &self,
        instance: &Instance,
        applicant: Applicant<'_>,
        refusal: Refusal,
        previous: Option<&Registration>,
    ) -> Error {
        let trace = AttestationTrace::without_candidates(refusal.clone());
        self.buffer_refusal(instance, applicant, &trace, previous);
        refusal.into()
    }

    fn buffer_refusal(
        &self,
        instance: &Instance,
        applicant: Applicant<'_>,
        trace: &AttestationTrace,
        previous: Option<&Registration>,
    ) {
        let is_enrolled = trace.considered.iter().any(|one| one.enrollment == EnrollmentRef::Individual);
        let known = is_enrolled || previous.is_some();
        let Applicant { registration_id, evidence, address } = applicant;
        let explanation = || attest::explanation(trace, evidence);
        self.buffer(&instance.id_scope, (registration_id, address), known, explanation);
    }

    /// Puts a refusal down for operators that was made before the evidence was judged. Bounded like those after it.
    pub async fn buffer_early_refusal(
        &self,
        instance: &Instance,
        refusal: EarlyRefusal,
    ) -> Result<(), Error> {
        let (scope, id) = (&instance.id_scope, &refusal.registration_id);
        // First, so that a flood costs no reads.
        if !self.refused.has_place(scope, true) {
            return Ok(());
        }
        let known = self.is_known(scope, id).await?;
        let explanation = || attest::early_explanation(&refusal.certificates, &refusal.reason);
        self.buffer(scope, (id, refusal.address), known, explanation);
        Ok(())
    }

    /// Whether the name is enrolled, or was registered. A damaged record is one.
    async fn is_known(&self, scope: &IdScope, id: &RegistrationId) -> Result<bool, Error> {
        let is_enrolled = match self.store.individual(scope, id).await {
            Err(StoreError::Damaged(_)) => true,
            found => found?.is_some(),
        };
        let is_registered = match self.store.registration(scope, id).await {
            Err(StoreError::Damaged(_)) => true,
            found => found?.is_some(),
        };
        Ok(is_enrolled || is_registered)
    }

    fn buffer(
        &self,
        scope: &IdScope,
        (registration_id, address): (&RegistrationId, Option<IpAddr>),
        known: bool,
        explanation: impl FnOnce() -> Explanation,
    ) {
        if !self.refused.has_place(scope, known) {
            return;
        }
        let (registration_id, at) = (registration_id.clone(), self.clock.now());
        self.refused.put(scope, Attempt { registration_id, at, address, known, explanation: explanation() });
    }

    /// Writes the attempts that were put down since the last time; tells how many found no place. What cannot be written
    /// goes on waiting, and does not keep the attempts of other instances back; the error is the last one. To be called
    /// every second or so, and at the end.
    pub async fn flush_refusals(&self) -> Result<u64, Error> {
        let BufferedRefusals { attempts, dropped } = std::mem::take(&mut *self.refused.lock());
        let mut outcome = Ok(dropped);
        for (scope, attempts) in attempts {
            if let Err(error) = self.store.keep_attempts(&scope, attempts.clone()).await {
                self.refused.put_back(&scope, attempts);
                outcome = Err(error.into());
            }
        }
        outcome
    }

    /// The last attempts under a name that were refused, newest first; also those that wait to be written.
    pub async fn attempts(&self, instance: &Instance, id: &RegistrationId) -> Result<Page<Attempt>, Error> {
        let mut kept = self.store.attempts(&instance.id_scope, id).await?;
        kept.items.splice(0..0, self.refused.of(&instance.id_scope, id));
        kept.items.truncate(ATTEMPTS_OF_ONE);
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use model::{Admission, Explanation, Timestamp};

    use super::*;

    fn attempt(number: usize) -> Attempt {
        let reason = number.to_string();
        let explanation = Explanation {
            presented: Vec::new(),
            considered: Vec::new(),
            omitted: 0,
            unfit: Vec::new(),
            outcome: Admission::Refused { reason },
        };
        Attempt {
            registration_id: RegistrationId::parse("dev-1").unwrap(),
            at: Timestamp::from_unix_seconds(i64::try_from(number).unwrap()),
            address: None,
            known: true,
            explanation,
        }
    }

    #[test]
    fn what_cannot_be_written_waits_again_and_the_oldest_gives_way() {
        let waiting = RefusalBuffer::default();
        let scopes = ["0neA", "0neB"].map(|scope| IdScope::parse(scope).unwrap());
        for scope in &scopes {
            (0..MAX_WAITING).for_each(|number| waiting.put(scope, attempt(number)));
        }
        let taken = std::mem::take(&mut *waiting.lock());
        waiting.put(&scopes[0], attempt(MAX_WAITING));
        for (scope, attempts) in taken.attempts {
            waiting.put_back(&scope, attempts);
        }
        let of = |scope| waiting.of(scope, &RegistrationId::parse("dev-1").unwrap());
        let [first, second] = [of(&scopes[0]), of(&scopes[1])];
        assert_eq!((first.len(), second.len()), (MAX_WAITING, MAX_WAITING));
        assert_eq!((first[0].at.unix_seconds(), first[MAX_WAITING - 1].at.unix_seconds()), (100, 1));
        assert_eq!(waiting.lock().dropped, 1);
    }
}
