//! Errors between a device and a server.

use std::{fmt, io, time::Duration};

use codec::mqtt::{ConnectReturnCode, DecodeError, EncodeError};
use net::{
    client::{AmqpClientError, ClientError},
    tls::TlsError,
};
use serde_json::Value;

use crate::tpm::TpmError;

/// The maximum number of characters kept of a body that is not an error body.
const MAX_FOREIGN_TEXT: usize = 200;

/// The reasons why an exchange with a server failed before it had a result.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The failure is one of AMQP.
    #[error(transparent)]
    Amqp(#[from] AmqpClientError),
    /// The failure is one of the connection, of TLS or of HTTP.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The connection was lost.
    #[error("connection lost: {0}")]
    Io(#[from] io::Error),
    /// The server sent a malformed MQTT packet.
    #[error("MQTT: {0}")]
    MqttDecode(#[from] DecodeError),
    /// An MQTT packet cannot be encoded.
    #[error("MQTT: {0}")]
    MqttEncode(#[from] EncodeError),
    /// The server refused the MQTT connection.
    #[error("MQTT: CONNACK {code} ({0:?})", code = *.0 as u8)]
    NotAccepted(ConnectReturnCode),
    /// The server refused the subscription to this topic filter.
    #[error("MQTT: subscription to {0} refused")]
    NotSubscribed(String),
    /// The TLS configuration is invalid.
    #[error(transparent)]
    TlsConfiguration(#[from] TlsError),
    /// The device's TPM failed.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// The server sent a packet that the protocol does not allow here.
    #[error("MQTT: the server sent {0}")]
    Unexpected(&'static str),
}

/// The reasons why a device was not assigned.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The enrollment is disabled; the value is the registration state.
    #[error("the enrollment is disabled")]
    Disabled(Value),
    /// The registration failed; the value is the registration state.
    #[error("failed: {}", failure_text(.0))]
    Failed(Value),
    /// The reply is malformed.
    #[error("malformed reply: {0}")]
    Malformed(String),
    /// The service sent a TPM challenge, but the device has no TPM.
    #[error("the enrollment requires a TPM, but this device has none")]
    NoTpm,
    /// The service refused the request.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The registration was still `assigning` after this timeout.
    #[error("still assigning after {} s", .0.as_secs())]
    StillAssigning(Duration),
    /// The exchange with the service failed.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

/// An error reply of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status, or its equivalent over MQTT and AMQP.
    pub status: u16,
    /// The error code of six digits; 0 if the body has none.
    pub error_code: u32,
    /// The message of the error, or the start of a body that is not an error body.
    pub message: String,
    /// The ID that leads to the error in the service's log; empty if the body has none.
    pub tracking_id: String,
}

impl Refusal {
    /// Parses a response whose status is not a success.
    pub(crate) fn read(status: u16, body: &[u8]) -> Refusal {
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |name: &str| json.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        // In the management API it is `code`, a number or a text.
        let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
        let code = json.get("errorCode").or_else(|| json.get("code")).and_then(number);
        let code = code.and_then(|code| u32::try_from(code).ok());
        // Errors of a hub's registry spell the member with a capital letter.
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
    /// Omits the tracking ID, so that equal refusals have equal texts.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_parsed_from_error_bodies() {
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
    fn a_refused_connection_names_its_return_code() {
        let error = TransportError::NotAccepted(ConnectReturnCode::NotAuthorized);
        assert_eq!(error.to_string(), "MQTT: CONNACK 5 (NotAuthorized)");
    }
}
