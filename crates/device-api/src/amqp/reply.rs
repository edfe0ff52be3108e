//! Replies and rejections.

use bytes::Bytes;
use codec::amqp::{AmqpError, Body, Entries, Message, MessageId, Properties, condition};
use wire::device::ErrorBody;

use crate::{
    call::{Answer, Reply},
    messages::json,
};

/// Encodes the reply to a request.
pub(super) fn message(answer: &Answer, correlation_id: Option<MessageId>) -> Message {
    Message {
        properties: Properties {
            correlation_id,
            content_type: Some("application/json; charset=utf-8".into()),
            ..Properties::default()
        },
        application: retry_after(answer.retry_after_secs),
        body: Body::of(json(&answer.reply)),
        ..Message::default()
    }
}

/// Encodes the error of a rejected request, with Retry-After if it is transient.
pub(super) fn rejection(body: &ErrorBody, retry_after_secs: u32) -> AmqpError {
    let status = body.http_status();
    let transient = status == 429 || status >= 500;
    refusal(status, &json(body), retry_after(transient.then_some(retry_after_secs)))
}

/// Returns the rejection for a reply that AMQP has no message for: a challenge, which belongs into SASL.
pub(super) fn unanswerable(reply: &Reply) -> Option<AmqpError> {
    let status = reply.http_status();
    (status >= 400).then(|| refusal(status, &json(reply), Entries::new()))
}

fn refusal(status: u16, description: &Bytes, details: Entries) -> AmqpError {
    AmqpError {
        condition: condition_of(status).to_owned(),
        description: Some(String::from_utf8_lossy(description).into_owned()),
        details,
    }
}

/// Maps an HTTP status to an AMQP condition. Node retries after the third and the last.
fn condition_of(status: u16) -> &'static str {
    match status {
        401 => condition::UNAUTHORIZED_ACCESS,
        404 => condition::NOT_FOUND,
        429 => "com.microsoft:device-container-throttled",
        400..500 => "com.microsoft:argument-error",
        _ => condition::INTERNAL_ERROR,
    }
}

/// Encodes Retry-After in both spellings, since SDKs differ, and as `int`, since the C SDK does not read `long`.
fn retry_after(seconds: Option<u32>) -> Entries {
    let seconds = seconds.and_then(|seconds| i32::try_from(seconds).ok());
    seconds.map_or_else(Entries::new, |seconds| {
        Entries::new().with("retry-after", seconds).with("Retry-After", seconds)
    })
}

#[cfg(test)]
mod tests {
    use codec::amqp::Value;
    use model::Timestamp;

    use super::*;

    #[test]
    fn errors_have_a_condition_and_transient_ones_say_when_to_come_back() {
        for (code, condition, transient) in [
            (401_002, "amqp:unauthorized-access", false),
            (400_003, "com.microsoft:argument-error", false),
            (413_000, "com.microsoft:argument-error", false),
            (404_203, "amqp:not-found", false),
            (429_001, "com.microsoft:device-container-throttled", true),
            (500_000, "amqp:internal-error", true),
            (503_000, "amqp:internal-error", true),
        ] {
            let body = ErrorBody::new(code, "why", "id".into(), Timestamp::from_unix_seconds(0));
            let error = rejection(&body, 3);
            assert_eq!(error.condition, condition);
            assert!(error.description.is_some_and(|text| text.contains(&code.to_string())));
            for name in ["retry-after", "Retry-After"] {
                assert_eq!(error.details.get(name), transient.then_some(&Value::Int(3)), "{code}");
            }
        }
    }
}
