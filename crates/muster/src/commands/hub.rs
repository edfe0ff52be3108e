//! `muster hub`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};
use clap::{
    ArgAction, Args, Subcommand,
    builder::{BoolValueParser, TypedValueParser},
};
use fleet::LinkCheck;
use model::HubName;
use serde_json::{Value, json};
use wire::sas::ConnectionString;

use crate::output::{self, Format, OutputArgs};

use super::{service::ServiceArgs, target::read};

mod latency;
mod table;

/// Manage the linked hubs, to which devices are assigned.
#[derive(Args)]
pub struct HubArgs {
    #[command(subcommand)]
    command: HubCommand,
}

#[derive(Subcommand)]
enum HubCommand {
    Link(LinkArgs),
    List(ListArgs),
    Show(ShowArgs),
    Update(UpdateArgs),
    Unlink(UnlinkArgs),
    Check(CheckArgs),
    Policy(PolicyArgs),
    Latency(latency::LatencyArgs),
}

/// Link a hub: an Azure IoT Hub, or an embedded hub of any Muster.
///
/// The service first checks at the hub that the key has the required rights: RegistryRead, RegistryWrite, ServiceConnect.
#[derive(Args)]
#[command(after_help = "Examples:
  muster hub link --dev .muster 'HostName=plant.azure-devices.net;SharedAccessKeyName=iothubowner;SharedAccessKey=…'
  muster hub link --dev .muster --location hall-2 --weight 3 --hub-ca hub-ca.pem \"$(cat hub.txt)\"
      a hub of another Muster, with the CA of its certificate
  muster hub link --dev .muster --no-check \"$(cat hub.txt)\"
      a hub that is currently down")]
struct LinkArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// The hub's connection string, with a key that has RegistryRead, RegistryWrite and ServiceConnect.
    #[arg(
        value_name = "HUB_CONNECTION_STRING",
        env = "MUSTER_HUB_CONNECTION_STRING",
        hide_env_values = true
    )]
    hub: String,
    /// A PEM file with the CA certificates of the hub. Default: the CAs of the service's system.
    #[arg(long, value_name = "FILE")]
    hub_ca: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
    /// Do not check the key at the hub first.
    #[arg(long = "no-check", action = ArgAction::SetTrue, value_parser = no_check_flag())]
    check: LinkCheck,
    /// Print JSON.
    #[arg(long = "json", action = ArgAction::SetTrue, value_parser = output::json_flag())]
    format: Format,
}

/// The settings of a link. An absent one keeps its value, or takes the default for a new link.
#[derive(Args)]
struct Settings {
    /// The location of the hub, as free text.
    #[arg(long)]
    location: Option<String>,
    /// The weight of the hub against others: 1 to 1000. Default for a new link: 1.
    #[arg(long)]
    weight: Option<u16>,
    /// Whether allocation policies may choose the hub for new devices. Default for a new link: true.
    #[arg(long, value_name = "BOOL")]
    apply_allocation_policy: Option<bool>,
    /// The number of devices at which failover treats the hub as full.
    #[arg(long, value_name = "NUMBER")]
    max_devices: Option<u64>,
}

/// List the linked hubs and their health.
///
/// `circuit` is the state of the circuit breaker. Open: the hub failed or requested a pause, and is not called until the next
/// try. Half-open: one call probes the hub.
#[derive(Args)]
#[command(after_help = "Examples:
  muster hub list --dev .muster
  muster hub list --connection-string 'HostName=…;SharedAccessKeyName=…;SharedAccessKey=…' --ca ca.pem --json")]
struct ListArgs {
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Show one linked hub, without its key.
#[derive(Args)]
#[command(after_help = "Example:
  muster hub show --dev .muster plant.azure-devices.net")]
struct ShowArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// The hub's host name.
    #[arg(value_parser = |text: &str| HubName::parse(text))]
    name: HubName,
    #[command(flatten)]
    output: OutputArgs,
}

/// Change the settings of a link, or its key after a rotation.
///
/// Settings that are not given stay. If the link is changed concurrently, the command fails and changes nothing.
#[derive(Args)]
#[command(after_help = "Examples:
  muster hub update --dev .muster plant.azure-devices.net --weight 5
  muster hub update --dev .muster plant.azure-devices.net --apply-allocation-policy false
      the hub keeps its devices and gets no new ones
  muster hub update --dev .muster plant.azure-devices.net --key \"$(cat new-connection-string.txt)\"")]
struct UpdateArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// The hub's host name.
    #[arg(value_parser = |text: &str| HubName::parse(text))]
    name: HubName,
    /// The hub's connection string with the new key, or the key alone.
    #[arg(long, value_name = "KEY", env = "MUSTER_HUB_KEY", hide_env_values = true)]
    key: Option<String>,
    /// A PEM file with the CA certificates of the hub.
    #[arg(long, value_name = "FILE")]
    hub_ca: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
    /// Do not check the key at the hub first.
    #[arg(long = "no-check", action = ArgAction::SetTrue, value_parser = no_check_flag())]
    check: LinkCheck,
    /// Print JSON.
    #[arg(long = "json", action = ArgAction::SetTrue, value_parser = output::json_flag())]
    format: Format,
}

/// Unlink a hub.
///
/// Its devices stay there, and get another hub when they register again. Pending registrations for the hub fail.
#[derive(Args)]
#[command(after_help = "Example:
  muster hub unlink --dev .muster plant.azure-devices.net")]
struct UnlinkArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// The hub's host name.
    #[arg(value_parser = |text: &str| HubName::parse(text))]
    name: HubName,
}

/// Check that linked hubs answer and that their keys have the required rights.
///
/// Exit status: 0 if all checks pass, 1 if one fails.
#[derive(Args)]
#[command(after_help = "Examples:
  muster hub check --dev .muster
  muster hub check --dev .muster plant.azure-devices.net")]
struct CheckArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// The hub's host name. Default: all linked hubs.
    #[arg(value_parser = |text: &str| HubName::parse(text))]
    name: Option<HubName>,
}

/// Show or set the default allocation policy, for enrollments without their own.
///
/// With failover, new devices avoid hubs that are down or full. Without it, they wait for these hubs.
#[derive(Args)]
#[command(after_help = "Examples:
  muster hub policy --dev .muster
  muster hub policy --dev .muster geoLatency
  muster hub policy --dev .muster --failover true")]
struct PolicyArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// The new default policy.
    #[arg(value_parser = ["hashed", "geoLatency", "static"])]
    policy: Option<String>,
    /// Turns failover on or off.
    #[arg(long, value_name = "BOOL")]
    failover: Option<bool>,
}

/// Runs the command.
pub async fn run(args: HubArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        HubCommand::Link(args) => link(args).await,
        HubCommand::List(args) => list(args).await,
        HubCommand::Show(args) => show(args).await,
        HubCommand::Update(args) => update(args).await,
        HubCommand::Unlink(args) => unlink(args).await,
        HubCommand::Check(args) => check(args).await,
        HubCommand::Policy(args) => policy(args).await,
        HubCommand::Latency(args) => latency::run(args).await,
    }
}

async fn link(args: LinkArgs) -> anyhow::Result<ExitCode> {
    let connection = ConnectionString::parse(&args.hub)?;
    let mut link = json!({ "connectionString": args.hub });
    put_ca(&mut link, args.hub_ca.as_ref())?;
    args.settings.put(&mut link);
    let name = connection.host.split(':').next().unwrap_or_default();
    let linked = args
        .service
        .client()?
        .put_linked_hub(name, &link, None, args.check)
        .await
        .with_context(|| format!("hub {name} was not linked"))?;
    print(&linked, args.format)
}

async fn list(args: ListArgs) -> anyhow::Result<ExitCode> {
    let links = args.service.client()?.linked_hubs().await?;
    if args.output.format == Format::Json {
        output::json(&links)?;
    } else {
        output::table(&table::of_links(links.as_array().context("the reply is not a list")?))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(args: ShowArgs) -> anyhow::Result<ExitCode> {
    print(&args.service.client()?.linked_hub(args.name.as_str()).await?, args.output.format)
}

/// Reads the link, changes it, and writes it back if its etag is unchanged.
async fn update(args: UpdateArgs) -> anyhow::Result<ExitCode> {
    let mut client = args.service.client()?;
    let mut link = client.linked_hub(args.name.as_str()).await?;
    let etag = link.get("etag").and_then(Value::as_str).context("the reply has no etag")?.to_owned();
    if let Some(key) = &args.key {
        link["connectionString"] = json!(with_key(&link, key)?);
    }
    put_ca(&mut link, args.hub_ca.as_ref())?;
    args.settings.put(&mut link);
    let updated = client.put_linked_hub(args.name.as_str(), &link, Some(&etag), args.check).await;
    print(&updated.with_context(|| format!("the link of {} was not changed", args.name))?, args.format)
}

async fn unlink(args: UnlinkArgs) -> anyhow::Result<ExitCode> {
    args.service.client()?.unlink_hub(args.name.as_str()).await?;
    output::line(format_args!("unlinked {}", args.name))?;
    Ok(ExitCode::SUCCESS)
}

async fn check(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let mut client = args.service.client()?;
    let names = match args.name {
        Some(name) => vec![name.to_string()],
        None => names(&client.linked_hubs().await?),
    };
    let mut all_passed = true;
    for name in names {
        let verdict = match client.check_linked_hub(&name).await {
            Ok(reply) => lacking(&reply),
            Err(error) => Some(error.to_string()),
        };
        all_passed &= verdict.is_none();
        let verdict = verdict.as_deref().unwrap_or("reachable, and the key has the required rights");
        output::line(format_args!("{name}: {verdict}"))?;
    }
    Ok(if all_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn policy(args: PolicyArgs) -> anyhow::Result<ExitCode> {
    let mut client = args.service.client()?;
    let reply = match (args.policy.as_deref(), args.failover) {
        (None, None) => client.default_allocation_policy().await?,
        (policy, failover) => client.set_default_allocation_policy(policy, failover).await?,
    };
    let policy =
        reply.get("allocationPolicy").and_then(Value::as_str).context("the reply has no allocationPolicy")?;
    let failover = reply.get("failover").and_then(Value::as_bool).unwrap_or_default();
    output::line(format_args!("{policy}{}", if failover { ", with failover" } else { "" }))?;
    Ok(ExitCode::SUCCESS)
}

impl Settings {
    fn put(&self, link: &mut Value) {
        let settings = [
            ("location", self.location.as_ref().map(|it| json!(it))),
            ("allocationWeight", self.weight.map(|it| json!(it))),
            ("applyAllocationPolicy", self.apply_allocation_policy.map(|it| json!(it))),
            ("maxDevices", self.max_devices.map(|it| json!(it))),
        ];
        for (name, setting) in settings {
            if let Some(value) = setting {
                link[name] = value;
            }
        }
    }
}

fn no_check_flag() -> impl TypedValueParser<Value = LinkCheck> {
    BoolValueParser::new().map(|is_given| if is_given { LinkCheck::Skip } else { LinkCheck::First })
}

fn put_ca(link: &mut Value, file: Option<&PathBuf>) -> anyhow::Result<()> {
    if let Some(file) = file {
        let pem = String::from_utf8(read(file)?)
            .with_context(|| format!("{} is not a PEM file", file.display()))?;
        link["caCertificates"] = json!(pem);
    }
    Ok(())
}

/// Returns the connection string to send: the given one, or the stored one with the given key instead of its mask.
fn with_key(link: &Value, key: &str) -> anyhow::Result<String> {
    if ConnectionString::parse(key).is_ok() {
        return Ok(key.to_owned());
    }
    let Some(shown) = link.get("connectionString").and_then(Value::as_str) else {
        bail!("the hub is linked without a connection string; give a whole connection string as --key");
    };
    Ok(ConnectionString { key: key.trim().to_owned(), ..ConnectionString::parse(shown)? }.to_string())
}

fn names(links: &Value) -> Vec<String> {
    let links = links.as_array().into_iter().flatten();
    links.filter_map(|link| link.get("name")?.as_str().map(str::to_owned)).collect()
}

/// Describes the rights that a key lacks, if any.
fn lacking(reply: &Value) -> Option<String> {
    let lacking: Vec<&str> = reply.get("lacking")?.as_array()?.iter().filter_map(Value::as_str).collect();
    (!lacking.is_empty()).then(|| {
        format!(
            "the key lacks {}; give it these rights, or link the hub with another key",
            lacking.join(", ")
        )
    })
}

fn print(link: &Value, format: Format) -> anyhow::Result<ExitCode> {
    if format == Format::Json {
        output::json(link)?;
    } else {
        output::table(&table::of_link(link))?;
    }
    Ok(ExitCode::SUCCESS)
}
