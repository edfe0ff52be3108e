//! Replies of the endpoint, and the next steps of a device.

use std::time::Duration;

use bytes::Bytes;
use model::{DeviceId, HubName, OperationId};
use serde::Deserialize;
use serde_json::Value;

use crate::failure::{Refusal, RegisterError};

/// The time between polls without a `Retry-After`, like that of the SDKs.
const DEFAULT_WAIT_SECS: u64 = 2;
/// The C SDK accepts 1 to 300 s.
const MIN_WAIT_SECS: u64 = 1;
const MAX_WAIT_SECS: u64 = 300;

/// A reply of the endpoint, over any transport.
#[derive(Debug)]
pub(super) struct Answer {
    /// The HTTP status, or its equivalent over MQTT and AMQP.
    pub status: u16,
    /// `Retry-After` in seconds.
    pub retry_after_secs: Option<u64>,
    /// The body, which is JSON.
    pub body: Bytes,
}

/// The next step of a device.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// None: the device is assigned.
    Assigned {
        /// The assigned hub.
        hub: HubName,
        /// The device ID at the hub.
        device_id: DeviceId,
        /// The registration state.
        state: Value,
    },
    /// A poll of the operation.
    Poll {
        /// The operation ID.
        operation_id: OperationId,
        /// The time until the poll.
        after: Duration,
    },
    /// A repetition of the same request.
    Repeat {
        /// The time until the repetition.
        after: Duration,
    },
    /// A response to a TPM challenge: a registration with a token that the TPM signs with the key of the challenge.
    Prove {
        /// The challenge in base64.
        authentication_key: String,
    },
}

impl Answer {
    /// Returns the next step, like SDKs: requests to a throttled or failing service are repeated, every other refusal
    /// is final.
    pub fn step(&self) -> Result<Step, RegisterError> {
        match self.status {
            200..=299 => self.operation(),
            401 if let Some(authentication_key) = self.challenge() => Ok(Step::Prove { authentication_key }),
            429 | 500..=599 if self.retry_after_secs.is_some() => Ok(Step::Repeat { after: self.wait() }),
            status => Err(RegisterError::Refused(Refusal::read(status, &self.body))),
        }
    }

    /// Returns the TPM challenge, if the reply is one.
    fn challenge(&self) -> Option<String> {
        serde_json::from_slice::<Challenge>(&self.body).ok().map(|challenge| challenge.authentication_key)
    }

    fn operation(&self) -> Result<Step, RegisterError> {
        let operation: Operation =
            serde_json::from_slice(&self.body).map_err(|error| malformed(error.to_string()))?;
        let state = operation.registration_state.unwrap_or_default();
        match operation.status.as_str() {
            "assigned" => assigned(state),
            "assigning" | "unassigned" => {
                let operation_id = OperationId::parse(operation.operation_id)
                    .map_err(|error| malformed(error.to_string()))?;
                Ok(Step::Poll { operation_id, after: self.wait() })
            }
            "failed" => Err(RegisterError::Failed(state)),
            "disabled" => Err(RegisterError::Disabled(state)),
            other => Err(malformed(format!("unknown status {other:?}"))),
        }
    }

    fn wait(&self) -> Duration {
        let seconds = self.retry_after_secs.unwrap_or(DEFAULT_WAIT_SECS);
        Duration::from_secs(seconds.clamp(MIN_WAIT_SECS, MAX_WAIT_SECS))
    }
}

fn assigned(state: Value) -> Result<Step, RegisterError> {
    let text = |name: &str| {
        let text = state.get(name).and_then(Value::as_str);
        text.ok_or_else(|| malformed(format!("assigned without {name}")))
    };
    let hub = HubName::parse(text("assignedHub")?).map_err(|error| malformed(error.to_string()))?;
    let device_id = DeviceId::parse(text("deviceId")?).map_err(|error| malformed(error.to_string()))?;
    // The Python SDK never returns from `register` without it.
    text("substatus")?;
    Ok(Step::Assigned { hub, device_id, state })
}

fn malformed(problem: impl Into<String>) -> RegisterError {
    RegisterError::Malformed(problem.into())
}

/// `RegistrationOperationStatus`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Operation {
    #[serde(default)]
    operation_id: String,
    status: String,
    registration_state: Option<Value>,
}

/// The body of a TPM challenge.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Challenge {
    authentication_key: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, retry_after_secs: Option<u64>, body: &str, expected: &str) {
        let answer = Answer { status, retry_after_secs, body: Bytes::copy_from_slice(body.as_bytes()) };
        let found = match answer.step() {
            Ok(Step::Assigned { hub, device_id, .. }) => format!("{device_id} at {hub}"),
            Ok(Step::Poll { operation_id, after }) => format!("poll {operation_id} after {after:?}"),
            Ok(Step::Repeat { after }) => format!("repeat after {after:?}"),
            Ok(Step::Prove { authentication_key }) => format!("open {authentication_key}"),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected, "{status} {body}");
    }

    #[test]
    fn replies_lead_to_the_next_step() {
        let assigned = r#"{"operationId":"o","status":"assigned","registrationState":{"registrationId":"r",
            "assignedHub":"hub.example","deviceId":"d","status":"assigned","substatus":"initialAssignment"}}"#;
        check(202, Some(3), assigned, "d at hub.example");
        check(200, None, assigned, "d at hub.example");
        check(202, Some(3), r#"{"operationId":"5.a-b","status":"assigning"}"#, "poll 5.a-b after 3s");
        check(202, None, r#"{"operationId":"o","status":"assigning"}"#, "poll o after 2s");
        check(202, Some(0), r#"{"operationId":"o","status":"assigning"}"#, "poll o after 1s");
        check(202, Some(9999), r#"{"operationId":"o","status":"unassigned"}"#, "poll o after 300s");
        check(
            200,
            None,
            r#"{"operationId":"o","status":"failed","registrationState":{"errorCode":400207,"errorMessage":"x"}}"#,
            "failed: 400207 x",
        );
        check(202, None, r#"{"operationId":"","status":"disabled"}"#, "the enrollment is disabled");
        check(401, None, r#"{"errorCode":401002,"message":"Unauthorized"}"#, "refused: 401002 Unauthorized");
        check(
            401,
            None,
            r#"{"message":"x","authenticationKey":"AAAA","keyName":"registration"}"#,
            "open AAAA",
        );
        check(429, Some(5), r#"{"errorCode":429001,"message":"x"}"#, "repeat after 5s");
        check(503, Some(3), "", "repeat after 3s");
        check(500, None, r#"{"errorCode":500000,"message":"x"}"#, "refused: 500000 x");
    }

    #[test]
    fn malformed_replies_are_errors() {
        check(200, None, "", "malformed reply: EOF while parsing a value at line 1 column 0");
        check(200, None, r#"{"status":"lost"}"#, r#"malformed reply: unknown status "lost""#);
        check(200, None, r#"{"status":"assigned"}"#, "malformed reply: assigned without assignedHub");
        check(
            200,
            None,
            r#"{"status":"assigned","registrationState":{"assignedHub":"h","deviceId":"d"}}"#,
            "malformed reply: assigned without substatus",
        );
        check(
            200,
            None,
            r#"{"status":"assigned","registrationState":{"assignedHub":"h:1","deviceId":"d"}}"#,
            "malformed reply: hub name must be a DNS name or an IPv4 address without a port",
        );
        check(
            202,
            None,
            r#"{"status":"assigning"}"#,
            "malformed reply: operation ID must be 1 to 128 letters, digits, dots or hyphens",
        );
    }
}
