//! `muster apply` and `muster diff`.

mod document;
mod plan;
mod schema;
mod session;
mod value;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Args;
use fleet::Progress;
use model::ResourceFacts;

use self::{
    plan::{Action, HubKeys, Step, plan},
    session::Session,
};
use super::{UsageError, service::ServiceArgs};
use crate::output;

/// The exit status with --detailed-exit-code where documents and service differ, or did.
const DIFFERENT: u8 = 10;

/// Make instances, policies, hubs, CA certificates and enrollments what files say.
///
/// Each document of a file has a `kind`, a `name`, mostly an `instance`, and members as in the service API; those that it does not
/// name are left alone. The command shows what differs, and changes that alone: a second run has nothing to do. A change by
/// another operator meanwhile is not overwritten. docs/apply.md describes the files.
#[derive(Args)]
#[command(after_help = "Examples:
  muster apply --dev .muster -f plant.yaml
  muster apply --dev .muster -f config/ --dry-run
      every .yaml, .yml, .json and .jsonl file of the directory; changes nothing
  muster apply --schema > muster.schema.json
      the schema of documents, for editors
Exit status with --detailed-exit-code: 0 if there was nothing to do, 10 if something was changed.")]
pub struct ApplyArgs {
    #[command(flatten)]
    compared: ComparedArgs,
    /// Only show what differs.
    #[arg(long)]
    dry_run: bool,
    /// Print the JSON schema of documents.
    #[arg(long)]
    schema: bool,
}

/// Show what `muster apply` would change. Secrets are not shown.
#[derive(Args)]
#[command(after_help = "Example:
  muster diff --dev .muster -f config/ --detailed-exit-code
Exit status with --detailed-exit-code: 0 if nothing differs, 10 if something does.")]
pub struct DiffArgs {
    #[command(flatten)]
    compared: ComparedArgs,
}

/// What is compared.
#[derive(Args)]
struct ComparedArgs {
    /// A file with documents, or a directory with such files. Repeatable.
    #[arg(short = 'f', long = "file", value_name = "FILE|DIR")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    service: ServiceArgs,
    /// The subscription of the instances. Default: that of instances that name none.
    #[arg(long)]
    subscription: Option<String>,
    /// The resource group of the instances. Default: that of instances that name none.
    #[arg(long, value_name = "GROUP")]
    resource_group: Option<String>,
    /// Send the keys of linked hubs again: the service does not return them, so a new key alone is no difference.
    #[arg(long)]
    send_hub_keys: bool,
    /// Exit with status 10 where something differs, or was changed.
    #[arg(long)]
    detailed_exit_code: bool,
}

/// Runs `apply`.
pub async fn apply(args: ApplyArgs) -> anyhow::Result<ExitCode> {
    if args.schema {
        output::json(&schema::schema())?;
        return Ok(ExitCode::SUCCESS);
    }
    let (mut session, steps) = args.compared.plan().await?;
    if !args.dry_run {
        execute(&mut session, &steps).await?;
    }
    Ok(args.compared.status(&steps))
}

/// Runs `diff`.
pub async fn diff(args: DiffArgs) -> anyhow::Result<ExitCode> {
    let (_, steps) = args.compared.plan().await?;
    Ok(args.compared.status(&steps))
}

impl ComparedArgs {
    /// Compares the documents with the service, and shows what differs.
    async fn plan(&self) -> anyhow::Result<(Session, Vec<Step>)> {
        if self.files.is_empty() {
            return Err(UsageError("-f FILE or DIR is required").into());
        }
        let documents = document::read(&self.files)?;
        let facts = ResourceFacts::default();
        let mut session = Session::new(
            self.service.management_client()?,
            self.subscription.clone().unwrap_or(facts.subscription),
            self.resource_group.clone().unwrap_or(facts.resource_group),
        );
        let hub_keys = if self.send_hub_keys { HubKeys::Sent } else { HubKeys::Kept };
        let steps = plan(&mut session, documents, hub_keys).await?;
        for line in steps.iter().flat_map(Step::lines) {
            output::line(line)?;
        }
        let count = |action| steps.iter().filter(|step| step.action == action).count();
        let (created, changed, kept) = (count(Action::Create), count(Action::Change), count(Action::Keep));
        match created + changed {
            0 => output::line(format_args!("nothing to do: {kept} as they should be"))?,
            _ => output::line(format_args!(
                "{created} to create, {changed} to change, {kept} as they should be"
            ))?,
        }
        Ok((session, steps))
    }

    fn status(&self, steps: &[Step]) -> ExitCode {
        let differs = steps.iter().any(|step| step.action != Action::Keep);
        if differs && self.detailed_exit_code { ExitCode::from(DIFFERENT) } else { ExitCode::SUCCESS }
    }
}

/// Executes the steps in their order, up to the first one that fails.
async fn execute(session: &mut Session, steps: &[Step]) -> anyhow::Result<()> {
    let steps: Vec<&Step> = steps.iter().filter(|step| step.action != Action::Keep).collect();
    if steps.is_empty() {
        return Ok(());
    }
    let mut progress = Progress::start("applying", steps.len());
    for (done, step) in steps.iter().enumerate() {
        let document = &step.document;
        step.apply(session).await.with_context(|| {
            let (origin, kind, name) = (&document.origin, document.kind.name(), &document.name);
            format!("{origin}: {kind} {name} ({done} of {} were applied; run it again to go on)", steps.len())
        })?;
        progress.step();
    }
    progress.finish();
    output::line(format_args!("applied {}", steps.len()))
}

#[cfg(test)]
mod tests;
