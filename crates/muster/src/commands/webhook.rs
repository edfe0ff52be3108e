//! `muster webhook`.

use std::process::ExitCode;

use anyhow::Context;
use aws_lc_rs::rand;
use base64::{Engine, engine::general_purpose::STANDARD};
use clap::{Args, Subcommand};
use serde_json::Value;

use super::service::ServiceArgs;
use crate::output;

/// Support webhooks of custom allocation.
#[derive(Args)]
pub struct WebhookArgs {
    #[command(subcommand)]
    command: WebhookCommand,
}

#[derive(Subcommand)]
enum WebhookCommand {
    Key(KeyArgs),
    /// Print a new key, for `muster instance update --webhook-key-file`, and change nothing.
    ///
    /// To replace the key without an interruption: let the webhook accept the new key beside the old one, set the new one at the
    /// instance, and then let the webhook accept the new one only.
    #[command(after_help = "Example:
  muster webhook new-key > webhook.key")]
    NewKey,
}

/// Print the key by which a webhook verifies requests of this service instance.
///
/// Each instance has its own key. docs/allocation.md shows how to verify a signature.
#[derive(Args)]
#[command(after_help = "Examples:
  muster webhook key --dev .muster
  muster webhook key --dev .muster --json      includes the ID scope, which is part of the signature")]
struct KeyArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub async fn run(args: WebhookArgs) -> anyhow::Result<ExitCode> {
    let args = match args.command {
        WebhookCommand::Key(args) => args,
        WebhookCommand::NewKey => {
            let mut key = [0; 32];
            rand::fill(&mut key).map_err(|_| anyhow::anyhow!("the system has no random numbers"))?;
            output::line(STANDARD.encode(key))?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let reply = args.service.client()?.webhook_key().await?;
    if args.json {
        output::json(&reply)?;
    } else {
        output::line(reply.get("key").and_then(Value::as_str).context("the reply has no key")?)?;
    }
    Ok(ExitCode::SUCCESS)
}
