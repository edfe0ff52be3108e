//! Merges a draft with the stored enrollment.
//!
//! A draft replaces everything, except for secrets and certificates that the service never returns: a client that reads, changes and
//! writes an enrollment cannot send them, so they stay unchanged if left out.

use model::{
    Certificate, CertificateDraft, EnrollmentGroup, GroupAttestation, GroupAttestationDraft,
    GroupCertificates, GroupDraft, IndividualAttestation, IndividualAttestationDraft, IndividualCertificates,
    IndividualDraft, IndividualEnrollment, Instance, KeysDraft, Pair, Record, RegistrationIdsDraft,
    SymmetricKey, SymmetricKeyPair, Timestamp,
};

use super::settings;
use crate::{Error, ports::Entropy, record};

/// The inputs of a new version of a record.
pub struct Stamp<'a> {
    /// The instance of the record.
    pub instance: &'a Instance,
    /// For etags and generated keys.
    pub entropy: &'a dyn Entropy,
    /// The time of the change.
    pub now: Timestamp,
}

/// Returns the individual enrollment that a draft becomes.
pub(super) fn individual(
    draft: IndividualDraft,
    stored: Option<&IndividualEnrollment>,
    stamp: &Stamp<'_>,
) -> Result<IndividualEnrollment, Error> {
    Ok(IndividualEnrollment {
        attestation: individual_attestation(draft.attestation, stored.map(|it| &it.attestation), stamp)?,
        settings: settings::accepted(draft.settings, stored.map(|it| &it.settings), stamp.instance)?,
        record: stamp.record(stored.map(|it| &it.record))?,
        registration_id: draft.registration_id,
        device_id: draft.device_id,
        device_information: draft.device_information,
    })
}

/// Returns the enrollment group that a draft becomes.
pub(super) fn group(
    draft: GroupDraft,
    stored: Option<&EnrollmentGroup>,
    stamp: &Stamp<'_>,
) -> Result<EnrollmentGroup, Error> {
    Ok(EnrollmentGroup {
        attestation: group_attestation(draft.attestation, stored.map(|it| &it.attestation), stamp)?,
        registration_ids: match draft.registration_ids {
            RegistrationIdsDraft::Kept => stored.and_then(|it| it.registration_ids.clone()),
            RegistrationIdsDraft::Given(ids) => ids,
        },
        settings: settings::accepted(draft.settings, stored.map(|it| &it.settings), stamp.instance)?,
        record: stamp.record(stored.map(|it| &it.record))?,
        group_id: draft.group_id,
    })
}

impl Stamp<'_> {
    /// Returns version and dates of the record that replaces `stored`.
    pub(super) fn record(&self, stored: Option<&Record>) -> Result<Record, Error> {
        record::fresh(self.entropy, stored, self.now)
    }

    pub(super) fn fresh_key(&self) -> Result<SymmetricKey, Error> {
        record::fresh_key(self.entropy)
    }
}

fn individual_attestation(
    draft: IndividualAttestationDraft,
    stored: Option<&IndividualAttestation>,
    stamp: &Stamp<'_>,
) -> Result<IndividualAttestation, Error> {
    Ok(match draft {
        IndividualAttestationDraft::SymmetricKey(draft) => {
            let stored = stored.and_then(IndividualAttestation::symmetric_keys);
            IndividualAttestation::SymmetricKey(keys(draft, stored, stamp)?)
        }
        IndividualAttestationDraft::Tpm(tpm) => IndividualAttestation::Tpm(tpm),
        IndividualAttestationDraft::ClientCertificates(draft) => {
            let stored = match stored {
                Some(IndividualAttestation::X509(IndividualCertificates::Client(pair))) => Some(pair),
                _ => None,
            };
            IndividualAttestation::X509(IndividualCertificates::Client(certificates(draft, stored)?))
        }
        IndividualAttestationDraft::CaReferences(names) => {
            IndividualAttestation::X509(IndividualCertificates::CaReferences(names))
        }
    })
}

fn group_attestation(
    draft: GroupAttestationDraft,
    stored: Option<&GroupAttestation>,
    stamp: &Stamp<'_>,
) -> Result<GroupAttestation, Error> {
    Ok(match draft {
        GroupAttestationDraft::SymmetricKey(draft) => {
            let stored = stored.and_then(GroupAttestation::symmetric_keys);
            GroupAttestation::SymmetricKey(keys(draft, stored, stamp)?)
        }
        GroupAttestationDraft::SigningCertificates(draft) => {
            let stored = match stored {
                Some(GroupAttestation::X509(GroupCertificates::Signing(pair))) => Some(pair),
                _ => None,
            };
            GroupAttestation::X509(GroupCertificates::Signing(certificates(draft, stored)?))
        }
        GroupAttestationDraft::CaReferences(names) => {
            GroupAttestation::X509(GroupCertificates::CaReferences(names))
        }
    })
}

/// Returns each key as given, else as stored, else generated.
fn keys(
    draft: KeysDraft,
    stored: Option<&SymmetricKeyPair>,
    stamp: &Stamp<'_>,
) -> Result<SymmetricKeyPair, Error> {
    let choose = |given: Option<SymmetricKey>, stored: Option<&SymmetricKey>| {
        given.or_else(|| stored.cloned()).map_or_else(|| stamp.fresh_key(), Ok)
    };
    Ok(SymmetricKeyPair {
        primary: choose(draft.primary, stored.map(|pair| &pair.primary))?,
        secondary: choose(draft.secondary, stored.map(|pair| &pair.secondary))?,
    })
}

/// Returns each certificate as given, or as stored if the draft keeps it. A slot that the draft leaves empty is emptied.
fn certificates(
    draft: Pair<CertificateDraft>,
    stored: Option<&Pair<Certificate>>,
) -> Result<Pair<Certificate>, Error> {
    let slot = |draft: Option<&CertificateDraft>, same_slot: Option<&Certificate>| {
        draft.map(|draft| certificate(draft, stored, same_slot)).transpose()
    };
    let primary = slot(draft.primary(), stored.and_then(Pair::primary))?;
    let secondary = slot(draft.secondary(), stored.and_then(Pair::secondary))?;
    Pair::new(primary, secondary).ok_or_else(|| Error::Invalid("a certificate is missing".into()))
}

fn certificate(
    draft: &CertificateDraft,
    stored: Option<&Pair<Certificate>>,
    same_slot: Option<&Certificate>,
) -> Result<Certificate, Error> {
    let kept = match draft {
        CertificateDraft::Given(certificate) => return Ok(certificate.clone()),
        CertificateDraft::Kept(None) => same_slot,
        CertificateDraft::Kept(Some(thumbprint)) => {
            stored.and_then(|pair| pair.iter().find(|it| it.thumbprint() == thumbprint))
        }
    };
    kept.cloned().ok_or_else(|| {
        Error::Invalid(
            "a certificate slot has info but no certificate, and no such certificate is stored".into(),
        )
    })
}

#[cfg(test)]
mod tests {
    use model::{EnrollmentGroupId, Etag, RegistrationId, RegistrationIds};

    use super::*;
    use crate::enroll::samples::{self, Counting, certificate as make, generated_key as generated, key};

    fn stamped<T>(merge: impl FnOnce(&Stamp<'_>) -> T) -> T {
        let instance = samples::instance("one");
        merge(&Stamp {
            instance: &instance,
            entropy: &Counting::default(),
            now: Timestamp::from_unix_seconds(50),
        })
    }

    fn keys_of(primary: Option<u8>, secondary: Option<u8>) -> KeysDraft {
        KeysDraft { primary: primary.map(key), secondary: secondary.map(key) }
    }

    #[test]
    fn keys_are_given_or_kept_or_generated() {
        let stored = SymmetricKeyPair { primary: key(101), secondary: key(102) };
        let table = [
            (keys_of(Some(201), Some(202)), None, (key(201), key(202))),
            (keys_of(None, None), None, (generated(1), generated(2))),
            (keys_of(None, Some(202)), None, (generated(1), key(202))),
            (keys_of(None, None), Some(&stored), (key(101), key(102))),
            (keys_of(Some(201), None), Some(&stored), (key(201), key(102))),
            (keys_of(Some(102), Some(101)), Some(&stored), (key(102), key(101))),
        ];
        for (draft, stored, (primary, secondary)) in table {
            let merged = stamped(|stamp| keys(draft, stored, stamp)).unwrap();
            assert_eq!(merged, SymmetricKeyPair { primary, secondary });
        }
    }

    fn check_certificates(
        draft: [Option<CertificateDraft>; 2],
        stored: [Option<&Certificate>; 2],
        expected: Option<[Option<&Certificate>; 2]>,
    ) {
        let pair = |slots: [Option<&Certificate>; 2]| Pair::new(slots[0].cloned(), slots[1].cloned());
        let [primary, secondary] = draft;
        let merged = certificates(Pair::new(primary, secondary).unwrap(), pair(stored).as_ref());
        assert_eq!(merged.ok(), expected.and_then(pair));
    }

    #[test]
    fn certificates_are_given_or_kept() {
        let (a, b, c) = (make("a"), make("b"), make("c"));
        let given = |it: &Certificate| Some(CertificateDraft::Given(it.clone()));
        let kept = |it: &Certificate| Some(CertificateDraft::Kept(Some(it.thumbprint().clone())));
        let kept_in_slot = || Some(CertificateDraft::Kept(None));
        let both = [Some(&a), Some(&b)];

        check_certificates([given(&a), None], [None, None], Some([Some(&a), None]));
        check_certificates([given(&a), given(&a)], [None, None], Some([Some(&a), Some(&a)]));
        check_certificates([kept(&a), kept(&b)], both, Some(both));
        // A slot left empty is removed, also when it is the primary.
        check_certificates([None, kept(&b)], both, Some([None, Some(&b)]));
        // The slots may be swapped, and one rolled while the other stays.
        check_certificates([kept(&b), kept(&a)], both, Some([Some(&b), Some(&a)]));
        check_certificates([given(&c), kept(&a)], both, Some([Some(&c), Some(&a)]));
        check_certificates([kept_in_slot(), kept_in_slot()], both, Some(both));
        // Nothing to keep.
        check_certificates([kept(&c), None], both, None);
        check_certificates([kept_in_slot(), None], [None, Some(&b)], None);
        check_certificates([kept(&a), None], [None, None], None);
    }

    fn draft(attestation: IndividualAttestationDraft) -> IndividualDraft {
        IndividualDraft {
            registration_id: RegistrationId::parse("Dev-1").unwrap(),
            device_id: None,
            attestation,
            device_information: None,
            settings: Default::default(),
        }
    }

    #[test]
    fn a_replacement_keeps_the_creation_date_and_nothing_else() {
        let first = draft(IndividualAttestationDraft::SymmetricKey(keys_of(Some(1), Some(2))));
        let mut stored = stamped(|stamp| individual(first.clone(), None, stamp)).unwrap();
        assert_eq!(stored.record.created, Timestamp::from_unix_seconds(50));
        stored.record.created = Timestamp::from_unix_seconds(7);
        stored.record.etag = Etag::parse("old").unwrap();
        stored.settings.iot_edge = Some(true);
        let replaced = stamped(|stamp| individual(first, Some(&stored), stamp)).unwrap();
        assert_eq!(replaced.record.created, Timestamp::from_unix_seconds(7));
        assert_eq!(replaced.record.last_updated, Timestamp::from_unix_seconds(50));
        assert_ne!(replaced.record.etag, stored.record.etag);
        assert_eq!(replaced.settings, Default::default());
    }

    #[test]
    fn the_mechanism_may_change() {
        let with_keys = draft(IndividualAttestationDraft::SymmetricKey(keys_of(None, None)));
        let leaf = CertificateDraft::Given(make("dev-1"));
        let with_leaf =
            draft(IndividualAttestationDraft::ClientCertificates(Pair::new(Some(leaf), None).unwrap()));
        stamped(|stamp| {
            let stored = individual(with_keys.clone(), None, stamp).unwrap();
            let stored = individual(with_leaf, Some(&stored), stamp).unwrap();
            assert!(matches!(stored.attestation, IndividualAttestation::X509(_)));
            let stored = individual(with_keys, Some(&stored), stamp).unwrap();
            assert!(matches!(stored.attestation, IndividualAttestation::SymmetricKey(_)));
        });
    }

    #[test]
    fn a_group_keeps_its_signing_certificate() {
        let group_draft = |attestation| GroupDraft {
            group_id: EnrollmentGroupId::parse("g").unwrap(),
            attestation,
            registration_ids: RegistrationIdsDraft::Kept,
            settings: Default::default(),
        };
        let ca = make("ca");
        let signing = |it| GroupAttestationDraft::SigningCertificates(Pair::new(Some(it), None).unwrap());
        stamped(|stamp| {
            let given = group_draft(signing(CertificateDraft::Given(ca.clone())));
            let stored = group(given, None, stamp).unwrap();
            let kept = group_draft(signing(CertificateDraft::Kept(Some(ca.thumbprint().clone()))));
            assert_eq!(group(kept.clone(), Some(&stored), stamp).unwrap().attestation, stored.attestation);
            assert!(matches!(group(kept, None, stamp), Err(Error::Invalid(_))));
        });
    }

    #[test]
    fn a_group_keeps_its_registration_ids_until_others_are_given() {
        use RegistrationIdsDraft::{Given, Kept};
        let ids = |pattern: &str| Some(RegistrationIds::parse(&[pattern]).unwrap());
        stamped(|stamp| {
            let mut stored = None;
            for (draft, expected) in [
                (Kept, None),
                (Given(ids("a-*")), ids("a-*")),
                (Kept, ids("a-*")),
                (Given(ids("b-*")), ids("b-*")),
                (Given(None), None),
                (Kept, None),
            ] {
                let draft = GroupDraft {
                    group_id: EnrollmentGroupId::parse("g").unwrap(),
                    attestation: GroupAttestationDraft::SymmetricKey(KeysDraft::default()),
                    registration_ids: draft,
                    settings: Default::default(),
                };
                let written = group(draft, stored.as_ref(), stamp).unwrap();
                assert_eq!(written.registration_ids, expected);
                stored = Some(written);
            }
        });
    }
}
