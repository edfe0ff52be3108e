//! The `muster` program: a table of its commands.

mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Zero-touch device provisioning, wire-compatible with Azure IoT Hub Device Provisioning Service.
///
/// Start with `muster dev`: a local emulator with nothing to configure. `muster demo` shows the whole job.
#[derive(Parser)]
#[command(name = "muster", version, arg_required_else_help = true)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service as a configuration file says.
    Serve(commands::serve::ServeArgs),
    /// Run the service as a local emulator, with nothing to configure.
    Dev(commands::dev::DevArgs),
    /// Provision a simulated fleet end to end, and show how it went.
    Demo(commands::demo::DemoArgs),
    /// Simulate a fleet of devices against any DPS endpoint.
    Fleet(commands::fleet::FleetArgs),
    /// Act as a single device.
    Device(commands::device::DeviceArgs),
    /// Understand who is let in.
    Attest(commands::attest::AttestArgs),
    /// Judge certificates.
    Cert(commands::cert::CertArgs),
    /// Link the hubs that devices are assigned to, and look at them.
    Hub(commands::hub::HubArgs),
    /// Keep the CAs that devices' certificates lead to.
    Certificate(commands::certificate::CertificateArgs),
    /// See what became of devices that registered.
    Registration(commands::registration::RegistrationArgs),
    /// Show how many operations a service instance completed.
    Usage(commands::usage::UsageArgs),
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
                Command::Certificate(args) => commands::certificate::run(args).await,
                Command::Registration(args) => commands::registration::run(args).await,
                Command::Usage(args) => commands::usage::run(args).await,
            }
        })
    });
    ended.unwrap_or_else(|error| {
        eprintln!("muster: {error:#}");
        ExitCode::FAILURE
    })
}
