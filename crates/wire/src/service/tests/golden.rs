//! Tests of writing: replies equal the golden files, and parse back to the same settings.

use model::*;
use serde_json::Value;

use super::samples::*;
use crate::service::*;

/// Compares a reply with the golden file `name`.
fn check(name: &str, expected: &str, written: Value) {
    let written = serde_json::to_string_pretty(&written).unwrap();
    assert_eq!(written, expected.trim_end(), "golden/{name} differs");
}

macro_rules! golden {
    ($name:literal, $written:expr) => {
        check($name, include_str!(concat!("../golden/", $name)), $written)
    };
}

fn both<T: Clone>(it: T) -> Pair<T> {
    Pair::new(Some(it.clone()), Some(it)).unwrap()
}

#[test]
fn individual_enrollments_equal_the_golden_files() {
    let full = full_individual();
    golden!("individual_written.json", individual_json(&full, StateShown::No, Secrets::Shown));
    golden!(
        "individual_read.json",
        individual_json(&full, StateShown::Yes(Some(&registration())), Secrets::Hidden)
    );
    let tpm = individual(IndividualAttestation::Tpm(tpm()));
    golden!("individual_tpm.json", individual_json(&tpm, StateShown::No, Secrets::Hidden));
    let leaf = Pair::new(None, Some(certificate())).unwrap();
    let x509 = individual(IndividualAttestation::X509(IndividualCertificates::Client(leaf)));
    golden!("individual_x509.json", individual_json(&x509, StateShown::No, Secrets::Shown));
}

#[test]
fn enrollment_groups_equal_the_golden_files() {
    let keys = EnrollmentGroup { settings: settings(), ..group(GroupAttestation::SymmetricKey(keys())) };
    golden!("group_written.json", group_json(&keys, Secrets::Shown));
    golden!("group_read.json", group_json(&keys, Secrets::Hidden));
    let ids = RegistrationIds::parse(&["line-1-*", "spare"]).unwrap();
    let limited = EnrollmentGroup { registration_ids: Some(ids), ..keys };
    golden!("group_of_registration_ids.json", group_json(&limited, Secrets::Hidden));
    let signing = group(GroupAttestation::X509(GroupCertificates::Signing(both(certificate()))));
    golden!("group_x509.json", group_json(&signing, Secrets::Shown));
    let named = group(GroupAttestation::X509(GroupCertificates::CaReferences(references())));
    golden!("group_ca_references.json", group_json(&named, Secrets::Hidden));
}

#[test]
fn attestation_mechanisms_equal_the_golden_files() {
    let keys = GroupAttestation::SymmetricKey(keys());
    golden!("mechanism_symmetric_key.json", group_mechanism_json(&keys, Secrets::Shown));
    let named = IndividualAttestation::X509(IndividualCertificates::CaReferences(references()));
    golden!("mechanism_ca_references.json", individual_mechanism_json(&named, Secrets::Shown));
}

#[test]
fn bulk_results_equal_the_golden_files() {
    golden!("bulk_success.json", bulk_result_json("registrationId", &[]));
    let error =
        BulkError { id: "Group-1".into(), code: 404_204, message: "enrollment group not found".into() };
    golden!("bulk_errors.json", bulk_result_json("enrollmentGroupId", &[error]));
}

#[test]
fn the_usage_report_equals_the_golden_file() {
    let row = |day, kind, count| UsageRow { day: Day::parse(day).unwrap(), kind, count };
    let rows = [
        row("2026-11-22", OperationKind::Registration, 1000),
        row("2026-11-23", OperationKind::EnrollmentChange, 7),
    ];
    golden!("usage.json", usage_json(&rows));
}

#[test]
fn a_page_of_the_change_log_equals_the_golden_file() {
    let entry = |operation, kind, key: &str, version: Option<&str>, actor| LogEntry {
        position: LogPosition::new(1, 1),
        attribution: Attribution { actor, operation, at: record().last_updated },
        kind,
        key: key.into(),
        version: version.map(str::to_owned),
    };
    let identity = Identity::Policy(PolicyName::parse("owner").unwrap());
    let operator = Actor::Operator { identity, address: None };
    let issuer = Issuer::parse("https://login.example/plant").unwrap();
    let identity = Identity::Subject(Subject::parse(issuer, "alice").unwrap());
    let subject = Actor::Operator { identity, address: Some([192, 0, 2, 8].into()) };
    let registration_id = RegistrationId::parse("Dev-1").unwrap();
    let device = Actor::Device { registration_id, address: Some([192, 0, 2, 7].into()) };
    let job = Actor::System(Job::Configuration);
    let identity = Identity::ManagementPolicy(PolicyName::parse("owner").unwrap());
    let management = Actor::Operator { identity, address: None };
    let entries = [
        entry(LogOperation::InstanceUpdate, LogKind::Instance, "", None, management),
        entry(LogOperation::EnrollmentDelete, LogKind::Enrollment, "dev-1", None, operator),
        entry(LogOperation::EnrollmentPut, LogKind::Enrollment, "dev-1", Some("00fe"), subject),
        entry(LogOperation::RegistrationRegister, LogKind::Registration, "dev-1", Some("00ff"), device),
        entry(LogOperation::InstanceConfigure, LogKind::Instance, "", None, job),
    ];
    let mut next = LogCursor::default();
    next.advance(LogPosition::new(0xAB, 17));
    golden!("change_log.json", log_json(&entries, &next, true));
}

#[test]
fn written_enrollments_parse_back_to_the_same_settings() {
    let full = full_individual();
    for secrets in [Secrets::Exported, Secrets::Shown, Secrets::Hidden] {
        let json = individual_json(&full, StateShown::Yes(Some(&registration())), secrets).to_string();
        let draft = parse_individual(json.as_bytes()).unwrap();
        assert_eq!(draft.settings, full.settings);
        assert_eq!(draft.device_id, full.device_id);
        assert_eq!(draft.device_information, full.device_information);
        let keys = match secrets {
            Secrets::Exported | Secrets::Shown => {
                KeysDraft { primary: Some(keys().primary), secondary: Some(keys().secondary) }
            }
            Secrets::Hidden => KeysDraft::default(),
        };
        assert_eq!(draft.attestation, IndividualAttestationDraft::SymmetricKey(keys));
    }
}

#[test]
fn a_returned_certificate_parses_back_as_one_to_keep() {
    let signing = group(GroupAttestation::X509(GroupCertificates::Signing(both(certificate()))));
    let draft = parse_group(group_json(&signing, Secrets::Shown).to_string().as_bytes()).unwrap();
    let kept = CertificateDraft::Kept(Some(certificate().thumbprint().clone()));
    assert_eq!(draft.attestation, GroupAttestationDraft::SigningCertificates(both(kept)));
    let draft = parse_group(group_json(&signing, Secrets::Exported).to_string().as_bytes()).unwrap();
    let given = CertificateDraft::Given(certificate());
    assert_eq!(draft.attestation, GroupAttestationDraft::SigningCertificates(both(given)));
}

#[test]
fn hidden_secrets_are_not_written() {
    let individual = individual_json(&full_individual(), StateShown::No, Secrets::Hidden).to_string();
    let group = group_json(&group(GroupAttestation::SymmetricKey(keys())), Secrets::Hidden).to_string();
    for text in [individual, group] {
        assert!(!text.contains(&keys().primary.to_base64()), "{text}");
        assert!(!text.contains(&keys().secondary.to_base64()), "{text}");
    }
}
