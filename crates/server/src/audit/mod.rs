//! The audit trail: operators' calls that change something, read keys, or were refused, as lines of JSON in a file or to syslog.
//!
//! Calls wait for neither: a thread writes the lines. An attacker can cause refusals only, of which a bounded number is recorded
//! in a minute, and files are rotated: so the disk cannot be filled. What is left out is counted in the trail itself.

mod file;
mod syslog;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use anyhow::Context;
use model::{Identity, Timestamp};
use provisioning::ports::Clock;
use serde_json::{Map, Value, json};
use service_api::{AuditEntry, AuditOutcome, AuditSink};

use crate::SystemClock;
pub use file::AuditFile;
pub use syslog::{Syslog, SyslogTarget};

/// Lines that wait for the thread: 2 MB at most. A burst of an import has a few hundred.
const MAX_WAITING: usize = 4096;

/// The longest text of a line that a caller chose, in bytes.
const MAX_TEXT_BYTES: usize = 300;

/// How long a count of lines that were left out waits for the next line.
const NOTE_AFTER: Duration = Duration::from_secs(60);

/// Where lines are written.
pub trait AuditOutput: Send {
    /// Writes a line without its end.
    fn write(&mut self, line: &str) -> anyhow::Result<()>;
}

/// The audit trail. Without outputs it records nothing.
pub struct AuditTrail {
    queue: Option<SyncSender<String>>,
    omissions: Arc<Mutex<Omissions>>,
}

/// What is left out.
#[derive(Debug)]
struct Omissions {
    /// Refusals that may be recorded in a minute.
    refusals_per_minute: u32,
    minute: i64,
    /// Refusals that were recorded in it.
    refusals: u32,
    /// Entries that were left out since the last note.
    count: u64,
}

impl Omissions {
    /// Whether a refusal is recorded.
    fn admit(&mut self, at: Timestamp) -> bool {
        let minute = at.unix_seconds().div_euclid(60);
        if minute != self.minute {
            (self.minute, self.refusals) = (minute, 0);
        }
        let is_admitted = self.refusals < self.refusals_per_minute;
        self.refusals += u32::from(is_admitted);
        self.count += u64::from(!is_admitted);
        is_admitted
    }
}

impl AuditTrail {
    /// Starts the thread that writes to these outputs.
    pub fn start(outputs: Vec<Box<dyn AuditOutput>>, refusals_per_minute: u32) -> anyhow::Result<AuditTrail> {
        let omissions = Omissions { refusals_per_minute, minute: 0, refusals: 0, count: 0 };
        let omissions = Arc::new(Mutex::new(omissions));
        if outputs.is_empty() {
            return Ok(AuditTrail { queue: None, omissions });
        }
        let (queue, lines) = sync_channel(MAX_WAITING);
        let writer = Writer { lines, outputs, omissions: Arc::clone(&omissions), is_failing: false };
        let thread = thread::Builder::new().name("audit".to_owned());
        thread.spawn(|| writer.run()).context("cannot start the thread of the audit trail")?;
        Ok(AuditTrail { queue: Some(queue), omissions })
    }
}

impl AuditSink for AuditTrail {
    fn record(&self, entry: &AuditEntry<'_>) {
        let Some(queue) = &self.queue else { return };
        let mut omissions = self.omissions.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(entry.outcome, AuditOutcome::Refused { .. }) && !omissions.admit(entry.at) {
            return;
        }
        if omissions.count > 0 && queue.try_send(omitted(omissions.count)).is_ok() {
            omissions.count = 0;
        }
        if queue.try_send(line(entry)).is_err() {
            omissions.count += 1;
        }
    }
}

/// Writes lines until the trail is dropped.
struct Writer {
    lines: Receiver<String>,
    outputs: Vec<Box<dyn AuditOutput>>,
    omissions: Arc<Mutex<Omissions>>,
    is_failing: bool,
}

impl Writer {
    fn run(mut self) {
        loop {
            match self.lines.recv_timeout(NOTE_AFTER) {
                Ok(line) => self.write(&line),
                Err(RecvTimeoutError::Timeout) => self.note_omissions(),
                Err(RecvTimeoutError::Disconnected) => return self.note_omissions(),
            }
        }
    }

    fn note_omissions(&mut self) {
        let count = std::mem::take(&mut self.omissions.lock().unwrap_or_else(PoisonError::into_inner).count);
        if count > 0 {
            self.write(&omitted(count));
        }
    }

    fn write(&mut self, line: &str) {
        let mut failed = Ok(());
        for output in &mut self.outputs {
            failed = failed.and(output.write(line));
        }
        if let (Err(error), false) = (&failed, self.is_failing) {
            tracing::error!(error = format!("{error:#}"), "the audit trail cannot be written");
        }
        self.is_failing = failed.is_err();
        if self.is_failing {
            self.omissions.lock().unwrap_or_else(PoisonError::into_inner).count += 1;
        }
    }
}

/// Formats the number of entries that were left out.
fn omitted(count: u64) -> String {
    json!({"time": SystemClock.now().to_string(), "outcome": "omitted", "count": count}).to_string()
}

/// Formats an entry as JSON on one line. Texts of callers are escaped and cut.
fn line(entry: &AuditEntry<'_>) -> String {
    let text = |text: &dyn std::fmt::Display| json!(model::PeerText::new(text, MAX_TEXT_BYTES).into_string());
    let mut json = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            json.insert(name.to_owned(), value);
        }
    };
    put("time", Some(json!(entry.at.to_string())));
    put("instance", entry.instance.map(|scope| json!(scope)));
    put("actor", entry.actor.map(|actor| text(&actor.name())));
    if let Some(Identity::Subject(subject)) = entry.actor {
        put("issuer", Some(json!(subject.issuer().as_str())));
    }
    put("role", entry.role.map(|role| json!(role.name())));
    put("address", entry.address.map(|address| json!(address)));
    put("operation", entry.operation.map(|operation| json!(operation)));
    put("method", Some(text(&entry.method)));
    put("path", Some(text(&entry.path)));
    match &entry.outcome {
        AuditOutcome::Done => put("outcome", Some(json!("done"))),
        AuditOutcome::Refused { code, reason, tracking_id } => {
            put("outcome", Some(json!("refused")));
            put("code", Some(json!(code)));
            put("reason", Some(text(reason)));
            put("trackingId", Some(json!(tracking_id)));
        }
    }
    Value::Object(json).to_string()
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, sync::LazyLock};

    use model::{IdScope, Issuer, Role, Subject};

    use super::*;

    /// Collects lines.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<Value>>>);

    impl AuditOutput for Lines {
        fn write(&mut self, line: &str) -> anyhow::Result<()> {
            assert!(!line.contains('\n'));
            self.0.lock().unwrap().push(serde_json::from_str(line)?);
            Ok(())
        }
    }

    impl Lines {
        /// Waits for this many lines.
        fn wait_for(&self, count: usize) -> Vec<Value> {
            for _ in 0..500 {
                if self.0.lock().unwrap().len() >= count {
                    break;
                }
                thread::sleep(Duration::from_millis(10));
            }
            self.0.lock().unwrap().clone()
        }
    }

    fn entry<'a>(scope: &'a IdScope, outcome: AuditOutcome<'a>, second: i64) -> AuditEntry<'a> {
        static ACTOR: LazyLock<Identity> = LazyLock::new(|| {
            let issuer = Issuer::parse("https://login.example").unwrap();
            Identity::Subject(Subject::parse(issuer, "alice").unwrap())
        });
        AuditEntry {
            at: Timestamp::from_unix_seconds(second),
            instance: Some(scope),
            actor: Some(&ACTOR),
            role: Some(Role::DataContributor),
            address: Some(IpAddr::from([192, 0, 2, 7])),
            operation: Some("WebhookKey_Get"),
            method: "POST",
            path: "/webhookKey\u{1b}[2J\n",
            outcome,
        }
    }

    fn refused(reason: &str) -> AuditOutcome<'_> {
        AuditOutcome::Refused { code: 401_002, reason, tracking_id: "7" }
    }

    #[test]
    fn entries_are_lines_of_json_with_escaped_texts() {
        let (lines, scope) = (Lines::default(), IdScope::parse("0neA").unwrap());
        let trail = AuditTrail::start(vec![Box::new(lines.clone())], 10).unwrap();
        trail.record(&entry(&scope, AuditOutcome::Done, 60));
        trail.record(&entry(&scope, refused(&"x".repeat(5000)), 61));
        let [done, refused] = lines.wait_for(2).try_into().unwrap();
        assert_eq!(done["time"], "1970-01-01T00:01:00.0000000Z");
        assert_eq!((&done["instance"], &done["actor"]), (&json!("0neA"), &json!("alice")));
        assert_eq!(
            (&done["issuer"], &done["role"]),
            (&json!("https://login.example"), &json!("data contributor"))
        );
        assert_eq!((&done["address"], &done["outcome"]), (&json!("192.0.2.7"), &json!("done")));
        assert_eq!(done["path"], "/webhookKey\\u{1b}[2J\\n");
        assert_eq!((&refused["code"], &refused["trackingId"]), (&json!(401_002), &json!("7")));
        assert_eq!(refused["reason"].as_str().unwrap().len(), MAX_TEXT_BYTES);
    }

    /// Refusals are bounded by the minute, and never displace what operators did.
    #[test]
    fn a_flood_of_refusals_is_counted() {
        let (lines, scope) = (Lines::default(), IdScope::parse("0neA").unwrap());
        let trail = AuditTrail::start(vec![Box::new(lines.clone())], 3).unwrap();
        for second in 60..90 {
            trail.record(&entry(&scope, refused("no"), second));
        }
        trail.record(&entry(&scope, AuditOutcome::Done, 90));
        trail.record(&entry(&scope, refused("no"), 120));
        let found = lines.wait_for(6);
        let outcomes: Vec<_> = found.iter().map(|line| line["outcome"].as_str().unwrap()).collect();
        assert_eq!(outcomes, ["refused", "refused", "refused", "omitted", "done", "refused"]);
        assert_eq!(found[3]["count"], 27);
    }
}
