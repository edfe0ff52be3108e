//! The stored form: files written once and read for ever.
//!
//! Each file of `tests/golden` holds one document as the store keeps it, before sealing. Today's code must read it to
//! the same record and write the same text. When a stored form has to change, the old file stays, as a document that
//! must still be read, and the new form gets a file of its own.

use std::{fs, num::NonZeroU32, path::Path, time::Duration};

use certpath::{Crl, CrlMaxAge};
use model::{
    Admission, AllocationPolicy, Assignment, Because, Certificate, Challenge, Chosen, Cleanup, CleanupHold,
    CrlAddresses, Decision, DecisionEnd, DecisionOutcome, DecisionResult, Deletion, EnrollmentGroup,
    EnrollmentRef, EnrollmentSettings, ExistingDevices, FailedTry, Failure, FailureReason, Generation,
    HoldReason, HttpUrl, HubName, Instance, KeepDays, KeySlot, KeyUse, LastAttestation, Latency,
    LatencyTable, ListId, ManagedBy, PolicyOf, PublicNetworkAccess, RefusalReason, RegistrationIds,
    RegistrationOwnership, Residue, ResourceFacts, RevocationList, Status, Timestamp, TpmHandover,
    WebhookReply,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use testkit::sample;

#[test]
fn instances_are_stored_as_ever() {
    let instance = sample::instance("0ne00000A0A");
    check("instance", &instance);
    check(
        "instance_first_come",
        &Instance { registrations: RegistrationOwnership::FirstCome, ..instance.clone() },
    );
    let existing_devices = ExistingDevices::Refuse;
    check("instance_refusing_existing_devices", &Instance { existing_devices, ..instance.clone() });
    let crl_max_age = CrlMaxAge::try_from(7).unwrap();
    check("instance_with_crl_max_age", &Instance { crl_max_age, ..instance.clone() });
    let keep_attempts = KeepDays::try_from(90).ok();
    check("instance_with_kept_attempts", &Instance { keep_attempts, ..instance.clone() });
    let latency = |hub: &str| [(HubName::parse(hub).unwrap(), Latency::from_micros(2500))].into();
    let networks = [("10.20.0.0/16".parse().unwrap(), latency("a.hub"))];
    let latency_table = LatencyTable::new(networks, [("DE".to_owned(), latency("b.hub"))]).unwrap();
    check("instance_with_latency_table", &Instance { latency_table, ..instance.clone() });
    let limited = Instance { max_registrations_per_minute: NonZeroU32::new(600), ..instance.clone() };
    check("instance_with_registration_rate", &limited);
    let rules = json!([
        {"name": "plant", "action": "accept", "ip_mask": "10.0.0.0/8", "target": "deviceApi"},
        {"name": "others", "action": "reject", "ip_mask": "::/0", "target": "all"},
    ]);
    let filtered = Instance {
        public_network_access: PublicNetworkAccess::Disabled,
        ip_filter: serde_json::from_value(rules).unwrap(),
        ..instance.clone()
    };
    check("instance_with_ip_filter", &filtered);
    let quotas =
        serde_json::from_value(json!({"preset": "azure", "enrollments": 7, "polls_per_10_seconds": 0}));
    check("instance_with_quotas", &Instance { quotas: quotas.unwrap(), ..instance.clone() });
    let hold = CleanupHold { reason: HoldReason::Restored, since: sample::record("a").created };
    check("instance_with_cleanups_held", &Instance { cleanups_held: Some(hold), ..instance.clone() });
    let mut deleted = Instance { managed: ManagedBy::Operators, ..instance };
    deleted.resource = ResourceFacts {
        subscription: "sub".into(),
        resource_group: "group".into(),
        location: "north".into(),
        tags: [("line".into(), "3".into())].into(),
        capacity: 2,
    };
    let requested = Timestamp::parse("2026-11-29T06:13:20Z").unwrap();
    deleted.deletion = Some(Deletion { requested, finished: None, is_verified: false });
    deleted.configured.settings.insert("name".into(), "AB".into());
    check("instance_deleted", &deleted);
}

#[test]
fn individual_enrollments_are_stored_as_ever() {
    for (name, attestation) in sample::individual_attestations(&certificate()) {
        let mut record = sample::individual("Dev-1");
        record.attestation = attestation;
        check(&format!("individual_{name}"), &record);
    }
    let mut bare = sample::individual("Dev-1");
    (bare.device_id, bare.device_information) = (None, None);
    bare.settings = EnrollmentSettings::default();
    check("individual_bare", &bare);
}

#[test]
fn groups_are_stored_as_ever() {
    for (name, attestation) in sample::group_attestations(&certificate()) {
        let mut record = sample::group("Line-1");
        record.attestation = attestation;
        check(&format!("group_{name}"), &record);
    }
    let registration_ids = Some(RegistrationIds::parse(&["line-1-*", "spare"]).unwrap());
    check("group_of_registration_ids", &EnrollmentGroup { registration_ids, ..sample::group("Line-1") });
    let mut managed = sample::group("Line-1");
    managed.settings.managed_by = Some("muster-apply".to_owned());
    check("group_managed", &managed);
}

#[test]
fn what_is_known_of_cas_is_stored_as_ever() {
    check("ca_certificate", &sample::ca_certificate("Root of 2026", &certificate()));
    check("block", &sample::block(&certificate()));
    check("block_of_key", &sample::key_block(&certificate()));
    let crl = Crl::parse(&fs::read_to_string(directory().join("revocation_list.pem")).unwrap()).unwrap();
    check("revocation_list", &sample::revocation_list("Root of 2026", &crl));
    let several = RevocationList { id: ListId::of(&crl), ..sample::revocation_list("Root of 2026", &crl) };
    check("revocation_list_of_several", &several);
    let addresses = ["http://crl.example/1.crl", "http://crl.example/2.crl"];
    let addresses = addresses.map(|text| HttpUrl::parse(text).unwrap());
    let mut ca = sample::ca_certificate("Root of 2026", &certificate());
    ca.revocation.fetched_from = CrlAddresses::new(addresses).unwrap();
    check("ca_certificate_with_several_addresses", &ca);
}

#[test]
fn registrations_are_stored_as_ever() {
    for (name, status) in sample::statuses("Dev-1") {
        let mut record = sample::registration("Dev-1");
        record.status = status;
        check(&format!("registration_{name}"), &record);
    }
    let mut record = sample::registration("Dev-1");
    let failure = Failure { reason: FailureReason::HubRefused, message: "quota".to_owned() };
    record.status = Status::Failed { failure, current: None };
    check("registration_failed_for_a_reason", &record);
    let mut record = sample::while_assigning(sample::registration("Dev-1"));
    if let Status::Assigning { admitted_by, .. } = &mut record.status {
        let enrollment = model::Enrollment::Individual(Box::new(sample::individual("Dev-1")));
        *admitted_by = Some(model::AttestationDigest::of(&enrollment));
    }
    check("registration_assigning_admitted", &record);
    if let Status::Assigning { runner, .. } = &mut record.status {
        *runner = Some(model::LeaseToken::new(7));
    }
    check("registration_assigning_of_runner", &record);
    let mut record = sample::registration("Dev-1");
    let key = KeyUse::of(&sample::keys(10), KeySlot::Secondary);
    record.attestation = LastAttestation::SymmetricKey(Some(key));
    check("registration_by_secondary_key", &record);
    let mut record = sample::registration("Dev-1");
    let (identity, hub_keys) = (sample::tpm_identity(7, 8), sample::keys(50));
    let mut handover = TpmHandover { identity, hub_keys, challenge: None };
    record.attestation = LastAttestation::Tpm(Box::new(handover.clone()));
    check("registration_attested_by_tpm", &record);
    reads("registration_by_tpm", &record);
    handover.challenge = Some(Challenge { number: 3, period: 1_994_880 });
    record.attestation = LastAttestation::Tpm(Box::new(handover));
    check("registration_attested_by_tpm_challenge", &record);
    reads("registration_by_tpm_challenge", &record);
    let mut record = sample::registration("Dev-1");
    record.status = Status::Assigned(Assignment { generation: generation(), ..sample::assignment("Dev-1") });
    check("registration_assigned_of_generation", &record);
    let mut record = sample::registration_of("Dev-1", "Line-1");
    record.decisions.push(moved());
    check("registration_moved_between_groups_at", &record);
    reads("registration_moved_between_groups", &record);
    let mut record = sample::registration("Dev-1");
    record.decisions.push(Decision { outcome: assigned(true), moved_from: None, ..moved() });
    check("registration_took_over_a_device_at", &record);
    reads("registration_took_over_a_device", &record);
    let mut record = sample::registration("Dev-1");
    let chosen = Chosen { hub: sample::hub_name("hub-1.example"), because: Because::OnlyHub };
    record.decisions.push(Decision { chosen: Some(chosen), moved_from: None, ..moved() });
    check("registration_at_the_only_hub_at", &record);
    reads("registration_at_the_only_hub", &record);
    let mut record = sample::registration("Dev-1");
    let reply = WebhookReply::new(Timestamp::from_unix_seconds(1_800_000_000), 503, b"<p>\x1b[0mlater");
    record.decisions.push(Decision { webhook: Some(reply), moved_from: None, ..moved() });
    check("registration_asked_a_webhook", &record);
    let mut record = sample::registration_of("Dev-1", "Line-1");
    record.payload = Some(model::RawJson::from(&json!({"z": 1, "a": [true, null]})));
    check("registration_of_group_with_payload", &record);
    assert_eq!(record.enrollment, EnrollmentRef::Group(sample::group_id("line-1")));
}

fn generation() -> Option<Generation> {
    Generation::parse("638996352000000001").ok()
}

/// The decision about a device that the group took over from another.
fn moved() -> Decision {
    Decision {
        at: Timestamp::from_unix_seconds(1_800_000_000),
        enrollment: EnrollmentRef::Group(sample::group_id("Line-1")),
        moved_from: Some(sample::group_id("Line-2")),
        returning: None,
        policy: AllocationPolicy::Hashed,
        policy_of: PolicyOf::Service,
        candidates: Vec::new(),
        latencies_from: None,
        chosen: None,
        webhook: None,
        outcome: assigned(false),
    }
}

fn assigned(took_over: bool) -> DecisionOutcome {
    let at = Timestamp::from_unix_seconds(1_800_000_000);
    DecisionOutcome::Ended(DecisionEnd { at, result: DecisionResult::Assigned, took_over })
}

#[test]
fn cleanups_are_stored_as_ever() {
    let cleanup = sample::cleanup("hub-1.example", "Dev-1");
    check("cleanup", &cleanup);
    check("cleanup_confirmed", &Cleanup { confirmed: true, ..cleanup.clone() });
    let last = cleanup.tries.last().cloned().unwrap();
    let failed = FailedTry { pause: Some(Duration::from_secs(60)), ..last };
    check("cleanup_with_pause", &Cleanup { tries: cleanup.tries.and_failed(failed), ..cleanup.clone() });
    let residue = Residue { generation: generation(), ..cleanup.residue.clone() };
    check("cleanup_of_generation", &Cleanup { residue, ..cleanup });
}

#[test]
fn refused_attempts_are_stored_as_ever() {
    for (name, mut attempt) in sample::attempts("Dev-1") {
        check(&format!("attempt_{name}"), &attempt);
        if let Admission::Refused { code, .. } = &mut attempt.explanation.outcome {
            *code = Some(RefusalReason::WrongKey);
            check(&format!("attempt_{name}_by_code"), &attempt);
        }
    }
}

fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(name: &str, record: &T) {
    let golden = directory().join(format!("{name}.json"));
    // By way of a value, because JSON that only passes through would keep its own form.
    let today = serde_json::to_string_pretty(&serde_json::to_value(record).unwrap()).unwrap() + "\n";
    let Ok(stored) = fs::read_to_string(&golden) else {
        let proposed = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.json"));
        fs::write(&proposed, today).unwrap();
        panic!("there is no {}; today's form is in {}", golden.display(), proposed.display());
    };
    assert_eq!(&serde_json::from_str::<T>(&stored).unwrap(), record, "{name} is read differently");
    assert_eq!(today, stored, "{name} is written differently");
}

/// Checks a document that is read for ever, and is not written in this form: it has members in a combination that means
/// nothing.
fn reads<T: DeserializeOwned + PartialEq + std::fmt::Debug>(name: &str, record: &T) {
    let stored = fs::read_to_string(directory().join(format!("{name}.json"))).unwrap();
    assert_eq!(&serde_json::from_str::<T>(&stored).unwrap(), record, "{name} is read differently");
}

/// Always the same one: certificates made for a test differ from run to run.
fn certificate() -> Certificate {
    Certificate::parse(&fs::read_to_string(directory().join("certificate.pem")).unwrap()).unwrap()
}

fn directory() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden"))
}
