//! Calls of the service API about registrations, the decisions that led to them, and cleanups.

use std::num::NonZeroUsize;

use http::Method;
use model::{HubDeviceRef, RegistrationId, StatusKind};
use serde_json::Value;
use wire::sas::encode_component;

use crate::{
    listing::Listing,
    operator::{OperatorError, Request, ServiceClient},
};

impl ServiceClient {
    /// Lists the first `limit` registrations, or all of them; of one status, or of all statuses.
    pub async fn registrations(
        &mut self,
        status: Option<StatusKind>,
        limit: Option<NonZeroUsize>,
    ) -> Result<Listing, OperatorError> {
        let path = match status {
            Some(status) => format!("/registrations?status={}", status.name()),
            None => "/registrations".to_owned(),
        };
        self.all_pages(Request::new(Method::GET, &path), limit).await
    }

    /// Reads a registration with the decisions that led to it: `{…, explanation: [sentence], decisions: […]}`.
    pub async fn explain_registration(&mut self, id: &RegistrationId) -> Result<Value, OperatorError> {
        self.operator().send(Request::new(Method::GET, &path(id, "/explanation"))).await
    }

    /// Cancels an unfinished assignment, and returns the registration afterwards.
    pub async fn cancel_registration(&mut self, id: &RegistrationId) -> Result<Value, OperatorError> {
        self.operator().send(Request::new(Method::POST, &path(id, "/cancel"))).await
    }

    /// Deletes a registration.
    pub async fn delete_registration(&mut self, id: &RegistrationId) -> Result<(), OperatorError> {
        self.operator().send(Request::new(Method::DELETE, &path(id, ""))).await.map(drop)
    }

    /// Lists the first `limit` cleanups at hubs, or all of them.
    pub async fn cleanups(&mut self, limit: Option<NonZeroUsize>) -> Result<Listing, OperatorError> {
        self.all_pages(Request::new(Method::GET, "/cleanups"), limit).await
    }

    /// Releases the cleanups that are held because the service's database was restored or copied.
    pub async fn confirm_cleanups(&mut self) -> Result<(), OperatorError> {
        self.operator().send(Request::new(Method::POST, "/cleanups/confirm")).await.map(drop)
    }

    /// Abandons a cleanup: the device remains at that hub.
    pub async fn forget_cleanup(&mut self, device: &HubDeviceRef) -> Result<(), OperatorError> {
        let id = format!("{}/{}", device.hub, device.device_id);
        let path = format!("/cleanups/{}", encode_component(&id));
        self.operator().send(Request::new(Method::DELETE, &path)).await.map(drop)
    }
}

fn path(id: &RegistrationId, rest: &str) -> String {
    format!("/registrations/{}{rest}", encode_component(id.as_str()))
}
