//! Calls of the service API about latencies.

use std::net::IpAddr;

use http::Method;
use serde_json::Value;

use crate::operator::{OperatorError, Request, ServiceClient};

impl ServiceClient {
    /// Reads the latencies to the linked hubs. With an `address`, the reply includes the hubs nearest to it.
    pub async fn latencies(&mut self, address: Option<IpAddr>) -> Result<Value, OperatorError> {
        let query = address.map(|address| format!("?address={address}")).unwrap_or_default();
        self.operator().send(Request::new(Method::GET, &format!("/latency{query}"))).await
    }
}
