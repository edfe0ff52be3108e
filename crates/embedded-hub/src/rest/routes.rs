//! The table of routes: method, path, who may use it, and its handler. A route cannot be declared without its access rule, and the
//! rule is enforced here, so that no route is open by omission.

use axum::{
    Router,
    handler::Handler,
    middleware,
    routing::{self, MethodFilter, MethodRouter},
};
use http::Method;

use crate::{config::Right, https, hub::Hub};

use super::{
    devices,
    guard::{self, Guard},
    messages, query, response, twins,
};

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The device that the path names.
    Device,
    /// The bearer of a token of a policy with one of these rights.
    Policy(&'static [Right]),
}

/// One row of the table.
pub struct Route {
    /// Its method.
    pub method: Method,
    /// Its path, with `{id}` for the device ID.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
    handler: MethodRouter<Hub>,
}

const READ: Access = Access::Policy(&[Right::RegistryRead]);
const WRITE: Access = Access::Policy(&[Right::RegistryWrite]);
const SERVICE: Access = Access::Policy(&[Right::ServiceConnect]);
/// Services with either right may read counts and query devices.
const READ_OR_SERVICE: Access = Access::Policy(&[Right::ServiceConnect, Right::RegistryRead]);
const DEVICE: Access = Access::Device;
/// Callers without a right cannot find out which routes exist.
pub const UNKNOWN_ROUTE: Access = READ_OR_SERVICE;

impl Route {
    fn new<H, T>(method: Method, path: &'static str, access: Access, handler: H) -> Route
    where
        H: Handler<T, Hub>,
        T: 'static,
    {
        // A filter exists for each method in the table.
        let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::TRACE);
        Route { method, path, access, handler: routing::on(filter, handler) }
    }
}

/// Returns every route.
pub fn table() -> Vec<Route> {
    use Method as M;
    let operators = [
        Route::new(M::GET, "/devices", READ, devices::list),
        Route::new(M::POST, "/devices", WRITE, devices::bulk),
        Route::new(M::GET, "/devices/", READ, devices::list),
        Route::new(M::POST, "/devices/", WRITE, devices::bulk),
        Route::new(M::POST, "/devices/keys/regenerate", WRITE, devices::regenerate_keys),
        Route::new(M::GET, "/devices/{id}", READ, devices::read),
        Route::new(M::PUT, "/devices/{id}", WRITE, devices::put),
        Route::new(M::DELETE, "/devices/{id}", WRITE, devices::delete),
        // A device may have the ID `query`: devices have no POST.
        Route::new(M::POST, "/devices/{id}", READ_OR_SERVICE, query::device_query),
        Route::new(M::DELETE, "/devices/{id}/commands", SERVICE, messages::purge),
        Route::new(M::POST, "/messages/devicebound", SERVICE, messages::send),
        Route::new(M::GET, "/statistics/devices", READ_OR_SERVICE, devices::registry_statistics),
        Route::new(M::GET, "/statistics/service", READ_OR_SERVICE, devices::service_statistics),
        Route::new(M::GET, "/twins/{id}", SERVICE, twins::read),
        Route::new(M::PATCH, "/twins/{id}", SERVICE, twins::patch),
        Route::new(M::PUT, "/twins/{id}", SERVICE, twins::replace),
        Route::new(M::POST, "/twins/{id}/methods", SERVICE, twins::call_method),
    ];
    let devices = [
        Route::new(M::POST, "/devices/{id}/messages/events", DEVICE, https::send_events),
        // Both spellings are in use; the SDK for C# uses the second.
        Route::new(M::GET, "/devices/{id}/messages/devicebound", DEVICE, https::receive),
        Route::new(M::GET, "/devices/{id}/messages/deviceBound", DEVICE, https::receive),
        Route::new(M::DELETE, "/devices/{id}/messages/devicebound/{lock}", DEVICE, https::settle),
        Route::new(M::DELETE, "/devices/{id}/messages/deviceBound/{lock}", DEVICE, https::settle),
        Route::new(M::POST, "/devices/{id}/messages/devicebound/{lock}/abandon", DEVICE, https::abandon),
        Route::new(M::POST, "/devices/{id}/messages/deviceBound/{lock}/abandon", DEVICE, https::abandon),
    ];
    operators.into_iter().chain(devices).chain(not_offered()).collect()
}

/// Returns the routes of the hosted hub that are not supported: a 501 cannot be confused with a missing device.
fn not_offered() -> Vec<Route> {
    const OPERATORS: [&str; 12] = [
        "/configurations",
        "/configurations/{*rest}",
        "/devices/{id}/applyConfigurationContent",
        "/devices/{id}/modules",
        "/devices/{id}/modules/{*rest}",
        "/digitaltwins/{*rest}",
        "/jobs",
        "/jobs/{*rest}",
        "/messages/serviceBound/feedback",
        "/messages/serviceBound/filenotifications",
        "/twins/{id}/modules/{*rest}",
        "/statistics/{*rest}",
    ];
    const METHODS: [Method; 5] = [Method::GET, Method::PUT, Method::POST, Method::PATCH, Method::DELETE];
    let operators =
        OPERATORS.into_iter().flat_map(|path| METHODS.map(|method| (method, path, UNKNOWN_ROUTE)));
    let files = ["/devices/{id}/files", "/devices/{id}/files/notifications"];
    let devices = files.map(|path| (Method::POST, path, DEVICE));
    operators
        .chain(devices)
        .map(|(method, path, access)| Route::new(method, path, access, response::not_offered))
        .collect()
}

impl Hub {
    /// Returns the routes, to be served by [`net::serve_https`] or [`crate::serve()`].
    pub fn router(&self) -> Router {
        let guard =
            |access| middleware::from_fn_with_state(Guard { hub: self.clone(), access }, guard::admit);
        let unknown = guard(UNKNOWN_ROUTE);
        table()
            .into_iter()
            .fold(Router::new(), |router, route| {
                router.route(route.path, route.handler.route_layer(guard(route.access)))
            })
            .fallback(response::no_such_route.layer(unknown.clone()))
            .method_not_allowed_fallback(response::no_such_method.layer(unknown))
            .with_state(self.clone())
    }
}
