//! How it was decided which enrollment lets a device in, kept for whoever must understand it.

use std::sync::Arc;

use certpath::PathError;
use model::{CaReference, EnrollmentGroup, EnrollmentRef};

use super::{Proof, Refusal, x509::CertificateRefusal};

/// The most enrollments that refuse a device and are told of.
pub(super) const MAX_REFUSING: usize = 19;

/// What was looked at, and what came of it.
#[derive(Debug, Clone)]
pub struct AttestationTrace {
    /// The enrollments that were looked at, in that order.
    pub considered: Vec<Considered>,
    /// How many more were looked at that refuse it.
    pub omitted: usize,
    /// The certificates that the device sent along and that could not be used.
    pub unfit: Vec<CertificateRefusal>,
    /// Who the device is, or what it must open to prove that, or why it is refused.
    pub outcome: Result<Proof, Refusal>,
}

/// An enrollment that was looked at.
#[derive(Debug, Clone)]
pub struct Considered {
    /// Which one.
    pub enrollment: EnrollmentRef,
    /// The DER of the certificates from the leaf to the enrollment's, none when it has none, or why it does not let the
    /// device in.
    pub verdict: Result<Vec<Vec<u8>>, Refusal>,
}

impl AttestationTrace {
    /// Of an outcome for which no enrollment was looked at.
    pub fn without_candidates(refusal: Refusal) -> Self {
        AttestationTrace { considered: Vec::new(), omitted: 0, unfit: Vec::new(), outcome: Err(refusal) }
    }

    /// Notes that a group refuses the device; of very many, only that there were more: a refusal must cost little.
    pub(super) fn pass_over(&mut self, group: &Arc<EnrollmentGroup>, refusal: Refusal) {
        if self.considered.len() < MAX_REFUSING {
            self.considered.push(Considered::group(group, Err(refusal)));
        } else {
            self.omitted += 1;
        }
    }

    /// Whether it is a missing issuer that refuses.
    pub fn misses_issuer(&self) -> bool {
        let is_missing = |error: &PathError| matches!(error, PathError::MissingIssuer(_));
        matches!(&self.outcome, Err(Refusal::Certificate(CertificateRefusal::Path(error))) if is_missing(error))
    }

    /// The same where a CA certificate that a group names is gone: it may be the missing issuer.
    pub fn with_gone_ca(mut self, name: &CaReference) -> Self {
        if let Err(Refusal::Certificate(refusal)) = &mut self.outcome
            && let CertificateRefusal::Path(PathError::MissingIssuer(missing)) = refusal
        {
            *refusal = CertificateRefusal::GoneIssuer { missing: missing.clone(), gone: name.clone() };
        }
        self
    }

    /// Of the one enrollment that decides.
    pub fn by(enrollment: EnrollmentRef, outcome: Result<Proof, Refusal>) -> Self {
        let verdict = outcome.as_ref().map(|_| Vec::new()).map_err(Clone::clone);
        AttestationTrace {
            considered: vec![Considered { enrollment, verdict }],
            omitted: 0,
            unfit: Vec::new(),
            outcome,
        }
    }
}

impl Considered {
    pub(super) fn group(group: &Arc<EnrollmentGroup>, verdict: Result<Vec<Vec<u8>>, Refusal>) -> Self {
        Considered { enrollment: EnrollmentRef::Group(group.group_id.clone()), verdict }
    }
}
