//! What a device is told. Absent members are left out: some clients refuse null.

use base64::{Engine, engine::general_purpose::STANDARD};
use model::{AttestedBy, EnrollmentRef, OperationId, Registration, RegistrationId, Status, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::failure_code;
use crate::api_version::DeviceApiVersion;

/// `RegistrationOperationStatus`: the reply to a register and to a poll.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OperationReply {
    /// What to poll; empty when there is nothing to.
    pub operation_id: String,
    /// One of `assigning`, `assigned`, `failed`, `disabled`.
    pub status: &'static str,
    /// The registration; left out of the first `assigning`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration_state: Option<Value>,
}

impl OperationReply {
    /// The first reply while work goes on: no registration state, as the hosted service sends it.
    pub fn accepted(operation_id: &OperationId) -> Self {
        OperationReply {
            operation_id: operation_id.to_string(),
            status: "assigning",
            registration_state: None,
        }
    }

    /// A later reply while work goes on.
    pub fn assigning(operation_id: &OperationId, registration_id: &RegistrationId) -> Self {
        let state = json!({"registrationId": registration_id, "status": "assigning"});
        OperationReply { registration_state: Some(state), ..Self::accepted(operation_id) }
    }

    /// The state of a registration, whatever it is, for a device that speaks this version.
    pub fn of(registration: &Registration, version: DeviceApiVersion) -> Self {
        OperationReply {
            operation_id: registration.operation_id.to_string(),
            status: registration.status.kind().name(),
            registration_state: Some(registration_result(registration, version)),
        }
    }
}

impl OperationReply {
    /// With the key for its hub that a device with a TPM is handed: the base64 of a blob that its TPM opens.
    pub fn with_authentication_key(mut self, blob: &[u8]) -> Self {
        if let Some(Value::Object(state)) = &mut self.registration_state {
            state.insert("tpm".into(), json!({"authenticationKey": STANDARD.encode(blob)}));
        }
        self
    }
}

/// What a device with a TPM is told before anything else, with the status 401: a blob that its TPM opens, and what the key
/// inside is called. There is no `status` member; C would take it for an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChallengeReply {
    message: &'static str,
    authentication_key: String,
    key_name: &'static str,
}

impl ChallengeReply {
    /// With this blob.
    pub fn new(blob: &[u8]) -> Self {
        ChallengeReply {
            message: "Authorization required",
            authentication_key: STANDARD.encode(blob),
            key_name: "registration",
        }
    }
}

/// The reply when the enrollment is disabled: an empty operation ID, as the hosted service sends it.
pub fn disabled_reply(registration_id: &RegistrationId) -> OperationReply {
    OperationReply {
        operation_id: String::new(),
        status: "disabled",
        registration_state: Some(json!({"registrationId": registration_id, "status": "disabled"})),
    }
}

/// `DeviceRegistrationResult` for a device that speaks this version.
pub fn registration_result(registration: &Registration, version: DeviceApiVersion) -> Value {
    let mut result = registration_state(registration);
    if let Status::Assigned(assignment) = &registration.status {
        result["substatus"] = json!(version.known_substatus(assignment.substatus));
    }
    result
}

/// The same object for operators: `DeviceRegistrationState`.
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

/// `x509`, `symmetricKey` or `tpm`, holding the group's name if the device came through one.
fn attestation_member(state: &mut Map<String, Value>, registration: &Registration) {
    let member = match &registration.enrollment {
        EnrollmentRef::Group(group) => json!({"enrollmentGroupId": group}),
        EnrollmentRef::Individual => json!({}),
    };
    let name = match registration.attested_by {
        AttestedBy::SymmetricKey => "symmetricKey",
        AttestedBy::X509 => "x509",
        // What belongs here is made for one reply and for nobody but the device.
        AttestedBy::Tpm => return,
    };
    state.insert(name.into(), member);
}

/// `ProvisioningServiceErrorDetails`: the body of every error, on every transport and both endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    /// Six digits; the first three are the HTTP status.
    pub error_code: u32,
    /// Finds the log line of this error.
    pub tracking_id: String,
    /// One sentence for the caller.
    pub message: String,
    /// When.
    pub timestamp_utc: String,
}

impl ErrorBody {
    /// An error that happened now.
    pub fn new(error_code: u32, message: impl Into<String>, tracking_id: String, now: Timestamp) -> Self {
        ErrorBody { error_code, tracking_id, message: message.into(), timestamp_utc: now.to_string() }
    }

    /// The HTTP status that the code stands for.
    pub fn http_status(&self) -> u16 {
        u16::try_from(self.error_code / 1000).unwrap_or(500)
    }
}

#[cfg(test)]
mod tests {
    use model::{
        DeviceId, Etag, Failure, HubCredentials, HubName, InitialTwin, Order, Record, Sha256Thumbprint,
        Substatus, TwinOrder,
    };

    use super::*;

    fn registration(status: Status) -> Registration {
        Registration {
            registration_id: RegistrationId::parse("reg-1").unwrap(),
            enrollment: EnrollmentRef::Individual,
            attested_by: AttestedBy::X509,
            key: None,
            status,
            operation_id: OperationId::parse("5.316aac5bdc130deb.b1e02da8-c3a0-4ff2-a121-7ea7a6b7f550")
                .unwrap(),
            payload: None,
            tpm: None,
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
    fn first_reply_is_compact() {
        let reply = OperationReply::accepted(&registration(Status::Disabled { standing: None }).operation_id);
        assert_eq!(
            text(&reply),
            r#"{"operationId":"5.316aac5bdc130deb.b1e02da8-c3a0-4ff2-a121-7ea7a6b7f550","status":"assigning"}"#
        );
        assert_eq!(text(&reply).len(), 94, "the length seen in captures of the hosted service");
    }

    #[test]
    fn assigned_reply_is_the_hosted_one() {
        let order = Order {
            hub: HubName::parse("hub.example").unwrap(),
            device_id: DeviceId::parse("reg-1").unwrap(),
            substatus: Substatus::InitialAssignment,
            credentials: HubCredentials::Certificate(Sha256Thumbprint::of(b"leaf")),
            iot_edge: false,
            twin: TwinOrder::Keep { if_lost: InitialTwin::default() },
            told: Vec::new(),
        };
        let reply =
            OperationReply::of(&registration(Status::Assigned(order.assignment())), version("2021-06-01"));
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
    fn keys_for_tpms() {
        let device = registration(Status::Disabled { standing: None });
        let reply = OperationReply::of(&device, version("2019-03-31")).with_authentication_key(&[1, 2, 3]);
        assert_eq!(reply.registration_state.unwrap()["tpm"], json!({"authenticationKey": "AQID"}));
        assert_eq!(
            serde_json::to_string(&ChallengeReply::new(&[1, 2, 3])).unwrap(),
            r#"{"message":"Authorization required","authenticationKey":"AQID","keyName":"registration"}"#
        );
    }

    #[test]
    fn failed_reply_says_why() {
        let failure = Failure { reason: model::FailureReason::NoHub, message: "no hub".into() };
        let reply = OperationReply::of(
            &registration(Status::Failed { failure, standing: None }),
            version("2019-03-31"),
        );
        let state = reply.registration_state.unwrap();
        assert_eq!(
            (state["errorCode"].as_u64(), state["errorMessage"].as_str()),
            (Some(400_208), Some("no hub"))
        );
    }
}
