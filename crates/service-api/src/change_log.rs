//! `GET /log`: who changed what, when, and from where. Not part of the hosted service's API.

use axum::response::Response;
use model::{LogCursor, LogKind, Timestamp};
use provisioning::ports::{LogFilter, LogQuery};
use wire::service::{DEFAULT_PAGE_ITEMS, MAX_PAGE_ITEMS, log_json};

use crate::{ServiceApi, access::Granted, error::Failure, reply, request::Call};

/// Shows changes after the position `after`, oldest first. A page may be empty although more changes follow.
pub(crate) async fn read(api: &ServiceApi, granted: &Granted, call: &Call) -> Result<Response, Failure> {
    let filter = LogFilter {
        since: parsed(call, "since", "an instant such as 2026-11-23T08:00:00Z", |text| {
            Timestamp::parse(text).ok()
        })?,
        kind: parsed(call, "kind", &kinds(), LogKind::from_name)?,
        key: call.parameter("key"),
        actor: call.parameter("actor"),
    };
    let after: Option<LogCursor> =
        parsed(call, "after", "the position that a reply ended with", |text| text.parse().ok())?;
    let limit = parsed(call, "limit", &format!("a number from 1 to {MAX_PAGE_ITEMS}"), |text| {
        text.parse().ok().filter(|limit| (1..=MAX_PAGE_ITEMS).contains(limit))
    })?;
    let query =
        LogQuery { after: after.unwrap_or_default(), filter, limit: limit.unwrap_or(DEFAULT_PAGE_ITEMS) };
    let page = api.provisioning.read_log(granted.instance(), query).await?;
    Ok(reply::ok(&log_json(&page.entries, &page.next, page.more)))
}

/// Parses a query parameter, if there is one.
fn parsed<T>(
    call: &Call,
    name: &str,
    expected: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Failure> {
    let Some(text) = call.parameter(name) else { return Ok(None) };
    let refused = || Failure::Argument(format!("{name} must be {expected}, not {text:?}"));
    parse(&text).map(Some).ok_or_else(refused)
}

fn kinds() -> String {
    let names: Vec<_> = LogKind::ALL.iter().map(|kind| kind.name()).collect();
    format!("one of {}", names.join(", "))
}
