//! The operator's side of linked hubs.

use http::Method;
use serde_json::{Value, json};
use wire::sas::encode_component;

use crate::operator::{OperatorError, Request, ServiceClient};

impl ServiceClient {
    /// Lists the linked hubs.
    pub async fn linked_hubs(&mut self) -> Result<Value, OperatorError> {
        self.operator().ask(Request::new(Method::GET, "/linkedHubs")).await
    }

    /// Reads a linked hub; its key is masked.
    pub async fn linked_hub(&mut self, name: &str) -> Result<Value, OperatorError> {
        self.operator().ask(Request::new(Method::GET, &path(name))).await
    }

    /// Links a hub, or changes a link when the version that is changed is given. Unless `check` says otherwise, the service
    /// first asks the hub whether the key will do.
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
        self.operator().ask(request).await
    }

    /// Unlinks a hub.
    pub async fn unlink_hub(&mut self, name: &str) -> Result<(), OperatorError> {
        self.operator().ask(Request::new(Method::DELETE, &path(name))).await.map(drop)
    }

    /// Has the service ask a linked hub whether the key may do what is needed.
    pub async fn check_linked_hub(&mut self, name: &str) -> Result<Value, OperatorError> {
        let path = format!("{}/check", path(name));
        self.operator().ask(Request::new(Method::POST, &path)).await
    }

    /// Reads the ID scope and the key by which a webhook verifies what it is asked.
    pub async fn webhook_key(&mut self) -> Result<Value, OperatorError> {
        self.operator().ask(Request::new(Method::POST, "/webhookKey")).await
    }

    /// Reads how hubs are chosen where an enrollment does not say.
    pub async fn default_allocation_policy(&mut self) -> Result<Value, OperatorError> {
        self.operator().ask(Request::new(Method::GET, "/allocationPolicy")).await
    }

    /// Sets the policy (`hashed`, `geoLatency` or `static`), whether there is failover, or both.
    pub async fn set_default_allocation_policy(
        &mut self,
        policy: Option<&str>,
        failover: Option<bool>,
    ) -> Result<Value, OperatorError> {
        let mut body = json!({});
        policy.into_iter().for_each(|policy| body["allocationPolicy"] = json!(policy));
        failover.into_iter().for_each(|failover| body["failover"] = json!(failover));
        let request = Request { body: Some(&body), ..Request::new(Method::PUT, "/allocationPolicy") };
        self.operator().ask(request).await
    }
}

/// Whether a hub is asked before it is linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkCheck {
    /// It is.
    First,
    /// It is not: it may be down.
    Skip,
}

fn path(name: &str) -> String {
    format!("/linkedHubs/{}", encode_component(name))
}
