//! Custom allocation: requests to webhooks (`AllocationRequest`) and their replies (`AllocationResponse`).

use base64::{Engine, engine::general_purpose::STANDARD};
use model::{Enrollment, HubDeviceRef, HubName, Presented, RawJson, WebhookAnswer, WebhookRequest};
use serde_json::Value;

use super::{
    attestation::{self, Secrets},
    certificate,
    group::group_json,
    individual::{StateShown, individual_json},
    members::{self, BodyError, Members, Object},
    settings,
};

/// Writes the request to a webhook. The enrollment has the form of the service API, without its symmetric keys and
/// without the query of the webhook's URL, which may be a key.
pub fn webhook_request_json(request: &WebhookRequest) -> Value {
    let (name, mut enrollment) = match &request.enrollment {
        Enrollment::Individual(individual) => {
            ("individualEnrollment", individual_json(individual, StateShown::No, Secrets::Hidden))
        }
        Enrollment::Group(group) => ("enrollmentGroup", group_json(group, Secrets::Hidden)),
    };
    if let Some(url) = enrollment.pointer_mut("/customAllocationDefinition/webhookUrl") {
        *url = without_query(url.as_str().unwrap_or_default()).into();
    }
    let hubs: Vec<_> = request.linked_hubs.iter().map(HubName::as_str).collect();
    let mut json = Object::default();
    json.put(name, enrollment).put("deviceRuntimeContext", context_json(request)).put("linkedHubs", hubs);
    json.into_value()
}

/// Masks the query of a URL in the way of the hosted service.
fn without_query(url: &str) -> String {
    match url.split_once('?') {
        Some((before, _)) => format!("{before}?****"),
        None => url.to_owned(),
    }
}

fn context_json(request: &WebhookRequest) -> Value {
    let mut json = Object::default();
    json.put("registrationId", request.registration_id.as_str());
    if let Some(HubDeviceRef { hub, device_id }) = &request.current {
        json.put("currentIotHubHostName", hub.as_str()).put("currentDeviceId", device_id.as_str());
    }
    match &request.presented {
        Presented::SymmetricKey => json.put("symmetricKey", Object::default().into_value()),
        Presented::X509(leaf) => {
            let mut x509 = Object::default();
            x509.put("certificate", STANDARD.encode(leaf.der()))
                .put("info", certificate::info_json(leaf.info()));
            json.put("x509", x509.into_value())
        }
        Presented::Tpm(tpm) => json.put("tpm", attestation::tpm_json(tpm)),
    };
    json.put_some("payload", request.payload.as_ref().map(RawJson::to_value));
    json.into_value()
}

/// Parses the reply of a webhook. A hub that is absent, null or empty means that the webhook chose none.
pub fn parse_webhook_answer(body: &[u8]) -> Result<WebhookAnswer, BodyError> {
    let body = members::parse_json(body)?;
    let answer = Members::of_body(&body)?;
    Ok(WebhookAnswer {
        hub: answer.parsed("iotHubHostName", HubName::parse)?,
        initial_twin: settings::initial_twin(&answer)?,
        payload: answer.value("payload").map(RawJson::from),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{CustomAllocation, DeviceId, GroupAttestation, RegistrationId};
    use serde_json::json;

    use super::*;
    use crate::service::tests::samples;

    fn request(enrollment: Enrollment) -> WebhookRequest {
        WebhookRequest {
            webhook: CustomAllocation {
                webhook_url: "https://web.hook/api?code=secret".into(),
                api_version: "2021-10-01".into(),
            },
            enrollment,
            registration_id: RegistrationId::parse("Dev-1").unwrap(),
            current: None,
            presented: Presented::SymmetricKey,
            payload: None,
            linked_hubs: vec![HubName::parse("a.hub").unwrap(), HubName::parse("b.hub").unwrap()],
        }
    }

    #[test]
    fn requests_hold_the_enrollment_without_its_secrets() {
        let mut group = samples::group(GroupAttestation::SymmetricKey(samples::keys()));
        group.settings.custom_allocation = Some(request_of_group().webhook);
        let json = webhook_request_json(&request(Enrollment::Group(Arc::new(group))));
        assert_eq!(json["enrollmentGroup"]["attestation"], json!({"type": "symmetricKey"}));
        assert_eq!(
            json["enrollmentGroup"]["customAllocationDefinition"],
            json!({"webhookUrl": "https://web.hook/api?****", "apiVersion": "2021-10-01"})
        );
        assert_eq!(json["linkedHubs"], json!(["a.hub", "b.hub"]));
        assert_eq!(json["deviceRuntimeContext"], json!({"registrationId": "Dev-1", "symmetricKey": {}}));
        assert_eq!(json.get("individualEnrollment"), None);
        assert!(!json.to_string().contains("code=secret"));
    }

    fn request_of_group() -> WebhookRequest {
        request(Enrollment::Group(Arc::new(samples::group(GroupAttestation::SymmetricKey(samples::keys())))))
    }

    #[test]
    fn requests_hold_the_current_hub_and_what_the_device_sent() {
        let place = HubDeviceRef {
            hub: HubName::parse("old.hub").unwrap(),
            device_id: DeviceId::parse("Device-1").unwrap(),
        };
        let leaf = samples::certificate();
        let asked = WebhookRequest {
            current: Some(place),
            presented: Presented::X509(leaf.clone()),
            payload: Some(RawJson::from(&json!({"model": 7}))),
            ..request_of_group()
        };
        let context = &webhook_request_json(&asked)["deviceRuntimeContext"];
        assert_eq!(context["currentIotHubHostName"], "old.hub");
        assert_eq!(context["currentDeviceId"], "Device-1");
        assert_eq!(context["payload"], json!({"model": 7}));
        assert_eq!(context["x509"]["certificate"], STANDARD.encode(leaf.der()));
        assert_eq!(context["x509"]["info"]["version"], 3);
        assert_eq!(context.get("symmetricKey"), None);
    }

    #[test]
    fn members_of_replies_match_in_any_case() {
        let body = json!({
            "IotHubHostname": "A.hub",
            "INITIALTWIN": {"Tags": {"a": 1}, "properties": {"Desired": {"b": [2]}}},
            "Payload": {"hello": "device"}
        });
        let answer = parse_webhook_answer(body.to_string().as_bytes()).unwrap();
        assert_eq!(answer.hub.unwrap().as_str(), "a.hub");
        let twin = answer.initial_twin.unwrap();
        assert_eq!(Value::from(twin.tags.unwrap().as_map().clone()), json!({"a": 1}));
        assert_eq!(Value::from(twin.desired.unwrap().as_map().clone()), json!({"b": [2]}));
        assert_eq!(answer.payload, Some(RawJson::from(&json!({"hello": "device"}))));
    }

    #[test]
    fn replies_without_a_hub_are_valid_and_malformed_ones_are_refused() {
        for body in [r#"{}"#, r#"{"iotHubHostName":null}"#, r#"{"iotHubHostName":"","payload":null}"#] {
            assert_eq!(parse_webhook_answer(body.as_bytes()), Ok(WebhookAnswer::default()), "{body}");
        }
        for body in [
            "",
            "[]",
            "\"a.hub\"",
            r#"{"iotHubHostName":5}"#,
            r#"{"iotHubHostName":"a b"}"#,
            r#"{"iotHubHostName":"a.hub","initialTwin":[]}"#,
            r#"{"iotHubHostName":"a.hub","initialTwin":{"tags":1}}"#,
        ] {
            assert!(parse_webhook_answer(body.as_bytes()).is_err(), "{body}");
        }
    }
}
