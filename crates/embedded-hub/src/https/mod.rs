//! The device endpoint over HTTPS: a device sends telemetry, and asks for the messages that wait for it. Twins and
//! methods need a connection that stays.

mod asking;
mod devicebound;
mod events;

use axum::{Router, routing};

use crate::hub::Hub;

/// The routes of devices. Each handler takes a [`asking::Asking`], which nobody gets who was not let in.
pub fn routes() -> Router<Hub> {
    // Both spellings are in use, C#'s is the second.
    ["devicebound", "deviceBound"].into_iter().fold(
        Router::new().route("/devices/{id}/messages/events", routing::post(events::send)),
        |routes, queue| {
            let queue = format!("/devices/{{id}}/messages/{queue}");
            routes
                .route(&queue, routing::get(devicebound::ask))
                .route(&format!("{queue}/{{lock}}"), routing::delete(devicebound::settle))
                .route(&format!("{queue}/{{lock}}/abandon"), routing::post(devicebound::abandon))
        },
    )
}
