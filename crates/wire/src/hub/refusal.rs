//! Error replies of hubs, in any of the forms that hubs use: `{"Message":"ErrorCode:NAME;text"}`,
//! `{"errorCode":404001,"message":"text"}`, or the latter as JSON text in the `Message` of the former. The code may
//! also be only in the header `iothub-errorcode`.

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::ErrorCode;

/// An error reply of a hub. Its content is not reliable: proxies send replies of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HubRefusal {
    /// The name of the error code, or its number as text; empty if there is none.
    pub code: String,
    /// The reason for people, of at most 300 characters.
    pub text: String,
}

/// The reply to a bulk request, as its client parses it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BulkReply {
    /// Whether the operation succeeded for every device.
    pub is_successful: bool,
    /// The devices for which it failed.
    pub errors: Vec<BulkReplyError>,
    /// The devices for which it succeeded in part (`DeviceRegisteredWithoutTwin`).
    pub warnings: Vec<Value>,
}

/// A device for which the operation failed.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BulkReplyError {
    /// The error code: its name or its number.
    pub error_code: Value,
    /// The reason, for people.
    pub error_status: String,
}

impl HubRefusal {
    /// Parses an error reply: its header `iothub-errorcode`, if it has one, and its body. The header's code takes
    /// precedence.
    pub fn read(header: Option<&str>, body: &[u8]) -> HubRefusal {
        let mut refusal = match serde_json::from_slice::<Map<String, Value>>(body) {
            Ok(object) => HubRefusal::of_object(&object),
            Err(_) => HubRefusal::default(),
        };
        if let Some(name) = header.filter(|name| !name.is_empty()) {
            name.clone_into(&mut refusal.code);
        }
        if refusal.text.is_empty() {
            refusal.text = String::from_utf8_lossy(body).into_owned();
        }
        refusal.shortened()
    }

    /// Returns whether the reply has this code, by name or by number.
    pub fn is(&self, code: ErrorCode) -> bool {
        self.code == code.name() || self.code == code.number().to_string()
    }

    fn of_object(object: &Map<String, Value>) -> HubRefusal {
        let Some(message) = object.get("Message").and_then(Value::as_str) else {
            return HubRefusal::of_detail(object);
        };
        if let Ok(detail) = serde_json::from_str::<Map<String, Value>>(message) {
            return HubRefusal::of_detail(&detail);
        }
        match message.strip_prefix("ErrorCode:") {
            Some(rest) => {
                let (code, text) = rest.split_once(';').unwrap_or((rest, ""));
                HubRefusal { code: code.to_owned(), text: text.to_owned() }
            }
            None => HubRefusal { code: String::new(), text: message.to_owned() },
        }
    }

    fn of_detail(detail: &Map<String, Value>) -> HubRefusal {
        let text = detail.get("message").and_then(Value::as_str).unwrap_or_default();
        HubRefusal { code: code_text(detail.get("errorCode")), text: text.to_owned() }
    }

    fn shortened(mut self) -> HubRefusal {
        for part in [&mut self.code, &mut self.text] {
            if let Some((end, _)) = part.char_indices().nth(MAX_TEXT) {
                part.truncate(end);
            }
        }
        self
    }
}

impl From<BulkReplyError> for HubRefusal {
    fn from(error: BulkReplyError) -> HubRefusal {
        HubRefusal { code: code_text(Some(&error.error_code)), text: error.error_status }.shortened()
    }
}

impl fmt::Display for HubRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code.as_str() {
            "" => f.write_str(&self.text),
            code => write!(f, "{code}: {}", self.text),
        }
    }
}

fn code_text(code: Option<&Value>) -> String {
    match code {
        Some(Value::String(name)) => name.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// The maximum length of a hub's text in characters: it is logged and sent to devices.
const MAX_TEXT: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(header: Option<&str>, body: &str, code: &str, text: &str) {
        let refusal = HubRefusal::read(header, body.as_bytes());
        assert_eq!((refusal.code.as_str(), refusal.text.as_str()), (code, text), "{body}");
    }

    #[test]
    fn all_forms_of_errors_are_parsed() {
        let named = r#"{"Message":"ErrorCode:DeviceNotFound;No 'd'.","ExceptionMessage":"Tracking ID:x"}"#;
        check(None, named, "DeviceNotFound", "No 'd'.");
        check(Some("ThrottlingException"), named, "ThrottlingException", "No 'd'.");
        let detail = r#"{"errorCode":404001,"message":"No 'd'.","trackingId":"x"}"#;
        check(None, detail, "404001", "No 'd'.");
        check(None, &serde_json::json!({ "Message": detail }).to_string(), "404001", "No 'd'.");
        check(None, r#"{"Message":"just words"}"#, "", "just words");
        check(None, r#"{"Message":7}"#, "", r#"{"Message":7}"#);
        check(Some("ServerError"), "", "ServerError", "");
        check(Some(""), "<html>Bad gateway</html>", "", "<html>Bad gateway</html>");
        check(None, "[1]", "", "[1]");
        check(None, &"é".repeat(1000), "", &"é".repeat(MAX_TEXT));
    }

    #[test]
    fn codes_match_by_name_and_number() {
        for code in ["DeviceNotFound", "404001"] {
            let refusal = HubRefusal { code: code.to_owned(), text: String::new() };
            assert!(refusal.is(ErrorCode::DeviceNotFound) && !refusal.is(ErrorCode::DeviceAlreadyExists));
        }
        assert!(!HubRefusal::default().is(ErrorCode::DeviceNotFound));
    }

    #[test]
    fn bulk_replies_are_parsed() {
        let body = r#"{"isSuccessful":false,"errors":[{"deviceId":"d","errorCode":"DeviceAlreadyExists","errorStatus":"there"}],"warnings":[]}"#;
        let reply: BulkReply = serde_json::from_str(body).unwrap();
        let refusal = HubRefusal::from(reply.errors.into_iter().next().unwrap());
        assert_eq!((reply.is_successful, refusal.to_string()), (false, "DeviceAlreadyExists: there".into()));
    }
}
