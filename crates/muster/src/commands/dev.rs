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

/// Run the service as a local emulator, without configuration.
///
/// It listens on 127.0.0.1 for devices and operators, and on 127.0.0.11, 127.0.0.12, … for its embedded hubs. It creates
/// its own CA and stores everything in one folder, which a restart uses again. When it is ready, it writes `dev.json` there.
/// SIGTERM or Ctrl-C stops it.
#[derive(Args)]
#[command(after_help = "Examples:
  muster dev                                  store everything in ./.muster
  muster dev --dir /tmp/m --ports high        use 8443, 18883 and 15671, which need no privileges
  muster device register --dev .muster --registration-id device-1    in another terminal")]
pub struct DevArgs {
    /// The folder for databases, CA and keys.
    #[arg(long, env = "MUSTER_DEV_DIR", default_value = ".muster")]
    dir: PathBuf,
    /// The ports for HTTPS, MQTT and AMQP. Most SDKs connect only to the standard ones. Default: standard if available,
    /// otherwise high.
    #[arg(long, value_enum)]
    ports: Option<Ports>,
    /// The number of embedded hubs.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=200))]
    hubs: u8,
    /// The log filter, such as `info` or `warn,net=debug`.
    #[arg(long, env = "MUSTER_LOG", default_value = "info")]
    log: String,
    /// Print the content of `dev.json` instead of a summary.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Ports {
    /// Any free ports, for concurrent tests.
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
    output::line(format_args!("Muster emulator is ready; its data is in {dir}"))?;
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
    row("note", &"unlike muster serve, it accepts group signing certificates without a verified CA")?;
    if ports.https != 443 {
        row("note", &"most SDKs connect only to 443, 8883 and 5671; use --ports standard for them")?;
    }
    Ok(())
}
