//! The REST API: registry, twins, methods and messages for services (service api-version 2021-04-12, whatever `api-version` a
//! request has), and the routes of devices over HTTPS.

mod body;
mod devices;
mod guard;
mod messages;
mod path;
mod query;
mod response;
mod routes;
mod twins;

use http::Method;

pub use body::RequestBody;
pub use guard::AuthenticatedDevice;
pub use path::PathParams;
pub use response::{answer, nothing};
pub use routes::Access;

/// Returns every route: its method, its path with `{id}` in it, and who may use it; for tests that cover all routes.
pub fn routes() -> Vec<(Method, &'static str, Access)> {
    routes::table().into_iter().map(|route| (route.method, route.path, route.access)).collect()
}
