//! The service REST: the registry, twins, methods and messages (service api-version 2021-04-12; any
//! other value of `api-version` is taken for it). All routes in one table, their rights beside them.

mod answer;
mod body;
mod devices;
mod guard;
mod messages;
mod named;
mod query;
mod twins;

use axum::{Router, middleware, routing};

pub use answer::{Refusal, answer, nothing};
pub use body::Whole;
pub use named::{InPath, Named};

use crate::{https, hub::Hub};

impl Hub {
    /// The routes, to be served by [`net::serve_https`] or [`crate::serve`].
    pub fn router(&self) -> Router {
        let list = routing::get(devices::list).post(devices::bulk);
        // A device may be called `query`: POST is the only thing that devices do not have.
        let device =
            routing::get(devices::read).put(devices::put).delete(devices::delete).post(query::device_query);
        Router::new()
            .route("/devices", list.clone())
            .route("/devices/", list)
            .route("/devices/{id}", device)
            .route("/devices/{id}/commands", routing::delete(messages::purge))
            .route("/messages/devicebound", routing::post(messages::send))
            .route("/statistics/devices", routing::get(devices::registry_statistics))
            .route("/statistics/service", routing::get(devices::service_statistics))
            .route("/twins/{id}", routing::get(twins::read).patch(twins::patch).put(twins::replace))
            .route("/twins/{id}/methods", routing::post(twins::call_method))
            .fallback(answer::no_such_route)
            .method_not_allowed_fallback(answer::no_such_method)
            .layer(middleware::from_fn_with_state(self.clone(), guard::admit))
            .merge(https::routes())
            .method_not_allowed_fallback(answer::no_such_method)
            .with_state(self.clone())
    }
}
