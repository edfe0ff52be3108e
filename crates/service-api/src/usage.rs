//! `GET /usage?from=YYYY-MM-DD&to=YYYY-MM-DD`: metering. Not part of the hosted service's API.

use model::Day;
use wire::service::usage_json;

use crate::{error::Failure, reply, request::Call, route::Answer};

/// The number of days in a report without the parameter `from`.
const DEFAULT_DAYS: i32 = 30;

/// Returns the number of operations by day and kind: by default up to today, and from 29 days before the last day.
pub(crate) async fn read(call: &Call) -> Answer {
    let to = day(call, "to")?.unwrap_or_else(|| call.now().day());
    let first = Day::from_number(to.number().saturating_sub(DEFAULT_DAYS - 1));
    let from = day(call, "from")?.unwrap_or(first);
    let rows = call.verbs().usage(call.instance(), from, to).await?;
    Ok(reply::ok(&usage_json(&rows)))
}

fn day(call: &Call, name: &str) -> Result<Option<Day>, Failure> {
    call.parsed(name, "a day such as 2026-11-23", |text| Day::parse(text).ok())
}
