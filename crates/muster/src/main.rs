//! The `muster` program: a table of its commands.

// What is printed is escaped, and survives a reader that leaves: both happen in `output`.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod commands;
mod output;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Zero-touch device provisioning, wire-compatible with Azure IoT Hub Device Provisioning Service.
///
/// Start with `muster dev`: a local emulator with nothing to configure. `muster demo` shows the whole job.
#[derive(Parser)]
#[command(
    name = "muster",
    version,
    arg_required_else_help = true,
    after_help = "Exit status:
  0  done
  1  failed, or the answer is no
  2  wrong usage
  3  the service does not have what was named (404)
  4  the service does not accept the key, or the key's rights do not suffice (401, 403)
  5  the service was not reached
An error that the service replied ends with the tracking ID that its log has, too."
)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

/// What each does is said at its arguments, so that `--help` has all of it.
#[derive(Subcommand)]
enum Command {
    Serve(commands::serve::ServeArgs),
    Dev(commands::dev::DevArgs),
    Demo(commands::demo::DemoArgs),
    Fleet(commands::fleet::FleetArgs),
    Device(commands::device::DeviceArgs),
    Attest(commands::attest::AttestArgs),
    Cert(commands::cert::CertArgs),
    Hub(commands::hub::HubArgs),
    Enrollment(commands::enrollment::EnrollmentArgs),
    Certificate(commands::certificate::CertificateArgs),
    Registration(commands::registration::RegistrationArgs),
    Store(commands::store::StoreArgs),
    Log(commands::log::LogArgs),
    Usage(commands::usage::UsageArgs),
    Webhook(commands::webhook::WebhookArgs),
}

fn main() -> ExitCode {
    let program = Program::parse();
    let ended = commands::runtime().and_then(|runtime| {
        runtime.block_on(async {
            match program.command {
                Command::Serve(args) => commands::serve::run(args).await,
                Command::Dev(args) => commands::dev::run(args).await,
                Command::Demo(args) => commands::demo::run(args).await,
                Command::Fleet(args) => commands::fleet::run(args).await,
                Command::Device(args) => commands::device::run(args).await,
                Command::Attest(args) => commands::attest::run(args).await,
                Command::Cert(args) => commands::cert::run(args),
                Command::Hub(args) => commands::hub::run(args).await,
                Command::Enrollment(args) => commands::enrollment::run(args).await,
                Command::Certificate(args) => commands::certificate::run(args).await,
                Command::Registration(args) => commands::registration::run(args).await,
                Command::Store(args) => commands::store::run(args).await,
                Command::Log(args) => commands::log::run(args).await,
                Command::Usage(args) => commands::usage::run(args).await,
                Command::Webhook(args) => commands::webhook::run(args).await,
            }
        })
    });
    ended.unwrap_or_else(|error| {
        let tracking =
            commands::tracking_id(&error).map(|id| format!(" (tracking ID {id})")).unwrap_or_default();
        output::note(format_args!("muster: {}{tracking}", commands::told(&error)));
        ExitCode::from(commands::exit_status(&error))
    })
}
