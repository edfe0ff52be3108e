//! Interprets a hub's answers: an outcome that the connector handles, or an error that says who must act.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode, header::RETRY_AFTER};
use provisioning::ports::HubError;
use serde_json::{Map, Value};
use wire::hub::{BulkReply, ErrorCode, HubRefusal};

use super::link::RestLink;

/// The answers that the connector handles.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The request was done. The body is what the hub has now.
    Done(Bytes),
    /// The hub does not have the device.
    Absent,
    /// The hub has the device already.
    Exists,
    /// The device has another version.
    Stale,
}

/// The answers that are errors, each with its status.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// The hub rejects the key, or the key lacks a right.
    Denied(u16, HubRefusal),
    /// The request is wrong; repeating it is no use.
    Wrong(u16, HubRefusal),
    /// The hub works, but is full.
    Full(u16, HubRefusal),
    /// The hub asks for a pause, of this length if it names one.
    Throttled(u16, HubRefusal, Option<Duration>),
    /// Any other: the hub is overloaded or broken, or the answer is not from a hub.
    Other(u16, HubRefusal),
}

impl Answer {
    /// Interprets the answer to a request about one device.
    pub(super) fn of(response: &Response<Bytes>) -> Result<Answer, Problem> {
        let (status, body) = (response.status(), response.body());
        let header = response.headers().get("iothub-errorcode").and_then(|value| value.to_str().ok());
        let refusal = || HubRefusal::read(header, body);
        match status {
            // Proxies and captive portals answer every request with a page of their own.
            _ if status.is_success() && (status == StatusCode::NO_CONTENT || is_object(body)) => {
                Ok(Answer::Done(body.clone()))
            }
            // A 404 from anything but the registry says nothing about the device.
            StatusCode::NOT_FOUND if refusal().is(ErrorCode::DeviceNotFound) => Ok(Answer::Absent),
            StatusCode::CONFLICT => Ok(Answer::Exists),
            StatusCode::PRECONDITION_FAILED => Ok(Answer::Stale),
            StatusCode::FORBIDDEN | StatusCode::PAYLOAD_TOO_LARGE if is_full(&refusal()) => {
                Err(Problem::Full(status.as_u16(), refusal()))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(Problem::Denied(status.as_u16(), refusal()))
            }
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => {
                Err(Problem::Wrong(status.as_u16(), refusal()))
            }
            _ => Err(Problem::transient(response, refusal())),
        }
    }

    /// Interprets the answer to a bulk request with one entry. Returns true if the hub left out the entry's twin.
    pub(super) fn of_bulk(response: &Response<Bytes>) -> Result<(Answer, bool), Problem> {
        let status = response.status();
        let has_outcome = status.is_success() || status == StatusCode::BAD_REQUEST;
        let reply = has_outcome.then(|| serde_json::from_slice::<BulkReply>(response.body()).ok()).flatten();
        let Some(reply) = reply.filter(|reply| reply.is_successful || !reply.errors.is_empty()) else {
            return match Answer::of(response)? {
                // The body names no outcome.
                Answer::Done(body) => Err(Problem::Other(status.as_u16(), HubRefusal::read(None, &body))),
                answer => Ok((answer, false)),
            };
        };
        let without_twin = !reply.warnings.is_empty();
        match reply.errors.into_iter().next().map(HubRefusal::from) {
            None => Ok((Answer::Done(response.body().clone()), without_twin)),
            Some(refusal) if refusal.is(ErrorCode::DeviceAlreadyExists) => Ok((Answer::Exists, false)),
            Some(refusal) if refusal.is(ErrorCode::PreconditionFailed) => Ok((Answer::Stale, false)),
            Some(refusal) if is_throttling(&refusal) => Err(Problem::throttled(response, refusal)),
            Some(refusal) if is_full(&refusal) => Err(Problem::Full(status.as_u16(), refusal)),
            Some(refusal) if is_transient(&refusal) => Err(Problem::Other(status.as_u16(), refusal)),
            Some(refusal) => Err(Problem::Wrong(status.as_u16(), refusal)),
        }
    }
}

impl Problem {
    /// Interprets an answer that is transient. A hub throttles by 429, or by 503 with Retry-After.
    fn transient(response: &Response<Bytes>, refusal: HubRefusal) -> Problem {
        let status = response.status();
        let unavailable = status == StatusCode::SERVICE_UNAVAILABLE && retry_after(response).is_some();
        if status == StatusCode::TOO_MANY_REQUESTS || unavailable {
            return Problem::throttled(response, refusal);
        }
        Problem::Other(status.as_u16(), refusal)
    }

    fn throttled(response: &Response<Bytes>, refusal: HubRefusal) -> Problem {
        Problem::Throttled(response.status().as_u16(), refusal, retry_after(response))
    }

    /// Returns the error for the caller. A rejected key may have been rotated, so the device waits until an operator corrects it.
    pub(super) fn to_error(&self, link: &RestLink) -> HubError {
        let RestLink { hub, policy, .. } = link;
        match self {
            Problem::Denied(status, refusal) => HubError::Unavailable(
                format!("{hub}: the key of policy {policy:?} is not accepted for this ({status} {refusal})")
                    .into(),
            ),
            Problem::Wrong(status, refusal) => HubError::Refused(format!("{hub}: {status} {refusal}")),
            Problem::Full(status, refusal) => {
                HubError::Full(format!("{hub}: it takes no more devices ({status} {refusal})"))
            }
            Problem::Throttled(status, refusal, _) | Problem::Other(status, refusal) => {
                HubError::Unavailable(format!("{hub}: {status} {refusal}").into())
            }
        }
    }
}

/// Returns the Retry-After of the hub, in seconds. Hubs never send a date, which RFC 9110 allows, too.
fn retry_after(response: &Response<Bytes>) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn is_object(body: &Bytes) -> bool {
    serde_json::from_slice::<Map<String, Value>>(body).is_ok()
}

/// Returns whether the hub has as many devices, or has done as many operations today, as its tier allows.
fn is_full(refusal: &HubRefusal) -> bool {
    starts_with_any(refusal, &["IotHubQuotaExceeded", "403002", "TooManyDevices", "413002"])
}

fn is_throttling(refusal: &HubRefusal) -> bool {
    starts_with_any(refusal, &["429", "Throttl", "GenericTooManyRequests"])
}

/// Returns whether the failure of an entry in a bulk request is transient. The status of the whole answer does not say.
fn is_transient(refusal: &HubRefusal) -> bool {
    starts_with_any(refusal, &["5", "ServerError", "ServiceUnavailable"])
}

fn starts_with_any(refusal: &HubRefusal, starts: &[&str]) -> bool {
    starts.iter().any(|start| refusal.code.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, body: &str) -> Response<Bytes> {
        Response::builder().status(status).body(Bytes::copy_from_slice(body.as_bytes())).unwrap()
    }

    /// Returns the outcome in one word.
    fn word(outcome: Result<Answer, Problem>) -> &'static str {
        match outcome {
            Ok(Answer::Done(_)) => "done",
            Ok(Answer::Absent) => "absent",
            Ok(Answer::Exists) => "exists",
            Ok(Answer::Stale) => "stale",
            Err(Problem::Denied(..)) => "denied",
            Err(Problem::Wrong(..)) => "wrong",
            Err(Problem::Full(..)) => "full",
            Err(Problem::Throttled(..)) => "throttled",
            Err(Problem::Other(..)) => "other",
        }
    }

    #[test]
    fn every_answer_about_one_device_has_its_meaning() {
        for (status, body, expected) in [
            (200, "{}", "done"),
            (204, "", "done"),
            (400, r#"{"Message":"ErrorCode:ArgumentInvalid;no"}"#, "wrong"),
            (413, "", "wrong"),
            (401, r#"{"Message":"ErrorCode:IotHubUnauthorizedAccess;Unauthorized"}"#, "denied"),
            (403, r#"{"Message":"ErrorCode:IotHubQuotaExceeded;full"}"#, "full"),
            (403, r#"{"Message":"ErrorCode:IotHubSuspended;no"}"#, "denied"),
            (413, r#"{"errorCode":413002,"message":"TooManyDevices"}"#, "full"),
            (404, r#"{"Message":"ErrorCode:DeviceNotFound;no"}"#, "absent"),
            (404, r#"{"errorCode":404001,"message":"no"}"#, "absent"),
            (404, "<html>not here</html>", "other"),
            (409, r#"{"Message":"ErrorCode:DeviceAlreadyExists;there"}"#, "exists"),
            (412, "", "stale"),
            (408, "", "other"),
            (429, r#"{"errorCode":429001,"message":"wait"}"#, "throttled"),
            (200, "<html>log in</html>", "other"),
            (200, "[]", "other"),
            (500, "", "other"),
            (503, "", "other"),
            (302, "", "other"),
        ] {
            assert_eq!(word(Answer::of(&response(status, body))), expected, "{status} {body}");
        }
    }

    #[test]
    fn a_hub_throttles_with_a_number_of_seconds_or_without() {
        for (status, asked, expected) in [
            (429, None, Some(None)),
            (429, Some("7"), Some(Some(7))),
            (429, Some("soon"), Some(None)),
            (503, Some("7"), Some(Some(7))),
            (503, None, None),
            (500, Some("7"), None),
        ] {
            let mut response = response(status, "");
            if let Some(asked) = asked {
                response.headers_mut().insert(RETRY_AFTER, asked.parse().unwrap());
            }
            let pause = match Answer::of(&response) {
                Err(Problem::Throttled(_, _, pause)) => Some(pause.map(|pause| pause.as_secs())),
                _ => None,
            };
            assert_eq!(pause, expected, "{status} {asked:?}");
        }
    }

    #[test]
    fn every_answer_to_a_bulk_request_has_its_meaning() {
        let refused = |code: &str| format!(r#"{{"isSuccessful":false,"errors":[{{"errorCode":{code}}}]}}"#);
        for (status, body, expected) in [
            (200, r#"{"isSuccessful":true,"errors":[],"warnings":[]}"#.to_owned(), "done"),
            (400, refused(r#""DeviceAlreadyExists""#), "exists"),
            (400, refused("409001"), "exists"),
            (400, refused("412001"), "stale"),
            (400, refused(r#""ArgumentInvalid""#), "wrong"),
            (400, refused(r#""ThrottlingException""#), "throttled"),
            (400, refused("429002"), "throttled"),
            (400, refused("503001"), "other"),
            (400, refused(r#""TooManyDevices""#), "full"),
            (400, r#"{"Message":"ErrorCode:IotHubFormatError;no"}"#.to_owned(), "wrong"),
            (401, String::new(), "denied"),
            (200, "<html>".to_owned(), "other"),
            (200, r#"{"isSuccessful":false,"errors":[]}"#.to_owned(), "other"),
            (429, String::new(), "throttled"),
        ] {
            let outcome = Answer::of_bulk(&response(status, &body)).map(|(answer, _)| answer);
            assert_eq!(word(outcome), expected, "{status} {body}");
        }
        let partly =
            r#"{"isSuccessful":true,"errors":[],"warnings":[{"warningCode":"DeviceRegisteredWithoutTwin"}]}"#;
        assert!(matches!(Answer::of_bulk(&response(200, partly)), Ok((Answer::Done(_), true))));
    }
}
