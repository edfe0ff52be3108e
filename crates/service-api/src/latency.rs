//! `GET /latency?address=ADDRESS`: the latencies to the linked hubs. Not part of the hosted service's API.

use wire::service::latency_json;

use crate::{reply, request::Call, route::Answer};

/// Returns the known latencies; with an address, also those of a device with that address.
pub(crate) fn read(call: &Call) -> Answer {
    let address = call.parsed("address", "an IP address such as 10.20.3.4", |text| text.parse().ok())?;
    let report = call.verbs().latencies(call.instance(), address);
    Ok(reply::ok(&latency_json(&report)))
}
