//! `GET /log`: who changed what, when, and from where. Not part of the hosted service's API.

use model::{LogCursor, LogKind, Timestamp};
use provisioning::ports::{LogFilter, LogQuery};
use wire::service::{DEFAULT_PAGE_ITEMS, MAX_PAGE_ITEMS, log_json};

use crate::{reply, request::Call, route::Answer};

/// Returns changes after the position `after`, oldest first. A page may be empty although more changes follow.
pub(crate) async fn read(call: &Call) -> Answer {
    let filter = LogFilter {
        since: call
            .parsed("since", "an instant such as 2026-11-23T08:00:00Z", |text| Timestamp::parse(text).ok())?,
        kind: call.parsed("kind", &kinds(), LogKind::from_name)?,
        key: call.parameter("key"),
        actor: call.parameter("actor"),
    };
    let after: Option<LogCursor> =
        call.parsed("after", "the position that a reply ended with", |text| text.parse().ok())?;
    let limit = call.parsed("limit", &format!("a number from 1 to {MAX_PAGE_ITEMS}"), |text| {
        text.parse().ok().filter(|limit| (1..=MAX_PAGE_ITEMS).contains(limit))
    })?;
    let query =
        LogQuery { after: after.unwrap_or_default(), filter, limit: limit.unwrap_or(DEFAULT_PAGE_ITEMS) };
    let page = call.verbs().read_log(call.instance(), query).await?;
    Ok(reply::ok(&log_json(&page.entries, &page.next, page.more)))
}

fn kinds() -> String {
    let names: Vec<_> = LogKind::ALL.iter().map(|kind| kind.name()).collect();
    format!("one of {}", names.join(", "))
}
