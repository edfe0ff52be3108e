//! A table of [`plan`]: what a device gets, by its registration and by what changed since.

use std::sync::Arc;

use aws_lc_rs::hmac;
use certpath::CrlMaxAge;
use model::{
    AllocationPolicy, Assignment, AttestationDigest, DeviceId, DeviceSpec, Enrollment, EnrollmentRef,
    EnrollmentSettings, Failure, FailureReason, IndividualAttestation, IndividualEnrollment, Instance,
    LastAttestation, PendingStep, ProvisioningStatus, Registration, ReprovisionAction, ReprovisionPolicy,
    Returning, SignedClaim, Status, Timestamp, Tries, Trust,
};
use testkit::sample;

use super::{Case, Plan, plan};
use crate::{
    allocate::Situation,
    attest::{self, Attested, Claimant, Evidence, Proof, x509::CaRules},
    register::{DefaultReprovision, RegisterRequest},
};

const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);
const DEVICE: &str = "dev-1";

/// A device with a key of its own, which is enabled and allowed at any hub. The cases change it and its registration.
struct Device {
    instance: Instance,
    enrollment: IndividualEnrollment,
    record: Option<Registration>,
}

impl Device {
    fn new() -> Device {
        let enrollment = IndividualEnrollment {
            device_id: None,
            settings: EnrollmentSettings::default(),
            ..sample::individual(DEVICE)
        };
        Device { instance: sample::instance("one"), enrollment, record: None }
    }

    /// Makes a device that is assigned as planned.
    fn assigned() -> Device {
        let device = Device::new();
        let assignment = device.spec().assignment();
        Device { record: Some(record(Status::Assigned(assignment))), ..device }
    }

    /// Makes a device whose planned run is under way.
    fn assigning() -> Device {
        let device = Device::new();
        let step = PendingStep::Ensure(Box::new(device.spec()));
        device.with_step(step)
    }

    fn with_step(self, step: PendingStep) -> Device {
        let enrollment = Enrollment::Individual(Box::new(self.enrollment.clone()));
        let admitted_by = Some(AttestationDigest::of(&enrollment));
        let (tries, runner) = (Tries::default(), None);
        let status = Status::Assigning { step, from: None, admitted_by, tries, runner };
        Device { record: Some(record(status)), ..self }
    }

    fn with(mut self, change: impl FnOnce(&mut Device)) -> Device {
        change(&mut self);
        self
    }

    fn record(&mut self) -> &mut Registration {
        self.record.as_mut().unwrap()
    }

    fn assignment(&mut self) -> &mut Assignment {
        match &mut self.record().status {
            Status::Assigned(assignment) => assignment,
            other => panic!("{other:?}"),
        }
    }

    fn attested(&self) -> (Box<Attested>, RegisterRequest) {
        let registration_id = sample::registration_id(DEVICE);
        let evidence = Evidence { claim: Some(self.claim()), ..Evidence::default() };
        let known = Arc::new(Trust::default());
        let claimant = Claimant {
            scope: &self.instance.id_scope,
            registration_id: &registration_id,
            evidence: &evidence,
            tpm: None,
            ca: CaRules { known: &known, require_verified: false, crl_max_age: CrlMaxAge::default() },
            now: NOW,
        };
        let proof = attest::individual(self.enrollment.clone(), &claimant).unwrap();
        let Proof::Attested(attested) = proof else { panic!("a challenge") };
        let default_reprovision = DefaultReprovision::Migrate;
        (
            attested,
            RegisterRequest { evidence, payload: None, address: None, default_reprovision, runner: None },
        )
    }

    /// Signs a claim with the key of the enrollment.
    fn claim(&self) -> SignedClaim {
        let IndividualAttestation::SymmetricKey(keys) = &self.enrollment.attestation else {
            panic!("no key")
        };
        let resource = format!("{}/registrations/{DEVICE}", self.instance.id_scope);
        let expires = NOW.plus_seconds(3600);
        let signed_text = format!("{resource}\n{}", expires.unix_seconds());
        let key = hmac::Key::new(hmac::HMAC_SHA256, keys.primary.as_bytes());
        let mac = hmac::sign(&key, signed_text.as_bytes()).as_ref().to_vec();
        SignedClaim { resource, signed_text, expires, mac, policy: Some("registration".into()) }
    }

    fn plan(&self) -> Plan {
        let (attested, request) = self.attested();
        plan(&Case {
            instance: &self.instance,
            attested: &attested,
            name: &sample::registration_id(DEVICE),
            previous: self.record.as_ref(),
            request: &request,
            situation: &Situation::default(),
            now: NOW,
        })
    }

    fn spec(&self) -> DeviceSpec {
        match self.plan() {
            Plan::Assign(PendingStep::Ensure(spec), _) => *spec,
            other => panic!("{other:?}"),
        }
    }
}

fn record(status: Status) -> Registration {
    Registration { status, ..sample::registration(DEVICE) }
}

/// A change since the device registered.
type Change = fn(&mut Device);

#[track_caller]
fn check(case: &str, device: &Device, expected: &str) {
    let planned = match device.plan() {
        Plan::Disable => "disable",
        Plan::Fail(..) => "fail",
        Plan::Join => "join",
        Plan::Confirm(..) => "confirm",
        Plan::Redo(_) => "redo",
        Plan::Assign(PendingStep::Ensure(_), _) => "assign",
        Plan::Assign(PendingStep::Allocate(_), _) => "ask",
    };
    assert_eq!(planned, expected, "{case}");
}

#[test]
fn a_device_without_an_assignment_gets_one_unless_it_is_disabled_or_has_no_hub() {
    check("new", &Device::new(), "assign");
    check("disabled", &Device::new().with(disable), "disable");
    check("no hub", &Device::new().with(unlink_all), "fail");
    check("a webhook", &Device::new().with(ask_webhook), "ask");
    let failed = |device: &mut Device| {
        let failure = Failure { reason: FailureReason::Canceled, message: String::new() };
        device.record = Some(record(Status::Failed { failure, current: None }));
    };
    check("failed before", &Device::new().with(failed), "assign");
}

#[test]
fn an_assigned_device_is_confirmed_only_if_nothing_differs() {
    check("as it was", &Device::assigned(), "confirm");
    let cases: [(&str, Change); 9] = [
        ("another key", |device| {
            device.enrollment.attestation = IndividualAttestation::SymmetricKey(sample::keys(40));
        }),
        ("another capability", |device| device.enrollment.settings.iot_edge = Some(true)),
        ("another device ID", |device| device.enrollment.device_id = DeviceId::parse("other").ok()),
        ("its twin is reset", |device| {
            device.enrollment.settings.reprovision_policy = Some(ReprovisionPolicy::Reset);
        }),
        ("unknown which spec is in effect", |device| {
            device.assignment().sent.push(sample::device_spec("later").digest());
        }),
        ("another spec was applied", |device| {
            device.assignment().spec = sample::device_spec("later").digest();
        }),
        ("it came through a group", |device| {
            device.record().enrollment = EnrollmentRef::Group(sample::group_id("line"));
        }),
        ("it attested by another mechanism", |device| device.record().attestation = LastAttestation::X509),
        ("the last run failed", |device| {
            let current = Some(device.assignment().clone());
            let failure = Failure { reason: FailureReason::Canceled, message: String::new() };
            device.record().status = Status::Failed { failure, current };
        }),
    ];
    for (case, change) in cases {
        check(case, &Device::assigned().with(change), "assign");
    }
    check("disabled", &Device::assigned().with(disable), "disable");
    check("its hub was unlinked, and there is no other", &Device::assigned().with(unlink_all), "fail");
    let closed = |device: &mut Device| {
        device.instance.linked_hubs.iter_mut().for_each(|hub| hub.takes_new_devices = false);
    };
    check("no hub takes new devices", &Device::assigned().with(closed), "confirm");
    check("a webhook", &Device::assigned().with(ask_webhook), "ask");
}

#[test]
fn a_run_under_way_is_joined_only_if_nothing_differs() {
    check("as it was", &Device::assigning(), "join");
    check("disabled", &Device::assigning().with(disable), "disable");
    check("its hub was unlinked", &Device::assigning().with(unlink_all), "fail");
    let edge = |device: &mut Device| device.enrollment.settings.iot_edge = Some(true);
    check("another capability", &Device::assigning().with(edge), "redo");
    let key = |device: &mut Device| {
        device.enrollment.attestation = IndividualAttestation::SymmetricKey(sample::keys(40));
    };
    check("another key", &Device::assigning().with(key), "redo");
    let group = |device: &mut Device| {
        device.record().enrollment = EnrollmentRef::Group(sample::group_id("line"));
    };
    check("it came through a group", &Device::assigning().with(group), "redo");

    let asking = Device::new().with(ask_webhook);
    let Plan::Assign(step, _) = asking.plan() else { panic!("no webhook") };
    let asking = asking.with_step(step);
    check("a webhook is being asked", &asking, "join");
    let another = |device: &mut Device| {
        let webhook = device.enrollment.settings.custom_allocation.as_mut().unwrap();
        webhook.webhook_url.push('2');
    };
    check("another webhook", &asking.with(another), "ask");
}

#[test]
fn a_decision_names_the_hub_that_the_device_returns_from() {
    let returning = |device: &Device| match device.plan() {
        Plan::Confirm(_, decision) | Plan::Assign(_, decision) | Plan::Fail(_, decision) => {
            decision.returning
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(returning(&Device::new()), None);
    let mut assigned = Device::assigned();
    let from = assigned.assignment().hub.clone();
    let expected = Some(Returning { from, reprovision: ReprovisionAction::Migrate, substatus: None });
    assert_eq!(returning(&assigned), expected);
    assert_eq!(returning(&assigned.with(unlink_all)), expected);
}

fn disable(device: &mut Device) {
    device.enrollment.settings.provisioning_status = ProvisioningStatus::Disabled;
}

fn unlink_all(device: &mut Device) {
    device.instance.linked_hubs.clear();
}

fn ask_webhook(device: &mut Device) {
    let settings = &mut device.enrollment.settings;
    settings.allocation_policy = Some(AllocationPolicy::Custom);
    settings.custom_allocation = sample::settings().custom_allocation;
}
