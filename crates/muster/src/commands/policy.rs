//! `muster policy`.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    instance::ResourceArgs,
    table::{Table, text},
};
use crate::output::{self, Format, OutputArgs};

/// Manage the shared access policies of an instance, whose keys open its service operations endpoint.
///
/// The connection string is that of the management API. Every call here is in the audit log of the service.
#[derive(Args)]
pub struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Subcommand)]
enum PolicyCommand {
    List(ListArgs),
    Put(PutArgs),
    Rotate(RotateArgs),
    Delete(DeleteArgs),
}

/// List the access policies of an instance with their keys.
#[derive(Args)]
#[command(after_help = "Example:
  muster policy list --dev .muster dev")]
struct ListArgs {
    #[command(flatten)]
    resource: ResourceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Create an access policy with new keys, or change the rights of one.
#[derive(Args)]
#[command(after_help = "Example:
  muster policy put --dev .muster dev line-3 --rights EnrollmentWrite,RegistrationStatusRead")]
struct PutArgs {
    #[command(flatten)]
    resource: ResourceArgs,
    /// The name of the access policy.
    policy: String,
    /// The rights, separated by commas: ServiceConfig, EnrollmentRead, EnrollmentWrite, RegistrationStatusRead,
    /// RegistrationStatusWrite, DeviceConnect.
    #[arg(long)]
    rights: String,
    #[command(flatten)]
    output: OutputArgs,
}

/// Replace a key of an access policy by a new one. The other key stays valid, so that clients can be moved to it first.
#[derive(Args)]
#[command(after_help = "Example:
  muster policy rotate --dev .muster dev line-3 secondary")]
struct RotateArgs {
    #[command(flatten)]
    resource: ResourceArgs,
    /// The name of the access policy.
    policy: String,
    /// The key.
    #[arg(value_parser = ["primary", "secondary", "both"])]
    keys: String,
    #[command(flatten)]
    output: OutputArgs,
}

/// Delete an access policy. The last one of an instance stays.
#[derive(Args)]
#[command(after_help = "Example:
  muster policy delete --dev .muster dev line-3")]
struct DeleteArgs {
    #[command(flatten)]
    resource: ResourceArgs,
    /// The name of the access policy.
    policy: String,
}

/// Runs the command.
pub async fn run(args: PolicyArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        PolicyCommand::List(ListArgs { resource, output }) => {
            let reply = resource.service.management_client()?.policies(&resource.path()).await?;
            let policies = reply.get("value").and_then(Value::as_array).context("the reply is not a list")?;
            print(policies, output.format)
        }
        PolicyCommand::Put(PutArgs { resource, policy, rights, output }) => {
            let body = json!({ "rights": rights });
            let mut client = resource.service.management_client()?;
            print(&[client.put_policy(&resource.path(), &policy, &body).await?], output.format)
        }
        PolicyCommand::Rotate(RotateArgs { resource, policy, keys, output }) => {
            let mut client = resource.service.management_client()?;
            print(&[client.regenerate_policy(&resource.path(), &policy, &keys).await?], output.format)
        }
        PolicyCommand::Delete(DeleteArgs { resource, policy }) => {
            resource.service.management_client()?.delete_policy(&resource.path(), &policy).await?;
            output::line(format_args!("deleted {policy}"))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn print(policies: &[Value], format: Format) -> anyhow::Result<ExitCode> {
    if format == Format::Json {
        output::json(&policies)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["policy", "rights", "primary key", "secondary key"]);
    for policy in policies {
        let members = ["/keyName", "/rights", "/primaryKey", "/secondaryKey"];
        table.add_row(members.map(|pointer| text(policy, pointer)));
    }
    output::table(&table)?;
    Ok(ExitCode::SUCCESS)
}
