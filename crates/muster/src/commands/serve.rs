//! `muster serve`.

use std::{net::SocketAddr, process::ExitCode};

use clap::Args;
use server::{
    app::{App, Plan},
    config::{Config, EXAMPLE},
    logging::{self, LogFilter},
    reload::Reloader,
};

use super::{Hangups, describe, location::Location, stop_signal};
use crate::output;

/// Run the service with a configuration file.
///
/// SIGTERM stops it cleanly. SIGHUP reloads certificates, access policies, the management API, the provider of bearer tokens, the
/// log filter, and webhook and latency settings. The instances of a PostgreSQL database, and with them their access policies, change with `muster store apply`.
///
/// Exit status: 0 after a clean stop, 1 if it could not start or failed, 2 for wrong usage.
#[derive(Args)]
#[command(after_help = "Examples:
  muster serve --example > muster.toml            write a configuration with comments, to edit
  muster serve --config muster.toml --check       check it, and the keys and certificates that it names
  muster serve --config /etc/muster/muster.toml")]
pub struct ServeArgs {
    #[command(flatten)]
    location: Location,
    /// The address for HTTPS; overrides the file.
    #[arg(long, env = "MUSTER_HTTPS")]
    https: Option<SocketAddr>,
    /// The address for MQTT; overrides the file.
    #[arg(long, env = "MUSTER_MQTTS")]
    mqtts: Option<SocketAddr>,
    /// The address for AMQP; overrides the file.
    #[arg(long, env = "MUSTER_AMQPS")]
    amqps: Option<SocketAddr>,
    /// The log filter, such as `info` or `warn,net=debug`; overrides the file.
    #[arg(long, env = "MUSTER_LOG")]
    log: Option<String>,
    /// Check the configuration, the files that it names, and the databases, then exit. Safe while the service runs.
    #[arg(long)]
    check: bool,
    /// Create an empty database although the data folder was used before. Enrollments and registrations are not restored.
    #[arg(long)]
    new_database: bool,
    /// Print an example configuration with all settings, then exit.
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
        output::line(format_args!("{} is valid", args.location.config.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let hangups = Hangups::new()?; // first, because SIGHUP ends a process without a handler
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

/// Reloads the configuration at each SIGHUP, and logs the sections that need a restart.
async fn reload(mut hangups: Hangups, args: ServeArgs, reloader: Reloader, filter: LogFilter) {
    let Ok(running) = configuration(&args) else { return };
    let mut applied = running.clone();
    while hangups.next().await {
        let outcome = async {
            let config = configuration(&args)?;
            logging::check_filter(&config.log.filter)?;
            reloader.reload(&config, &applied).await?;
            filter.replace(&config.log.filter)?;
            let waiting = config.sections_needing_restart(&running);
            applied = config;
            anyhow::Ok(waiting)
        };
        match outcome.await {
            Ok(waiting) if waiting.is_empty() => tracing::info!("configuration reloaded"),
            Ok(waiting) => {
                let sections = waiting.join(", ");
                tracing::warn!(
                    sections,
                    "configuration reloaded; restart to apply the changes of these sections"
                );
            }
            Err(error) => {
                let reason = describe(&error);
                tracing::error!(reason, "cannot reload the configuration; the previous one stays in effect");
            }
        }
    }
}

fn configuration(args: &ServeArgs) -> anyhow::Result<Config> {
    let mut config = match args.location.configuration() {
        Err(error) if !args.location.config.exists() => {
            return Err(
                error.context("configuration file not found; `muster serve --example` prints an example")
            );
        }
        loaded => loaded?,
    };
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
