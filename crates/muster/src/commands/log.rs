//! `muster log`.

use std::{num::NonZeroUsize, process::ExitCode, time::Duration};

use clap::{ArgAction, Args};
use fleet::{LogFilter, LogPage, OperatorError, ServiceClient};
use model::LogKind;
use provisioning::ports::Clock;
use serde_json::{Value, json};
use server::SystemClock;

use super::{
    service::ServiceArgs,
    since::Since,
    stop_signal,
    table::{Table, seconds, text},
};
use crate::output::{self, Format};

/// How far back changes are shown by default.
const DEFAULT_SINCE: Since = Since::Ago(Duration::from_secs(3600));

/// Changes per request.
const PAGE: usize = 500;

/// The pause of a follower that has read all changes.
const PAUSE: Duration = Duration::from_secs(1);

/// Show who changed what, when, and from where.
///
/// Every change of an enrollment, a registration, a CA certificate, a revocation list, a block, a cleanup or the instance
/// itself is logged in the transaction that makes it. The log names who made it: an operator by the access policy and the
/// address of the call, a device by its registration ID and address, or a job of the service. The oldest changes come
/// first. How long they are kept is a setting of the service (section change_log). The key needs the right ServiceConfig.
///
/// --json shows the position that was read up to (`next`): a later run with --after shows what was changed since, without
/// gaps. --follow waits for changes, also while the service restarts, and ends with that position.
#[derive(Args)]
#[command(after_help = "Examples:
  muster log --dev .muster
  muster log --dev .muster --since 2d --kind enrollmentGroup
  muster log --dev .muster --since 2026-11-23 --key device-1
  muster log --dev .muster --actor provisioningserviceowner --limit 1000 --json
  muster log --dev .muster --follow

Kinds of record: instance, enrollmentGroup, caCertificate, revocationList, blockedCertificate, enrollment,
registration, cleanup, attempt.")]
pub struct LogArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// Only changes since then: 90s, 30m, 24h or 7d ago, a day, or an instant in UTC. [default: 1h, or --after]
    #[arg(long, value_name = "TIME")]
    since: Option<Since>,
    /// Only changes of this kind of record.
    #[arg(long, value_parser = kind)]
    kind: Option<LogKind>,
    /// Only changes of the record with this ID or name.
    #[arg(long, value_name = "ID")]
    key: Option<String>,
    /// Only changes by this access policy, device or job.
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Only changes after this position, which an earlier run ended with.
    #[arg(long, value_name = "POSITION")]
    after: Option<String>,
    /// At most this many changes.
    #[arg(long, value_name = "NUMBER", default_value = "200")]
    limit: NonZeroUsize,
    /// Continue with changes as they are made, until Ctrl-C.
    #[arg(long, action = ArgAction::SetTrue, conflicts_with = "limit")]
    follow: bool,
    /// Print JSON instead of a table; with --follow, each change as a line of JSON.
    #[arg(long = "json", action = ArgAction::SetTrue, value_parser = output::json_flag())]
    format: Format,
}

fn kind(text: &str) -> Result<LogKind, String> {
    LogKind::from_name(text).ok_or_else(|| {
        let names: Vec<_> = LogKind::ALL.iter().map(|kind| kind.name()).collect();
        format!("expected one of {}", names.join(", "))
    })
}

/// Runs the command.
pub async fn run(args: LogArgs) -> anyhow::Result<ExitCode> {
    let client = args.service.client()?;
    let since = args.since.or_else(|| args.after.is_none().then_some(DEFAULT_SINCE));
    let filter = LogFilter {
        since: since.map(|since| since.before(SystemClock.now())),
        kind: args.kind,
        key: args.key,
        actor: args.actor,
        after: args.after,
    };
    if args.follow {
        return follow(client, filter, args.format).await;
    }
    show(client, filter, args.limit.get(), args.format).await
}

/// Prints the first changes.
async fn show(
    mut client: ServiceClient,
    mut filter: LogFilter,
    limit: usize,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let (mut entries, mut more) = (Vec::new(), true);
    while more && entries.len() < limit {
        let page = client.change_log(&filter, PAGE.min(limit - entries.len())).await?;
        entries.extend(page.entries);
        (more, filter.after) = (page.more, Some(page.next));
    }
    let position = filter.after.unwrap_or_default();
    if format == Format::Json {
        output::json(&json!({"entries": entries, "next": position, "more": more}))?;
    } else if entries.is_empty() {
        output::line("no changes in that time")?;
    } else {
        let mut table = Table::new(&["time", "operation", "kind", "key", "by", "from"]);
        entries.iter().map(cells).for_each(|cells| table.add_row(cells));
        output::table(&table)?;
    }
    if more {
        let count = entries.len();
        output::note(format_args!(
            "muster: these are the first {count}: the next ones with --after {position}"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints changes line by line as they are made, until a signal comes or the reader of the output has gone.
async fn follow(
    mut client: ServiceClient,
    mut filter: LogFilter,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let mut stop = std::pin::pin!(stop_signal());
    let mut is_reached = true;
    while output::has_reader() {
        let page = tokio::select! {
            page = client.change_log(&filter, PAGE) => page,
            () = &mut stop => break,
        };
        let more = match page {
            Ok(LogPage { entries, next, more }) => {
                entries.iter().try_for_each(|entry| print(entry, format))?;
                (is_reached, filter.after) = (true, Some(next));
                more
            }
            // The service may be restarting. The position stays, so that no change is missed.
            Err(OperatorError::Transport(error)) if filter.after.is_some() => {
                if is_reached {
                    output::note(format_args!("muster: the service is not reached, trying again: {error}"));
                }
                is_reached = false;
                false
            }
            Err(error) => return Err(error.into()),
        };
        if !more {
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = &mut stop => break,
            }
        }
    }
    if let Some(position) = filter.after {
        output::note(format_args!("muster: later changes with --after {position}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn print(entry: &Value, format: Format) -> anyhow::Result<()> {
    match format {
        Format::Json => output::json_line(entry),
        Format::Text => output::line(cells(entry).join("  ").trim_end()),
    }
}

/// Returns who made a change. An access policy of the management API may have the name of one of the instance.
fn actor(entry: &Value) -> String {
    let (name, plane) = (text(entry, "/actor/name"), text(entry, "/actor/plane"));
    if plane.is_empty() { name } else { format!("{name} ({plane})") }
}

fn cells(entry: &Value) -> [String; 6] {
    let operation = text(entry, "/operation");
    // An operation such as enrollment.bulk does not say whether it deleted the record.
    let is_silent = entry["deleted"] == true && !operation.ends_with(".delete");
    [
        seconds(&text(entry, "/time")),
        if is_silent { format!("{operation} (deleted)") } else { operation },
        text(entry, "/kind"),
        text(entry, "/key"),
        actor(entry),
        text(entry, "/actor/address"),
    ]
}
