//! Claims-based security: devices put their tokens to `$cbs`, and put new ones before they run out.

use codec::amqp::{Entries, Message, Properties, Value};
use model::{DeviceId, Timestamp};
use percent_encoding::percent_decode_str;
use wire::hub::TokenAudience;

use crate::{
    admission::{NotAdmitted, Proof},
    hub::Hub,
};

/// A token that is good.
pub struct Put {
    /// Whose it is.
    pub id: DeviceId,
    /// It.
    pub token: String,
    /// When it runs out.
    pub expires: Option<Timestamp>,
}

/// Why a token is not taken: an HTTP status, and words for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused(pub i32, pub &'static str);

impl Put {
    /// Reads and judges a request.
    pub fn read(hub: &Hub, request: &Message) -> Result<Put, Refused> {
        let text = |name| request.application.text(name).unwrap_or_default();
        if text("operation") != "put-token" {
            return Err(Refused(400, "the operation must be put-token"));
        }
        if text("type") != "servicebus.windows.net:sastoken" {
            return Err(Refused(400, "the type must be servicebus.windows.net:sastoken"));
        }
        let audience = TokenAudience::parse(text("name"));
        let audience = audience.ok_or_else(|| unserved(hub, text("name")))?;
        if !hub.core.authorizer.is_own_name(&audience.host) {
            return Err(Refused(404, "the name is that of another hub"));
        }
        let id = DeviceId::parse(&audience.device_id);
        let id = id.map_err(|_| Refused(400, "the name holds no device ID"))?;
        let token = request.body.bytes().and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
        let token = token.ok_or(Refused(400, "the body must be the token"))?;
        match hub.admit(&id, Some(Proof::Token(&token))) {
            Ok(expires) => Ok(Put { id, token, expires }),
            Err(refusal) => {
                tracing::debug!(device.id = %id, %refusal, "token refused");
                Err(match refusal {
                    NotAdmitted::Denied(_) => Refused(401, "Unauthorized"),
                    NotAdmitted::Hub(_) => Refused(500, "An internal error occurred."),
                })
            }
        }
    }
}

/// Why a name that is no device's is refused: that of the whole hub is a service's, others may be modules'.
fn unserved(hub: &Hub, name: &str) -> Refused {
    let name = percent_decode_str(name).decode_utf8_lossy();
    let (host, path) = name.split_once('/').unwrap_or((&name, ""));
    match (hub.core.authorizer.is_own_name(host), path) {
        (true, "") => Refused(501, "services are not served over AMQP"),
        (true, path) if path.contains("/modules/") => Refused(501, "modules are not served"),
        _ => Refused(400, "the name must be {hub}/devices/{device}"),
    }
}

/// The answer to a request.
pub fn answer(request: &Message, outcome: Result<(), Refused>) -> Message {
    let Refused(status, text) = outcome.err().unwrap_or(Refused(200, "OK"));
    Message {
        properties: Properties {
            correlation_id: request.properties.message_id.clone(),
            ..Properties::default()
        },
        application: Entries::new().with("status-code", Value::Int(status)).with("status-description", text),
        ..Message::default()
    }
}
