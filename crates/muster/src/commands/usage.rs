//! `muster usage`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use fleet::{ServiceClient, Trust};
use model::Day;
use serde::Deserialize;
use server::dev::DevInfo;
use wire::sas::ConnectionString;

/// Show how many operations a service instance completed.
///
/// An operation is one instruction completed successfully: a registration, a re-registration, or a call to the service
/// operations endpoint. Polling is free.
#[derive(Args)]
#[command(after_help = "Examples:
  muster usage --dev .muster
  muster usage --connection-string 'HostName=…;SharedAccessKeyName=…;SharedAccessKey=…' --ca ca.pem --from 2026-11-01")]
pub struct UsageArgs {
    /// The folder of a running `muster dev`.
    #[arg(long, conflicts_with_all = ["connection_string", "ca"], required_unless_present = "connection_string")]
    dev: Option<PathBuf>,
    /// The service instance's connection string.
    #[arg(long, env = "MUSTER_CONNECTION_STRING", hide_env_values = true, requires = "ca")]
    connection_string: Option<String>,
    /// PEM file of the CA that vouches for the server.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// The first day (UTC); 30 days back when absent.
    #[arg(long, value_parser = day)]
    from: Option<Day>,
    /// The last day (UTC); today when absent.
    #[arg(long, value_parser = day)]
    to: Option<Day>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
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
    let reply = client(&args)?.usage(args.from, args.to).await?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&reply)?);
        return Ok(ExitCode::SUCCESS);
    }
    let usage: Usage = serde_json::from_value(reply).context("the reply is no usage")?;
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(["day", "operation", "count"]);
    for row in usage.usage {
        table.add_row([row.day, row.kind, row.count.to_string()]);
    }
    table.add_row(["total".to_owned(), String::new(), usage.total.to_string()]);
    if let Some(counts) = table.column_mut(2) {
        counts.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    Ok(ExitCode::SUCCESS)
}

fn client(args: &UsageArgs) -> anyhow::Result<ServiceClient> {
    let (connection, ca_file) = match (&args.dev, &args.connection_string, &args.ca) {
        (Some(dir), ..) => {
            let info = DevInfo::read(dir)?;
            (info.service_connection_string, info.ca_file)
        }
        (None, Some(connection), Some(ca)) => (connection.clone(), ca.clone()),
        _ => anyhow::bail!("--dev, or --connection-string with --ca, is needed"),
    };
    let ca = std::fs::read(&ca_file).with_context(|| format!("cannot read {}", ca_file.display()))?;
    Ok(ServiceClient::new(&ConnectionString::parse(&connection)?, HTTPS, Trust::from_pem(&ca)?)?)
}

/// The port where the connection string has none.
const HTTPS: u16 = 443;
