//! `muster demo`.

mod cast;

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::{ArgAction, Args};
use fleet::{HubRegistry, HubVisit, Member, Outcome, Progress, Report, Run, ServiceClient, Trust, audit};
use model::{AllocationWeight, HubName};
use server::{
    dev::{self, DevInfo, DevOptions, PortChoice},
    logging::{self, LogFormat},
};
use wire::sas::ConnectionString;

use crate::output::{self, Format};

use super::{fleet::print_report, stop_signal, target::Target};

/// Provision a simulated fleet end to end, and print a report.
///
/// The demo starts an emulator in a temporary folder on free ports. Over the service API it creates an X.509 enrollment
/// group, a symmetric-key group and some individual enrollments, each with an initial twin. The devices register over
/// HTTPS or MQTT, connect to their hubs over MQTT and read their twins. Finally the demo looks up every device in the
/// registry of its hub. The first hub has weight 1, the second 2, and so on.
///
/// Exit status: 0 if every device was assigned, is in the registry and read its twin; 1 if one was not; 2 for wrong usage.
#[derive(Args)]
#[command(after_help = "Examples:
  muster demo
  muster demo --devices 5000 --hubs 4 --concurrency 128 --json")]
pub struct DemoArgs {
    /// The number of devices.
    #[arg(long, value_name = "N", default_value = "1000")]
    devices: NonZeroUsize,
    /// The number of hubs, at most 100.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=100))]
    hubs: u16,
    /// The number of devices that register concurrently.
    #[arg(long, value_name = "C", default_value = "64")]
    concurrency: NonZeroUsize,
    /// The log filter of the service, such as `info` or `warn,net=debug`.
    #[arg(long, env = "MUSTER_LOG", default_value = "error")]
    log: String,
    /// Print the result as JSON.
    #[arg(long = "json", action = ArgAction::SetTrue, value_parser = output::json_flag())]
    format: Format,
}

/// Runs the command.
pub async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    logging::start(&args.log, LogFormat::Text)?;
    // Removed when this function returns, including when the demo is interrupted.
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    // One level down, because the storage keeps a lock file beside its folder.
    let dir = folder.path().join("muster");
    tokio::select! {
        ended = demonstrate(&args, &dir) => ended,
        () = stop_signal() => bail!("the demo was interrupted"),
    }
}

async fn demonstrate(args: &DemoArgs, dir: &Path) -> anyhow::Result<ExitCode> {
    let hub_weights = (1..=args.hubs).map(AllocationWeight::new).collect::<Result<Vec<_>, _>>()?;
    let options =
        DevOptions { dir: dir.to_owned(), ports: PortChoice::Free, hub_weights: hub_weights.clone() };
    let emulator = dev::start(options).await?;
    let stage = Stage::set(emulator.info(), &hub_weights)?;
    output::note(format_args!("service on {}, {} hubs; creating enrollments", stage.address(), args.hubs));
    let members = cast::enroll(args.devices.get(), &mut stage.service()?).await?;

    let (mut outcomes, elapsed) = stage.play(members, args.concurrency).await;
    let problems = stage.check(&mut outcomes).await?;
    emulator.stop().await?;

    for problem in &problems {
        output::note(format_args!("muster: {problem}"));
    }
    let mut report = Report::of(&outcomes, elapsed);
    report.compare_with_weights(&stage.weights);
    print_report(&report, args.format)?;
    let success = report.is_success() && problems.is_empty();
    Ok(if success { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The emulator as the demo uses it: from outside, with the values of `dev.json`.
struct Stage {
    target: Target,
    trust: Trust,
    https_port: u16,
    service: ConnectionString,
    hubs: Vec<(HubName, ConnectionString)>,
    weights: Vec<(HubName, u32)>,
}

impl Stage {
    fn set(info: &DevInfo, weights: &[AllocationWeight]) -> anyhow::Result<Stage> {
        let target = Target::of_emulator(info)?;
        let hub = |hub: &dev::DevHub| {
            Ok((HubName::parse(&hub.host_name)?, ConnectionString::parse(&hub.connection_string)?))
        };
        let hubs = info.hubs.iter().map(hub).collect::<anyhow::Result<Vec<_>>>()?;
        let names = hubs.iter().map(|(name, _)| name.clone());
        Ok(Stage {
            trust: target.endpoint.trust.clone(),
            https_port: info.ports.https,
            service: ConnectionString::parse(&info.service_connection_string)?,
            weights: names.zip(weights.iter().map(|weight| u32::from(weight.number()))).collect(),
            target,
            hubs,
        })
    }

    fn address(&self) -> String {
        let endpoint = &self.target.endpoint;
        format!("{} (HTTPS {}, MQTT {})", endpoint.host, endpoint.https_port, endpoint.mqtts_port)
    }

    fn service(&self) -> anyhow::Result<ServiceClient> {
        Ok(ServiceClient::new(&self.service, self.https_port, self.trust.clone())?)
    }

    async fn play(&self, members: Vec<Member>, concurrency: NonZeroUsize) -> (Vec<Outcome>, Duration) {
        let endpoint = self.target.endpoint.clone();
        let hub_visit = HubVisit::ReadTwin { mqtts_port: endpoint.mqtts_port };
        let mut progress = Progress::start("provisioning", members.len());
        let started = Instant::now();
        let run = Run { endpoint, hub_visit, concurrency };
        let outcomes = run.start(members, |_| progress.step()).await;
        let elapsed = started.elapsed();
        progress.finish();
        (outcomes, elapsed)
    }

    /// Looks up every device in the registry of its hub, and returns the problems.
    async fn check(&self, outcomes: &mut [Outcome]) -> anyhow::Result<Vec<String>> {
        let registry = |(name, connection): &(HubName, ConnectionString)| {
            let registry = HubRegistry::new(connection, self.https_port, self.trust.clone())?;
            Ok((name.clone(), registry))
        };
        let mut registries = self.hubs.iter().map(registry).collect::<anyhow::Result<BTreeMap<_, _>>>()?;
        let mut progress = Progress::start("checking registries", outcomes.len());
        let problems = audit(outcomes, &mut registries, || progress.step()).await?;
        progress.finish();
        Ok(problems)
    }
}
