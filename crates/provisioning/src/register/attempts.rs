//! Keeps refused registration attempts for operators.
//!
//! Refusals are buffered, so that the caller never waits for the disk; [`Provisioning::flush_refusals`] writes them about every
//! second. Their loss is bounded and harms no device: a process that is killed loses those that it has not written. The
//! buffer of each instance is bounded, and so is what the store keeps of one registration ID and of all. Attempts of unknown
//! registration IDs are kept as well, because a missing enrollment is the most frequent reason. They have a share of
//! their own, so that an attacker who tries many IDs displaces no attempts of known ones.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use model::{Attempt, Explanation, IdScope, Instance, RefusalReason, RegistrationId, Timestamp};
use rustls_pki_types::CertificateDer;

use crate::{
    Error, Provisioning,
    attest::{self, AttestationTrace, Evidence, Proof, Refusal, tpm::RegistrationRef},
    ports::{ATTEMPTS_OF_ONE, AttemptQuery, AttemptRetention, DeviceRecords, Page, PageRequest},
    register::challenge::challenge_or_refuse,
};

/// How many attempts of an instance are buffered: enough to see why a whole fleet fails at once.
const MAX_WAITING: usize = 100;

/// How many of these may be of unknown registration IDs.
const MAX_UNKNOWN_WAITING: usize = MAX_WAITING / 2;

/// By how much attempts may be out of order, in seconds: because clocks of nodes differ, or the store took no writes.
const DISORDER_SECS: i64 = 3600;

/// The refused attempts that are not written yet.
#[derive(Debug, Default)]
pub(crate) struct RefusalBuffer {
    buffered: Mutex<BufferedRefusals>,
}

#[derive(Debug, Default)]
struct BufferedRefusals {
    attempts: HashMap<IdScope, Vec<Attempt>>,
    /// How many attempts the buffer had no room for.
    dropped: u64,
}

/// A device that was refused.
struct RefusedDevice<'a> {
    registration_id: &'a RegistrationId,
    address: Option<IpAddr>,
    /// Whether its registration ID is enrolled, or was registered.
    known: bool,
}

impl RefusalBuffer {
    /// Returns whether the buffer has fewer attempts than this, and few enough of the registration ID, and counts another one as
    /// dropped if not. The store keeps no more of one ID, and a device that floods must not hide the others.
    fn accept(&self, scope: &IdScope, id: &RegistrationId, room: usize) -> bool {
        let mut buffered = self.lock();
        let waiting = buffered.attempts.get(scope).map_or(&[][..], Vec::as_slice);
        let of_one = waiting.iter().filter(|attempt| attempt.registration_id == *id).count();
        let is_accepted = waiting.len() < room && of_one < ATTEMPTS_OF_ONE;
        buffered.dropped += u64::from(!is_accepted);
        is_accepted
    }

    fn put(&self, scope: &IdScope, attempt: Attempt) {
        self.lock().attempts.entry(scope.clone()).or_default().push(attempt);
    }

    /// Puts attempts back that could not be written, before those that came meanwhile. The oldest are dropped.
    fn put_back(&self, scope: &IdScope, mut attempts: Vec<Attempt>) {
        let mut buffered = self.lock();
        let waiting = buffered.attempts.entry(scope.clone()).or_default();
        attempts.append(waiting);
        let surplus = attempts.len().saturating_sub(MAX_WAITING);
        attempts.drain(..surplus);
        *waiting = attempts;
        buffered.dropped += surplus as u64;
    }

    /// Returns the attempts of an instance, newest first.
    fn of(&self, scope: &IdScope) -> Vec<Attempt> {
        self.lock().attempts.get(scope).into_iter().flatten().rev().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BufferedRefusals> {
        self.buffered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A device that asks to be let in.
#[derive(Clone, Copy)]
pub(super) struct Applicant<'a> {
    pub(super) evidence: &'a Evidence,
    /// Its address; `None` if unknown.
    pub(super) address: Option<IpAddr>,
}

/// A registration that was refused before its evidence was verified: in the TLS handshake, at the login, or because the request
/// could not be parsed.
#[derive(Debug, Clone)]
pub struct EarlyRefusal {
    /// The registration ID that the client named.
    pub registration_id: RegistrationId,
    /// Its address; `None` if unknown.
    pub address: Option<IpAddr>,
    /// The certificates that it presented, if any.
    pub certificates: Arc<[CertificateDer<'static>]>,
    /// Why it was refused.
    pub code: RefusalReason,
    /// The details. May quote the client, and contains no secret.
    pub reason: String,
}

/// A search among refused attempts.
#[derive(Debug, Clone)]
pub struct AttemptSearch {
    /// Only those of this registration ID.
    pub registration_id: Option<RegistrationId>,
    /// Not older than this.
    pub since: Option<Timestamp>,
    /// Not newer than this.
    pub until: Option<Timestamp>,
    /// Only those for this reason.
    pub reason: Option<RefusalReason>,
    /// Which part.
    pub page: PageRequest,
}

impl AttemptSearch {
    /// Whether this attempt is so old that none before it meets the search. Attempts are in the order in which several nodes wrote
    /// them.
    fn is_beyond(&self, oldest: Option<&Attempt>) -> bool {
        let since = self.since.map(|since| since.plus_seconds(-DISORDER_SECS));
        since.zip(oldest).is_some_and(|(since, oldest)| oldest.at < since)
    }

    fn admits(&self, attempt: &Attempt) -> bool {
        self.registration_id.as_ref().is_none_or(|id| attempt.registration_id == *id)
            && self.since.is_none_or(|since| attempt.at >= since)
            && self.until.is_none_or(|until| attempt.at <= until)
            && self.reason.is_none_or(|reason| attempt.reason() == Some(reason))
    }
}

impl Provisioning {
    /// Returns the proof of who the device is. A refusal is buffered for operators.
    pub(super) async fn identify_or_buffer(
        &self,
        device: &DeviceRecords,
        applicant: Applicant<'_>,
    ) -> Result<Proof, Error> {
        let trace = self.evaluate(device, applicant.evidence).await?;
        match &trace.outcome {
            Err(_) => self.buffer_refusal(device, applicant, &trace),
            Ok(Proof::Challenge(tpm)) => {
                let DeviceRecords { instance, registration_id, .. } = device;
                self.remember_named_key(RegistrationRef { scope: &instance.id_scope, registration_id }, tpm);
            }
            Ok(Proof::Attested(_)) => {}
        }
        challenge_or_refuse(trace.outcome, applicant.evidence)
    }

    /// Buffers a refusal that was made after the evidence was verified, and returns it.
    pub(super) fn refuse(&self, device: &DeviceRecords, applicant: Applicant<'_>, refusal: Refusal) -> Error {
        let trace = AttestationTrace::without_candidates(refusal.clone());
        self.buffer_refusal(device, applicant, &trace);
        refusal.into()
    }

    fn buffer_refusal(&self, device: &DeviceRecords, applicant: Applicant<'_>, trace: &AttestationTrace) {
        let DeviceRecords { instance, registration_id, .. } = device;
        let Applicant { evidence, address } = applicant;
        let explanation = || attest::explanation(trace, evidence);
        let known = is_known(device);
        self.buffer(&instance.id_scope, RefusedDevice { registration_id, address, known }, explanation);
    }

    /// Buffers a refusal that was made before the evidence was verified, if the instance exists.
    pub async fn buffer_early_refusal(&self, scope: &IdScope, refusal: EarlyRefusal) -> Result<(), Error> {
        let id = &refusal.registration_id;
        // Before the store is read, so that a flood of refusals costs no reads.
        if !self.refused.accept(scope, id, MAX_WAITING) {
            return Ok(());
        }
        let Some(device) = self.device(scope, id).await? else { return Ok(()) };
        let known = is_known(&device);
        let explanation =
            || attest::early_explanation(&refusal.certificates, (refusal.code, &refusal.reason));
        let device = RefusedDevice { registration_id: id, address: refusal.address, known };
        self.buffer(scope, device, explanation);
        Ok(())
    }

    fn buffer(
        &self,
        scope: &IdScope,
        RefusedDevice { registration_id, address, known }: RefusedDevice<'_>,
        explanation: impl FnOnce() -> Explanation,
    ) {
        let room = if known { MAX_WAITING } else { MAX_UNKNOWN_WAITING };
        if !self.refused.accept(scope, registration_id, room) {
            return;
        }
        let (registration_id, at) = (registration_id.clone(), self.clock.now());
        self.refused.put(scope, Attempt { registration_id, at, address, known, explanation: explanation() });
    }

    /// Writes the buffered attempts, and returns how many were dropped since the last call. Attempts that cannot be written
    /// stay in the buffer, unless their instance was deleted, and those of other instances are written all the same; the error is
    /// the last one. To be called about every second, and at shutdown.
    pub async fn flush_refusals(&self) -> Result<u64, Error> {
        let BufferedRefusals { attempts, dropped } = std::mem::take(&mut *self.refused.lock());
        let mut outcome = Ok(dropped);
        for (scope, attempts) in attempts {
            if let Err(error) = self.store.keep_attempts(&scope, attempts.clone()).await {
                if self.is_deleted(&scope).await {
                    continue;
                }
                self.refused.put_back(&scope, attempts);
                outcome = Err(error.into());
            }
        }
        outcome
    }

    /// Whether the deletion of an instance was requested. Not where that cannot be read now.
    async fn is_deleted(&self, scope: &IdScope) -> bool {
        self.store.snapshot().await.is_ok_and(|snapshot| snapshot.deleted_instance(scope).is_some())
    }

    /// Returns the last refused attempts of a registration ID, newest first, also those that are still buffered.
    pub async fn attempts(&self, instance: &Instance, id: &RegistrationId) -> Result<Page<Attempt>, Error> {
        let registration_id = Some(id.clone());
        let page = PageRequest { after: None, limit: ATTEMPTS_OF_ONE };
        let search = AttemptSearch { registration_id, since: None, until: None, reason: None, page };
        let mut page = self.search_attempts(instance, search).await?;
        page.items.truncate(ATTEMPTS_OF_ONE);
        Ok(Page { next: None, ..page })
    }

    /// Returns a page of the refused attempts that meet a search, newest first. One page examines as many attempts as it may
    /// have, so that it may have few or none although more follow. The first one also has those that are still buffered.
    pub async fn search_attempts(
        &self,
        instance: &Instance,
        search: AttemptSearch,
    ) -> Result<Page<Attempt>, Error> {
        let scope = &instance.id_scope;
        let is_first = search.page.after.is_none();
        let buffered = if is_first { self.refused.of(scope) } else { Vec::new() };
        let (registration_id, page) = (search.registration_id.clone(), search.page.clone());
        let mut page = self.store.attempts(scope, AttemptQuery { registration_id, page }).await?;
        if search.is_beyond(page.items.last()) {
            page.next = None;
        }
        page.items.splice(0..0, buffered);
        page.items.retain(|attempt| search.admits(attempt));
        Ok(page)
    }

    /// Deletes the attempts that are older than this number of days, or than that of their instance if it has its own.
    pub async fn trim_attempts(&self, days: u32) -> Result<(), Error> {
        let now = self.clock.now();
        let before = |days: u32| now.plus_seconds(-86_400 * i64::from(days));
        let own = |it: &Arc<Instance>| {
            it.keep_attempts.map(|days| (it.id_scope.clone(), before(u16::from(days).into())))
        };
        let of_instances = self.store.snapshot().await?.instances().iter().filter_map(own).collect();
        Ok(self.store.trim_attempts(AttemptRetention { before: before(days), of_instances }).await?)
    }
}

/// Whether a registration ID is enrolled, or was registered. A damaged record counts.
fn is_known(device: &DeviceRecords) -> bool {
    !matches!((&device.individual, &device.registration), (Ok(None), Ok(None)))
}

#[cfg(test)]
mod tests {
    use model::{Admission, Explanation, Timestamp};

    use super::*;

    fn registration_id(number: usize) -> RegistrationId {
        RegistrationId::parse(format!("dev-{number}")).unwrap()
    }

    fn attempt(number: usize) -> Attempt {
        let reason = number.to_string();
        let explanation = Explanation {
            presented: Vec::new(),
            considered: Vec::new(),
            omitted: 0,
            unfit: Vec::new(),
            outcome: Admission::Refused { reason, code: None },
        };
        Attempt {
            registration_id: registration_id(number),
            at: Timestamp::from_unix_seconds(i64::try_from(number).unwrap()),
            address: None,
            known: true,
            explanation,
        }
    }

    /// Attempts of unknown registration IDs leave half of the buffer to those of known ones.
    #[test]
    fn a_full_buffer_drops_attempts_and_counts_them() {
        let (buffer, scope) = (RefusalBuffer::default(), IdScope::parse("0neA").unwrap());
        for room in [MAX_UNKNOWN_WAITING, MAX_WAITING] {
            let before = buffer.lock().attempts.get(&scope).map_or(0, Vec::len);
            for number in before..room {
                assert!(buffer.accept(&scope, &registration_id(number), room), "{number}");
                buffer.put(&scope, attempt(number));
            }
            assert!(!buffer.accept(&scope, &registration_id(room), room), "{room}");
        }
        assert_eq!(buffer.lock().dropped, 2);
        assert!(
            buffer.accept(&IdScope::parse("0neB").unwrap(), &registration_id(0), MAX_UNKNOWN_WAITING),
            "another instance has a buffer of its own"
        );
    }

    #[test]
    fn a_device_that_floods_leaves_room_for_others() {
        let (buffer, scope) = (RefusalBuffer::default(), IdScope::parse("0neA").unwrap());
        let [flooding, other] = [registration_id(1), registration_id(2)];
        let accepted = (0..10 * MAX_WAITING).filter(|_| {
            let is_accepted = buffer.accept(&scope, &flooding, MAX_WAITING);
            if is_accepted {
                buffer.put(&scope, attempt(1));
            }
            is_accepted
        });
        assert_eq!(accepted.count(), ATTEMPTS_OF_ONE);
        assert!(buffer.accept(&scope, &other, MAX_WAITING));
    }

    #[test]
    fn attempts_that_cannot_be_written_stay_and_the_oldest_are_dropped() {
        let buffer = RefusalBuffer::default();
        let scopes = ["0neA", "0neB"].map(|scope| IdScope::parse(scope).unwrap());
        for scope in &scopes {
            (0..MAX_WAITING).for_each(|number| buffer.put(scope, attempt(number)));
        }
        let taken = std::mem::take(&mut *buffer.lock());
        buffer.put(&scopes[0], attempt(MAX_WAITING));
        for (scope, attempts) in taken.attempts {
            buffer.put_back(&scope, attempts);
        }
        let [first, second] = [buffer.of(&scopes[0]), buffer.of(&scopes[1])];
        assert_eq!((first.len(), second.len()), (MAX_WAITING, MAX_WAITING));
        assert_eq!((first[0].at.unix_seconds(), first[MAX_WAITING - 1].at.unix_seconds()), (100, 1));
        assert_eq!(buffer.lock().dropped, 1);
    }
}
