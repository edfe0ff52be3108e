//! What can go wrong between a device and a server.

use std::{fmt, io, time::Duration};

use codec::mqtt::{ConnectReturnCode, DecodeError, EncodeError};
use net::{
    client::{AmqpClientError, ClientError},
    tls::TlsError,
};
use serde_json::Value;

use crate::tpm::TpmError;

/// The conversation itself broke down.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// It broke down in AMQP.
    #[error(transparent)]
    Amqp(#[from] AmqpClientError),
    /// It broke down below MQTT, or in HTTP.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The connection was lost.
    #[error("connection lost: {0}")]
    Io(#[from] io::Error),
    /// The server broke MQTT.
    #[error("MQTT: {0}")]
    MqttDecode(#[from] DecodeError),
    /// A packet that has no form in MQTT.
    #[error("MQTT: {0}")]
    MqttEncode(#[from] EncodeError),
    /// The server does not let the device in.
    #[error("MQTT: CONNACK {code} ({0:?})", code = *.0 as u8)]
    NotAccepted(ConnectReturnCode),
    /// The server granted no subscription to this filter.
    #[error("MQTT: subscription to {0} refused")]
    NotSubscribed(String),
    /// The TLS configuration cannot be made.
    #[error(transparent)]
    TlsConfiguration(#[from] TlsError),
    /// The device's TPM does not do what the conversation needs.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// A packet that has no place here.
    #[error("MQTT: the server sent {0}")]
    Unexpected(&'static str),
}

/// Why a device was not assigned.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The enrollment is disabled; the value is the registration state.
    #[error("the enrollment is disabled")]
    Disabled(Value),
    /// The service tried and failed; the value is the registration state.
    #[error("failed: {}", failure_text(.0))]
    Failed(Value),
    /// The reply makes no sense.
    #[error("malformed reply: {0}")]
    Malformed(String),
    /// The service wants a TPM to prove itself, and the device has none.
    #[error("the enrollment wants a TPM, and this device has none")]
    NoTpm,
    /// The service refused the request.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The service was still assigning when the device lost patience.
    #[error("still assigning after {} s", .0.as_secs())]
    StillAssigning(Duration),
    /// The conversation broke down.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

/// An error body, with the service's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status, or its counterpart over MQTT.
    pub status: u16,
    /// Six digits; zero when the body is no error body.
    pub error_code: u32,
    /// One sentence, or the start of whatever came instead of an error body.
    pub message: String,
    /// Finds the error in the service's log; empty when there is none.
    pub tracking_id: String,
}

impl Refusal {
    /// Reads a response that is not a success.
    pub(crate) fn read(status: u16, body: &[u8]) -> Refusal {
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |name: &str| json.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let code = json.get("errorCode").and_then(Value::as_u64).and_then(|code| u32::try_from(code).ok());
        // Errors of a hub's registry spell it with a capital.
        let message = [text("message"), text("Message")].into_iter().find(|text| !text.is_empty());
        Refusal {
            status,
            error_code: code.unwrap_or_default(),
            message: message
                .unwrap_or_else(|| String::from_utf8_lossy(body).chars().take(MAX_FOREIGN_TEXT).collect()),
            tracking_id: text("trackingId"),
        }
    }
}

impl fmt::Display for Refusal {
    /// Without the tracking ID, so that equal refusals have equal texts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.error_code {
            0 => write!(f, "{} {}", self.status, self.message),
            code => write!(f, "{code} {}", self.message),
        }
    }
}

fn failure_text(state: &Value) -> String {
    let code = state.get("errorCode").and_then(Value::as_u64).unwrap_or_default();
    let message = state.get("errorMessage").and_then(Value::as_str).unwrap_or("no reason given");
    format!("{code} {message}")
}

/// Of a body that is no error body, so many characters are shown.
const MAX_FOREIGN_TEXT: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_read_from_error_bodies() {
        for (status, body, text) in [
            (401, r#"{"errorCode":401002,"trackingId":"x","message":"Unauthorized"}"#, "401002 Unauthorized"),
            (404, r#"{"Message":"ErrorCode:DeviceNotFound;d"}"#, "404 ErrorCode:DeviceNotFound;d"),
            (502, "<html>Bad gateway</html>", "502 <html>Bad gateway</html>"),
            (500, "", "500 "),
            (400, r#"{"errorCode":-1}"#, r#"400 {"errorCode":-1}"#),
        ] {
            assert_eq!(Refusal::read(status, body.as_bytes()).to_string(), text, "{body}");
        }
        assert_eq!(Refusal::read(500, "x".repeat(1000).as_bytes()).message.len(), MAX_FOREIGN_TEXT);
    }

    #[test]
    fn a_refused_connection_says_its_code() {
        let error = TransportError::NotAccepted(ConnectReturnCode::NotAuthorized);
        assert_eq!(error.to_string(), "MQTT: CONNACK 5 (NotAuthorized)");
    }
}
