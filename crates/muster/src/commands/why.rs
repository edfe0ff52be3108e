//! `muster why`.

use std::{collections::BTreeSet, num::NonZeroUsize, process::ExitCode, time::Duration};

use clap::Args;
use fleet::{AttemptSearch, LogFilter, OperatorError, ServiceClient};
use model::{RegistrationId, Timestamp};
use provisioning::ports::Clock;
use serde_json::{Value, json};
use server::SystemClock;

use super::{
    explanation::list,
    service::ServiceArgs,
    since::Since,
    table::{seconds, text},
};
use crate::output;

/// How far back events are shown by default.
const DEFAULT_SINCE: Since = Since::Ago(Duration::from_secs(7 * 86_400));

/// The most attempts that are shown; the service keeps fewer of one device.
const MAX_ATTEMPTS: NonZeroUsize = NonZeroUsize::new(100).unwrap();

/// The most changes that are shown of one record.
const MAX_CHANGES: usize = 500;

/// Show what happened to a device, in order of time, and what to do next.
///
/// The command joins the refused attempts of the device, the decisions about its hub with the last reply of the webhook, its
/// registration with what it waits for, and the changes of the device's records and of its enrollment. The key needs the right
/// to read registrations, and for the changes ServiceConfig.
#[derive(Args)]
#[command(after_help = "Examples:
  muster why device-1 --dev .muster
  muster why device-1 --dev .muster --since 2026-11-28
  muster why device-1 --dev .muster --since 24h --json")]
pub struct WhyArgs {
    /// The registration ID of the device.
    #[arg(value_name = "ID", value_parser = |text: &str| RegistrationId::parse(text))]
    registration_id: RegistrationId,
    #[command(flatten)]
    service: ServiceArgs,
    /// Only events since then: 90s, 30m, 24h or 7d ago, a day, or an instant in UTC. [default: 7d]
    #[arg(long, value_name = "TIME")]
    since: Option<Since>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Something that happened to a device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    /// When, in the form of the service API, which sorts by time.
    time: String,
    /// What it is taken from: `attempt`, `decision`, `webhook`, `registration` or `change`.
    source: &'static str,
    text: String,
    /// What to do next, if this is a problem.
    advice: Option<String>,
}

impl Event {
    /// Whether it is what the device waits for now, however long ago that began.
    fn is_current(&self) -> bool {
        self.source == WAITING
    }
}

/// The source of the event that a registration waits for something.
const WAITING: &str = "registration";

/// What the service knows of a device.
#[derive(Debug, Default)]
struct Findings {
    /// The registration with its decisions, if there is one.
    registration: Option<Value>,
    attempts: Vec<Value>,
    changes: Vec<Value>,
    /// Whether the key may not read the change log.
    is_log_forbidden: bool,
}

/// Runs the command.
pub async fn run(args: WhyArgs) -> anyhow::Result<ExitCode> {
    let since = args.since.unwrap_or(DEFAULT_SINCE).before(SystemClock.now());
    let findings = collect(&mut args.service.client()?, &args.registration_id, since).await?;
    let mut events = findings.events();
    let earliest = since.to_string();
    events.retain(|event| event.is_current() || event.time >= earliest);
    let advice = advice(&events);
    if args.json {
        let event = |event: &Event| {
            let Event { time, source, text, advice } = event;
            json!({"time": time, "source": source, "text": text, "advice": advice})
        };
        let shown: Vec<Value> = events.iter().map(event).collect();
        output::json(&json!({"registrationId": args.registration_id, "events": shown, "advice": advice}))?;
    } else {
        print(&args.registration_id, &events, &advice)?;
    }
    if findings.is_log_forbidden {
        output::note("muster: changes are not shown: the key lacks the right ServiceConfig");
    }
    Ok(ExitCode::SUCCESS)
}

fn print(id: &RegistrationId, events: &[Event], advice: &[String]) -> anyhow::Result<()> {
    if events.is_empty() {
        output::line(format_args!("nothing is known of {id} in that time: it has not reached this service"))?;
    }
    for Event { time, source, text, .. } in events {
        output::line(format_args!("{}  {source:<12}  {text}", seconds(time)))?;
    }
    advice.iter().try_for_each(|advice| output::line(format_args!("next: {advice}")))
}

/// Returns what to do about the problems since the device was assigned for the last time, the newest first.
fn advice(events: &[Event]) -> Vec<String> {
    let is_assigned = |event: &&Event| event.text.starts_with(ASSIGNED);
    let mut seen = BTreeSet::new();
    let since = events.iter().rev().take_while(|event| !is_assigned(event));
    since.filter_map(|event| event.advice.clone()).filter(|advice| seen.insert(advice.clone())).collect()
}

/// How the text of an event begins with which a problem is over.
const ASSIGNED: &str = "assigned to ";

/// Reads what the service knows of a device.
async fn collect(
    client: &mut ServiceClient,
    id: &RegistrationId,
    since: Timestamp,
) -> Result<Findings, OperatorError> {
    let registration = match client.explain_registration(id).await {
        Err(OperatorError::Refused(refusal)) if refusal.status == 404 => None,
        registration => Some(registration?),
    };
    let search =
        AttemptSearch { registration_id: Some(id.clone()), since: Some(since), ..AttemptSearch::default() };
    let attempts = client.search_attempts(&search, MAX_ATTEMPTS).await?.items;
    let mut findings = Findings { registration, attempts, ..Findings::default() };
    for key in std::iter::once(id.to_string()).chain(findings.groups()) {
        match changes(client, key, since).await {
            Ok(changes) => findings.changes.extend(changes),
            Err(OperatorError::Refused(refusal)) if refusal.status == 403 => {
                findings.is_log_forbidden = true;
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(findings)
}

/// Reads the last changes of the records with this key.
async fn changes(
    client: &mut ServiceClient,
    key: String,
    since: Timestamp,
) -> Result<Vec<Value>, OperatorError> {
    let mut filter = LogFilter { since: Some(since), key: Some(key), ..LogFilter::default() };
    let mut changes = Vec::new();
    loop {
        let page = client.change_log(&filter, MAX_CHANGES).await?;
        changes.extend(page.entries);
        let surplus = changes.len().saturating_sub(MAX_CHANGES);
        changes.drain(..surplus);
        if !page.more {
            return Ok(changes);
        }
        filter.after = Some(page.next);
    }
}

impl Findings {
    /// Returns the groups that the device is registered through, or that were considered for it.
    fn groups(&self) -> Vec<String> {
        let mechanisms = ["/x509/enrollmentGroupId", "/symmetricKey/enrollmentGroupId"];
        let registered = self.registration.iter().flat_map(|registration| {
            mechanisms.iter().map(|mechanism| text(registration, mechanism)).collect::<Vec<_>>()
        });
        let considered = self.attempts.iter().flat_map(|attempt| list(&attempt["considered"]));
        let considered = considered.map(|one| text(one, "/enrollment/enrollmentGroupId"));
        let groups: BTreeSet<String> = registered.chain(considered).filter(|id| !id.is_empty()).collect();
        groups.into_iter().collect()
    }

    /// Returns everything that happened, in order of time.
    fn events(&self) -> Vec<Event> {
        let registration = self.registration.iter();
        let decisions = registration.clone().flat_map(|registration| list(&registration["decisions"]));
        let mut events: Vec<Event> = self.attempts.iter().map(attempt).collect();
        events.extend(decisions.flat_map(decision));
        events.extend(registration.filter_map(waiting));
        events.extend(self.changes.iter().map(change));
        events.sort();
        events
    }
}

fn attempt(attempt: &Value) -> Event {
    let from = match text(attempt, "/address").as_str() {
        "" => String::new(),
        address => format!(" from {address}"),
    };
    let outcome = match text(attempt, "/reasonCode").as_str() {
        "" => text(attempt, "/reason"),
        code => format!("{code}: {}", text(attempt, "/reason")),
    };
    event((attempt, "/dateTimeUtc"), "attempt", format!("refused{from}: {outcome}"), advice_of(attempt))
}

/// Returns a decision, the reply of the webhook, and how the decision ended.
fn decision(decision: &Value) -> Vec<Event> {
    let (hub, policy) = (text(decision, "/iotHub"), text(decision, "/allocationPolicy"));
    let chosen = match hub.as_str() {
        "" => format!("the policy {policy} chose no hub"),
        hub => format!("the policy {policy} chose {hub} ({})", text(decision, "/because")),
    };
    let mut events = vec![event((decision, "/dateTimeUtc"), "decision", chosen, None)];
    if decision["webhookReply"].is_object() {
        let [status, body] = ["/webhookReply/status", "/webhookReply/body"].map(|at| text(decision, at));
        let reply = format!("the webhook replied {status}: {body}");
        events.push(event((decision, "/webhookReply/dateTimeUtc"), "webhook", reply, None));
    }
    let end = match text(decision, "/outcome").as_str() {
        "assigned" => format!("{ASSIGNED}{hub}"),
        "failed" => {
            format!("failed: {} {}", text(decision, "/errorCode"), text(decision, "/errorMessage"))
        }
        "cancelled" => "canceled by an operator".to_owned(),
        _ => return events,
    };
    events.push(event((decision, "/endedDateTimeUtc"), "decision", end, advice_of(decision)));
    events
}

/// Returns what a registration waits for, if it does.
fn waiting(registration: &Value) -> Option<Event> {
    registration.get("pending")?;
    let target = ["/pending/iotHub", "/pending/webhookUrl"].map(|at| text(registration, at)).concat();
    let [tries, reason, next] = ["attempts", "reason", "nextTryDateTimeUtc"]
        .map(|name| text(registration, &format!("/pending/{name}")));
    let (waits, advice) = match reason.as_str() {
        "" => (format!("waits for {target}"), None),
        reason => (
            format!("waits for {target}: {reason} ({tries} tries, next try {})", seconds(&next)),
            Some(format!("Repair {target}, or cancel the assignment (muster registration cancel).")),
        ),
    };
    Some(event((registration, "/pending/sinceDateTimeUtc"), WAITING, waits, advice))
}

fn change(entry: &Value) -> Event {
    let [operation, kind, key] = ["/operation", "/kind", "/key"].map(|at| text(entry, at));
    let [actor, address] = ["/actor/name", "/actor/address"].map(|at| text(entry, at));
    let from = if address.is_empty() { address } else { format!(" from {address}") };
    event((entry, "/time"), "change", format!("{operation} of {kind} {key} by {actor}{from}"), None)
}

fn event((of, time): (&Value, &str), source: &'static str, text_of: String, advice: Option<String>) -> Event {
    Event { time: text(of, time), source, text: text_of, advice }
}

fn advice_of(value: &Value) -> Option<String> {
    value["advice"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Findings {
        let reply = json!({"dateTimeUtc": "2026-11-23T10:00:02.0000000Z", "status": 503, "body": "later"});
        let failed = json!({
            "dateTimeUtc": "2026-11-23T10:00:01.0000000Z", "allocationPolicy": "custom", "iotHub": null,
            "webhookReply": reply, "outcome": "failed", "errorCode": 400_207, "errorMessage": "Custom.",
            "endedDateTimeUtc": "2026-11-23T10:00:03.0000000Z", "advice": "Repair the webhook.",
        });
        let attempt = |time: &str| {
            let considered = json!([{"enrollment": {"type": "group", "enrollmentGroupId": "line-2"}}]);
            json!({"dateTimeUtc": time, "reasonCode": "wrongKey", "reason": "fits neither", "advice": "Compare.",
                   "address": "192.0.2.1", "considered": considered})
        };
        Findings {
            registration: Some(
                json!({"symmetricKey": {"enrollmentGroupId": "line-1"}, "decisions": [failed]}),
            ),
            attempts: vec![attempt("2026-11-23T10:00:05.0000000Z"), attempt("2026-11-23T10:00:00.0000000Z")],
            changes: vec![json!({
                "time": "2026-11-23T10:00:04.0000000Z", "operation": "enrollment.put", "kind": "enrollment",
                "key": "dev-1", "actor": {"name": "owner"},
            })],
            is_log_forbidden: false,
        }
    }

    #[test]
    fn events_of_all_sources_are_in_order_of_time() {
        let found = findings();
        assert_eq!(found.groups(), ["line-1", "line-2"]);
        let texts: Vec<_> = found.events().into_iter().map(|event| (event.source, event.text)).collect();
        let expected = [
            ("attempt", "refused from 192.0.2.1: wrongKey: fits neither"),
            ("decision", "the policy custom chose no hub"),
            ("webhook", "the webhook replied 503: later"),
            ("decision", "failed: 400207 Custom."),
            ("change", "enrollment.put of enrollment dev-1 by owner"),
            ("attempt", "refused from 192.0.2.1: wrongKey: fits neither"),
        ];
        assert_eq!(texts, expected.map(|(source, text)| (source, text.to_owned())));
    }

    /// A device that has waited for weeks is shown, whatever time is asked for.
    #[test]
    fn what_a_device_waits_for_is_current() {
        let pending = json!({"iotHub": "hub-1", "sinceDateTimeUtc": "2026-11-01T10:00:00.0000000Z"});
        let registration = Some(json!({"pending": pending}));
        let found = Findings { registration, ..findings() };
        let current: Vec<Event> = found.events().into_iter().filter(Event::is_current).collect();
        let texts: Vec<_> = current.iter().map(|event| event.text.as_str()).collect();
        assert_eq!(texts, ["waits for hub-1"]);
    }

    #[test]
    fn advice_is_about_what_went_wrong_since_the_device_was_assigned() {
        let mut found = findings();
        assert_eq!(advice(&found.events()), ["Compare.", "Repair the webhook."]);
        let assigned =
            json!({"outcome": "assigned", "iotHub": "hub-1", "endedDateTimeUtc": "2026-11-23T10:00:04"});
        found.registration = Some(json!({"decisions": [assigned]}));
        assert_eq!(advice(&found.events()), ["Compare."]);
        found.attempts.clear();
        assert_eq!(advice(&found.events()), [""; 0]);
    }
}
