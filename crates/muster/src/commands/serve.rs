//! `muster serve`.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::Args;
use server::{
    app::{App, Plan},
    config::{Config, EXAMPLE},
    logging::{self, LogFilter},
    reload::Reloader,
};

use super::{Hangups, stop_signal, told};
use crate::output;

/// Run the service as a configuration file says.
///
/// SIGTERM ends it cleanly; SIGHUP takes up changed certificates, access policies, log filter, and webhook and latency settings.
///
/// Exit status 0 after a clean end, 1 when it could not start or failed, 2 for wrong usage.
#[derive(Args)]
#[command(after_help = "Examples:
  muster serve --example > muster.toml            a documented configuration to start from
  muster serve --config muster.toml --check       check it, with the keys and certificates it names
  muster serve --config /etc/muster/muster.toml")]
pub struct ServeArgs {
    /// The configuration file.
    #[arg(long, env = "MUSTER_CONFIG", default_value = "muster.toml")]
    config: PathBuf,
    /// Where everything durable is kept, instead of what the file says.
    #[arg(long, env = "MUSTER_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Where to listen for HTTPS, instead of what the file says.
    #[arg(long, env = "MUSTER_HTTPS")]
    https: Option<SocketAddr>,
    /// Where to listen for MQTT, instead of what the file says.
    #[arg(long, env = "MUSTER_MQTTS")]
    mqtts: Option<SocketAddr>,
    /// Where to listen for AMQP, instead of what the file says.
    #[arg(long, env = "MUSTER_AMQPS")]
    amqps: Option<SocketAddr>,
    /// What to log, instead of what the file says: `info`, or `warn,net=debug`.
    #[arg(long, env = "MUSTER_LOG")]
    log: Option<String>,
    /// Only check the configuration, the files that it names, and the databases; also beside a running service.
    #[arg(long)]
    check: bool,
    /// Start with an empty database where files of an earlier service are: its enrollments and registrations are not there.
    #[arg(long)]
    new_database: bool,
    /// Only print a documented example of a configuration.
    #[arg(long, conflicts_with = "check")]
    example: bool,
}

/// Runs the command.
pub async fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    if args.example {
        output::own_text(EXAMPLE)?;
        return Ok(ExitCode::SUCCESS);
    }
    let config = configuration(&args)?;
    let filter = logging::start(&config.log.filter, config.log.format)?;
    if args.check {
        for warning in Plan::check(&config, args.new_database).await? {
            output::note(format_args!("warning: {warning}"));
        }
        output::line(format_args!("{} is valid", args.config.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let hangups = Hangups::new()?; // first of all: a signal that nobody waits for ends the process
    let app = App::open(Plan::of(&config, args.new_database)?).await?;
    let shutdown = tokio_util::sync::CancellationToken::new();
    let stopping = shutdown.clone();
    tokio::spawn(async move {
        stop_signal().await;
        tracing::info!("stopping");
        stopping.cancel();
    });
    tokio::spawn(reload(hangups, args, app.reloader(), filter));
    tracing::info!(https = %config.listen.https, mqtts = %config.listen.mqtts, amqps = %config.listen.amqps, instances = config.instances.len(), "serving");
    app.run(shutdown).await?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Takes the configuration up again at each SIGHUP, as far as a running service can, and says what has to wait.
async fn reload(mut hangups: Hangups, args: ServeArgs, reloader: Reloader, filter: LogFilter) {
    let Ok(running) = configuration(&args) else { return };
    while hangups.next().await {
        let outcome = async {
            let config = configuration(&args)?;
            reloader.reload(&config).await?;
            filter.replace(&config.log.filter)?;
            anyhow::Ok(config.waits_for_restart(&running))
        };
        match outcome.await {
            Ok(waiting) if waiting.is_empty() => tracing::info!("the configuration was taken up"),
            Ok(waiting) => {
                let sections = waiting.join(", ");
                tracing::warn!(
                    sections,
                    "the configuration was taken up; these sections count after a restart"
                );
            }
            Err(error) => {
                let reason = told(&error);
                tracing::error!(
                    reason,
                    "the configuration was not taken up, and the service goes on as before"
                );
            }
        }
    }
}

fn configuration(args: &ServeArgs) -> anyhow::Result<Config> {
    let mut config = match Config::load(&args.config) {
        Err(error) if !args.config.exists() => {
            return Err(
                error.context("there is no configuration; `muster serve --example` prints one to start from")
            );
        }
        loaded => loaded?,
    };
    if let Some(dir) = &args.data_dir {
        config.data_dir = dir.clone();
    }
    if let Some(address) = args.https {
        config.listen.https = address;
    }
    if let Some(address) = args.mqtts {
        config.listen.mqtts = address;
    }
    if let Some(address) = args.amqps {
        config.listen.amqps = address;
    }
    if let Some(filter) = &args.log {
        config.log.filter = filter.clone();
    }
    Ok(config)
}
