//! The `muster` program: a table of its commands.

// All output goes through `output`, which escapes it and tolerates a closed pipe.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod commands;
mod output;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Zero-touch device provisioning, wire-compatible with Azure IoT Hub Device Provisioning Service.
///
/// Start with `muster dev`, a local emulator that needs no configuration. `muster demo` provisions a simulated fleet.
#[derive(Parser)]
#[command(
    name = "muster",
    version,
    arg_required_else_help = true,
    after_help = "Exit status:
  0  success
  1  failure, or a negative result
  2  wrong usage
  3  the object does not exist (404)
  4  the service rejected the key or the login, or it lacks a right (401, 403)
  5  the service is unreachable
Errors from the service end with a tracking ID; search for it in the log of the service."
)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

/// The commands. Each is documented at its arguments, where clap finds the text of `--help`.
#[derive(Subcommand)]
enum Command {
    Serve(commands::serve::ServeArgs),
    Dev(commands::dev::DevArgs),
    Demo(commands::demo::DemoArgs),
    Fleet(commands::fleet::FleetArgs),
    Device(commands::device::DeviceArgs),
    Attest(commands::attest::AttestArgs),
    Cert(commands::cert::CertArgs),
    Instance(commands::instance::InstanceArgs),
    Policy(commands::policy::PolicyArgs),
    Hub(commands::hub::HubArgs),
    Apply(commands::apply::ApplyArgs),
    Diff(commands::apply::DiffArgs),
    Enrollment(commands::enrollment::EnrollmentArgs),
    Certificate(commands::certificate::CertificateArgs),
    Registration(commands::registration::RegistrationArgs),
    Why(commands::why::WhyArgs),
    Store(commands::store::StoreArgs),
    Backup(commands::backup::BackupArgs),
    Restore(commands::restore::RestoreArgs),
    Log(commands::log::LogArgs),
    Login(commands::login::LoginArgs),
    Logout(commands::login::LogoutArgs),
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
                Command::Instance(args) => commands::instance::run(args).await,
                Command::Policy(args) => commands::policy::run(args).await,
                Command::Hub(args) => commands::hub::run(args).await,
                Command::Apply(args) => commands::apply::apply(args).await,
                Command::Diff(args) => commands::apply::diff(args).await,
                Command::Enrollment(args) => commands::enrollment::run(args).await,
                Command::Certificate(args) => commands::certificate::run(args).await,
                Command::Registration(args) => commands::registration::run(args).await,
                Command::Why(args) => commands::why::run(args).await,
                Command::Store(args) => commands::store::run(args).await,
                Command::Backup(args) => commands::backup::run(args),
                Command::Restore(args) => commands::restore::run(args),
                Command::Log(args) => commands::log::run(args).await,
                Command::Login(args) => commands::login::login(args).await,
                Command::Logout(args) => commands::login::logout(args).await,
                Command::Usage(args) => commands::usage::run(args).await,
                Command::Webhook(args) => commands::webhook::run(args).await,
            }
        })
    });
    ended.unwrap_or_else(|error| {
        let tracking =
            commands::tracking_id(&error).map(|id| format!(" (tracking ID {id})")).unwrap_or_default();
        output::note(format_args!("muster: {}{tracking}", commands::describe(&error)));
        ExitCode::from(commands::exit_status(&error))
    })
}
