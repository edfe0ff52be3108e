//! Errors of the embedded hub: name and number of each code, and the two forms of bodies that SDKs parse.
//!
//! The SDK for Node parses `Message` as `ErrorCode:NAME;text`. The C# SDK compares the header `iothub-errorcode` with
//! the code in the body; therefore both hold the same name.

use serde::Serialize;

/// The error codes of Azure IoT Hub that the embedded hub uses.
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
    /// Returns the name, which is the value of the header `iothub-errorcode`.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// Returns the six-digit number, which is the value of the JSON member `errorCode`.
    pub fn number(self) -> u32 {
        self.row().1
    }

    /// Returns the HTTP status: the first three digits of the number.
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

/// The body of an error of the service's REST API.
#[derive(Debug, Serialize)]
pub struct ErrorBody {
    /// The text `ErrorCode:NAME;text`, or the JSON of an [`ErrorDetail`].
    #[serde(rename = "Message")]
    pub message: String,
    /// The text `Tracking ID:…-TimeStamp:…`, for reference in support requests.
    #[serde(rename = "ExceptionMessage")]
    pub exception_message: String,
}

impl ErrorBody {
    /// Creates the body for `code`; `stamp` is the time as `MM/dd/yyyy HH:mm:ss`.
    pub fn new(code: ErrorCode, text: &str, tracking_id: &str, stamp: &str) -> ErrorBody {
        ErrorBody {
            message: format!("ErrorCode:{};{text}", code.name()),
            exception_message: format!("Tracking ID:{tracking_id}-G:0-TimeStamp:{stamp}"),
        }
    }

    /// Creates the body for failed method calls, which holds the detail as JSON text in `Message`.
    pub fn nesting(detail: &ErrorDetail, stamp: &str) -> ErrorBody {
        let exception_message = format!("Tracking ID:{}-G:0-TimeStamp:{stamp}", detail.tracking_id);
        ErrorBody { message: serde_json::json!(detail).to_string(), exception_message }
    }
}

/// The body of a failed twin operation over MQTT, and the JSON text in the body of a failed method call.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorDetail<'a> {
    /// The number of the error code ([`ErrorCode::number`]).
    pub error_code: u32,
    /// The ID of this error, for reference in support requests.
    pub tracking_id: &'a str,
    /// The reason, for people.
    pub message: &'a str,
    /// The time of the error in UTC (ISO 8601).
    pub timestamp_utc: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_the_first_three_digits_of_the_number() {
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
    fn the_body_has_the_form_that_node_parses() {
        let body = ErrorBody::new(ErrorCode::DeviceNotFound, "No device 'x'.", "ab", "01/02/2026 03:04:05");
        assert_eq!(
            serde_json::to_string(&body).unwrap(),
            r#"{"Message":"ErrorCode:DeviceNotFound;No device 'x'.","ExceptionMessage":"Tracking ID:ab-G:0-TimeStamp:01/02/2026 03:04:05"}"#
        );
    }
}
