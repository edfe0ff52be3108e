//! `GET /usage?from=YYYY-MM-DD&to=YYYY-MM-DD`: what was counted. Not part of the hosted service's API.

use axum::response::Response;
use model::Day;
use wire::service::usage_json;

use crate::{ServiceApi, access::Granted, error::Failure, reply, request::Call};

/// How many days are reported when the caller does not say from when.
const DEFAULT_DAYS: i32 = 30;

/// Shows operations by day and kind. Without `to` up to today, without `from` the 30 days up to then.
pub(crate) async fn read(api: &ServiceApi, granted: &Granted, call: &Call) -> Result<Response, Failure> {
    let to = day(call, "to")?.unwrap_or_else(|| api.clock.now().day());
    let first = Day::from_number(to.number().saturating_sub(DEFAULT_DAYS - 1));
    let from = day(call, "from")?.unwrap_or(first);
    let rows = api.provisioning.usage(granted.instance(), from, to).await?;
    Ok(reply::ok(&usage_json(&rows)))
}

fn day(call: &Call, name: &str) -> Result<Option<Day>, Failure> {
    let Some(text) = call.parameter(name) else { return Ok(None) };
    match Day::parse(&text) {
        Ok(day) => Ok(Some(day)),
        Err(_) => Err(Failure::Argument(format!("{name} must be a day such as 2026-11-23, not {text:?}"))),
    }
}
