//! The body of a register request. Parsing is lenient: clients differ in spelling, and some send no body.

use std::fmt;

use model::RawJson;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value, value::RawValue};

use crate::without_bom;

/// The body of a register request. It never decides about the device's identity.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeviceRegistration {
    /// Any JSON for the custom allocation webhook; `None` if absent or null.
    pub payload: Option<RawJson>,
    /// The public keys of the device's TPM.
    pub tpm: Option<TpmKeys>,
    /// A certificate signing request: base64 of PKCS#10 in DER.
    pub csr: Option<String>,
}

/// The public keys of a TPM in base64, as sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmKeys {
    /// The endorsement key: base64 of a `TPM2B_PUBLIC`.
    pub endorsement_key: String,
    /// The storage root key: base64 of a `TPM2B_PUBLIC`.
    pub storage_root_key: Option<String>,
}

/// The reasons why a body is not a device registration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The body is not JSON.
    #[error("request body is not valid JSON: {0}")]
    NotJson(String),
    /// The body is JSON with missing members or members of wrong types.
    #[error("request body: {0}")]
    Shape(&'static str),
}

impl DeviceRegistration {
    /// Parses a body. An empty or blank body is `{}` (C# over MQTT sends none, other SDKs a space), names of members
    /// match in any case (third-party clients send `RegistrationId`), unknown members are ignored, and null means
    /// absent.
    pub fn parse(body: &[u8]) -> Result<Self, RequestError> {
        let body = without_bom(body);
        if body.trim_ascii().is_empty() {
            return Ok(DeviceRegistration::default());
        }
        let not_json = |error: &dyn fmt::Display| RequestError::NotJson(error.to_string());
        let body = std::str::from_utf8(body).map_err(|error| not_json(&error))?;
        let Body { payload, tpm, csr } =
            serde_json::from_str(body).map_err(|error| match error.is_data() {
                true => RequestError::Shape("must be a JSON object"),
                false => not_json(&error),
            })?;
        let payload = payload.filter(|payload| payload.get() != "null").map(RawJson::new).transpose();
        Ok(DeviceRegistration {
            payload: payload.map_err(RequestError::NotJson)?,
            tpm: tpm.map(tpm_keys).transpose()?,
            csr: csr.map(|csr| text(csr, "csr must be a string")).transpose()?,
        })
    }
}

/// The known members of a body. The payload is kept as text, not parsed into a tree.
#[derive(Default)]
struct Body {
    payload: Option<Box<RawValue>>,
    tpm: Option<Value>,
    csr: Option<Value>,
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Body;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Body, A::Error> {
        let mut body = Body::default();
        while let Some(name) = members.next_key::<String>()? {
            match name.to_ascii_lowercase().as_str() {
                "payload" => body.payload = Some(members.next_value()?),
                "tpm" => body.tpm = members.next_value()?,
                "csr" => body.csr = members.next_value()?,
                _ => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(body)
    }
}

fn tpm_keys(value: Value) -> Result<TpmKeys, RequestError> {
    let Value::Object(mut members) = value else {
        return Err(RequestError::Shape("tpm must be an object"));
    };
    let endorsement_key =
        take(&mut members, "endorsementKey").ok_or(RequestError::Shape("tpm.endorsementKey is missing"))?;
    let storage_root_key = take(&mut members, "storageRootKey");
    Ok(TpmKeys {
        endorsement_key: text(endorsement_key, "tpm.endorsementKey must be a string")?,
        storage_root_key: storage_root_key
            .map(|key| text(key, "tpm.storageRootKey must be a string"))
            .transpose()?,
    })
}

/// Removes and returns a member by its name in any case; null means absent.
fn take(members: &mut Map<String, Value>, name: &str) -> Option<Value> {
    let key = members.keys().find(|key| key.eq_ignore_ascii_case(name))?.clone();
    members.remove(&key).filter(|value| !value.is_null())
}

fn text(value: Value, problem: &'static str) -> Result<String, RequestError> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(RequestError::Shape(problem)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn bodies_of_sdks_are_parsed() {
        let empty = DeviceRegistration::default();
        let with_payload =
            DeviceRegistration { payload: Some(RawJson::from(&json!({"a": 1}))), ..Default::default() };
        let bodies = [
            ("", &empty),
            (" ", &empty),
            ("{}", &empty),
            (r#"{"registrationId":"reg-1"}"#, &empty),
            (r#"{"payload": null, "registrationId": "reg-1"}"#, &empty),
            ("\u{FEFF}", &empty),
            ("\u{FEFF}{\"payload\":{\"a\":1}}", &with_payload),
            (r#"{"RegistrationId":"reg-1","Payload":{"a":1},"new":[]}"#, &with_payload),
        ];
        for (body, expected) in bodies {
            assert_eq!(&DeviceRegistration::parse(body.as_bytes()).unwrap(), expected, "{body}");
        }
        let java = DeviceRegistration::parse(br#"{"payload":"{\"a\":1}"}"#).unwrap();
        assert_eq!(java.payload.unwrap().to_value(), json!("{\"a\":1}"));
        let tpm =
            DeviceRegistration::parse(br#"{"tpm":{"endorsementKey":"AToAAQ==","storageRootKey":"a\/b"}}"#)
                .unwrap();
        assert_eq!(tpm.tpm.unwrap().storage_root_key.as_deref(), Some("a/b"));
    }

    #[test]
    fn malformed_bodies_are_refused() {
        for body in [
            "{",
            "[]",
            "1",
            "\"x\"",
            r#"{"tpm":1}"#,
            r#"{"tpm":{}}"#,
            r#"{"csr":{}}"#,
            "\u{0}",
            r#"{"payload":"\ud800"}"#,
        ] {
            assert!(DeviceRegistration::parse(body.as_bytes()).is_err(), "{body}");
        }
    }

    proptest! {
        /// Another reader agrees on which bodies are JSON objects.
        #[test]
        fn accepted_bodies_are_blank_or_json_objects(
            body in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..200),
                "[ \n]{0,3}|\\{(\"(payload|x|registrationId)\" ?: ?([0-9]{1,3}|null|\"a\"|\\[\\]),?){0,2}\\}?"
                    .prop_map(String::into_bytes),
            ],
        ) {
            let is_object = serde_json::from_slice::<Map<String, Value>>(&body).is_ok();
            match DeviceRegistration::parse(&body) {
                Ok(parsed) => {
                    prop_assert!(is_object || parsed == DeviceRegistration::default() && body.trim_ascii().is_empty());
                }
                Err(RequestError::NotJson(_)) => prop_assert!(!is_object),
                Err(RequestError::Shape(_)) => {}
            }
        }
    }
}
