//! The reason of each refusal, by which operators search.

use certpath::{BrokenRule, PathError};
use model::RefusalReason;

use super::{Refusal, x509::CertificateRefusal};

impl Refusal {
    /// Returns the reason.
    pub fn reason(&self) -> RefusalReason {
        match self {
            Refusal::NoEnrollment => RefusalReason::NoEnrollment,
            Refusal::OtherScope(_) => RefusalReason::OtherScope,
            Refusal::NoToken => RefusalReason::NoToken,
            Refusal::NoCertificate => RefusalReason::NoCertificate,
            Refusal::NoEvidence => RefusalReason::NoEvidence,
            Refusal::Expired(_) => RefusalReason::TokenExpired,
            Refusal::OtherResource(_) => RefusalReason::OtherResource,
            Refusal::Signature => RefusalReason::WrongKey,
            Refusal::OtherCertificate(_) => RefusalReason::OtherCertificate,
            Refusal::Certificate(refusal) => refusal.reason(),
            Refusal::NoPathToGroup => RefusalReason::NoPathToGroup,
            Refusal::OtherIds(_) => RefusalReason::OtherIds,
            Refusal::RegisteredElsewhere(_) => RefusalReason::RegisteredElsewhere,
            Refusal::KeptByOwnGroup => RefusalReason::KeptByOwnGroup,
            Refusal::NotNearest => RefusalReason::NotNearest,
            Refusal::NoTpm => RefusalReason::NoTpm,
            Refusal::OtherTpm => RefusalReason::OtherTpm,
            Refusal::OtherStorageRootKey => RefusalReason::ClearedTpm,
            Refusal::NoStorageRootKey => RefusalReason::NoStorageRootKey,
            Refusal::NoOpenChallenge => RefusalReason::NoOpenChallenge,
            Refusal::UsedChallenge(_) => RefusalReason::UsedChallenge,
        }
    }
}

impl CertificateRefusal {
    /// Returns the reason.
    fn reason(&self) -> RefusalReason {
        match self {
            CertificateRefusal::TooLong(_) => RefusalReason::ChainTooLong,
            CertificateRefusal::Path(error) => of_path(error),
            CertificateRefusal::GoneIssuer { .. } => RefusalReason::UnknownIssuer,
            CertificateRefusal::OtherName(_) | CertificateRefusal::OtherDnsName(_) => {
                RefusalReason::OtherName
            }
            CertificateRefusal::Unverified { .. } | CertificateRefusal::UnverifiedReference(_) => {
                RefusalReason::UnverifiedCa
            }
            CertificateRefusal::GoneReference(_) => RefusalReason::DeletedCa,
        }
    }
}

fn of_path(error: &PathError) -> RefusalReason {
    match error {
        PathError::MissingIssuer(_) => RefusalReason::UnknownIssuer,
        // The owner of an anchor is a group.
        PathError::NotAdmitted(_) => RefusalReason::OtherIds,
        PathError::Blocked { .. } => RefusalReason::Blocked,
        PathError::Revoked { .. } => RefusalReason::Revoked,
        PathError::Uncovered { .. } => RefusalReason::NoFreshRevocationList,
        PathError::Rule { rule: BrokenRule::Expired(_), .. } => RefusalReason::CertificateExpired,
        PathError::Rule { rule: BrokenRule::NotYetValid(_), .. } => RefusalReason::CertificateNotYetValid,
        PathError::Rule { .. } | PathError::Unreadable(_) | PathError::TooTangled => {
            RefusalReason::BadCertificate
        }
    }
}
