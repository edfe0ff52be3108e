//! `muster dev`.

use std::{fmt::Display, path::PathBuf, process::ExitCode};

use clap::{Args, ValueEnum};
use model::AllocationWeight;
use server::{
    dev::{self, DevInfo, DevOptions, PortChoice},
    logging::{self, LogFormat},
};

use super::stop_signal;
use crate::output;

/// Run the service as a local emulator, with nothing to configure.
///
/// It listens on 127.0.0.1 for devices and administrators, and on 127.0.0.11, 127.0.0.12, … for its embedded hubs. It
/// makes its own CA and keeps everything in one folder, so that it is the same service after a restart. When it is
/// ready it writes `dev.json` there. SIGTERM or Ctrl-C ends it.
#[derive(Args)]
#[command(after_help = "Examples:
  muster dev                                  in ./.muster
  muster dev --dir /tmp/m --ports high        without privileges: 8443, 18883 and 15671
  muster device register --dev .muster --registration-id device-1    in another terminal")]
pub struct DevArgs {
    /// Where it keeps everything.
    #[arg(long, env = "MUSTER_DEV_DIR", default_value = ".muster")]
    dir: PathBuf,
    /// Which ports it takes. Most SDKs dial only the standard ones: 443, 8883 and 5671. Without this, those if they
    /// may be taken, otherwise 8443, 18883 and 15671.
    #[arg(long, value_enum)]
    ports: Option<Ports>,
    /// How many embedded hubs it runs.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=200))]
    hubs: u8,
    /// What to log: `info`, or `warn,net=debug`.
    #[arg(long, env = "MUSTER_LOG", default_value = "info")]
    log: String,
    /// Print `dev.json` instead of a summary for people.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Ports {
    /// Any that are free: for tests that must not collide.
    Free,
    /// 8443, 18883 and 15671.
    High,
    /// 443, 8883 and 5671.
    Standard,
}

/// Runs the command.
pub async fn run(args: DevArgs) -> anyhow::Result<ExitCode> {
    logging::start(&args.log, LogFormat::Text)?;
    let ports = match args.ports {
        None => PortChoice::Either,
        Some(Ports::Free) => PortChoice::Free,
        Some(Ports::High) => PortChoice::High,
        Some(Ports::Standard) => PortChoice::Standard,
    };
    let hub_weights = vec![AllocationWeight::default(); usize::from(args.hubs)];
    let emulator = dev::start(DevOptions { dir: args.dir.clone(), ports, hub_weights }).await?;
    if args.json {
        output::json(emulator.info())?;
    } else {
        print_summary(emulator.info(), &args)?;
    }
    emulator.run_until(stop_signal()).await?;
    Ok(ExitCode::SUCCESS)
}

fn print_summary(info: &DevInfo, args: &DevArgs) -> anyhow::Result<()> {
    let DevInfo { device_endpoint, id_scope, ports, .. } = info;
    let dir = args.dir.display();
    output::line(format_args!("Muster emulator is ready; everything is in {dir}"))?;
    let row = |name: &str, text: &dyn Display| output::line(format_args!("  {name:<19} {text}"));
    let numbers = format!("HTTPS {}, MQTT {}, AMQP {}", ports.https, ports.mqtts, ports.amqps);
    row("device endpoint", &format_args!("{device_endpoint} ({numbers})"))?;
    row("ID scope", id_scope)?;
    row("service", &info.service_connection_string)?;
    row("trusted CA", &info.ca_file.display())?;
    info.hubs.iter().try_for_each(|hub| row(&hub.name, &hub.connection_string))?;
    let sample = &info.sample_enrollment_group;
    let group = format!("{} with key {}", sample.enrollment_group_id, sample.primary_key);
    row("enrollment group", &group)?;
    row("note", &"signing certificates of groups need no verified CA here, unlike in muster serve")?;
    if ports.https != 443 {
        row("note", &"most SDKs dial only 443, 8883 and 5671; run with --ports standard for those")?;
    }
    Ok(())
}
