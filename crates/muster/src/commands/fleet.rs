//! `muster fleet`.

use std::{num::NonZeroUsize, path::PathBuf, process::ExitCode, sync::Arc, time::Instant};

use anyhow::Context;
use clap::{ArgAction, Args, ValueEnum};
use fleet::{CertificateAuthority, Device, HubVisit, Member, Progress, Report, Run, Transport};
use model::{RegistrationId, SymmetricKey};

use super::target::{Target, TargetArgs, read};
use crate::output::{self, Format};

/// Simulate a fleet of devices against any DPS endpoint.
///
/// Each device registers on a new TLS connection, with a registration ID of prefix and number: a second run registers the
/// same devices again. The devices belong to an existing enrollment group: either a symmetric-key group, whose key is
/// given, or an X.509 group, for whose CA this command issues device certificates. It prints latencies and throughput.
///
/// Exit status: 0 if every device was assigned, 1 if one was not, 2 for wrong usage.
#[derive(Args)]
#[command(after_help = "Examples:
  muster fleet --dev .muster --devices 500 --connect-hub
      uses the sample enrollment group of a running `muster dev`
  muster fleet --endpoint dps.example --id-scope 0ne00000A0A --ca ca.pem \\
      --ca-cert factory.pem --ca-key factory.key --transport mqtt --devices 10000 --concurrency 200
      issues device certificates from factory.pem, the signing certificate of the enrollment group")]
pub struct FleetArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// The primary or secondary key of a symmetric-key enrollment group, base64.
    #[arg(
        long,
        value_name = "KEY",
        env = "MUSTER_ENROLLMENT_GROUP_KEY",
        hide_env_values = true,
        value_parser = SymmetricKey::parse,
        required_unless_present_any = ["dev", "ca_key"]
    )]
    enrollment_group_key: Option<SymmetricKey>,
    /// The private key of the CA of an X.509 enrollment group, PEM.
    #[arg(long, value_name = "FILE", requires = "ca_cert", conflicts_with = "enrollment_group_key")]
    ca_key: Option<PathBuf>,
    /// The certificate of that CA, PEM, followed by issuers that devices send along.
    #[arg(long, value_name = "FILE", requires = "ca_key")]
    ca_cert: Option<PathBuf>,
    /// The transport of the devices.
    #[arg(long, value_enum, default_value_t = Transports::Mixed)]
    transport: Transports,
    /// The number of devices.
    #[arg(long, value_name = "N", default_value = "100")]
    devices: NonZeroUsize,
    /// The number of devices that register concurrently.
    #[arg(long, value_name = "C", default_value = "32")]
    concurrency: NonZeroUsize,
    /// The prefix of registration IDs; `-1`, `-2`, … follows.
    #[arg(long, default_value = "fleet")]
    prefix: String,
    /// Connect each device to its assigned hub over MQTT, and read its twin.
    #[arg(long)]
    connect_hub: bool,
    /// The hubs' port for MQTT over TLS. Default: the port of the emulator with --dev, otherwise 8883.
    #[arg(long, value_name = "PORT", requires = "connect_hub")]
    hub_port: Option<u16>,
    /// Print the result as JSON.
    #[arg(long = "json", action = ArgAction::SetTrue, value_parser = output::json_flag())]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Transports {
    Https,
    Mqtt,
    /// MQTT over WebSockets.
    MqttWs,
    Amqp,
    /// AMQP over WebSockets.
    AmqpWs,
    /// All of them in turn.
    Mixed,
}

/// Runs the command.
pub async fn run(args: FleetArgs) -> anyhow::Result<ExitCode> {
    let target = args.target.resolve()?;
    let factory = match (args.enrollment_group_key, args.ca_key, args.ca_cert) {
        (_, Some(key), Some(certificate)) => Factory::of_ca(&certificate, &key)?,
        (key, ..) => Factory::of_group(key.as_ref(), &target)?,
    };
    let members = members(&factory, &args.prefix, args.devices.get(), args.transport)?;
    let hub_visit = match (args.connect_hub, args.hub_port.or(target.hub_port).unwrap_or(8883)) {
        (true, mqtts_port) => HubVisit::ReadTwin { mqtts_port },
        (false, _) => HubVisit::Skip,
    };
    let run = Run { endpoint: target.endpoint, hub_visit, concurrency: args.concurrency };
    let mut progress = Progress::start("provisioning", members.len());
    let started = Instant::now();
    let outcomes = run.start(members, |_| progress.step()).await;
    let report = Report::of(&outcomes, started.elapsed());
    progress.finish();
    print_report(&report, args.format)?;
    Ok(if report.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints a report as JSON, or as tables that end with the number of provisioned devices.
pub fn print_report(report: &Report, format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        return output::json(report);
    }
    output::table(&report.enrollment_table())?;
    if !report.hubs.is_empty() {
        output::table(&report.hub_table())?;
    }
    output::line(format_args!("{} devices per second in {} s", report.rate, report.seconds))?;
    for line in report.failure_lines() {
        output::line(format_args!("failed: {line}"))?;
    }
    output::line(format_args!("provisioned {} of {}", report.provisioned, report.devices))
}

/// The credentials of an enrollment group, from which it makes devices.
enum Factory {
    Certificates(Box<CertificateAuthority>),
    Keys(SymmetricKey),
}

impl Factory {
    fn of_ca(certificate: &std::path::Path, key: &std::path::Path) -> anyhow::Result<Factory> {
        let ca = CertificateAuthority::from_pem(&read(certificate)?, &read(key)?);
        let files = || format!("{} and {}", certificate.display(), key.display());
        Ok(Factory::Certificates(Box::new(ca.with_context(files)?)))
    }

    fn of_group(key: Option<&SymmetricKey>, target: &Target) -> anyhow::Result<Factory> {
        let key = key
            .or(target.sample_key.as_ref())
            .context("give --enrollment-group-key, or --ca-key and --ca-cert")?;
        Ok(Factory::Keys(key.clone()))
    }

    fn device(&self, registration_id: RegistrationId) -> anyhow::Result<Device> {
        Ok(match self {
            Factory::Certificates(ca) => {
                let identity = ca.issue(&registration_id)?;
                Device::with_certificate(registration_id, identity)
            }
            Factory::Keys(key) => Device::in_group(registration_id, key),
        })
    }

    fn enrollment(&self) -> &'static str {
        match self {
            Factory::Certificates(_) => "X.509 group",
            Factory::Keys(_) => "symmetric-key group",
        }
    }
}

fn members(
    factory: &Factory,
    prefix: &str,
    devices: usize,
    transports: Transports,
) -> anyhow::Result<Vec<Member>> {
    let enrollment: Arc<str> = factory.enrollment().into();
    let member = |number: usize| {
        let registration_id = RegistrationId::parse(format!("{prefix}-{number}")).context("--prefix")?;
        Ok(Member {
            device: factory.device(registration_id)?,
            enrollment: Arc::clone(&enrollment),
            transport: transports.of(number),
            twin: None,
        })
    };
    (1..=devices).map(member).collect()
}

impl Transports {
    fn of(self, number: usize) -> Transport {
        match self {
            Transports::Https => Transport::Https,
            Transports::Mqtt => Transport::Mqtt,
            Transports::MqttWs => Transport::MqttWs,
            Transports::Amqp => Transport::Amqp,
            Transports::AmqpWs => Transport::AmqpWs,
            Transports::Mixed => Transport::ALL[number % Transport::ALL.len()],
        }
    }
}
