//! `muster policy`.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use fleet::ServiceClient;
use serde_json::{Value, json};
use wire::sas::ConnectionString;

use super::{
    instance::{HOST, ResourceArgs},
    service::HTTPS,
    table::{Table, text},
};
use crate::output::{self, Format, OutputArgs};

/// The right that the first policy of an instance has.
const SERVICE_CONFIG: &str = "ServiceConfig";

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
    ConnectionString(ConnectionStringArgs),
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

/// Print the connection string of an access policy, for the other commands and for SDKs.
///
/// The port is that of the management API, and left out if it is 443. Store the output like a password.
#[derive(Args)]
#[command(after_help = "Examples:
  muster policy connection-string --dev .muster dev
      the first policy with the right ServiceConfig
  export MUSTER_CONNECTION_STRING=$(muster policy connection-string plant-1 line-3 --key secondary)")]
struct ConnectionStringArgs {
    #[command(flatten)]
    resource: ResourceArgs,
    /// The name of the access policy. Default: the first one with the right ServiceConfig.
    policy: Option<String>,
    /// The key.
    #[arg(long, default_value = "primary", value_parser = ["primary", "secondary"])]
    key: String,
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
            let mut client = resource.service.management_client()?;
            print(&policies(&mut client, &resource).await?, output.format)
        }
        PolicyCommand::ConnectionString(args) => {
            output::line(connection_string(args).await?)?;
            Ok(ExitCode::SUCCESS)
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

async fn policies(client: &mut ServiceClient, resource: &ResourceArgs) -> anyhow::Result<Vec<Value>> {
    match client.policies(&resource.path()).await?["value"].take() {
        Value::Array(policies) => Ok(policies),
        _ => anyhow::bail!("the reply is not a list"),
    }
}

async fn connection_string(args: ConnectionStringArgs) -> anyhow::Result<ConnectionString> {
    let ConnectionStringArgs { resource, policy, key } = args;
    let mut client = resource.service.management_client()?;
    let instance = client.instance(&resource.path()).await?;
    let host = text(&instance, HOST);
    anyhow::ensure!(!host.is_empty(), "the instance {} has no host name", resource.name);
    let is_it = |it: &&Value| match &policy {
        Some(name) => text(it, "/keyName").eq_ignore_ascii_case(name),
        None => text(it, "/rights").split(", ").any(|right| right == SERVICE_CONFIG),
    };
    let policies = policies(&mut client, &resource).await?;
    let found = policies.iter().find(is_it).with_context(|| match &policy {
        Some(name) => format!("there is no access policy {name}"),
        None => format!("no access policy has the right {SERVICE_CONFIG}: name one"),
    })?;
    let port = Some(client.port()).filter(|port| *port != HTTPS).map(|port| format!(":{port}"));
    Ok(ConnectionString {
        host: host + port.as_deref().unwrap_or_default(),
        key_name: text(found, "/keyName"),
        key: text(found, &format!("/{key}Key")),
    })
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
