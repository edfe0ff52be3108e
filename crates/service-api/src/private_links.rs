//! Private links and private endpoints of Azure's network, which do not exist here.

use serde_json::Value;
use wire::service::listing_json;

use crate::{error::Failure, reply, request::Call, route::Answer};

/// Returns an empty list of private link resources.
pub(crate) async fn list_resources(_: &Call) -> Answer {
    Ok(reply::ok(&listing_json(Vec::new())))
}

/// Returns an empty list of private endpoint connections.
pub(crate) async fn list_connections(_: &Call) -> Answer {
    Ok(reply::ok(&Value::Array(Vec::new())))
}

/// Refuses to return one.
pub(crate) async fn refuse(_: &Call) -> Answer {
    Err(Failure::NoRoute)
}

/// Refuses to create a private endpoint connection.
pub(crate) async fn refuse_creation(_: &Call) -> Answer {
    Err(Failure::Argument("private endpoints are not supported: they are part of Azure's network".to_owned()))
}

/// Deletes nothing.
pub(crate) async fn delete(_: &Call) -> Answer {
    Ok(reply::no_content())
}
