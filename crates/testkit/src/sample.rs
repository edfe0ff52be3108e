//! Records with every field set, and lists of all variants of a field.

use std::net::IpAddr;

use certpath::{Crl, CrlMaxAge, Sha256Thumbprint};
use model::{
    AccessPolicy, Actor, Admission, AllocationPolicy, AllocationWeight, Assignment, Attempt, Attribution,
    Block, BlockReason, BlockScope, CaCertificate, CaReference, Certificate, CertificatePolicy, Cleanup,
    CleanupCause, Configured, ConsideredEnrollment, CustomAllocation, Decisions, DeviceId, DeviceSpec,
    EndorsementKey, EnrollmentGroup, EnrollmentGroupId, EnrollmentRef, EnrollmentSettings, Etag, Explanation,
    FailedTry, Failure, FailureReason, Fit, GroupAttestation, GroupCertificates, HostName, HttpUrl,
    HubAccess, HubCredentials, HubEndpoint, HubName, IdScope, Identity, IndividualAttestation,
    IndividualCertificates, IndividualEnrollment, InitialTwin, Instance, Issuer, LastAttestation, LinkedHub,
    ListId, LogOperation, ManagedBy, OperationId, Pair, PendingStep, PolicyName, ProvisioningStatus, Record,
    Registration, RegistrationId, RegistrationOwnership, ReprovisionPolicy, ResourceFacts, RevocationList,
    RevocationPolicy, RevocationSettings, Rights, Status, StorageRootKey, Subject, Substatus, SymmetricKey,
    SymmetricKeyPair, Timestamp, TpmAttestation, TpmIdentity, Tries, TwinCollection, TwinSpec,
    VerificationCode,
};
use serde_json::{Value, json};

/// Returns an instance with two linked hubs and the host name `SCOPE.example`.
pub fn instance(scope: &str) -> Instance {
    let hub = |name: &str, endpoint, weight, takes_new_devices| LinkedHub {
        name: hub_name(name),
        endpoint,
        location: "north".to_owned(),
        weight: AllocationWeight::new(weight).unwrap(),
        takes_new_devices,
        max_devices: Some(1_000_000),
    };
    Instance {
        id_scope: self::scope(scope),
        name: format!("instance {scope}"),
        service_hosts: vec![HostName::parse(format!("{scope}.example")).unwrap()],
        allocation_policy: AllocationPolicy::Hashed,
        access_policies: vec![AccessPolicy {
            name: PolicyName::parse("provisioningserviceowner").unwrap(),
            primary_key: key(1),
            secondary_key: key(2),
            rights: Rights::OF_POLICIES,
        }],
        linked_hubs: vec![
            hub("hub-1.example", HubEndpoint::Embedded, 1, true),
            hub("hub-2.example", HubEndpoint::Access(hub_access()), 3, false),
        ],
        failover: true,
        require_verified_ca: false,
        registrations: RegistrationOwnership::default(),
        existing_devices: model::ExistingDevices::default(),
        crl_max_age: CrlMaxAge::default(),
        max_registrations_per_minute: None,
        quotas: Default::default(),
        public_network_access: Default::default(),
        ip_filter: Default::default(),
        latency_table: Default::default(),
        keep_attempts: None,
        resource: ResourceFacts::default(),
        managed: ManagedBy::File,
        deletion: None,
        cleanups_held: None,
        configured: Configured {
            allocation_policy: AllocationPolicy::GeoLatency,
            failover: true,
            linked_hubs: vec![hub("hub-1.example", HubEndpoint::Embedded, 2, true)],
            settings: Default::default(),
        },
        webhook_key: None,
        operation_key: key(3),
    }
}

/// Returns the attribution of changes of samples.
pub fn by() -> Attribution {
    let (actor, at) = (operator(), Timestamp::from_unix_seconds(1_795_900_000));
    Attribution { actor, operation: LogOperation::EnrollmentPut, at }
}

/// Returns an operator.
pub fn operator() -> Actor {
    let identity = Identity::Policy(PolicyName::parse("provisioningserviceowner").unwrap());
    Actor::Operator { identity, address: Some(IpAddr::from([192, 0, 2, 7])) }
}

/// Returns an operator with an access policy of the management API, which has the name of that of [`operator`].
pub fn management_operator() -> Actor {
    let identity = Identity::ManagementPolicy(PolicyName::parse("provisioningserviceowner").unwrap());
    Actor::Operator { identity, address: None }
}

/// Returns an operator with a bearer token.
pub fn subject() -> Actor {
    let issuer = Issuer::parse("https://login.example/plant").unwrap();
    let identity = Identity::Subject(Subject::parse(issuer, "alice").unwrap());
    Actor::Operator { identity, address: None }
}

/// Returns the access to a hub by a key.
pub fn hub_access() -> HubAccess {
    HubAccess { port: 443, policy: "iothubowner".to_owned(), key: key(4), ca: Vec::new() }
}

/// Returns an individual enrollment with symmetric keys.
pub fn individual(id: &str) -> IndividualEnrollment {
    IndividualEnrollment {
        registration_id: registration_id(id),
        device_id: Some(DeviceId::parse(format!("Device-{id}")).unwrap()),
        attestation: IndividualAttestation::SymmetricKey(keys(10)),
        device_information: Some(collection(json!({"floor": 3, "room": {"name": "Küche"}}))),
        settings: settings(),
        record: record("individual-1"),
    }
}

/// Returns an enrollment group with symmetric keys.
pub fn group(id: &str) -> EnrollmentGroup {
    EnrollmentGroup {
        group_id: group_id(id),
        attestation: GroupAttestation::SymmetricKey(keys(20)),
        registration_ids: None,
        settings: settings(),
        record: record("group-1"),
    }
}

/// Returns an enrollment group with one or two signing certificates.
pub fn signing_group(id: &str, primary: &Certificate, secondary: Option<&Certificate>) -> EnrollmentGroup {
    let pair = Pair::new(Some(primary.clone()), secondary.cloned()).unwrap();
    EnrollmentGroup { attestation: GroupAttestation::X509(GroupCertificates::Signing(pair)), ..group(id) }
}

/// Returns an unverified CA certificate whose revocation list is fetched.
pub fn ca_certificate(name: &str, certificate: &Certificate) -> CaCertificate {
    CaCertificate {
        name: ca_reference(name),
        certificate: certificate.clone(),
        is_verified: false,
        verification_code: Some(VerificationCode::parse("0123456789ABCDEF").unwrap()),
        revocation: RevocationSettings {
            policy: RevocationPolicy::Hard,
            fetched_from: HttpUrl::parse("http://crl.example/root.crl").unwrap().into(),
        },
        record: record("certificate-1"),
    }
}

/// Returns the first revocation list of the CA certificate with this name.
pub fn revocation_list(authority: &str, crl: &Crl) -> RevocationList {
    let signed_by = Sha256Thumbprint::of(b"root");
    RevocationList {
        authority: ca_reference(authority),
        id: ListId::first(),
        signed_by,
        crl: crl.clone(),
        record: record("list-1"),
    }
}

/// Returns a block of a certificate in the form of earlier versions, without the hashes of TBS certificate and key.
pub fn block(certificate: &Certificate) -> Block {
    Block {
        thumbprint: certificate.thumbprint().clone(),
        reason: BlockReason::parse("stolen from the truck").unwrap(),
        subject: Some(certificate.info().subject_name.clone()),
        scope: BlockScope::Thumbprint,
        record: record("block-1"),
    }
}

/// Returns a block of a certificate in all its encodings.
pub fn certificate_block(certificate: &Certificate) -> Block {
    let scope = BlockScope::Certificate(certificate.parts().unwrap().tbs_hash());
    Block { scope, ..block(certificate) }
}

/// Returns a block of a certificate and of its key.
pub fn key_block(certificate: &Certificate) -> Block {
    let parts = certificate.parts().unwrap();
    let scope = BlockScope::Key { key: parts.key_hash(), certificate: Some(parts.tbs_hash()) };
    Block { scope, ..block(certificate) }
}

/// Returns an assigned registration of an individual enrollment.
pub fn registration(id: &str) -> Registration {
    Registration {
        registration_id: registration_id(id),
        enrollment: EnrollmentRef::Individual,
        attestation: LastAttestation::SymmetricKey(None),
        status: Status::Assigned(assignment(id)),
        operation_id: OperationId::parse("4.0123456789abcdef.01234567-89ab-cdef-0123-456789abcdef").unwrap(),
        payload: None,
        decisions: Decisions::default(),
        record: record("registration-1"),
    }
}

/// Returns an assigned registration of an enrollment group.
pub fn registration_of(id: &str, group: &str) -> Registration {
    Registration {
        enrollment: EnrollmentRef::Group(group_id(group)),
        attestation: LastAttestation::X509,
        ..registration(id)
    }
}

/// Changes the status of a registration to `assigning`.
pub fn while_assigning(registration: Registration) -> Registration {
    let spec = Box::new(device_spec(registration.registration_id.as_str()));
    let status = Status::Assigning {
        step: PendingStep::Ensure(spec),
        from: None,
        admitted_by: None,
        tries: Tries::default(),
        runner: None,
    };
    Registration { status, ..registration }
}

/// Returns the device spec of a device.
pub fn device_spec(id: &str) -> DeviceSpec {
    DeviceSpec {
        hub: hub_name("hub-1.example"),
        device_id: DeviceId::parse(id).unwrap(),
        substatus: Substatus::InitialAssignment,
        credentials: HubCredentials::SymmetricKeys(keys(30)),
        iot_edge: true,
        twin: TwinSpec::Initialize(twin()),
        sent: Vec::new(),
        existing: Default::default(),
    }
}

/// Returns the assignment that follows from [`device_spec`].
pub fn assignment(id: &str) -> Assignment {
    device_spec(id).assignment()
}

/// Returns all attestations of individual enrollments, each with a name. `leaf` is the device's certificate.
pub fn individual_attestations(leaf: &Certificate) -> Vec<(&'static str, IndividualAttestation)> {
    use IndividualAttestation::{SymmetricKey, Tpm, X509};
    let TpmIdentity { endorsement_key, storage_root_key } = tpm_identity(7, 8);
    let tpm =
        |storage_root_key| TpmAttestation { endorsement_key: endorsement_key.clone(), storage_root_key };
    let client = |primary, secondary| IndividualCertificates::Client(Pair::new(primary, secondary).unwrap());
    vec![
        ("symmetric_key", SymmetricKey(keys(10))),
        ("tpm", Tpm(tpm(None))),
        ("tpm_with_storage_root_key", Tpm(tpm(Some(storage_root_key)))),
        ("x509_client", X509(client(Some(leaf.clone()), Some(leaf.clone())))),
        ("x509_client_secondary_only", X509(client(None, Some(leaf.clone())))),
        ("x509_ca_references", X509(IndividualCertificates::CaReferences(ca_references()))),
    ]
}

/// Returns all attestations of enrollment groups, each with a name. `ca` is the signing certificate.
pub fn group_attestations(ca: &Certificate) -> Vec<(&'static str, GroupAttestation)> {
    use GroupAttestation::{SymmetricKey, X509};
    let signing = |secondary| GroupCertificates::Signing(Pair::new(Some(ca.clone()), secondary).unwrap());
    vec![
        ("symmetric_key", SymmetricKey(keys(20))),
        ("x509_signing", X509(signing(None))),
        ("x509_signing_both", X509(signing(Some(ca.clone())))),
        ("x509_ca_references", X509(GroupCertificates::CaReferences(ca_references()))),
    ]
}

/// Returns all statuses of a registration, each with a name.
pub fn statuses(id: &str) -> Vec<(&'static str, Status)> {
    // The form of earlier versions, which stored the code in place of the reason.
    let failure = Failure { reason: FailureReason::Recorded(404_001), message: "no enrollment".to_owned() };
    let certificate = HubCredentials::Certificate(Sha256Thumbprint::of(b"leaf"));
    let twin = TwinSpec::Keep { initial: twin() };
    let keep = DeviceSpec { credentials: certificate, iot_edge: false, twin, ..device_spec(id) };
    let carry = DeviceSpec { twin: TwinSpec::Migrate { initial: self::twin() }, ..device_spec(id) };
    let carry = carry.with_sent([keep.digest()]);
    let in_doubt = Assignment { sent: vec![keep.digest()], ..assignment(id) };
    let assigning = |spec, from, tries| Status::Assigning {
        step: PendingStep::Ensure(Box::new(spec)),
        from,
        admitted_by: None,
        tries,
        runner: None,
    };
    let moved = Assignment { substatus: Substatus::DeviceDataMigrated, ..assignment(id) };
    let reset = Assignment { substatus: Substatus::DeviceDataReset, ..assignment(id) };
    let returned = Assignment { substatus: Substatus::ReprovisionedToInitialAssignment, ..assignment(id) };
    vec![
        ("assigning", assigning(device_spec(id), None, Tries::default())),
        ("assigning_from", assigning(keep, Some(in_doubt), tries())),
        ("assigning_carrying", assigning(carry, Some(assignment(id)), Tries::default())),
        ("assigned", Status::Assigned(assignment(id))),
        ("assigned_migrated", Status::Assigned(moved)),
        ("assigned_reset", Status::Assigned(reset)),
        ("failed", Status::Failed { failure: failure.clone(), current: None }),
        ("failed_standing", Status::Failed { failure, current: Some(returned) }),
        ("disabled", Status::Disabled { current: None }),
        ("disabled_standing", Status::Disabled { current: Some(assignment(id)) }),
    ]
}

/// Returns a cleanup of a device at a hub.
pub fn cleanup(hub: &str, device: &str) -> Cleanup {
    let spec = DeviceSpec { hub: hub_name(hub), ..device_spec(device) };
    Cleanup {
        residue: spec.residue(),
        registration_id: registration_id(device),
        cause: CleanupCause::Moved,
        tries: tries(),
        confirmed: false,
        record: record("cleanup-1"),
    }
}

/// Returns refused attempts, each with a name: one whose explanation has every field set, one of a device whose
/// enrollment is disabled, and one of an unknown device.
pub fn attempts(device: &str) -> [(&'static str, Attempt); 3] {
    let reason = || "the SAS token's signature fits neither key".to_owned();
    let group = |id| EnrollmentRef::Group(group_id(id));
    let path = vec!["CN=Dev-1".to_owned(), "CN=Factory".to_owned()];
    let considered = [
        (EnrollmentRef::Individual, Fit::Refuses { reason: reason() }),
        (group("line-1"), Fit::Fits { path, key: None }),
    ];
    let refused = Explanation {
        presented: vec!["a SAS token for \"0ne00000A0A/registrations/Dev-1\"".to_owned()],
        considered: considered.map(|(enrollment, fit)| ConsideredEnrollment { enrollment, fit }).into(),
        omitted: 3,
        unfit: vec!["CN=Factory: expired".to_owned()],
        outcome: Admission::Refused { reason: reason(), code: None },
    };
    let attempt = Attempt {
        registration_id: registration_id(device),
        at: Timestamp::parse("2026-11-23T09:35:50.1234567Z").unwrap(),
        address: Some([192, 0, 2, 7].into()),
        known: true,
        explanation: refused.clone(),
    };
    let disabled = Explanation { outcome: Admission::Disabled(group("line-1")), ..refused };
    let nothing = Explanation {
        presented: Vec::new(),
        considered: Vec::new(),
        omitted: 0,
        unfit: Vec::new(),
        outcome: Admission::Refused {
            reason: "no enrollment of this ID scope fits the device".to_owned(),
            code: None,
        },
    };
    let v6 = Some([0x2001, 0xDB8, 0, 0, 0, 0, 0, 7].into());
    [
        ("refused", attempt.clone()),
        ("disabled", Attempt { address: v6, explanation: disabled, ..attempt.clone() }),
        ("unknown", Attempt { address: None, known: false, explanation: nothing, ..attempt }),
    ]
}

fn tries() -> Tries {
    let next = Timestamp::parse("2026-11-24T00:01:00Z").unwrap();
    let failed = FailedTry { reason: "hub-1.example: 503".to_owned(), next, pause: None };
    (0..7).fold(Tries::default(), |tries, _| tries.and_failed(failed.clone()))
}

/// Returns settings of which none has its default.
pub fn settings() -> EnrollmentSettings {
    EnrollmentSettings {
        provisioning_status: ProvisioningStatus::Disabled,
        iot_edge: Some(true),
        initial_twin: Some(twin()),
        reprovision_policy: Some(ReprovisionPolicy::Reset),
        allocation_policy: Some(AllocationPolicy::Custom),
        hubs: vec![hub_name("hub-2.example"), hub_name("hub-1.example")],
        hub: Some(hub_name("hub-1.example")),
        custom_allocation: Some(CustomAllocation {
            webhook_url: "https://webhook.example/allocate?code=secret".to_owned(),
            api_version: "2021-10-01".to_owned(),
        }),
        certificate_policy: CertificatePolicy {
            credential_policy: Some("credential".to_owned()),
            namespace: Some("namespace".to_owned()),
            authority: Some("authority".to_owned()),
            policy: Some("policy".to_owned()),
        },
        managed_by: None,
    }
}

/// Returns an initial twin with nested values, members that are not in alphabetical order, and numbers of both kinds.
pub fn twin() -> InitialTwin {
    InitialTwin {
        tags: Some(collection(json!({"site": "A", "line": 4}))),
        desired: Some(collection(json!({"z": 1, "a": {"deep": [1, 2.5, null, "ü"]}, "on": true}))),
    }
}

/// Returns a record with this etag and fixed times.
pub fn record(etag: &str) -> Record {
    Record {
        etag: self::etag(etag),
        created: Timestamp::parse("2026-11-23T08:09:10.1234567Z").unwrap(),
        last_updated: Timestamp::parse("2026-11-24T00:00:00.0000001Z").unwrap(),
    }
}

/// Returns a pair of keys, which differ for each number.
pub fn keys(number: u8) -> SymmetricKeyPair {
    SymmetricKeyPair { primary: key(number), secondary: key(number + 1) }
}

/// Returns a key of 64 equal bytes.
pub fn key(byte: u8) -> SymmetricKey {
    SymmetricKey::from_bytes(&[byte; SymmetricKey::MAX_BYTES]).unwrap()
}

/// Parses an ID scope.
pub fn scope(text: &str) -> IdScope {
    IdScope::parse(text).unwrap()
}

/// Parses a registration ID.
pub fn registration_id(text: &str) -> RegistrationId {
    RegistrationId::parse(text).unwrap()
}

/// Parses the ID of an enrollment group.
pub fn group_id(text: &str) -> EnrollmentGroupId {
    EnrollmentGroupId::parse(text).unwrap()
}

/// Parses the name of a hub.
pub fn hub_name(text: &str) -> HubName {
    HubName::parse(text).unwrap()
}

/// Parses an etag.
pub fn etag(text: &str) -> Etag {
    Etag::parse(text).unwrap()
}

/// Parses the name of a CA certificate.
pub fn ca_reference(text: &str) -> CaReference {
    CaReference::parse(text).unwrap()
}

fn ca_references() -> Pair<CaReference> {
    Pair::new(Some(ca_reference("root of 2026")), Some(ca_reference("root of 2027"))).unwrap()
}

/// Returns the `TPM2B_PUBLIC` of an RSA-2048 storage key, whose modulus consists of this byte.
pub fn tpm_public(byte: u8) -> Vec<u8> {
    let head =
        [1, 26, 0, 1, 0, 0x0B, 0, 3, 4, 0x72, 0, 0, 0, 6, 0, 128, 0, 0x43, 0, 0x10, 8, 0, 0, 0, 0, 0, 1, 0];
    let mut bytes = [&head[..], &[byte; 256]].concat();
    // A modulus is odd, and its highest bit is set.
    bytes[28] |= 0x80;
    bytes[283] |= 1;
    bytes
}

/// Returns the public keys of a TPM, which differ for each number. The private keys do not exist.
pub fn tpm_identity(endorsement: u8, storage: u8) -> TpmIdentity {
    TpmIdentity {
        endorsement_key: EndorsementKey::from_bytes(tpm_public(endorsement)).unwrap(),
        storage_root_key: StorageRootKey::from_bytes(tpm_public(storage)).unwrap(),
    }
}

/// Converts a `json!` literal that is an object.
fn collection(object: Value) -> TwinCollection {
    TwinCollection::from(object.as_object().cloned().unwrap())
}
