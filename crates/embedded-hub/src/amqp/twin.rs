//! Requests of a device about its own twin.

use std::sync::Arc;

use codec::amqp::{Body, Entries, Message, Properties, Value};
use wire::{hub::TwinOperation, topics::DeviceFilter};

use crate::{connections::LiveConnection, failure::HubFailure, hub::Hub};

/// The outcome of a request.
struct Outcome {
    status: u16,
    version: Option<u64>,
    body: Vec<u8>,
}

/// Executes a request; returns the answer.
pub async fn answer(hub: &Hub, live: &Arc<LiveConnection>, request: &Message) -> Message {
    let outcome = match execute(hub, live, request).await {
        Ok(outcome) => outcome,
        Err(failure) => {
            Outcome { status: failure.code().status(), version: None, body: hub.twin_refusal(live, &failure) }
        }
    };
    // The SDK for C requires these two types.
    let mut annotations = Entries::new().with("status", Value::Int(outcome.status.into()));
    if let Some(version) = outcome.version {
        annotations.insert("version", Value::Long(version.cast_signed()));
    }
    let correlation_id = request.properties.correlation_id.clone();
    let properties = Properties { correlation_id, ..Properties::default() };
    Message { annotations, properties, body: Body::of(outcome.body), ..Message::default() }
}

async fn execute(hub: &Hub, live: &Arc<LiveConnection>, request: &Message) -> Result<Outcome, HubFailure> {
    let empty = |status, version| Outcome { status, version, body: Vec::new() };
    match operation(request)? {
        TwinOperation::Read => Ok(Outcome { status: 200, version: None, body: hub.own_twin(live).await? }),
        TwinOperation::Report => {
            let patch = request.body.bytes().unwrap_or_default();
            let version = hub.own_report(live, &patch).await?;
            Ok(empty(204, Some(version)))
        }
        TwinOperation::Subscribe => {
            hub.subscribe_device(live, DeviceFilter::Desired).await;
            Ok(empty(200, None))
        }
        TwinOperation::Unsubscribe => {
            live.unsubscribe(DeviceFilter::Desired);
            Ok(empty(200, None))
        }
    }
}

fn operation(request: &Message) -> Result<TwinOperation, HubFailure> {
    let invalid = |text: &str| HubFailure::Invalid(text.to_owned());
    if request.properties.correlation_id.is_none() {
        return Err(invalid("a request about a twin needs a correlation ID"));
    }
    let operation = request.annotations.text("operation").unwrap_or_default();
    let known = TwinOperation::parse(operation, request.annotations.text("resource"));
    known.ok_or_else(|| invalid("the operation or resource of a twin is unknown"))
}
