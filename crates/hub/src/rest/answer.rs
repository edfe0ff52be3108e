//! What a hub's answer means for a run: go on, something that is dealt with, or an error that says who must act.

use bytes::Bytes;
use http::{Response, StatusCode};
use provisioning::ports::HubError;
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
    /// All else: throttled, overloaded, broken, or no hub at all.
    Other(u16, HubRefusal),
}

impl Answer {
    /// To a request about one device.
    pub(super) fn of(response: &Response<Bytes>) -> Result<Answer, Problem> {
        let status = response.status();
        if status.is_success() {
            return Ok(Answer::Done(response.body().clone()));
        }
        let header = response.headers().get("iothub-errorcode").and_then(|value| value.to_str().ok());
        let refusal = HubRefusal::read(header, response.body());
        match status {
            // A 404 of anything but the registry says nothing about the device.
            StatusCode::NOT_FOUND if refusal.is(ErrorCode::DeviceNotFound) => Ok(Answer::Absent),
            StatusCode::CONFLICT => Ok(Answer::Exists),
            StatusCode::PRECONDITION_FAILED => Ok(Answer::Stale),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(Problem::Denied(status.as_u16(), refusal))
            }
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => {
                Err(Problem::Wrong(status.as_u16(), refusal))
            }
            _ => Err(Problem::Other(status.as_u16(), refusal)),
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
            Some(refusal) if may_pass(&refusal) => Err(Problem::Other(status.as_u16(), refusal)),
            Some(refusal) => Err(Problem::Wrong(status.as_u16(), refusal)),
        }
    }
}

impl Problem {
    /// A key that is refused may have been rotated, and a full hub may be given room: the device waits until somebody
    /// has put it right, and the log says so each time.
    pub(super) fn of(self, link: &RestLink) -> HubError {
        let RestLink { hub, policy, .. } = link;
        match self {
            Problem::Denied(status, refusal) => HubError::Unavailable(format!(
                "{hub}: the key of policy {policy:?} is not accepted for this ({status} {refusal})"
            )),
            Problem::Wrong(status, refusal) => HubError::Refused(format!("{hub}: {status} {refusal}")),
            Problem::Other(status, refusal) => HubError::Unavailable(format!("{hub}: {status} {refusal}")),
        }
    }
}

/// Whether an entry of a bulk request may be done another time; the status of the whole does not tell.
fn may_pass(refusal: &HubRefusal) -> bool {
    const PASSING: [&str; 6] =
        ["429", "5", "Throttl", "GenericTooManyRequests", "ServerError", "ServiceUnavailable"];
    PASSING.iter().any(|start| refusal.code.starts_with(start))
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
            (403, r#"{"Message":"ErrorCode:IotHubQuotaExceeded;full"}"#, "denied"),
            (404, r#"{"Message":"ErrorCode:DeviceNotFound;no"}"#, "absent"),
            (404, r#"{"errorCode":404001,"message":"no"}"#, "absent"),
            (404, "<html>not here</html>", "other"),
            (409, r#"{"Message":"ErrorCode:DeviceAlreadyExists;there"}"#, "exists"),
            (412, "", "stale"),
            (408, "", "other"),
            (429, r#"{"errorCode":429001,"message":"wait"}"#, "other"),
            (500, "", "other"),
            (503, "", "other"),
            (302, "", "other"),
        ] {
            assert_eq!(word(Answer::of(&response(status, body))), expected, "{status} {body}");
        }
    }

    #[test]
    fn answers_to_a_bulk_request() {
        let refused = |code: &str| format!(r#"{{"isSuccessful":false,"errors":[{{"errorCode":{code}}}]}}"#);
        for (status, body, expected) in [
            (200, r#"{"isSuccessful":true,"errors":[],"warnings":[]}"#.to_owned(), "done"),
            (400, refused(r#""DeviceAlreadyExists""#), "exists"),
            (400, refused("409001"), "exists"),
            (400, refused(r#""ArgumentInvalid""#), "wrong"),
            (400, refused(r#""ThrottlingException""#), "other"),
            (400, refused("503001"), "other"),
            (400, r#"{"Message":"ErrorCode:IotHubFormatError;no"}"#.to_owned(), "wrong"),
            (401, String::new(), "denied"),
            (200, "<html>".to_owned(), "other"),
            (200, r#"{"isSuccessful":false,"errors":[]}"#.to_owned(), "other"),
            (429, String::new(), "other"),
        ] {
            let outcome = Answer::of_bulk(&response(status, &body)).map(|(answer, _)| answer);
            assert_eq!(word(outcome), expected, "{status} {body}");
        }
        let partly =
            r#"{"isSuccessful":true,"errors":[],"warnings":[{"warningCode":"DeviceRegisteredWithoutTwin"}]}"#;
        assert!(matches!(Answer::of_bulk(&response(200, partly)), Ok((Answer::Done(_), true))));
    }
}
