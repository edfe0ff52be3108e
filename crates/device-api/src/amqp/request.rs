//! Parses the request in a message.

use bytes::Bytes;
use codec::amqp::Message;
use wire::device::{RegistrationOperation, RequestError};

use crate::error::CallError;

/// Parses a message: the operation is an application property, and the body is that of HTTPS.
pub(super) fn parse(message: &Message) -> Result<(RegistrationOperation, Bytes), CallError> {
    match RegistrationOperation::of_properties(&message.application) {
        Some(RegistrationOperation::Register) => {
            let shape = RequestError::Shape("must be data");
            let body = message.body.bytes().ok_or(CallError::Body(shape))?;
            Ok((RegistrationOperation::Register, body))
        }
        // Clients put all kinds of things into the body of a poll.
        Some(poll) => Ok((poll, Bytes::new())),
        None => Err(CallError::NoRoute),
    }
}

#[cfg(test)]
mod tests {
    use codec::amqp::{Body, Entries, Value};
    use model::OperationId;

    use super::*;

    #[test]
    fn requests() {
        let check = |properties: &[(&str, &str)],
                     body: Body,
                     expected: Option<(RegistrationOperation, &str)>| {
            let application = properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).into()));
            let message = Message { application: application.collect(), body, ..Message::default() };
            let expected = expected.map(|(operation, body)| (operation, Bytes::from(body.to_owned())));
            assert_eq!(parse(&message).ok(), expected, "{properties:?}");
        };
        let register = ("iotdps-operation-type", "iotdps-register");
        let poll = ("iotdps-operation-type", "iotdps-get-operationstatus");
        let id = |text: &str| RegistrationOperation::Poll(OperationId::parse(text).ok());
        check(&[register], Body::of("{}"), Some((RegistrationOperation::Register, "{}")));
        check(
            &[("iotdps-forceRegistration", "true"), register],
            Body::Absent,
            Some((RegistrationOperation::Register, "")),
        );
        check(&[register], Body::Value("{}".into()), Some((RegistrationOperation::Register, "{}")));
        check(&[register], Body::Value(Value::Bool(true)), None);
        check(&[poll, ("iotdps-operation-id", "5.1.2")], Body::Value(Value::Null), Some((id("5.1.2"), "")));
        check(
            &[poll, ("iotdps-operation-id", "a b")],
            Body::of("{}"),
            Some((RegistrationOperation::Poll(None), "")),
        );
        check(&[poll], Body::Absent, Some((RegistrationOperation::Poll(None), "")));
        check(&[("iotdps-operation-type", "iotdps-get-registration")], Body::Absent, None);
        check(&[], Body::Absent, None);
        let number = Entries::new().with("iotdps-operation-type", 7);
        assert!(parse(&Message { application: number, ..Message::default() }).is_err());
    }
}
