//! `muster certificate list`: CA certificates, expiring certificates, and blocks.

use clap::Args;
use serde_json::{Value, json};

use crate::{
    commands::{service::ServiceArgs, table::Table},
    output::{self, Format, OutputArgs},
};

const EXPIRING: &[Column] = &[
    ("kind", "/kind"),
    ("name", "/name"),
    ("subject", "/subject"),
    ("expires", "/notAfterUtc"),
    ("days left", "/daysLeft"),
    ("SHA-256", "/sha256Thumbprint"),
];
const BLOCKED: &[Column] = &[
    ("SHA-256", "/sha256Thumbprint"),
    ("subject", "/subject"),
    ("key's SHA-256", "/sha256OfKey"),
    ("reason", "/reason"),
    ("since", "/blockedAtUtc"),
];

/// List the CA certificates of the instance, or expiring or blocked certificates.
///
/// With --expiring it lists CA certificates, signing certificates of groups, and leaves of individual enrollments, expired
/// ones first.
#[derive(Args)]
#[command(after_help = "Examples:
  muster certificate list --dev .muster
  muster certificate list --dev .muster --expiring 30d
  muster certificate list --dev .muster --blocked --json")]
pub struct ListArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// List certificates that expire within this number of days, such as 30d.
    #[arg(long, value_name = "DAYS", value_parser = days, conflicts_with = "blocked")]
    expiring: Option<u32>,
    /// List blocked certificates.
    #[arg(long)]
    blocked: bool,
    #[command(flatten)]
    output: OutputArgs,
}

fn days(text: &str) -> Result<u32, String> {
    text.trim_end_matches('d').parse().map_err(|_| "expected a number of days like 30d".to_owned())
}

pub async fn run(args: ListArgs) -> anyhow::Result<()> {
    let mut client = args.service.client()?;
    let (answer, columns): (Value, &[Column]) = match args.expiring {
        Some(days) => (client.expiring(days).await?, EXPIRING),
        None if args.blocked => (client.blocks().await?, BLOCKED),
        None => (client.ca_certificates().await?, CAS),
    };
    if args.output.format == Format::Json {
        return output::json(&answer);
    }
    let rows: Vec<Value> = answer["value"].as_array().into_iter().flatten().map(with_list_summary).collect();
    let titles: Vec<&str> = columns.iter().map(|(title, _)| *title).collect();
    let mut table = Table::new(&titles);
    for row in &rows {
        table.add_row(columns.iter().map(|(_, pointer)| cell(row.pointer(pointer))));
    }
    output::table(&table)?;
    rows.iter().flat_map(unfetched).try_for_each(output::line)?;
    if answer["more"] == true {
        output::line("only the first to expire are shown")?;
    }
    Ok(())
}

/// Adds a summary of the revocation lists of a CA: their number, the date of the oldest, and whether one is stale.
fn with_list_summary(row: &Value) -> Value {
    let mut row = row.clone();
    let lists = row.pointer("/properties/revocation/lists").and_then(Value::as_array);
    let Some(lists) = lists.filter(|lists| !lists.is_empty()) else { return row };
    let oldest = lists.iter().filter_map(|list| list["thisUpdate"].as_str()).min();
    let is_stale = lists.iter().any(|list| list["isStale"] == true);
    row["lists"] = json!({"count": lists.len(), "oldest": oldest, "isStale": is_stale});
    row
}

/// Describes the revocation lists of a CA that could not be fetched.
fn unfetched(ca: &Value) -> Vec<String> {
    let fetches = ca.pointer("/properties/revocation/fetches").and_then(Value::as_array);
    let name = ca["name"].as_str().unwrap_or_default();
    let in_use = match ca.pointer("/lists/oldest").and_then(Value::as_str) {
        Some(made) => format!("the oldest list in use is of {made}"),
        None => "no list is in use".to_owned(),
    };
    let line = |fetch: &Value| {
        let [from, at, next] =
            ["from", "atUtc", "nextAtUtc"].map(|it| fetch[it].as_str().unwrap_or_default());
        let problem = fetch["problem"].as_str()?;
        Some(format!(
            "{name}: cannot fetch the revocation list from {from} at {at}: {problem}; {in_use}; next try at {next}"
        ))
    };
    fetches.into_iter().flatten().filter_map(line).collect()
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(true)) => "yes".to_owned(),
        Some(Value::Bool(false)) => "no".to_owned(),
        Some(other) => other.to_string(),
    }
}

/// A title, and the JSON pointer to its values.
type Column = (&'static str, &'static str);

const CAS: &[Column] = &[
    ("name", "/name"),
    ("subject", "/properties/subject"),
    ("verified", "/properties/isVerified"),
    ("expires", "/properties/expiry"),
    ("CRL policy", "/properties/revocationPolicy"),
    ("CRLs", "/lists/count"),
    ("oldest CRL", "/lists/oldest"),
    ("stale", "/lists/isStale"),
    ("SHA-256", "/properties/sha256Thumbprint"),
];
