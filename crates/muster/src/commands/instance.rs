//! `muster instance`.

use std::{
    fs,
    io::{self, BufRead, IsTerminal},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use clap::{ArgAction, Args, Subcommand};
use fleet::{Listing, Progress, ResourcePath, ServiceClient};
use model::ResourceFacts;
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use super::{
    listing::{self, Rows},
    service::ServiceArgs,
    table::{Table, text},
    target::read,
};
use crate::output::{self, Format, OutputArgs};

/// The host name of an instance's service operations endpoint.
pub(super) const HOST: &str = "/properties/serviceOperationsHostName";

/// Between two questions how far a deletion is.
const POLL: Duration = Duration::from_millis(500);

/// Manage service instances: create, change and delete them while the service runs.
///
/// The connection string is that of the management API: its host, and a policy of [[management.access_policy]].
#[derive(Args)]
pub struct InstanceArgs {
    #[command(subcommand)]
    command: InstanceCommand,
}

#[derive(Subcommand)]
enum InstanceCommand {
    Create(Box<CreateArgs>),
    List(ListArgs),
    Show(ShowArgs),
    Update(Box<UpdateArgs>),
    Delete(DeleteArgs),
}

/// Where a resource is.
#[derive(Args)]
pub(super) struct ResourceArgs {
    #[command(flatten)]
    pub(super) service: ServiceArgs,
    /// The subscription. Default: that of instances that name none.
    #[arg(long)]
    subscription: Option<String>,
    /// The resource group. Default: that of instances that name none.
    #[arg(long, value_name = "GROUP")]
    resource_group: Option<String>,
    /// The name of the instance.
    pub(super) name: String,
}

impl ResourceArgs {
    pub(super) fn path(&self) -> ResourcePath {
        let facts = ResourceFacts::default();
        ResourcePath {
            subscription: self.subscription.clone().unwrap_or(facts.subscription),
            resource_group: self.resource_group.clone().unwrap_or(facts.resource_group),
            name: self.name.clone(),
        }
    }
}

/// The settings of an instance. An absent one keeps its value, or takes the default for a new instance.
#[derive(Args)]
struct Settings {
    /// The region, as free text.
    #[arg(long)]
    location: Option<String>,
    /// A tag; replaces all tags. Repeatable.
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = tag)]
    tags: Vec<(String, String)>,
    /// A host name of the service operations endpoint; replaces all of them. Repeatable. Default for a new instance:
    /// NAME.DOMAIN, with the setting management.domain.
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// The allocation policy of enrollments without their own.
    #[arg(long, value_parser = ["hashed", "geoLatency", "static"])]
    allocation_policy: Option<String>,
    /// Whether new devices avoid hubs that are down or full.
    #[arg(long, value_name = "BOOL")]
    failover: Option<bool>,
    /// Whether the signing certificate of a group must lead to a verified CA certificate.
    #[arg(long, value_name = "BOOL")]
    require_verified_ca: Option<bool>,
    /// Whether another enrollment group may take over a device.
    #[arg(long, value_parser = ["movable", "first-come"])]
    registrations: Option<String>,
    /// What happens to a device at a hub that has the device ID of a new one.
    #[arg(long, value_parser = ["adopt", "refuse"])]
    existing_devices: Option<String>,
    /// Registrations that are begun in a minute; 0 for the number of the preset of --quotas.
    #[arg(long, value_name = "NUMBER")]
    max_registrations_per_minute: Option<u32>,
    /// Quotas and throttles: off or azure, and numbers on top, such as azure,enrollments=5000000,operationsPerMinute=0 (0 for no
    /// limit). Replaces all of them. muster usage --limits shows the names.
    #[arg(long, value_name = "PRESET[,NAME=NUMBER…]", value_parser = quotas)]
    quotas: Option<Value>,
    /// Whether public addresses may call the endpoints for devices and operators.
    #[arg(long, value_parser = ["enabled", "disabled"])]
    public_network_access: Option<String>,
    /// A rule of the IP filter, such as plant=accept,10.1.0.0/16 or others=reject,0.0.0.0/0,serviceApi; replaces all rules.
    /// Repeatable: the first one that matches a caller decides.
    #[arg(long = "ip-filter-rule", value_name = "NAME=ACTION,MASK[,TARGET]", value_parser = ip_filter_rule)]
    ip_filter_rules: Vec<Value>,
    /// Remove all rules of the IP filter.
    #[arg(long, conflicts_with = "ip_filter_rules")]
    no_ip_filter_rules: bool,
    /// The age in days at which a revocation list without nextUpdate becomes stale: 1 to 3650.
    #[arg(long, value_name = "DAYS")]
    crl_max_age_days: Option<u32>,
    /// The age in days at which refused attempts are deleted: 1 to 3650; 0 for that of the service.
    #[arg(long, value_name = "DAYS")]
    keep_attempts_days: Option<u32>,
    /// A file with the latencies from networks and regions to the hubs, which precede those of the service: JSON rows as in
    /// the table of `muster hub latency --json`. Replaces all rows.
    #[arg(long, value_name = "FILE")]
    latency_table: Option<PathBuf>,
    /// A file with the key that signs requests to webhooks, base64 of 16 to 64 bytes; `muster webhook new-key` prints one.
    #[arg(long, value_name = "FILE", conflicts_with = "derive_webhook_key")]
    webhook_key_file: Option<PathBuf>,
    /// Sign requests to webhooks by the key that the service derives for the instance.
    #[arg(long)]
    derive_webhook_key: bool,
}

/// Create an instance. Its ID scope and its first access policy are generated.
#[derive(Args)]
#[command(after_help = "Examples:
  muster instance create --dev .muster plant-1 --host plant-1.example
  muster policy list --dev .muster plant-1
      the keys of the new instance")]
struct CreateArgs {
    #[command(flatten)]
    resource: ResourceArgs,
    #[command(flatten)]
    settings: Settings,
    /// Print JSON.
    #[arg(long = "json", action = ArgAction::SetTrue, value_parser = output::json_flag())]
    format: Format,
}

/// List the instances of a subscription.
#[derive(Args)]
#[command(after_help = "Example:
  muster instance list --dev .muster")]
struct ListArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// The subscription. Default: that of instances that name none.
    #[arg(long)]
    subscription: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Show an instance, without its keys.
#[derive(Args)]
#[command(after_help = "Example:
  muster instance show --dev .muster dev")]
struct ShowArgs {
    #[command(flatten)]
    resource: ResourceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Change settings of an instance. Settings that are not given stay.
#[derive(Args)]
#[command(after_help = "Example:
  muster instance update --dev .muster plant-1 --failover true --tag team=line-3")]
struct UpdateArgs {
    #[command(flatten)]
    resource: ResourceArgs,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    output: OutputArgs,
}

/// Delete an instance with its enrollments, registrations and CA certificates.
///
/// The instance is not served any more at once. The service deletes its records in the background, and goes on after a restart;
/// the command shows how far it is, and may be ended meanwhile: called again, it goes on to show that. Devices stay at their hubs. The ID scope is never used again.
#[derive(Args)]
#[command(after_help = "Examples:
  muster instance delete --dev .muster plant-1 --dry-run
      what would be deleted
  muster instance delete --dev .muster plant-1 --yes
      without the question for the name")]
struct DeleteArgs {
    #[command(flatten)]
    resource: ResourceArgs,
    /// Only print what would be deleted.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask for the name of the instance.
    #[arg(long)]
    yes: bool,
}

/// Runs the command.
pub async fn run(args: InstanceArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        InstanceCommand::Create(args) => create(*args).await,
        InstanceCommand::List(args) => list(args).await,
        InstanceCommand::Show(args) => show(args).await,
        InstanceCommand::Update(args) => update(*args).await,
        InstanceCommand::Delete(args) => delete(args).await,
    }
}

async fn create(args: CreateArgs) -> anyhow::Result<ExitCode> {
    let (mut client, path) = (args.resource.service.management_client()?, args.resource.path());
    let created = client.create_instance(&path, &args.settings.body()?).await?;
    let created = created.with_context(|| {
        format!("the instance {} exists already; muster instance update changes it", path.name)
    })?;
    print(&created, args.format)
}

async fn list(args: ListArgs) -> anyhow::Result<ExitCode> {
    let subscription = args.subscription.unwrap_or_else(|| ResourceFacts::default().subscription);
    let Value::Array(items) =
        args.service.management_client()?.instances(&subscription).await?["value"].take()
    else {
        bail!("the reply is not a list");
    };
    let row = |instance: &Value| {
        let members = ["/name", "/properties/idScope", "/resourcegroup", HOST, "/properties/state"];
        members.map(|pointer| text(instance, pointer)).to_vec()
    };
    let rows = Rows {
        header: &["name", "ID scope", "resource group", "host", "state"],
        row,
        if_none: "no instances; `muster instance create` makes one",
    };
    listing::print(&Listing { items, more: false }, args.output.format, &rows)
}

async fn show(args: ShowArgs) -> anyhow::Result<ExitCode> {
    let shown = args.resource.service.management_client()?.instance(&args.resource.path()).await?;
    print(&shown, args.output.format)
}

async fn update(args: UpdateArgs) -> anyhow::Result<ExitCode> {
    let (mut client, path) = (args.resource.service.management_client()?, args.resource.path());
    let stored = client.instance(&path).await?;
    let etag = stored.get("etag").and_then(Value::as_str).context("the reply has no etag")?;
    let updated = client.put_instance(&path, &args.settings.body()?, Some(etag)).await;
    print(
        &updated.with_context(|| format!("the instance {} was not changed", path.name))?,
        args.output.format,
    )
}

async fn delete(args: DeleteArgs) -> anyhow::Result<ExitCode> {
    let (mut client, path) = (args.resource.service.management_client()?, args.resource.path());
    let preview = client.preview_deletion(&path).await?;
    let scope = text(&preview, "/idScope");
    let is_running = text(&preview, "/status") == "InProgress";
    print_preview(&preview)?;
    if args.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    if is_running {
        output::note(format_args!("the deletion of {} is under way already", path.name));
    } else {
        if !args.yes && !is_confirmed(&path.name)? {
            bail!("nothing was deleted: the name that was typed is another one");
        }
        client.delete_instance(&path).await?;
    }
    follow(&mut client, (&path, &scope), total(&preview)).await?;
    output::line(format_args!("deleted {} (ID scope {scope}, which is not used again)", path.name))?;
    Ok(ExitCode::SUCCESS)
}

/// Shows how far a deletion is until it is done.
async fn follow(
    client: &mut ServiceClient,
    (path, scope): (&ResourcePath, &str),
    total: usize,
) -> anyhow::Result<()> {
    let mut progress = Progress::start("deleting", total);
    loop {
        let state = client.deletion_state(path, scope).await?;
        let remaining = state.get("remaining").map_or(0, self::total);
        progress.advance_to(u64::try_from(total.saturating_sub(remaining))?);
        if state.get("status").and_then(Value::as_str) == Some("Succeeded") {
            progress.finish();
            return Ok(());
        }
        sleep(POLL).await;
    }
}

/// Asks for the name of the instance.
fn is_confirmed(name: &str) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("standard input is not a terminal: confirm the deletion by --yes");
    }
    output::note(format_args!("Type the name of the instance to delete it:"));
    let mut typed = String::new();
    io::stdin().lock().read_line(&mut typed)?;
    Ok(typed.trim() == name)
}

fn print_preview(preview: &Value) -> anyhow::Result<()> {
    let mut table = Table::new(&["records", "count"]);
    let members = preview.as_object().context("the reply is not an object")?;
    for (name, count) in members.iter().filter(|(_, count)| count.is_u64()) {
        table.add_row([name.clone(), count.to_string()]);
    }
    output::table(&table)
}

fn total(preview: &Value) -> usize {
    let counts = preview.as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64());
    usize::try_from(counts.sum::<u64>()).unwrap_or(usize::MAX)
}

fn tag(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Parses quotas.
fn quotas(text: &str) -> Result<Value, String> {
    let mut parts = text.split(',');
    let mut quotas = Map::from_iter([("preset".to_owned(), json!(parts.next()))]);
    for part in parts {
        let number =
            part.split_once('=').and_then(|(name, number)| Some((name, number.parse::<u32>().ok()?)));
        let (name, number) = number.ok_or("expected PRESET,NAME=NUMBER")?;
        quotas.insert(name.to_owned(), json!(number));
    }
    Ok(Value::Object(quotas))
}

/// Parses a rule. Its name may have equals signs.
fn ip_filter_rule(text: &str) -> Result<Value, String> {
    let expected = "expected NAME=ACTION,MASK or NAME=ACTION,MASK,TARGET";
    let (name, rest) = text.rsplit_once('=').ok_or(expected)?;
    let parts: Vec<&str> = rest.split(',').collect();
    let (action, mask, target) = match parts[..] {
        [action, mask] => (action, mask, "all"),
        [action, mask, target] => (action, mask, target),
        _ => return Err(expected.to_owned()),
    };
    Ok(json!({"filterName": name, "action": action, "ipMask": mask, "target": target}))
}

impl Settings {
    /// Makes the body of a request: members that are left out keep their values.
    fn body(&self) -> anyhow::Result<Value> {
        let mut ours = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                ours.insert(name.to_owned(), value);
            }
        };
        put("serviceHosts", (!self.hosts.is_empty()).then(|| json!(self.hosts)));
        put("failover", self.failover.map(Value::from));
        put("requireVerifiedCa", self.require_verified_ca.map(Value::from));
        put("registrations", self.registrations.clone().map(Value::from));
        put("existingDevices", self.existing_devices.clone().map(Value::from));
        put("maxRegistrationsPerMinute", self.max_registrations_per_minute.map(Value::from));
        put("quotas", self.quotas.clone());
        put("crlMaxAgeDays", self.crl_max_age_days.map(Value::from));
        put("keepAttemptsDays", self.keep_attempts_days.map(Value::from));
        put("latencyTable", self.latency_table.as_deref().map(rows_of).transpose()?);
        put("webhookKey", self.webhook_key()?.map(Value::from));
        let mut body = json!({"sku": {"name": "S1"}, "properties": {"muster": ours}});
        if let Some(policy) = &self.allocation_policy {
            body["properties"]["allocationPolicy"] = json!(policy);
        }
        if let Some(access) = &self.public_network_access {
            body["properties"]["publicNetworkAccess"] = json!(access);
        }
        if self.no_ip_filter_rules || !self.ip_filter_rules.is_empty() {
            body["properties"]["ipFilterRules"] = json!(self.ip_filter_rules);
        }
        if let Some(location) = &self.location {
            body["location"] = json!(location);
        }
        if !self.tags.is_empty() {
            let tags = self.tags.iter().map(|(name, value)| (name.clone(), json!(value)));
            body["tags"] = Value::Object(tags.collect());
        }
        Ok(body)
    }

    fn webhook_key(&self) -> anyhow::Result<Option<String>> {
        let read = |path: &PathBuf| {
            let key = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(key.trim().to_owned())
        };
        match self.derive_webhook_key {
            true => Ok(Some("derived".to_owned())),
            false => self.webhook_key_file.as_ref().map(read).transpose(),
        }
    }
}

/// Reads the rows of a latency table.
fn rows_of(path: &Path) -> anyhow::Result<Value> {
    serde_json::from_slice(&read(path)?).with_context(|| format!("{} is not JSON", path.display()))
}

fn print(instance: &Value, format: Format) -> anyhow::Result<ExitCode> {
    if format == Format::Json {
        output::json(instance)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["setting", "value"]);
    for (label, pointer) in [
        ("name", "/name"),
        ("ID scope", "/properties/idScope"),
        ("state", "/properties/state"),
        ("location", "/location"),
        ("tags", "/tags"),
        ("hosts", "/properties/muster/serviceHosts"),
        ("allocation policy", "/properties/allocationPolicy"),
        ("failover", "/properties/muster/failover"),
        ("require verified CA", "/properties/muster/requireVerifiedCa"),
        ("registrations", "/properties/muster/registrations"),
        ("existing devices", "/properties/muster/existingDevices"),
        ("registrations per minute", "/properties/muster/maxRegistrationsPerMinute"),
        ("quotas", "/properties/muster/quotas"),
        ("public network access", "/properties/publicNetworkAccess"),
        ("IP filter rules", "/properties/ipFilterRules"),
        ("revocation lists are stale after days", "/properties/muster/crlMaxAgeDays"),
        ("attempts are kept for days", "/properties/muster/keepAttemptsDays"),
        ("latency table", "/properties/muster/latencyTable"),
        ("webhook key", "/properties/muster/webhookKey"),
        ("managed by", "/properties/muster/managed"),
    ] {
        table.add_row([label.to_owned(), text(instance, pointer)]);
    }
    output::table(&table)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_a_preset_with_numbers() {
        assert_eq!(quotas("azure"), Ok(json!({"preset": "azure"})));
        let expected = json!({"preset": "off", "enrollments": 7, "x509Groups": 0});
        assert_eq!(quotas("off,enrollments=7,x509Groups=0"), Ok(expected));
        for mistake in ["azure,enrollments", "azure,enrollments=-1", "azure,enrollments=many"] {
            assert!(quotas(mistake).is_err(), "{mistake}");
        }
    }

    #[test]
    fn ip_filter_rules_are_read_from_the_right() {
        for (text, expected) in [
            ("plant=accept,10.0.0.0/8", ["plant", "accept", "10.0.0.0/8", "all"]),
            ("a=b,c=reject,::/0,serviceApi", ["a=b,c", "reject", "::/0", "serviceApi"]),
        ] {
            let [name, action, mask, target] = expected;
            let rule = json!({"filterName": name, "action": action, "ipMask": mask, "target": target});
            assert_eq!(ip_filter_rule(text), Ok(rule), "{text}");
        }
        for mistake in ["", "plant", "plant=accept", "plant=accept,10.0.0.0/8,all,more"] {
            assert!(ip_filter_rule(mistake).is_err(), "{mistake}");
        }
    }
}
