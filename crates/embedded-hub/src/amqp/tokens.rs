//! Claims-based security: devices put their tokens to `$cbs`, and new ones before they expire.

use codec::amqp::{Entries, Message, Properties, Value};
use model::{DeviceId, Timestamp};
use percent_encoding::percent_decode_str;
use wire::hub::TokenAudience;

use crate::{
    auth::{AdmissionError, Proof},
    hub::Hub,
};

/// A valid token.
pub struct PutToken {
    /// The device.
    pub id: DeviceId,
    /// The token.
    pub token: String,
    /// When it expires.
    pub expires: Option<Timestamp>,
}

/// Why a token is refused: an HTTP status, and a message for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenRefusal(pub i32, pub &'static str);

impl PutToken {
    /// Reads a request and checks its token.
    pub fn read(hub: &Hub, request: &Message) -> Result<PutToken, TokenRefusal> {
        let text = |name| request.application.text(name).unwrap_or_default();
        if text("operation") != "put-token" {
            return Err(TokenRefusal(400, "the operation must be put-token"));
        }
        if text("type") != "servicebus.windows.net:sastoken" {
            return Err(TokenRefusal(400, "the type must be servicebus.windows.net:sastoken"));
        }
        let audience = TokenAudience::parse(text("name"));
        let audience = audience.ok_or_else(|| unserved(hub, text("name")))?;
        if !hub.core.authorizer.is_own_name(&audience.host) {
            return Err(TokenRefusal(404, "the name is that of another hub"));
        }
        let id = DeviceId::parse(&audience.device_id);
        let id = id.map_err(|_| TokenRefusal(400, "the name holds no device ID"))?;
        let token = request.body.bytes().and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
        let token = token.ok_or(TokenRefusal(400, "the body must be the token"))?;
        match hub.admit(&id, Some(Proof::Token(&token))) {
            Ok(expires) => Ok(PutToken { id, token, expires }),
            Err(refusal) => {
                tracing::debug!(device.id = %id, %refusal, "token refused");
                Err(match refusal {
                    AdmissionError::Denied(_) => TokenRefusal(401, "Unauthorized"),
                    AdmissionError::Hub(_) => TokenRefusal(500, "An internal error occurred."),
                })
            }
        }
    }
}

/// Returns why a name that is not a device's is refused: the hub itself is the name of services, others may be modules'.
fn unserved(hub: &Hub, name: &str) -> TokenRefusal {
    let name = percent_decode_str(name).decode_utf8_lossy();
    let (host, path) = name.split_once('/').unwrap_or((&name, ""));
    match (hub.core.authorizer.is_own_name(host), path) {
        (true, "") => TokenRefusal(501, "services are not served over AMQP"),
        (true, path) if path.contains("/modules/") => TokenRefusal(501, "modules are not served"),
        _ => TokenRefusal(400, "the name must be {hub}/devices/{device}"),
    }
}

/// Returns the answer to a request.
pub fn answer(request: &Message, outcome: Result<(), TokenRefusal>) -> Message {
    let TokenRefusal(status, text) = outcome.err().unwrap_or(TokenRefusal(200, "OK"));
    Message {
        properties: Properties {
            correlation_id: request.properties.message_id.clone(),
            ..Properties::default()
        },
        application: Entries::new().with("status-code", Value::Int(status)).with("status-description", text),
        ..Message::default()
    }
}
