//! `muster dev`.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, ValueEnum};
use model::AllocationWeight;
use server::{
    dev::{self, DevInfo, DevOptions, PortChoice},
    logging::{self, LogFormat},
};

use super::stop_signal;

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
        println!("{}", serde_json::to_string_pretty(emulator.info())?);
    } else {
        print_summary(emulator.info(), &args);
    }
    emulator.run_until(stop_signal()).await?;
    Ok(ExitCode::SUCCESS)
}

fn print_summary(info: &DevInfo, args: &DevArgs) {
    println!("Muster emulator is ready; everything is in {}", args.dir.display());
    println!(
        "  device endpoint     {} (HTTPS {}, MQTT {}, AMQP {})",
        info.device_endpoint, info.ports.https, info.ports.mqtts, info.ports.amqps
    );
    println!("  ID scope            {}", info.id_scope);
    println!("  service             {}", info.service_connection_string);
    println!("  trusted CA          {}", info.ca_file.display());
    for hub in &info.hubs {
        println!("  {:<19} {}", hub.name, hub.connection_string);
    }
    let sample = &info.sample_enrollment_group;
    println!("  enrollment group    {} with key {}", sample.enrollment_group_id, sample.primary_key);
    println!(
        "  note                signing certificates of groups need no verified CA here, unlike in muster serve"
    );
    if info.ports.https != 443 {
        println!(
            "  note                most SDKs dial only 443, 8883 and 5671; run with --ports standard for those"
        );
    }
}
