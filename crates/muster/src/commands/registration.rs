//! `muster registration`.

mod attempts;

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// See what became of devices that registered.
#[derive(Args)]
pub struct RegistrationArgs {
    #[command(subcommand)]
    command: RegistrationCommand,
}

#[derive(Subcommand)]
enum RegistrationCommand {
    Attempts(attempts::AttemptsArgs),
}

/// Runs the command.
pub async fn run(args: RegistrationArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        RegistrationCommand::Attempts(args) => attempts::run(args).await,
    }
}
