//! What a hub's answer means for a run: go on, something that is dealt with, or an error that says who must act.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode, header::RETRY_AFTER};
use provisioning::ports::HubError;
use serde_json::{Map, Value};
use wire::hub::{BulkReply, ErrorCode, HubRefusal};

use super::link::RestLink;

/// The answers that a run deals with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is done; this is what the hub has now.
    Done(Bytes),
    /// There is no such device.
    Absent,
    /// There is such a device already.
    Exists,
    /// The device has another version.
    Stale,
}

/// The other answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// The hub does not take the key, or not for this.
    Denied(u16, HubRefusal),
    /// The request is wrong and stays so.
    Wrong(u16, HubRefusal),
    /// The hub works, but has no room for this.
    Full(u16, HubRefusal),
    /// The hub asks for a pause; for so long, if it says.
    Throttled(u16, HubRefusal, Option<Duration>),
    /// All else: overloaded, broken, or no hub at all.
    Other(u16, HubRefusal),
}

impl Answer {
    /// To a request about one device.
    pub(super) fn of(response: &Response<Bytes>) -> Result<Answer, Problem> {
        let (status, body) = (response.status(), response.body());
        let header = response.headers().get("iothub-errorcode").and_then(|value| value.to_str().ok());
        let refusal = || HubRefusal::read(header, body);
        match status {
            // Proxies and captive portals answer anything with a page of theirs.
            _ if status.is_success() && (status == StatusCode::NO_CONTENT || is_object(body)) => {
                Ok(Answer::Done(body.clone()))
            }
            // A 404 of anything but the registry says nothing about the device.
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
            _ => Err(Problem::passing(response, refusal())),
        }
    }

    /// To a bulk request with one entry; true when the hub left out the entry's twin.
    pub(super) fn of_bulk(response: &Response<Bytes>) -> Result<(Answer, bool), Problem> {
        let status = response.status();
        let told = status.is_success() || status == StatusCode::BAD_REQUEST;
        let reply = told.then(|| serde_json::from_slice::<BulkReply>(response.body()).ok()).flatten();
        let Some(reply) = reply.filter(|reply| reply.is_successful || !reply.errors.is_empty()) else {
            return match Answer::of(response)? {
                // A body that tells of no outcome.
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
            Some(refusal) if may_pass(&refusal) => Err(Problem::Other(status.as_u16(), refusal)),
            Some(refusal) => Err(Problem::Wrong(status.as_u16(), refusal)),
        }
    }
}

impl Problem {
    /// What passes: a hub that throttles says so by 429, or by 503 with the time that it wants.
    fn passing(response: &Response<Bytes>, refusal: HubRefusal) -> Problem {
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

    /// A key that is refused may have been rotated: the device waits until somebody has put it right.
    pub(super) fn of(&self, link: &RestLink) -> HubError {
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

/// The seconds that the hub wants; a date, which the standard allows too, no hub sends.
fn retry_after(response: &Response<Bytes>) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn is_object(body: &Bytes) -> bool {
    serde_json::from_slice::<Map<String, Value>>(body).is_ok()
}

/// The devices of a hub, or what it does in a day, are limited by what is paid for.
fn is_full(refusal: &HubRefusal) -> bool {
    starts_with_any(refusal, &["IotHubQuotaExceeded", "403002", "TooManyDevices", "413002"])
}

fn is_throttling(refusal: &HubRefusal) -> bool {
    starts_with_any(refusal, &["429", "Throttl", "GenericTooManyRequests"])
}

/// Whether an entry of a bulk request may be done another time; the status of the whole does not tell.
fn may_pass(refusal: &HubRefusal) -> bool {
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

    /// The outcome in one word.
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
    fn answers_about_one_device() {
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
    fn a_pause_is_asked_for_in_seconds() {
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
    fn answers_to_a_bulk_request() {
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
