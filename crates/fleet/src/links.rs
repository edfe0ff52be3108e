//! Calls of the service API about linked hubs and the defaults of allocation.

use http::Method;
use serde_json::{Value, json};
use wire::sas::encode_component;

use crate::operator::{OperatorError, Request, ServiceClient};

impl ServiceClient {
    /// Lists the linked hubs.
    pub async fn linked_hubs(&mut self) -> Result<Value, OperatorError> {
        self.operator().send(Request::new(Method::GET, "/linkedHubs")).await
    }

    /// Reads a linked hub. Its key is masked.
    pub async fn linked_hub(&mut self, name: &str) -> Result<Value, OperatorError> {
        self.operator().send(Request::new(Method::GET, &path(name))).await
    }

    /// Links a hub, or changes the link whose etag is `if_match`. Unless `check` is [`LinkCheck::Skip`], the service
    /// first checks at the hub that the key has the necessary rights.
    pub async fn put_linked_hub(
        &mut self,
        name: &str,
        link: &Value,
        if_match: Option<&str>,
        check: LinkCheck,
    ) -> Result<Value, OperatorError> {
        let query = match check {
            LinkCheck::First => "",
            LinkCheck::Skip => "?check=false",
        };
        let path = format!("{}{query}", path(name));
        let request = Request { if_match, body: Some(link), ..Request::new(Method::PUT, &path) };
        self.operator().send(request).await
    }

    /// Unlinks a hub.
    pub async fn unlink_hub(&mut self, name: &str) -> Result<(), OperatorError> {
        self.operator().send(Request::new(Method::DELETE, &path(name))).await.map(drop)
    }

    /// Makes the service check at a linked hub that the key has the necessary rights.
    pub async fn check_linked_hub(&mut self, name: &str) -> Result<Value, OperatorError> {
        let path = format!("{}/check", path(name));
        self.operator().send(Request::new(Method::POST, &path)).await
    }

    /// Reads the ID scope, and the key by which a webhook verifies the signatures of requests.
    pub async fn webhook_key(&mut self) -> Result<Value, OperatorError> {
        self.operator().send(Request::new(Method::POST, "/webhookKey")).await
    }

    /// Reads the allocation policy and failover for enrollments that do not set a policy.
    pub async fn default_allocation_policy(&mut self) -> Result<Value, OperatorError> {
        self.operator().send(Request::new(Method::GET, "/allocationPolicy")).await
    }

    /// Sets the default allocation policy (`hashed`, `geoLatency` or `static`), the default of failover, or both.
    pub async fn set_default_allocation_policy(
        &mut self,
        policy: Option<&str>,
        failover: Option<bool>,
    ) -> Result<Value, OperatorError> {
        let mut body = json!({});
        policy.into_iter().for_each(|policy| body["allocationPolicy"] = json!(policy));
        failover.into_iter().for_each(|failover| body["failover"] = json!(failover));
        let request = Request { body: Some(&body), ..Request::new(Method::PUT, "/allocationPolicy") };
        self.operator().send(request).await
    }
}

/// Whether the service checks the key at a hub before it links the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkCheck {
    /// The service checks the key first.
    First,
    /// The service links the hub without the check, for instance because the hub is down.
    Skip,
}

fn path(name: &str) -> String {
    format!("/linkedHubs/{}", encode_component(name))
}
