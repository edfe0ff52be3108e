//! `GET /log`: who changed what, when, and from where. Not part of the hosted service's API.

use model::{LogCursor, LogKind};
use provisioning::ports::{LogFilter, LogQuery};
use wire::service::log_json;

use crate::{reply, request::Call, route::Answer};

/// Returns changes after the position `after`, oldest first. A page may be empty although more changes follow.
pub(crate) async fn read(call: &Call) -> Answer {
    let kinds = LogKind::ALL.iter().map(|kind| kind.name());
    let filter = LogFilter {
        since: call.instant("since")?,
        kind: call.one_of("kind", kinds, LogKind::from_name)?,
        key: call.parameter("key"),
        actor: call.parameter("actor"),
    };
    let after: Option<LogCursor> = call.after(|text| text.parse().ok())?;
    let query = LogQuery { after: after.unwrap_or_default(), filter, limit: call.limit()? };
    let page = call.verbs().read_log(call.instance(), query).await?;
    Ok(reply::ok(&log_json(&page.entries, &page.next, page.more)))
}
