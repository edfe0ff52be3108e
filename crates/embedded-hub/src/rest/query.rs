//! `POST /devices/query`: `SELECT * FROM devices`, projections, and `SELECT COUNT() AS n FROM devices`, with simple
//! conditions. Devices are read one by one in the order of their IDs, a bounded number per request.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use model::DeviceId;
use serde::Deserialize;
use serde_json::{Value, json};
use wire::hub::{Condition, Member, Query, Selection};

use crate::{failure::HubFailure, hub::Hub, registry::representation};

use super::{
    body::RequestBody,
    path::PathDeviceId,
    response::{answer, json, no_such_method},
};

const ITEM_TYPE: HeaderName = HeaderName::from_static("x-ms-item-type");
const CONTINUATION: HeaderName = HeaderName::from_static("x-ms-continuation");
const MAX_ITEMS: HeaderName = HeaderName::from_static("x-ms-max-item-count");

/// Rows of a page by default, and at most (IoT Hub documentation).
const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 1000;
/// Devices that are read from the storage at once.
const READ_AT_ONCE: usize = 200;
/// Devices that one request for a page reads; a page may end early, with a continuation.
const DEVICES_PER_REQUEST: usize = 5000;

/// The body of a query.
#[derive(Deserialize)]
struct QueryBody {
    query: String,
}

/// One page of twins.
struct Page {
    twins: Vec<Value>,
    next: Option<String>,
}

/// `POST /devices/query`: answers a query. No other path of this form has a POST.
pub async fn device_query(
    state: State<Hub>,
    PathDeviceId(id): PathDeviceId,
    headers: HeaderMap,
    body: RequestBody,
) -> Response {
    if id.as_str() != "query" {
        return no_such_method(state).await;
    }
    let State(hub) = state;
    let outcome = async {
        let body: QueryBody = body.object()?;
        let query = Query::parse(&body.query).map_err(|error| HubFailure::Invalid(error.to_string()))?;
        match &query.selection {
            Selection::All => Ok(twins(rows(&hub, &query, &headers).await?, "Twin")),
            Selection::Members(members) => {
                let mut page = rows(&hub, &query, &headers).await?;
                page.twins.iter_mut().for_each(|twin| *twin = Member::row(members, twin));
                Ok(twins(page, "Raw"))
            }
            Selection::Count(name) => Ok(number(name, count(&hub, &query.conditions).await?)),
        }
    };
    answer(&hub, outcome.await)
}

/// Returns the page of twins that a request wants.
async fn rows(hub: &Hub, query: &Query, headers: &HeaderMap) -> Result<Page, HubFailure> {
    let after = continuation(headers)?;
    match query.device_id() {
        Some(id) => Ok(Page { twins: named(hub, id, &query.conditions)?, next: None }),
        None => find(hub, &query.conditions, after, page_size(headers)).await,
    }
}

/// Returns the device with this ID if it meets the conditions; the others need not be read.
fn named(hub: &Hub, id: &str, conditions: &[Condition]) -> Result<Vec<Value>, HubFailure> {
    let Ok(id) = DeviceId::parse(id) else { return Ok(Vec::new()) };
    let twin = hub.twin(&id)?.map(|twin| json!(twin));
    Ok(twin.into_iter().filter(|twin| conditions.iter().all(|condition| condition.holds(twin))).collect())
}

async fn find(
    hub: &Hub,
    conditions: &[Condition],
    mut after: String,
    size: usize,
) -> Result<Page, HubFailure> {
    let mut twins = Vec::new();
    let mut read_count = 0;
    loop {
        let rows = read(hub, &after)?;
        let last = rows.len() < READ_AT_ONCE;
        for (id, twin) in rows {
            after = id;
            read_count += 1;
            if conditions.iter().all(|condition| condition.holds(&twin)) {
                twins.push(twin);
            }
            if twins.len() == size {
                // The devices that follow were not read; an empty last page is allowed.
                let more = !hub.devices(&after, 1)?.is_empty();
                return Ok(Page { twins, next: more.then_some(after) });
            }
        }
        if last {
            return Ok(Page { twins, next: None });
        }
        if read_count >= DEVICES_PER_REQUEST {
            return Ok(Page { twins, next: Some(after) });
        }
        tokio::task::yield_now().await;
    }
}

async fn count(hub: &Hub, conditions: &[Condition]) -> Result<u64, HubFailure> {
    if conditions.is_empty() {
        return Ok(hub.counts()?.devices);
    }
    let mut found = 0;
    let mut after = String::new();
    loop {
        let rows = read(hub, &after)?;
        let last = rows.len() < READ_AT_ONCE;
        for (id, twin) in rows {
            after = id;
            found += u64::from(conditions.iter().all(|condition| condition.holds(&twin)));
        }
        if last {
            return Ok(found);
        }
        tokio::task::yield_now().await;
    }
}

fn read(hub: &Hub, after: &str) -> Result<Vec<(String, Value)>, HubFailure> {
    let devices = hub.core.storage.read(|rows| rows.devices_after(after, READ_AT_ONCE))?;
    let twins = devices.into_iter().map(|device| {
        let live = hub.core.connections.of(&device.id);
        (device.id.to_string(), json!(representation::twin(device, live.as_deref())))
    });
    Ok(twins.collect())
}

fn page_size(headers: &HeaderMap) -> usize {
    let size = headers.get(MAX_ITEMS).and_then(|value| value.to_str().ok()?.parse().ok());
    size.filter(|size| (1..=MAX_PAGE).contains(size)).unwrap_or(DEFAULT_PAGE)
}

fn continuation(headers: &HeaderMap) -> Result<String, HubFailure> {
    let Some(token) = headers.get(CONTINUATION).filter(|token| !token.is_empty()) else {
        return Ok(String::new());
    };
    let decoded =
        URL_SAFE_NO_PAD.decode(token.as_bytes()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.ok_or_else(|| HubFailure::Invalid("the continuation is not one of this hub".to_owned()))
}

fn twins(page: Page, item_type: &'static str) -> Response {
    let mut response = json(StatusCode::OK, &page.twins);
    response.headers_mut().insert(ITEM_TYPE, HeaderValue::from_static(item_type));
    if let Some(next) = page.next
        && let Ok(token) = HeaderValue::from_str(&URL_SAFE_NO_PAD.encode(next))
    {
        response.headers_mut().insert(CONTINUATION, token);
    }
    response
}

fn number(name: &str, number: u64) -> Response {
    let row = Value::Object(serde_json::Map::from_iter([(name.to_owned(), number.into())]));
    let mut response = json(StatusCode::OK, &[row]);
    response.headers_mut().insert(ITEM_TYPE, HeaderValue::from_static("Raw"));
    response.into_response()
}
