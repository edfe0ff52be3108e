//! What a message asks for.

use bytes::Bytes;
use codec::amqp::Message;
use model::OperationId;
use wire::device::RequestError;

use crate::{error::CallError, messages::Verb};

/// A request: the verb is an application property, and the body that of HTTPS.
pub(super) fn parse(message: &Message) -> Result<(Verb, Bytes), CallError> {
    match message.application.text("iotdps-operation-type") {
        Some("iotdps-register") => {
            let shape = RequestError::Shape("must be data");
            Ok((Verb::Register, message.body.bytes().ok_or(CallError::Body(shape))?))
        }
        Some("iotdps-get-operationstatus") => {
            let operation_id = message.application.text("iotdps-operation-id").unwrap_or_default();
            // Clients put all kinds of things into the body of a poll.
            Ok((Verb::Poll(OperationId::parse(operation_id).ok()), Bytes::new()))
        }
        _ => Err(CallError::NoRoute),
    }
}

#[cfg(test)]
mod tests {
    use codec::amqp::{Body, Entries, Value};

    use super::*;

    #[test]
    fn requests() {
        let check = |properties: &[(&str, &str)], body: Body, expected: Option<(Verb, &str)>| {
            let application = properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).into()));
            let message = Message { application: application.collect(), body, ..Message::default() };
            let expected = expected.map(|(verb, body)| (verb, Bytes::from(body.to_owned())));
            assert_eq!(parse(&message).ok(), expected, "{properties:?}");
        };
        let register = ("iotdps-operation-type", "iotdps-register");
        let poll = ("iotdps-operation-type", "iotdps-get-operationstatus");
        let id = |text: &str| Verb::Poll(OperationId::parse(text).ok());
        check(&[register], Body::of("{}"), Some((Verb::Register, "{}")));
        check(&[("iotdps-forceRegistration", "true"), register], Body::Absent, Some((Verb::Register, "")));
        check(&[register], Body::Value("{}".into()), Some((Verb::Register, "{}")));
        check(&[register], Body::Value(Value::Bool(true)), None);
        check(&[poll, ("iotdps-operation-id", "5.1.2")], Body::Value(Value::Null), Some((id("5.1.2"), "")));
        check(&[poll, ("iotdps-operation-id", "a b")], Body::of("{}"), Some((Verb::Poll(None), "")));
        check(&[poll], Body::Absent, Some((Verb::Poll(None), "")));
        check(&[("iotdps-operation-type", "iotdps-get-registration")], Body::Absent, None);
        check(&[], Body::Absent, None);
        let number = Entries::new().with("iotdps-operation-type", 7);
        assert!(parse(&Message { application: number, ..Message::default() }).is_err());
    }
}
