//! Replies to devices. Absent members are omitted: some clients reject null.

use base64::{Engine, engine::general_purpose::STANDARD};
use model::{AttestedBy, EnrollmentRef, OperationId, Registration, RegistrationId, Status, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::failure_code;
use crate::api_version::DeviceApiVersion;

/// The reply to a register call and to a poll: `RegistrationOperationStatus`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OperationReply {
    /// The operation to poll; empty if there is none.
    pub operation_id: String,
    /// One of `assigning`, `assigned`, `failed`, `disabled`.
    pub status: &'static str,
    /// The registration; omitted from the first `assigning`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration_state: Option<Value>,
}

impl OperationReply {
    /// Creates the first reply of an unfinished operation, which has no registration state, like the hosted service's.
    pub fn accepted(operation_id: &OperationId) -> Self {
        OperationReply {
            operation_id: operation_id.to_string(),
            status: "assigning",
            registration_state: None,
        }
    }

    /// Creates a later reply of an unfinished operation.
    pub fn assigning(operation_id: &OperationId, registration_id: &RegistrationId) -> Self {
        let state = json!({"registrationId": registration_id, "status": "assigning"});
        OperationReply { registration_state: Some(state), ..Self::accepted(operation_id) }
    }

    /// Creates the reply with the state of a registration, in the terms of an API version.
    pub fn of(registration: &Registration, version: DeviceApiVersion) -> Self {
        OperationReply {
            operation_id: registration.operation_id.to_string(),
            status: registration.status.kind().name(),
            registration_state: Some(registration_result(registration, version)),
        }
    }
}

impl OperationReply {
    /// Adds the hub key of a device with a TPM: a blob that only this TPM can decrypt, in base64.
    pub fn with_authentication_key(mut self, blob: &[u8]) -> Self {
        if let Some(Value::Object(state)) = &mut self.registration_state {
            state.insert("tpm".into(), json!({"authenticationKey": STANDARD.encode(blob)}));
        }
        self
    }
}

/// The TPM challenge, sent with status 401 to a device that has not proved its identity: a blob that only the TPM can
/// decrypt, and the name of the key in it. A `status` member is omitted: the C SDK would take it for an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChallengeReply {
    message: &'static str,
    authentication_key: String,
    key_name: &'static str,
}

impl ChallengeReply {
    /// Creates a challenge from a blob.
    pub fn new(blob: &[u8]) -> Self {
        ChallengeReply {
            message: "Authorization required",
            authentication_key: STANDARD.encode(blob),
            key_name: "registration",
        }
    }
}

/// Creates the reply of a disabled enrollment. Its operation ID is empty, like the hosted service's.
pub fn disabled_reply(registration_id: &RegistrationId) -> OperationReply {
    OperationReply {
        operation_id: String::new(),
        status: "disabled",
        registration_state: Some(json!({"registrationId": registration_id, "status": "disabled"})),
    }
}

/// Writes a registration for its device, in the terms of an API version: `DeviceRegistrationResult`.
pub fn registration_result(registration: &Registration, version: DeviceApiVersion) -> Value {
    let mut result = registration_state(registration);
    if let Status::Assigned(assignment) = &registration.status {
        result["substatus"] = json!(version.known_substatus(assignment.substatus));
    }
    result
}

/// Writes a registration for operators: `DeviceRegistrationState`.
pub fn registration_state(registration: &Registration) -> Value {
    let mut state = Map::new();
    attestation_member(&mut state, registration);
    state.insert("registrationId".into(), json!(registration.registration_id));
    state.insert("createdDateTimeUtc".into(), json!(registration.record.created.to_string()));
    match &registration.status {
        Status::Assigned(assignment) => {
            state.insert("assignedHub".into(), json!(assignment.hub));
            state.insert("deviceId".into(), json!(assignment.device_id));
            state.insert("status".into(), json!("assigned"));
            // The Python SDK never returns from register() when this is missing.
            state.insert("substatus".into(), json!(assignment.substatus));
        }
        Status::Failed { failure, .. } => {
            state.insert("status".into(), json!("failed"));
            state.insert("errorCode".into(), json!(failure_code(failure.reason)));
            state.insert("errorMessage".into(), json!(failure.message));
        }
        status @ (Status::Assigning { .. } | Status::Disabled { .. }) => {
            state.insert("status".into(), json!(status.kind().name()));
        }
    }
    state.insert("lastUpdatedDateTimeUtc".into(), json!(registration.record.last_updated.to_string()));
    state.insert("etag".into(), json!(registration.record.etag));
    if let Some(payload) = &registration.payload {
        state.insert("payload".into(), payload.to_value());
    }
    Value::Object(state)
}

/// Adds the member `x509` or `symmetricKey`, with the ID of the enrollment group if the enrollment is one.
fn attestation_member(state: &mut Map<String, Value>, registration: &Registration) {
    let member = match &registration.enrollment {
        EnrollmentRef::Group(group) => json!({"enrollmentGroupId": group}),
        EnrollmentRef::Individual => json!({}),
    };
    let name = match registration.attestation.mechanism() {
        AttestedBy::SymmetricKey => "symmetricKey",
        AttestedBy::X509 => "x509",
        // The key in `tpm` is created for a single reply to the device.
        AttestedBy::Tpm => return,
    };
    state.insert(name.into(), member);
}

/// The body of every error, on every transport of both endpoints: `ProvisioningServiceErrorDetails`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    /// The error code: six digits, the first three of which are the HTTP status.
    pub error_code: u32,
    /// The ID that leads to this error in the log.
    pub tracking_id: String,
    /// One sentence for the caller.
    pub message: String,
    /// The time of the error (RFC 3339).
    pub timestamp_utc: String,
}

impl ErrorBody {
    /// Creates the body of an error that occurred at `now`.
    pub fn new(error_code: u32, message: impl Into<String>, tracking_id: String, now: Timestamp) -> Self {
        ErrorBody { error_code, tracking_id, message: message.into(), timestamp_utc: now.to_string() }
    }

    /// Returns the HTTP status: the first three digits of the code.
    pub fn http_status(&self) -> u16 {
        u16::try_from(self.error_code / 1000).unwrap_or(500)
    }
}

#[cfg(test)]
mod tests {
    use certpath::Sha256Thumbprint;
    use model::{
        DeviceId, DeviceSpec, Etag, Failure, HubCredentials, HubName, InitialTwin, LastAttestation, Record,
        Substatus, TwinSpec,
    };

    use super::*;

    fn registration(status: Status) -> Registration {
        Registration {
            registration_id: RegistrationId::parse("reg-1").unwrap(),
            enrollment: EnrollmentRef::Individual,
            attestation: LastAttestation::X509,
            status,
            operation_id: OperationId::parse("5.316aac5bdc130deb.b1e02da8-c3a0-4ff2-a121-7ea7a6b7f550")
                .unwrap(),
            payload: None,
            decisions: Default::default(),
            record: Record {
                etag: Etag::parse("abc").unwrap(),
                created: Timestamp::parse("2022-08-31T22:02:50.5163352Z").unwrap(),
                last_updated: Timestamp::parse("2022-08-31T22:02:50.7370676Z").unwrap(),
            },
        }
    }

    fn version(text: &str) -> DeviceApiVersion {
        DeviceApiVersion::parse(text).unwrap()
    }

    fn text(reply: &OperationReply) -> String {
        serde_json::to_string(reply).unwrap()
    }

    #[test]
    fn the_first_reply_has_no_registration_state() {
        let reply = OperationReply::accepted(&registration(Status::Disabled { current: None }).operation_id);
        assert_eq!(
            text(&reply),
            r#"{"operationId":"5.316aac5bdc130deb.b1e02da8-c3a0-4ff2-a121-7ea7a6b7f550","status":"assigning"}"#
        );
        assert_eq!(text(&reply).len(), 94, "the length seen in captures of the hosted service");
    }

    #[test]
    fn an_assigned_reply_equals_the_hosted_services() {
        let spec = DeviceSpec {
            hub: HubName::parse("hub.example").unwrap(),
            device_id: DeviceId::parse("reg-1").unwrap(),
            substatus: Substatus::InitialAssignment,
            credentials: HubCredentials::Certificate(Sha256Thumbprint::of(b"leaf")),
            iot_edge: false,
            twin: TwinSpec::Keep { initial: InitialTwin::default() },
            sent: Vec::new(),
            existing: Default::default(),
        };
        let reply =
            OperationReply::of(&registration(Status::Assigned(spec.assignment())), version("2021-06-01"));
        assert_eq!(
            text(&reply),
            concat!(
                r#"{"operationId":"5.316aac5bdc130deb.b1e02da8-c3a0-4ff2-a121-7ea7a6b7f550","status":"assigned","#,
                r#""registrationState":{"x509":{},"registrationId":"reg-1","createdDateTimeUtc":"2022-08-31T22:02:50.5163352Z","#,
                r#""assignedHub":"hub.example","deviceId":"reg-1","status":"assigned","substatus":"initialAssignment","#,
                r#""lastUpdatedDateTimeUtc":"2022-08-31T22:02:50.7370676Z","etag":"abc"}}"#
            )
        );
    }

    #[test]
    fn blobs_for_tpms_are_sent_in_base64() {
        let device = registration(Status::Disabled { current: None });
        let reply = OperationReply::of(&device, version("2019-03-31")).with_authentication_key(&[1, 2, 3]);
        assert_eq!(reply.registration_state.unwrap()["tpm"], json!({"authenticationKey": "AQID"}));
        assert_eq!(
            serde_json::to_string(&ChallengeReply::new(&[1, 2, 3])).unwrap(),
            r#"{"message":"Authorization required","authenticationKey":"AQID","keyName":"registration"}"#
        );
    }

    #[test]
    fn a_failed_reply_has_code_and_message() {
        let failure = Failure { reason: model::FailureReason::NoHub, message: "no hub".into() };
        let reply = OperationReply::of(
            &registration(Status::Failed { failure, current: None }),
            version("2019-03-31"),
        );
        let state = reply.registration_state.unwrap();
        assert_eq!(
            (state["errorCode"].as_u64(), state["errorMessage"].as_str()),
            (Some(400_208), Some("no hub"))
        );
    }
}
