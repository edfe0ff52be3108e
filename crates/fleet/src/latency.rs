//! The operator's view of latencies.

use std::net::IpAddr;

use http::Method;
use serde_json::Value;

use crate::operator::{OperatorError, Request, ServiceClient};

impl ServiceClient {
    /// How far the linked hubs are; with an address also what a device from there would get.
    pub async fn latencies(&mut self, address: Option<IpAddr>) -> Result<Value, OperatorError> {
        let query = address.map(|address| format!("?address={address}")).unwrap_or_default();
        self.operator().ask(Request::new(Method::GET, &format!("/latency{query}"))).await
    }
}
