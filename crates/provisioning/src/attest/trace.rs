//! The attestation trace: which enrollments were considered, and which rule decided at each.

use std::sync::Arc;

use certpath::PathError;
use model::{CaReference, EnrollmentGroup, EnrollmentRef};

use super::{Proof, Refusal, x509::CertificateRefusal};

/// The most refusing enrollments in a trace.
pub(super) const MAX_REFUSING: usize = 19;

/// The enrollments that were considered, and the outcome.
#[derive(Debug, Clone)]
pub struct AttestationTrace {
    /// The enrollments that were considered, in order.
    pub considered: Vec<Considered>,
    /// The number of further enrollments that refuse the device.
    pub omitted: usize,
    /// Why certificates that the device sent along could not be used.
    pub unfit: Vec<CertificateRefusal>,
    /// The verified device, the TPM to challenge, or why the device is refused.
    pub outcome: Result<Proof, Refusal>,
}

/// An enrollment that was considered.
#[derive(Debug, Clone)]
pub struct Considered {
    /// The enrollment.
    pub enrollment: EnrollmentRef,
    /// The DER of the path from the leaf to the enrollment's certificate, empty for other mechanisms; or why the enrollment does
    /// not admit the device.
    pub verdict: Result<Vec<Vec<u8>>, Refusal>,
}

impl AttestationTrace {
    /// Creates the trace of a refusal for which no enrollment was considered.
    pub fn without_candidates(refusal: Refusal) -> Self {
        AttestationTrace { considered: Vec::new(), omitted: 0, unfit: Vec::new(), outcome: Err(refusal) }
    }

    /// Records that a group refuses the device. Beyond [`MAX_REFUSING`] groups are only counted, because a refusal must cost little.
    pub(super) fn pass_over(&mut self, group: &Arc<EnrollmentGroup>, refusal: Refusal) {
        if self.considered.len() < MAX_REFUSING {
            self.considered.push(Considered::group(group, Err(refusal)));
        } else {
            self.omitted += 1;
        }
    }

    /// Returns whether the device is refused because an issuer is missing.
    pub fn misses_issuer(&self) -> bool {
        let is_missing = |error: &PathError| matches!(error, PathError::MissingIssuer(_));
        matches!(&self.outcome, Err(Refusal::Certificate(CertificateRefusal::Path(error))) if is_missing(error))
    }

    /// Adds that a CA certificate that a group names was deleted: it may be the missing issuer.
    pub fn with_gone_ca(mut self, name: &CaReference) -> Self {
        if let Err(Refusal::Certificate(refusal)) = &mut self.outcome
            && let CertificateRefusal::Path(PathError::MissingIssuer(missing)) = refusal
        {
            *refusal = CertificateRefusal::GoneIssuer { missing: missing.clone(), gone: name.clone() };
        }
        self
    }

    /// Creates the trace of the one enrollment that decides.
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
