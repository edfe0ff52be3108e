//! Messages to and from devices in AMQP.

use codec::amqp::{Body, Entries, Message, MessageId, Properties, Value};

use crate::{storage::QueuedMessage, twins::twin::DesiredChange};

/// Returns a cloud-to-device message.
pub fn of(waiting: QueuedMessage) -> Message {
    let QueuedMessage { sequence, times, message, .. } = waiting;
    let system = |wanted: &str| {
        let mut named = message.system.iter().filter(|(name, _)| name == wanted);
        named.next().map(|(_, value)| value.clone())
    };
    let properties = Properties {
        message_id: system("mid").map(MessageId::String),
        user_id: system("uid").map(|user| user.into_bytes().into()),
        to: system("to"),
        correlation_id: system("cid").map(MessageId::String),
        content_type: system("ct"),
        content_encoding: system("ce"),
        absolute_expiry_time_ms: Some(millis(times.expires_at.ticks())),
        ..Properties::default()
    };
    let annotations = Entries::new()
        .with("x-opt-sequence-number", Value::Long(sequence))
        .with("x-opt-enqueued-time", Value::Timestamp(millis(times.enqueued_at.ticks())));
    let application = message.application.into_iter().map(|(name, value)| (name, Value::String(value)));
    Message { annotations, properties, application: application.collect(), body: Body::of(message.body) }
}

/// Returns the notification of changed desired properties. Without a correlation ID it is not the answer to a request.
pub fn desired(change: &DesiredChange) -> Message {
    let annotations = Entries::new().with("resource", "/notifications/twin/properties/desired");
    Message { annotations, body: Body::of(change.body()), ..Message::default() }
}

/// Returns the call of a method.
pub fn call(request: u64, name: &str, payload: Vec<u8>) -> Message {
    Message {
        properties: Properties { correlation_id: Some(request_id(request)), ..Properties::default() },
        application: Entries::new().with("IoThub-methodname", name),
        body: Body::of(payload),
        ..Message::default()
    }
}

/// Reads a reply: the request number of its call, and the status. Returns `None` if the message is not a reply.
pub fn reply(message: &Message) -> Option<(u64, i32)> {
    let status = message.application.get("IoThub-status").and_then(Value::as_integer)?;
    Some((request_of(message.properties.correlation_id.as_ref()?)?, i32::try_from(status).ok()?))
}

/// Returns a request's number as a UUID, which the SDK for C requires; the SDK for Node sends it back as one only if it is of
/// version 4.
fn request_id(request: u64) -> MessageId {
    MessageId::Uuid((RANDOM_SHAPE | u128::from(request & REQUEST_BITS)).to_be_bytes())
}

fn request_of(id: &MessageId) -> Option<u64> {
    let number = match id {
        MessageId::Uuid(bytes) => u128::from_be_bytes(*bytes),
        MessageId::Binary(bytes) => u128::from_be_bytes(bytes.as_ref().try_into().ok()?),
        MessageId::String(text) => u128::from_str_radix(&text.replace('-', ""), 16).ok()?,
        MessageId::ULong(_) => return None,
    };
    u64::try_from(number.checked_sub(RANDOM_SHAPE)?).ok().filter(|request| *request <= REQUEST_BITS)
}

fn millis(ticks: i64) -> i64 {
    ticks / 10_000
}

/// `00000000-0000-4000-8000-000000000000`.
const RANDOM_SHAPE: u128 = 0x4000_8000_0000_0000_0000;
/// The last of the five groups.
const REQUEST_BITS: u64 = 0xffff_ffff_ffff;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_number_is_read_in_every_form() {
        let text = "00000000-0000-4000-8000-00000000002a";
        let MessageId::Uuid(bytes) = request_id(42) else { panic!("no UUID") };
        for (id, expected) in [
            (request_id(42), Some(42)),
            (MessageId::Binary(bytes.to_vec().into()), Some(42)),
            (MessageId::String(text.to_owned()), Some(42)),
            (MessageId::String(text.to_uppercase()), Some(42)),
            (MessageId::String("nonsense".to_owned()), None),
            (MessageId::String("00000000-0000-1000-8000-00000000002a".to_owned()), None),
            (MessageId::Uuid([0xff; 16]), None),
            (MessageId::Binary(vec![1, 2].into()), None),
            (MessageId::ULong(42), None),
        ] {
            assert_eq!(request_of(&id), expected, "{id:?}");
        }
    }
}
