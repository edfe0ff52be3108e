//! The audit trail: operators' calls that change something, read keys, or were refused, as lines of JSON in a file or to syslog.
//!
//! Calls wait for neither: each output has a queue and a thread that writes, so that one that hangs does not stop another. An
//! attacker can cause refusals only, of which a bounded number is recorded in a minute, and files are rotated: so the disk cannot
//! be filled. What an output leaves out is counted in that output.

mod budget;
mod file;
mod syslog;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use model::Identity;
use provisioning::ports::Clock;
use serde_json::{Map, Value, json};
use service_api::{AuditEntry, AuditFailure, AuditOutcome, AuditSink};

use crate::SystemClock;
use budget::RefusalBudget;
pub use file::AuditFile;
pub use syslog::{Syslog, SyslogTarget};

/// Lines that wait for one output: 8 MB at most, of 2 KB each. A burst of an import has a few hundred.
const MAX_WAITING: usize = 4096;

/// The longest text of a line that a caller chose, in bytes.
const MAX_TEXT_BYTES: usize = 300;

/// How long a count of lines that were left out waits for the next line.
const NOTE_AFTER: Duration = Duration::from_secs(60);

/// The time for waiting lines to be written at shutdown. A syslog server that hangs takes [`syslog::DEADLINE`] for one line.
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);

/// Where lines are written.
pub trait AuditOutput: Send {
    /// Writes a line without its end.
    fn write(&mut self, line: &str) -> anyhow::Result<()>;
}

/// The audit trail. Without outputs it records nothing.
pub struct AuditTrail {
    state: Mutex<State>,
}

struct State {
    refusals: RefusalBudget,
    queues: Vec<OutputQueue>,
}

/// The lines that wait for one output.
struct OutputQueue {
    lines: SyncSender<Arc<str>>,
    /// Entries that the output has no line of, and that it was not given the number of yet.
    omitted: Arc<AtomicU64>,
    /// Disconnected when the output has all lines.
    written: Receiver<()>,
}

impl AuditTrail {
    /// Starts a thread for each of these outputs.
    pub fn start(outputs: Vec<Box<dyn AuditOutput>>, refusals_per_minute: u32) -> anyhow::Result<AuditTrail> {
        let queues = outputs.into_iter().map(OutputQueue::start).collect::<anyhow::Result<_>>()?;
        let state = State { refusals: RefusalBudget::new(refusals_per_minute), queues };
        Ok(AuditTrail { state: Mutex::new(state) })
    }

    /// Writes the lines that wait, for up to [`CLOSE_DEADLINE`], and records nothing from then on.
    pub fn close(&self) {
        self.close_within(CLOSE_DEADLINE);
    }

    fn close_within(&self, time: Duration) {
        let queues = std::mem::take(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).queues);
        let written = queues.into_iter().map(|queue| queue.written).collect::<Vec<_>>();
        let deadline = Instant::now() + time;
        for written in written {
            let rest = deadline.saturating_duration_since(Instant::now());
            if written.recv_timeout(rest) == Err(RecvTimeoutError::Timeout) {
                tracing::error!("lines of the audit trail were not written before the shutdown");
            }
        }
    }
}

impl AuditSink for AuditTrail {
    fn record(&self, entry: &AuditEntry<'_>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { refusals, queues } = &mut *state;
        if queues.is_empty() {
            return;
        }
        let is_recorded = !matches!(entry.outcome, AuditOutcome::Refused(_)) || refusals.admit(entry);
        let line: Option<Arc<str>> = is_recorded.then(|| line(entry).into());
        for queue in queues {
            if line.as_ref().is_none_or(|line| queue.lines.try_send(Arc::clone(line)).is_err()) {
                queue.omitted.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl OutputQueue {
    fn start(output: Box<dyn AuditOutput>) -> anyhow::Result<OutputQueue> {
        let (sender, lines) = sync_channel(MAX_WAITING);
        let (is_writing, written) = mpsc::channel();
        let omitted = Arc::default();
        let writer = Writer { output, omitted: Arc::clone(&omitted), is_failing: false };
        let thread = thread::Builder::new().name("audit".to_owned());
        let write = move || {
            writer.run(&lines);
            drop(is_writing);
        };
        thread.spawn(write).context("cannot start a thread of the audit trail")?;
        Ok(OutputQueue { lines: sender, omitted, written })
    }
}

/// Writes lines to one output until the trail is closed or dropped.
struct Writer {
    output: Box<dyn AuditOutput>,
    omitted: Arc<AtomicU64>,
    is_failing: bool,
}

impl Writer {
    fn run(mut self, lines: &Receiver<Arc<str>>) {
        loop {
            match lines.recv_timeout(NOTE_AFTER) {
                Ok(line) => self.write(Some(&line)),
                Err(RecvTimeoutError::Timeout) => self.write(None),
                Err(RecvTimeoutError::Disconnected) => return self.write(None),
            }
        }
    }

    /// Writes the count of what was left out, if anything was, and a line.
    fn write(&mut self, line: Option<&str>) {
        let counted = self.omitted.swap(0, Ordering::Relaxed);
        let noted = if counted > 0 { self.output.write(&omitted(counted)) } else { Ok(()) };
        let still_omitted = if noted.is_err() { counted } else { 0 };
        let written = noted.and_then(|()| line.map_or(Ok(()), |line| self.output.write(line)));
        if let Err(error) = &written {
            let lost = still_omitted + u64::from(line.is_some());
            self.omitted.fetch_add(lost, Ordering::Relaxed);
            if !self.is_failing {
                tracing::error!(error = format!("{error:#}"), "the audit trail cannot be written");
            }
        }
        self.is_failing = written.is_err();
    }
}

/// Formats the number of entries that were left out.
fn omitted(count: u64) -> String {
    json!({"time": SystemClock.now().to_string(), "outcome": "omitted", "count": count}).to_string()
}

/// Escapes and cuts a text of a caller.
fn text(text: &dyn std::fmt::Display) -> Value {
    json!(model::PeerText::new(text, MAX_TEXT_BYTES).into_string())
}

fn put_failure(put: &mut impl FnMut(&str, Option<Value>), outcome: &str, failure: &AuditFailure<'_>) {
    put("outcome", Some(json!(outcome)));
    put("code", Some(json!(failure.code)));
    put("reason", Some(text(&failure.reason)));
    put("trackingId", Some(json!(failure.tracking_id)));
}

/// Formats an entry as JSON on one line.
fn line(entry: &AuditEntry<'_>) -> String {
    let mut json = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            json.insert(name.to_owned(), value);
        }
    };
    put("time", Some(json!(entry.at.to_string())));
    put("instance", entry.instance.map(|scope| json!(scope)));
    put("actor", entry.actor.map(|actor| text(&actor.name())));
    match entry.actor {
        None | Some(Identity::Policy(_)) => {}
        Some(Identity::ManagementPolicy(_)) => put("plane", Some(json!("management"))),
        Some(Identity::Subject(subject)) => put("issuer", Some(json!(subject.issuer().as_str()))),
    }
    put("role", entry.role.map(|role| json!(role.name())));
    put("address", entry.address.map(|address| json!(address)));
    put("operation", entry.operation.map(|operation| json!(operation)));
    put("method", Some(text(&entry.method)));
    put("path", Some(text(&entry.path)));
    match &entry.outcome {
        AuditOutcome::Done => put("outcome", Some(json!("done"))),
        AuditOutcome::Refused(failure) => put_failure(&mut put, "refused", failure),
        AuditOutcome::Failed(failure) => put_failure(&mut put, "failed", failure),
    }
    Value::Object(json).to_string()
}

#[cfg(test)]
mod tests;
