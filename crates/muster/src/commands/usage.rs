//! `muster usage`.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use model::Day;
use serde::Deserialize;
use serde_json::Value;

use super::{
    service::ServiceArgs,
    table::{Table, text},
};
use crate::output::{self, Format, OutputArgs};

/// Show the metered operations of a service instance.
///
/// An operation is a successful registration, re-registration, or call to the service operations endpoint. Polling is free.
#[derive(Args)]
#[command(after_help = "Examples:
  muster usage --dev .muster
  muster usage --connection-string 'HostName=…;SharedAccessKeyName=…;SharedAccessKey=…' --ca ca.pem --from 2026-11-01")]
pub struct UsageArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// The first day (UTC). Default: 30 days ago.
    #[arg(long, value_parser = day)]
    from: Option<Day>,
    /// The last day (UTC). Default: today.
    #[arg(long, value_parser = day)]
    to: Option<Day>,
    /// Show the limits of the instance and how much of each is used, instead of operations.
    #[arg(long, conflicts_with_all = ["from", "to"])]
    limits: bool,
    #[command(flatten)]
    output: OutputArgs,
}

fn day(text: &str) -> Result<Day, String> {
    Day::parse(text).map_err(|_| "expected a day like 2026-11-23".to_owned())
}

/// The reply of `GET /usage`.
#[derive(Deserialize)]
struct Usage {
    usage: Vec<Row>,
    total: u64,
}

#[derive(Deserialize)]
struct Row {
    day: String,
    kind: String,
    count: u64,
}

/// Runs the command.
pub async fn run(args: UsageArgs) -> anyhow::Result<ExitCode> {
    if args.limits {
        return limits(args).await;
    }
    let reply = args.service.client()?.usage(args.from, args.to).await?;
    if args.output.format == Format::Json {
        output::json(&reply)?;
        return Ok(ExitCode::SUCCESS);
    }
    let usage: Usage = serde_json::from_value(reply).context("the reply is not a usage report")?;
    let mut table = Table::new(&["day", "operation", "count"]);
    for row in usage.usage {
        table.add_row([row.day, row.kind, row.count.to_string()]);
    }
    table.add_row(["total".to_owned(), String::new(), usage.total.to_string()]);
    output::table(&table.right(&[2]))?;
    Ok(ExitCode::SUCCESS)
}

async fn limits(args: UsageArgs) -> anyhow::Result<ExitCode> {
    let reply = args.service.client()?.quotas().await?;
    if args.output.format == Format::Json {
        output::json(&reply)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows =
        reply.get("quotas").and_then(Value::as_array).context("the reply is not a report of quotas")?;
    let mut table = Table::new(&["quota", "used", "limit"]);
    for row in rows {
        table.add_row([text(row, "/name"), text(row, "/used"), text(row, "/limit")]);
    }
    output::table(&table.right(&[1, 2]))?;
    Ok(ExitCode::SUCCESS)
}
