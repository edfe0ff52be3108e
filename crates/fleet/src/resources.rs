//! Calls of the management API: instances as resources, and their access policies.

use std::fmt;

use http::Method;
use serde_json::{Value, json};
use wire::sas::encode_component;

use crate::{
    failure::Refusal,
    operator::{OperatorError, Request, ServiceClient},
};

/// The address of an instance as a resource.
#[derive(Debug, Clone)]
pub struct ResourcePath {
    /// The subscription.
    pub subscription: String,
    /// The resource group.
    pub resource_group: String,
    /// The name.
    pub name: String,
}

impl fmt::Display for ResourcePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.Devices/provisioningServices/{}",
            encode_component(&self.subscription),
            encode_component(&self.resource_group),
            encode_component(&self.name)
        )
    }
}

impl ServiceClient {
    /// Lists the instances of a subscription.
    pub async fn instances(&mut self, subscription: &str) -> Result<Value, OperatorError> {
        let subscription = encode_component(subscription);
        let path = format!("/subscriptions/{subscription}/providers/Microsoft.Devices/provisioningServices");
        self.operator().send(Request::new(Method::GET, &path)).await
    }

    /// Reads an instance.
    pub async fn instance(&mut self, path: &ResourcePath) -> Result<Value, OperatorError> {
        self.operator().send(Request::new(Method::GET, &path.to_string())).await
    }

    /// Reads an instance; `None` if there is none.
    pub async fn find_instance(&mut self, path: &ResourcePath) -> Result<Option<Value>, OperatorError> {
        self.operator().find(&path.to_string()).await
    }

    /// Creates an instance; `None` if there is one of this name.
    pub async fn create_instance(
        &mut self,
        path: &ResourcePath,
        instance: &Value,
    ) -> Result<Option<Value>, OperatorError> {
        let path = path.to_string();
        let headers = &[("if-none-match", "*")];
        let request = Request { headers, body: Some(instance), ..Request::new(Method::PUT, &path) };
        match self.operator().send(request).await {
            Ok(created) => Ok(Some(created)),
            Err(OperatorError::Refused(Refusal { status: 412, .. })) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates an instance, or changes the one whose etag is `if_match`.
    pub async fn put_instance(
        &mut self,
        path: &ResourcePath,
        instance: &Value,
        if_match: Option<&str>,
    ) -> Result<Value, OperatorError> {
        let path = path.to_string();
        let request = Request { if_match, body: Some(instance), ..Request::new(Method::PUT, &path) };
        self.operator().send(request).await
    }

    /// Reads what a deletion of an instance would delete, or has not deleted yet.
    pub async fn preview_deletion(&mut self, path: &ResourcePath) -> Result<Value, OperatorError> {
        self.operator().send(Request::new(Method::GET, &format!("{path}/deletion"))).await
    }

    /// Begins the deletion of an instance.
    pub async fn delete_instance(&mut self, path: &ResourcePath) -> Result<(), OperatorError> {
        self.operator().send(Request::new(Method::DELETE, &path.to_string())).await.map(drop)
    }

    /// Reads the state of the deletion of the instance that had this ID scope.
    pub async fn deletion_state(
        &mut self,
        path: &ResourcePath,
        id_scope: &str,
    ) -> Result<Value, OperatorError> {
        let path = format!("{path}/operationresults/delete-{}", encode_component(id_scope));
        self.operator().send(Request::new(Method::GET, &path)).await
    }

    /// Reads the access policies of an instance with their keys.
    pub async fn policies(&mut self, path: &ResourcePath) -> Result<Value, OperatorError> {
        self.operator().send(Request::new(Method::POST, &format!("{path}/listkeys"))).await
    }

    /// Creates an access policy, or changes one. Returns it with its keys.
    pub async fn put_policy(
        &mut self,
        path: &ResourcePath,
        name: &str,
        policy: &Value,
    ) -> Result<Value, OperatorError> {
        let path = policy_path(path, name);
        self.operator().send(Request { body: Some(policy), ..Request::new(Method::PUT, &path) }).await
    }

    /// Replaces keys of an access policy: `primary`, `secondary` or `both`. Returns it with its keys.
    pub async fn regenerate_policy(
        &mut self,
        path: &ResourcePath,
        name: &str,
        keys: &str,
    ) -> Result<Value, OperatorError> {
        let (path, body) = (format!("{}/regenerate", policy_path(path, name)), json!({ "keys": keys }));
        self.operator().send(Request { body: Some(&body), ..Request::new(Method::POST, &path) }).await
    }

    /// Deletes an access policy.
    pub async fn delete_policy(&mut self, path: &ResourcePath, name: &str) -> Result<(), OperatorError> {
        self.operator().send(Request::new(Method::DELETE, &policy_path(path, name))).await.map(drop)
    }
}

fn policy_path(path: &ResourcePath, name: &str) -> String {
    format!("{path}/keys/{}", encode_component(name))
}
