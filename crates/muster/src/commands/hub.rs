//! `muster hub`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use fleet::LinkCheck;
use model::HubName;
use serde_json::{Value, json};
use wire::sas::ConnectionString;

use super::service::ServiceArgs;
use super::target::read;
use crate::output;

mod latency;
mod table;

/// Link the hubs that devices are assigned to, and look at them, while devices register.
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
/// The service first asks the hub whether the key may do what is needed: read and write the registry, and use twins.
#[derive(Args)]
#[command(after_help = "Examples:
  muster hub link --dev .muster 'HostName=plant.azure-devices.net;SharedAccessKeyName=iothubowner;SharedAccessKey=…'
  muster hub link --dev .muster --location hall-2 --weight 3 --hub-ca hub-ca.pem \"$(cat hub.txt)\"
      a hub of another Muster, with the CA that vouches for it
  muster hub link --dev .muster --no-check \"$(cat hub.txt)\"
      a hub that is down at the moment")]
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
    /// PEM file of the CA certificates that the hub must chain to; those that the service's system trusts when absent.
    #[arg(long, value_name = "FILE")]
    hub_ca: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
    /// Do not ask the hub first whether the key will do.
    #[arg(long)]
    no_check: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What may be said of a link; what is not said is as it was, or the default.
#[derive(Args)]
struct Settings {
    /// Where the hub stands, in your words.
    #[arg(long)]
    location: Option<String>,
    /// Its share of devices against the other hubs' weights: 1 to 1000, and 1 for a new link.
    #[arg(long)]
    weight: Option<u16>,
    /// Whether allocation policies may choose it for new devices: yes for a new link.
    #[arg(long, value_name = "BOOL")]
    apply_allocation_policy: Option<bool>,
    /// How many devices it may have before failover passes it over.
    #[arg(long, value_name = "NUMBER")]
    max_devices: Option<u64>,
}

/// List the linked hubs, and how they have answered lately.
///
/// A circuit that is open means that the hub failed or asked for a pause: it is not called until then. Half-open: one
/// call is under way that shows whether it works again.
#[derive(Args)]
#[command(after_help = "Examples:
  muster hub list --dev .muster
  muster hub list --connection-string 'HostName=…;SharedAccessKeyName=…;SharedAccessKey=…' --ca ca.pem --json")]
struct ListArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// Show everything of one linked hub but its key.
#[derive(Args)]
#[command(after_help = "Example:
  muster hub show --dev .muster plant.azure-devices.net")]
struct ShowArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// The hub's host name.
    #[arg(value_parser = |text: &str| HubName::parse(text))]
    name: HubName,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// Change a link: its weight, its location, or its key after that was rotated.
///
/// What is not named stays. Should somebody else change the link at the same moment, nothing is done, and the command
/// says so.
#[derive(Args)]
#[command(after_help = "Examples:
  muster hub update --dev .muster plant.azure-devices.net --weight 5
  muster hub update --dev .muster plant.azure-devices.net --apply-allocation-policy false
      it keeps its devices and gets no new ones
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
    /// PEM file of the CA certificates that the hub must chain to.
    #[arg(long, value_name = "FILE")]
    hub_ca: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
    /// Do not ask the hub first whether the key will do.
    #[arg(long)]
    no_check: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Unlink a hub.
///
/// Its devices stay on it; those that register again get another hub. Registrations that wait for it fail.
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

/// Ask linked hubs whether they answer, and whether their keys may do what is needed.
///
/// Exit status 0 when all do, 1 when one does not.
#[derive(Args)]
#[command(after_help = "Examples:
  muster hub check --dev .muster
  muster hub check --dev .muster plant.azure-devices.net")]
struct CheckArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// The hub's host name; all linked hubs when absent.
    #[arg(value_parser = |text: &str| HubName::parse(text))]
    name: Option<HubName>,
}

/// Show or set how hubs are chosen where an enrollment does not say.
///
/// With failover, new devices are kept away from hubs that are down or full; without it they wait for them.
#[derive(Args)]
#[command(after_help = "Examples:
  muster hub policy --dev .muster
  muster hub policy --dev .muster geoLatency
  muster hub policy --dev .muster --failover true")]
struct PolicyArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// The policy from now on.
    #[arg(value_parser = ["hashed", "geoLatency", "static"])]
    policy: Option<String>,
    /// Whether there is failover from now on.
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
        .put_linked_hub(name, &link, None, when(args.no_check))
        .await
        .context("not linked")?;
    print(&linked, args.json)
}

async fn list(args: ListArgs) -> anyhow::Result<ExitCode> {
    let links = args.service.client()?.linked_hubs().await?;
    if args.json {
        output::json(&links)?;
    } else {
        output::table(&table::of_links(links.as_array().context("the reply is no list")?))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(args: ShowArgs) -> anyhow::Result<ExitCode> {
    print(&args.service.client()?.linked_hub(args.name.as_str()).await?, args.json)
}

/// Reads, changes and writes on the condition that nobody else did meanwhile.
async fn update(args: UpdateArgs) -> anyhow::Result<ExitCode> {
    let mut client = args.service.client()?;
    let mut link = client.linked_hub(args.name.as_str()).await?;
    let etag = link.get("etag").and_then(Value::as_str).context("the reply has no etag")?.to_owned();
    if let Some(key) = &args.key {
        link["connectionString"] = json!(with_key(&link, key)?);
    }
    put_ca(&mut link, args.hub_ca.as_ref())?;
    args.settings.put(&mut link);
    let updated = client.put_linked_hub(args.name.as_str(), &link, Some(&etag), when(args.no_check)).await;
    print(&updated.context("not changed")?, args.json)
}

async fn unlink(args: UnlinkArgs) -> anyhow::Result<ExitCode> {
    args.service.client()?.unlink_hub(args.name.as_str()).await?;
    output::line(format_args!("{} is not linked any more", args.name))?;
    Ok(ExitCode::SUCCESS)
}

async fn check(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let mut client = args.service.client()?;
    let names = match args.name {
        Some(name) => vec![name.to_string()],
        None => names(&client.linked_hubs().await?),
    };
    let mut all_well = true;
    for name in names {
        let verdict = match client.check_linked_hub(&name).await {
            Ok(reply) => lacking(&reply),
            Err(error) => Some(error.to_string()),
        };
        all_well &= verdict.is_none();
        let verdict = verdict.as_deref().unwrap_or("answers, and the key may do what is needed");
        output::line(format_args!("{name}: {verdict}"))?;
    }
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn policy(args: PolicyArgs) -> anyhow::Result<ExitCode> {
    let mut client = args.service.client()?;
    let reply = match (args.policy.as_deref(), args.failover) {
        (None, None) => client.default_allocation_policy().await?,
        (policy, failover) => client.set_default_allocation_policy(policy, failover).await?,
    };
    let policy =
        reply.get("allocationPolicy").and_then(Value::as_str).context("the reply names no policy")?;
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

fn when(no_check: bool) -> LinkCheck {
    if no_check { LinkCheck::Skip } else { LinkCheck::First }
}

fn put_ca(link: &mut Value, file: Option<&PathBuf>) -> anyhow::Result<()> {
    if let Some(file) = file {
        let pem = String::from_utf8(read(file)?).with_context(|| format!("{} is no PEM", file.display()))?;
        link["caCertificates"] = json!(pem);
    }
    Ok(())
}

/// The connection string to send: the one that was given, or the one that is shown with this key in place of the mask.
fn with_key(link: &Value, key: &str) -> anyhow::Result<String> {
    if ConnectionString::parse(key).is_ok() {
        return Ok(key.to_owned());
    }
    let Some(shown) = link.get("connectionString").and_then(Value::as_str) else {
        bail!("the hub is linked without a connection string: give --key the whole one");
    };
    Ok(ConnectionString { key: key.trim().to_owned(), ..ConnectionString::parse(shown)? }.to_string())
}

fn names(links: &Value) -> Vec<String> {
    let links = links.as_array().into_iter().flatten();
    links.filter_map(|link| link.get("name")?.as_str().map(str::to_owned)).collect()
}

/// What a key lacks, if it lacks something.
fn lacking(reply: &Value) -> Option<String> {
    let lacking: Vec<&str> = reply.get("lacking")?.as_array()?.iter().filter_map(Value::as_str).collect();
    (!lacking.is_empty()).then(|| format!("the key is not accepted for {}", lacking.join(", ")))
}

fn print(link: &Value, as_json: bool) -> anyhow::Result<ExitCode> {
    if as_json {
        output::json(link)?;
    } else {
        output::table(&table::of_link(link))?;
    }
    Ok(ExitCode::SUCCESS)
}
