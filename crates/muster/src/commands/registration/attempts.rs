//! `muster registration attempts`.

use std::{num::NonZeroUsize, process::ExitCode};

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use fleet::AttemptSearch;
use model::{RefusalReason, RegistrationId};
use provisioning::ports::Clock;
use serde_json::{Value, json};
use server::SystemClock;

use crate::{
    commands::{
        explanation,
        service::ServiceArgs,
        since::Since,
        table::{Table, seconds, text},
    },
    output,
};

/// Show refused attempts to register, and the reasons: of one device, or of all.
///
/// Devices get no detailed reason; this command shows what was considered, newest first. The service stores the last 20
/// attempts of each registration ID, enrolled or not, for as long as its setting says (section attempts).
#[derive(Args)]
#[command(after_help = "Examples:
  muster registration attempts device-1 --dev .muster
  muster registration attempts --dev .muster --since 24h --reason wrongKey
  muster registration attempts --dev .muster --since 2026-11-28 --until 2026-11-29
  muster registration attempts device-1 --connection-string 'HostName=…;SharedAccessKeyName=…;SharedAccessKey=…' \\
      --ca ca.pem --json")]
pub struct AttemptsArgs {
    /// The registration ID of the device. Default: all devices.
    #[arg(value_name = "ID", value_parser = |text: &str| RegistrationId::parse(text))]
    registration_id: Option<RegistrationId>,
    #[command(flatten)]
    service: ServiceArgs,
    /// Only attempts since then: 90s, 30m, 24h or 7d ago, a day, or an instant in UTC.
    #[arg(long, value_name = "TIME")]
    since: Option<Since>,
    /// Only attempts until then.
    #[arg(long, value_name = "TIME")]
    until: Option<Since>,
    /// Only attempts that were refused for this reason.
    #[arg(long, value_parser = reasons(), hide_possible_values = true)]
    reason: Option<RefusalReason>,
    /// At most this many attempts.
    #[arg(long, value_name = "NUMBER", default_value = "200")]
    limit: NonZeroUsize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn reasons() -> impl TypedValueParser<Value = RefusalReason> {
    PossibleValuesParser::new(RefusalReason::ALL.iter().map(|reason| reason.name()))
        .try_map(|name| RefusalReason::from_name(&name).ok_or("unknown reason"))
}

/// Runs the command.
pub async fn run(args: AttemptsArgs) -> anyhow::Result<ExitCode> {
    let now = SystemClock.now();
    let search = AttemptSearch {
        registration_id: args.registration_id.clone(),
        since: args.since.map(|since| since.before(now)),
        until: args.until.map(|until| until.before(now)),
        reason: args.reason,
    };
    let found = args.service.client()?.search_attempts(&search, args.limit).await?;
    if args.json {
        output::json(&json!({"attempts": found.items}))?;
    } else {
        print(&found.items, args.registration_id.as_ref())?;
    }
    if found.more {
        let count = found.items.len();
        output::note(format_args!("muster: these are the newest {count}; raise --limit for more"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the attempts of one device with all that was considered, those of all devices as a table.
fn print(attempts: &[Value], id: Option<&RegistrationId>) -> anyhow::Result<()> {
    match id {
        Some(id) if attempts.is_empty() => output::line(format_args!("no refused attempt of {id} is stored")),
        None if attempts.is_empty() => output::line("no refused attempt is stored"),
        Some(_) => output::lines(&attempts.iter().map(details).collect::<Vec<_>>().join("\n\n")),
        None => {
            let mut table = Table::new(&["time", "registration", "from", "reason", "details"]);
            attempts.iter().map(row).for_each(|cells| table.add_row(cells));
            output::table(&table)
        }
    }
}

fn details(attempt: &Value) -> String {
    format!("{}\n{}", explanation::heading(attempt), explanation::text(attempt))
}

fn row(attempt: &Value) -> [String; 5] {
    [
        seconds(&text(attempt, "/dateTimeUtc")),
        text(attempt, "/registrationId"),
        text(attempt, "/address"),
        text(attempt, "/reasonCode"),
        text(attempt, "/reason"),
    ]
}
