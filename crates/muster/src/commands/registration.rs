//! `muster registration`.

mod attempts;
mod cleanups;
mod list;
mod one;

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// Inspect registrations, and cancel or delete them.
#[derive(Args)]
pub struct RegistrationArgs {
    #[command(subcommand)]
    command: RegistrationCommand,
}

#[derive(Subcommand)]
enum RegistrationCommand {
    List(list::ListArgs),
    Show(one::ShowArgs),
    Explain(one::ExplainArgs),
    Cancel(one::CancelArgs),
    Delete(one::DeleteArgs),
    Attempts(attempts::AttemptsArgs),
    Cleanups(cleanups::CleanupsArgs),
}

/// Runs the command.
pub async fn run(args: RegistrationArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        RegistrationCommand::List(args) => list::run(args).await,
        RegistrationCommand::Show(args) => one::show(args).await,
        RegistrationCommand::Explain(args) => one::explain(args).await,
        RegistrationCommand::Cancel(args) => one::cancel(args).await,
        RegistrationCommand::Delete(args) => one::delete(args).await,
        RegistrationCommand::Attempts(args) => attempts::run(args).await,
        RegistrationCommand::Cleanups(args) => cleanups::run(args).await,
    }
}
