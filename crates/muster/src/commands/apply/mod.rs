//! `muster apply` and `muster diff`.

mod document;
mod equality;
mod plan;
mod prune;
mod schema;
mod session;
mod value;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Args;
use fleet::Progress;
use model::ResourceFacts;

use self::{
    equality::HiddenKeys,
    plan::{Action, Rules, Step, plan},
    prune::{Removal, removals},
    session::Session,
};
use super::{UsageError, service::ServiceArgs};
use crate::output;

/// The exit status with --detailed-exit-code where documents and service differ, or did.
const DIFFERENT: u8 = 10;

/// Make instances, policies, hubs, CA certificates and enrollments what files say.
///
/// Each document of a file has a `kind`, a `name`, mostly an `instance`, and members as in the service API; those that it does not
/// name are left alone, and so are objects that no document names. The command shows what differs, and changes that alone: a second run has nothing to do. A change by
/// another operator meanwhile is not overwritten. docs/apply.md describes the files.
#[derive(Args)]
#[command(after_help = "Examples:
  muster apply --dev .muster -f plant.yaml
  muster apply --dev .muster -f config/ --dry-run
      every .yaml, .yml, .json and .jsonl file of the directory; changes nothing
  muster apply --dev .muster -f config/ --prune
      also deletes the enrollments and groups that an earlier run made, and that no document names any more
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
    /// Send the keys of linked hubs and of webhooks again: the service does not return them, so a new key alone is no difference.
    #[arg(long)]
    send_keys: bool,
    /// Delete enrollments and enrollment groups that an earlier run made and no document names any more, in the instances of the
    /// documents. Their devices stay at their hubs.
    #[arg(long)]
    prune: bool,
    /// The mark of what this run makes, in `managedBy` of enrollments: --prune deletes only what has it.
    #[arg(long, value_name = "NAME", default_value = "muster-apply")]
    owner: String,
    /// Exit with status 10 where something differs, or was changed.
    #[arg(long)]
    detailed_exit_code: bool,
}

/// What a run does.
struct Plan {
    /// For each document, in order.
    steps: Vec<Step>,
    /// What is deleted after that.
    removals: Vec<Removal>,
}

/// Runs `apply`.
pub async fn apply(args: ApplyArgs) -> anyhow::Result<ExitCode> {
    if args.schema {
        output::json(&schema::schema())?;
        return Ok(ExitCode::SUCCESS);
    }
    let (mut session, plan) = args.compared.plan().await?;
    if !args.dry_run {
        execute(&mut session, &plan).await?;
    }
    Ok(args.compared.status(&plan))
}

/// Runs `diff`.
pub async fn diff(args: DiffArgs) -> anyhow::Result<ExitCode> {
    let (_, plan) = args.compared.plan().await?;
    Ok(args.compared.status(&plan))
}

impl ComparedArgs {
    /// Compares the documents with the service, and shows what differs.
    async fn plan(&self) -> anyhow::Result<(Session, Plan)> {
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
        let keys = if self.send_keys { HiddenKeys::Sent } else { HiddenKeys::Kept };
        let steps = plan(&mut session, documents, Rules { owner: &self.owner, keys }).await?;
        let removals = match self.prune {
            true => removals(&mut session, &steps, &self.owner).await?,
            false => Vec::new(),
        };
        let plan = Plan { steps, removals };
        plan.show()?;
        Ok((session, plan))
    }

    fn status(&self, plan: &Plan) -> ExitCode {
        if plan.differs() && self.detailed_exit_code { ExitCode::from(DIFFERENT) } else { ExitCode::SUCCESS }
    }
}

impl Plan {
    fn differs(&self) -> bool {
        !self.removals.is_empty() || self.steps.iter().any(|step| step.action != Action::Keep)
    }

    fn show(&self) -> anyhow::Result<()> {
        let removals = self.removals.iter().map(Removal::line);
        for line in self.steps.iter().flat_map(Step::lines).chain(removals) {
            output::line(line)?;
        }
        let count = |action| self.steps.iter().filter(|step| step.action == action).count();
        let (created, changed, kept) = (count(Action::Create), count(Action::Change), count(Action::Keep));
        if !self.differs() {
            return output::line(format_args!("nothing to do: {kept} as they should be"));
        }
        let deleted = self.removals.len();
        output::line(format_args!(
            "{created} to create, {changed} to change, {deleted} to delete, {kept} as they should be"
        ))
    }
}

/// Executes the steps in their order, up to the first one that fails.
async fn execute(session: &mut Session, plan: &Plan) -> anyhow::Result<()> {
    if !plan.differs() {
        return Ok(());
    }
    let steps: Vec<&Step> = plan.steps.iter().filter(|step| step.action != Action::Keep).collect();
    let total = steps.len() + plan.removals.len();
    let mut progress = Progress::start("applying", total);
    for (done, step) in steps.iter().enumerate() {
        let document = &step.document;
        step.apply(session).await.with_context(|| {
            let (origin, kind, name) = (&document.origin, document.kind.name(), &document.name);
            format!("{origin}: {kind} {name} ({done} of {total} were applied; run it again to go on)")
        })?;
        progress.step();
    }
    for removal in &plan.removals {
        session.remove(removal).await.with_context(|| removal.line())?;
        progress.step();
    }
    progress.finish();
    output::line(format_args!("applied {total}"))
}

#[cfg(test)]
mod tests;
