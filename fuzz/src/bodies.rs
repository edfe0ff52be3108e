//! JSON that devices and operators send.

use std::collections::BTreeMap;

use model::RawJson;
use serde_json::{Value, value::RawValue};
use wire::{
    device::DeviceRegistration,
    hub::{BulkDevice, Device, MethodCall, MethodReply, TwinChange},
    service::{parse_group, parse_group_bulk, parse_individual, parse_individual_bulk},
    without_bom,
};

/// The body of a register call: whatever is taken is an object, and what it holds was in it.
pub fn run_device(input: &[u8]) {
    let Ok(body) = DeviceRegistration::parse(input) else { return };
    if body != DeviceRegistration::default() {
        // As text: numbers may be larger than any type holds.
        let members: BTreeMap<String, Box<RawValue>> =
            serde_json::from_slice(without_bom(input)).expect("a body that was taken is an object");
        let is_payload = |member: &Box<RawValue>, payload: &RawJson| {
            RawJson::new(member.clone()).is_ok_and(|member| member == *payload)
        };
        assert!(body.payload.is_none_or(|payload| members.values().any(|it| is_payload(it, &payload))));
    }
}

/// The bodies of the service API.
pub fn run_service(input: &[u8]) {
    let individual = parse_individual(input);
    let group = parse_group(input);
    let (individuals, groups) = (parse_individual_bulk(input), parse_group_bulk(input));
    let any = individual.is_ok() || group.is_ok() || individuals.is_ok() || groups.is_ok();
    assert!(!any || serde_json::from_slice::<Value>(without_bom(input)).is_ok_and(|json| json.is_object()));
    // Reasons are shown to operators.
    let _ = individual.map_err(|error| error.to_string());
    let _ = group.map_err(|error| error.to_string());
}

/// The bodies of a hub's REST; a device that was read reads back from what is written of it.
pub fn run_hub(input: &[u8]) {
    let _ = serde_json::from_slice::<Vec<BulkDevice>>(input);
    let _ = serde_json::from_slice::<TwinChange>(input);
    let _ = serde_json::from_slice::<MethodCall>(input);
    let _ = serde_json::from_slice::<MethodReply>(input);
    if let Ok(device) = serde_json::from_slice::<Device>(input) {
        let written = serde_json::to_value(&device).expect("a device has a JSON form");
        let again: Device = serde_json::from_value(written.clone()).expect("it reads back");
        assert_eq!(serde_json::to_value(&again).expect("a device has a JSON form"), written);
    }
}
