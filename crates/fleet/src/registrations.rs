//! The operator's calls about registrations: those under way, why devices are where they are, and what is cleaned up.

use std::num::NonZeroUsize;

use http::Method;
use model::{Place, RegistrationId, StatusKind};
use serde_json::Value;
use wire::sas::encode_component;

use crate::listing::Listing;
use crate::operator::{OperatorError, Request, ServiceClient};

impl ServiceClient {
    /// Lists registrations, of one status or of all: all of them, or the first ones.
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

    /// Reads a registration and what led to it: `{…, explanation: [sentence], decisions: […]}`.
    pub async fn explain_registration(&mut self, id: &RegistrationId) -> Result<Value, OperatorError> {
        self.operator().ask(Request::new(Method::GET, &path(id, "/explanation"))).await
    }

    /// Calls an assignment off that is under way; the answer is the registration as it is now.
    pub async fn cancel_registration(&mut self, id: &RegistrationId) -> Result<Value, OperatorError> {
        self.operator().ask(Request::new(Method::POST, &path(id, "/cancel"))).await
    }

    /// Deletes a registration.
    pub async fn delete_registration(&mut self, id: &RegistrationId) -> Result<(), OperatorError> {
        self.operator().ask(Request::new(Method::DELETE, &path(id, ""))).await.map(drop)
    }

    /// Lists what is still to be removed from hubs: all of it, or the first.
    pub async fn cleanups(&mut self, limit: Option<NonZeroUsize>) -> Result<Listing, OperatorError> {
        self.all_pages(Request::new(Method::GET, "/cleanups"), limit).await
    }

    /// Lets cleanups go on that were held because the service's database was restored or copied.
    pub async fn confirm_cleanups(&mut self) -> Result<(), OperatorError> {
        self.operator().ask(Request::new(Method::POST, "/cleanups/confirm")).await.map(drop)
    }

    /// Gives a clean-up up: what is in that place stays there.
    pub async fn forget_cleanup(&mut self, place: &Place) -> Result<(), OperatorError> {
        let id = format!("{}/{}", place.hub, place.device_id);
        let path = format!("/cleanups/{}", encode_component(&id));
        self.operator().ask(Request::new(Method::DELETE, &path)).await.map(drop)
    }
}

fn path(id: &RegistrationId, what: &str) -> String {
    format!("/registrations/{}{what}", encode_component(id.as_str()))
}
