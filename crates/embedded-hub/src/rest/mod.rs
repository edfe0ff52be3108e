//! The service REST: the registry, twins, methods and messages (service api-version 2021-04-12; any
//! other value of `api-version` is taken for it), and what devices ask over HTTPS.

mod answer;
mod body;
mod devices;
mod guard;
mod messages;
mod named;
mod query;
mod routes;
mod twins;

use http::Method;

pub use answer::{answer, nothing};
pub use body::Whole;
pub use guard::Asking;
pub use named::InPath;
pub use routes::Access;

/// Every route as its method, its path with `{id}` in it, and who may use it; for tests that must not miss one.
pub fn routes() -> Vec<(Method, &'static str, Access)> {
    routes::table().into_iter().map(|route| (route.method, route.path, route.access)).collect()
}
