//! Hub errors: the code's name, its number, and the two body forms SDKs parse.
//!
//! Node reads `Message` as `ErrorCode:NAME;text`; C# trusts the `iothub-errorcode` header and checks
//! it against the code in the body, so both always carry the same name.

use serde::Serialize;

/// The hub error codes the embedded hub answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the protocol's own")]
pub enum ErrorCode {
    ArgumentInvalid,
    BulkRegistryOperationFailure,
    DeviceAlreadyExists,
    DeviceMaximumQueueDepthExceeded,
    DeviceMessageLockLost,
    DeviceNotFound,
    DeviceNotOnline,
    GatewayTimeout,
    InvalidOperation,
    IotHubFormatError,
    IotHubUnauthorizedAccess,
    MessageTooLarge,
    PreconditionFailed,
    ServerError,
    ServiceUnavailable,
    ThrottlingException,
}

impl ErrorCode {
    /// The name, as in the header `iothub-errorcode`.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// The six-digit number, as in the JSON field `errorCode`.
    pub fn number(self) -> u32 {
        self.row().1
    }

    /// The HTTP status: the first three digits of the number.
    pub fn status(self) -> u16 {
        u16::try_from(self.number() / 1000).unwrap_or(500)
    }

    fn row(self) -> (&'static str, u32) {
        match self {
            ErrorCode::ArgumentInvalid => ("ArgumentInvalid", 400_004),
            ErrorCode::BulkRegistryOperationFailure => ("BulkRegistryOperationFailure", 400_013),
            ErrorCode::DeviceAlreadyExists => ("DeviceAlreadyExists", 409_001),
            ErrorCode::DeviceMaximumQueueDepthExceeded => ("DeviceMaximumQueueDepthExceeded", 403_004),
            ErrorCode::DeviceMessageLockLost => ("DeviceMessageLockLost", 412_002),
            ErrorCode::DeviceNotFound => ("DeviceNotFound", 404_001),
            ErrorCode::DeviceNotOnline => ("DeviceNotOnline", 404_103),
            ErrorCode::GatewayTimeout => ("GatewayTimeout", 504_101),
            ErrorCode::InvalidOperation => ("InvalidOperation", 400_003),
            ErrorCode::IotHubFormatError => ("IotHubFormatError", 400_006),
            ErrorCode::IotHubUnauthorizedAccess => ("IotHubUnauthorizedAccess", 401_002),
            ErrorCode::MessageTooLarge => ("MessageTooLarge", 413_001),
            ErrorCode::PreconditionFailed => ("PreconditionFailed", 412_001),
            ErrorCode::ServerError => ("ServerError", 500_001),
            ErrorCode::ServiceUnavailable => ("ServiceUnavailable", 503_001),
            ErrorCode::ThrottlingException => ("ThrottlingException", 429_001),
        }
    }
}

/// The body of a service REST error.
#[derive(Debug, Serialize)]
pub struct ErrorBody {
    /// `ErrorCode:NAME;text`.
    #[serde(rename = "Message")]
    pub message: String,
    /// `Tracking ID:…-TimeStamp:…`, what an operator quotes to support.
    #[serde(rename = "ExceptionMessage")]
    pub exception_message: String,
}

impl ErrorBody {
    /// The body for `code`; `stamp` is the time as `MM/dd/yyyy HH:mm:ss`.
    pub fn new(code: ErrorCode, text: &str, tracking_id: &str, stamp: &str) -> ErrorBody {
        ErrorBody {
            message: format!("ErrorCode:{};{text}", code.name()),
            exception_message: format!("Tracking ID:{tracking_id}-G:0-TimeStamp:{stamp}"),
        }
    }

    /// The body that the hub gives for methods that fail: the detail as JSON text inside `Message`.
    pub fn nesting(detail: &ErrorDetail, stamp: &str) -> ErrorBody {
        let exception_message = format!("Tracking ID:{}-G:0-TimeStamp:{stamp}", detail.tracking_id);
        ErrorBody { message: serde_json::json!(detail).to_string(), exception_message }
    }
}

/// The body of a refused twin operation over MQTT, and what is nested in the body of a failed method.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorDetail<'a> {
    /// [`ErrorCode::number`].
    pub error_code: u32,
    /// What an operator quotes to support.
    pub tracking_id: &'a str,
    /// Why, for people.
    pub message: &'a str,
    /// When, ISO 8601 in UTC.
    pub timestamp_utc: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_the_head_of_the_number() {
        for (code, status) in [
            (ErrorCode::ArgumentInvalid, 400),
            (ErrorCode::DeviceNotFound, 404),
            (ErrorCode::PreconditionFailed, 412),
            (ErrorCode::GatewayTimeout, 504),
        ] {
            assert_eq!(code.status(), status, "{code:?}");
        }
    }

    #[test]
    fn the_body_is_the_form_that_node_splits() {
        let body = ErrorBody::new(ErrorCode::DeviceNotFound, "No device 'x'.", "ab", "01/02/2026 03:04:05");
        assert_eq!(
            serde_json::to_string(&body).unwrap(),
            r#"{"Message":"ErrorCode:DeviceNotFound;No device 'x'.","ExceptionMessage":"Tracking ID:ab-G:0-TimeStamp:01/02/2026 03:04:05"}"#
        );
    }
}
