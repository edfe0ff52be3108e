//! `muster enrollment`.

mod create;
mod export;
mod import;
mod keep;
mod keys;
mod rotation;
mod settings;
mod update;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use fleet::EnrollmentKind;

use super::service::ServiceArgs;

/// Members of enrollments that the service sets, and that exports and listings have.
pub(super) const SET_BY_SERVICE: [&str; 4] =
    ["etag", "createdDateTimeUtc", "lastUpdatedDateTimeUtc", "registrationState"];

/// Manage enrollments: which devices are admitted, and with which settings.
#[derive(Args)]
pub struct EnrollmentArgs {
    #[command(subcommand)]
    command: EnrollmentCommand,
}

#[derive(Subcommand)]
enum EnrollmentCommand {
    Create(Box<create::CreateArgs>),
    List(keep::ListArgs),
    Show(keep::ShowArgs),
    Update(update::UpdateArgs),
    Enable(update::EnableArgs),
    Disable(update::DisableArgs),
    Delete(keep::DeleteArgs),
    RotateKeys(keys::RotateKeysArgs),
    Rotation(rotation::RotationArgs),
    Import(import::ImportArgs),
    Export(export::ExportArgs),
}

/// Runs the command.
pub async fn run(args: EnrollmentArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        EnrollmentCommand::Create(args) => create::run(*args).await,
        EnrollmentCommand::List(args) => keep::list(args).await,
        EnrollmentCommand::Show(args) => keep::show(args).await,
        EnrollmentCommand::Update(args) => update::update(args).await,
        EnrollmentCommand::Enable(args) => update::enable(args).await,
        EnrollmentCommand::Disable(args) => update::disable(args).await,
        EnrollmentCommand::Delete(args) => keep::delete(args).await,
        EnrollmentCommand::RotateKeys(args) => keys::run(args).await,
        EnrollmentCommand::Rotation(args) => rotation::run(args).await,
        EnrollmentCommand::Import(args) => import::run(args).await,
        EnrollmentCommand::Export(args) => export::run(args).await,
    }
}

/// One enrollment.
#[derive(Args)]
struct Which {
    #[command(flatten)]
    service: ServiceArgs,
    /// The registration ID of the device, or with --group the ID of the enrollment group.
    id: String,
    /// Select an enrollment group instead of an individual enrollment.
    #[arg(long)]
    group: bool,
}

impl Which {
    fn kind(&self) -> EnrollmentKind {
        if self.group { EnrollmentKind::Group } else { EnrollmentKind::Individual }
    }
}
