//! `muster webhook`.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::service::ServiceArgs;
use crate::output;

/// What the webhooks of custom allocation need.
#[derive(Args)]
pub struct WebhookArgs {
    #[command(subcommand)]
    command: WebhookCommand,
}

#[derive(Subcommand)]
enum WebhookCommand {
    Key(KeyArgs),
}

/// Print the key by which a webhook verifies that this service instance asks it.
///
/// Each instance has its own. How a webhook verifies the signature is shown in docs/allocation.md.
#[derive(Args)]
#[command(after_help = "Examples:
  muster webhook key --dev .muster
  muster webhook key --dev .muster --json      with the ID scope, which is signed along")]
struct KeyArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub async fn run(args: WebhookArgs) -> anyhow::Result<ExitCode> {
    let WebhookCommand::Key(args) = args.command;
    let reply = args.service.client()?.webhook_key().await?;
    if args.json {
        output::json(&reply)?;
    } else {
        output::line(reply.get("key").and_then(Value::as_str).context("the reply holds no key")?)?;
    }
    Ok(ExitCode::SUCCESS)
}
