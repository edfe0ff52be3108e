//! `GET /latency?address=ADDRESS`: how far the hubs are. Not part of the hosted service's API.

use std::net::IpAddr;

use axum::response::Response;
use wire::service::latency_json;

use crate::{ServiceApi, access::Granted, error::Failure, reply, request::Call};

/// Shows what is known, and what a device from the address would get if one is given.
pub(crate) fn read(api: &ServiceApi, granted: &Granted, call: &Call) -> Result<Response, Failure> {
    let address = call.parameter("address").map(|text| address(&text)).transpose()?;
    let report = api.provisioning.latencies(granted.instance(), address);
    Ok(reply::ok(&latency_json(&report)))
}

fn address(text: &str) -> Result<IpAddr, Failure> {
    let refused =
        |_| Failure::Argument(format!("address must be an IP address such as 10.20.3.4, not {text:?}"));
    text.parse().map_err(refused)
}
