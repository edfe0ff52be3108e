//! Sends enrollments in batches, several requests at a time.

use std::{collections::HashSet, io::Read, sync::Arc, time::Duration};

use fleet::{EnrollmentKind, ImportError, ImportOptions, ImportReply, OperatorError, Refusal, ServiceClient};
use serde_json::Value;
use tokio::{
    sync::{Mutex, mpsc},
    task::{self, JoinHandle},
    time::sleep,
};

use super::{Entry, FailedItem, FileFormat, Item, source};

/// How often a request is repeated that the service could not execute, or that did not reach it. All tries together take about a
/// minute, which covers a restart.
const TRIES: u32 = 7;

/// The pause after the first try; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Enrollments of one kind, about as many as one request may have.
struct Batch {
    kind: EnrollmentKind,
    items: Vec<Item>,
    bytes: usize,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Done {
    /// What the service did.
    pub reply: ImportReply,
    /// The enrollments and lines that failed.
    pub errors: Vec<FailedItem>,
    /// The bytes of the enrollments' JSON, about as many as in the file.
    pub bytes: u64,
}

/// Starts a task for each client, and a thread that reads the file as fast as its batches are sent. At most a few batches for each
/// connection are in memory. Returns the outcomes, of which an error is the last, and the end of the reading.
pub fn start(
    clients: Vec<ServiceClient>,
    options: ImportOptions,
    (input, format): (Box<dyn Read + Send>, Option<FileFormat>),
) -> (mpsc::Receiver<anyhow::Result<Done>>, JoinHandle<anyhow::Result<()>>) {
    let (work, queue) = mpsc::channel(clients.len());
    let (report, outcomes) = mpsc::channel(clients.len());
    let queue = Arc::new(Mutex::new(queue));
    for client in clients {
        let worker = Worker { client, options, report: report.clone() };
        task::spawn(worker.run(Arc::clone(&queue)));
    }
    let reader = task::spawn_blocking(move || read(input, format, (&work, &report)));
    (outcomes, reader)
}

/// Makes batches of the entries of a file, and reports those that have no place in any. Ends early if the import ended.
fn read(
    input: Box<dyn Read + Send>,
    format: Option<FileFormat>,
    (work, report): (&mpsc::Sender<Batch>, &mpsc::Sender<anyhow::Result<Done>>),
) -> anyhow::Result<()> {
    let mut open = [EnrollmentKind::Group, EnrollmentKind::Individual].map(Batch::new);
    // The service sees duplicates within one batch only, and the last of several would win.
    let mut seen = HashSet::new();
    let fail = |line, id, text| {
        let errors = vec![FailedItem { line, id, code: None, text }];
        report.blocking_send(Ok(Done { errors, ..Done::default() })).is_ok()
    };
    source::read(input, format, &mut |entry| match entry {
        Entry::Unreadable { line, problem } => fail(line, String::new(), problem),
        Entry::Item(item) if !seen.insert((item.kind.id_member(), item.id().to_lowercase())) => {
            fail(item.line, item.id().to_owned(), "this ID is in the file already".to_owned())
        }
        Entry::Item(item) => {
            let bytes = item.enrollment.to_string().len() + 1;
            let Some(batch) = open.iter_mut().find(|batch| batch.kind == item.kind) else { return true };
            let is_sent = !batch.is_full_with(bytes)
                || work.blocking_send(std::mem::replace(batch, Batch::new(item.kind))).is_ok();
            batch.bytes += bytes;
            batch.items.push(item);
            is_sent
        }
    })?;
    for batch in open.into_iter().filter(|batch| !batch.items.is_empty()) {
        if work.blocking_send(batch).is_err() {
            break;
        }
    }
    Ok(())
}

impl Batch {
    fn new(kind: EnrollmentKind) -> Batch {
        Batch { kind, items: Vec::new(), bytes: 0 }
    }

    /// Whether an item of this many bytes must go into the next batch. One that is too large for any is sent alone, and refused.
    fn is_full_with(&self, bytes: usize) -> bool {
        let is_full = self.items.len() == ServiceClient::IMPORT_LIMIT
            || self.bytes + bytes > ServiceClient::IMPORT_BYTES;
        is_full && !self.items.is_empty()
    }
}

/// Sends batches over one connection.
struct Worker {
    client: ServiceClient,
    options: ImportOptions,
    report: mpsc::Sender<anyhow::Result<Done>>,
}

impl Worker {
    async fn run(mut self, queue: Arc<Mutex<mpsc::Receiver<Batch>>>) {
        loop {
            let Some(batch) = queue.lock().await.recv().await else { return };
            let done = self.import(batch).await.map_err(anyhow::Error::from);
            let is_over = done.is_err();
            if self.report.send(done).await.is_err() || is_over {
                return;
            }
        }
    }

    async fn import(&mut self, batch: Batch) -> Result<Done, OperatorError> {
        let reply = match self.send(batch.kind, &batch.items).await {
            Err(OperatorError::Refused(refusal)) if is_about_items(&refusal) => {
                self.import_each(&batch).await?
            }
            reply => reply?,
        };
        Ok(done(reply, &batch.items, batch.bytes as u64))
    }

    /// Imports one by one what the service refused as a whole, so that one enrollment does not hold up the others.
    async fn import_each(&mut self, batch: &Batch) -> Result<ImportReply, OperatorError> {
        let mut all = ImportReply::default();
        for (index, item) in batch.items.iter().enumerate() {
            match self.send(batch.kind, std::slice::from_ref(item)).await {
                Err(OperatorError::Refused(refusal)) if is_about_items(&refusal) => {
                    let (error_code, error_status) = (refusal.error_code, refusal.message);
                    all.errors.push(ImportError {
                        index,
                        id: item.id().to_owned(),
                        error_code,
                        error_status,
                    });
                }
                reply => {
                    let ImportReply { created, replaced, unchanged, errors } = reply?;
                    all.created += created;
                    all.replaced += replaced;
                    all.unchanged += unchanged;
                    all.errors.extend(errors.into_iter().map(|error| ImportError { index, ..error }));
                }
            }
        }
        Ok(all)
    }

    async fn send(&mut self, kind: EnrollmentKind, items: &[Item]) -> Result<ImportReply, OperatorError> {
        let enrollments: Vec<&Value> = items.iter().map(|item| &item.enrollment).collect();
        let mut pause = FIRST_PAUSE;
        for _ in 1..TRIES {
            match self.client.import_enrollments(kind, &enrollments, self.options).await {
                Err(error) if is_passing(&error) => {}
                reply => return reply,
            }
            sleep(pause).await;
            pause *= 2;
        }
        self.client.import_enrollments(kind, &enrollments, self.options).await
    }
}

/// Returns whether a request was refused because of what it contains: its JSON, or its size.
fn is_about_items(refusal: &Refusal) -> bool {
    refusal.status == 400 || refusal.status == 413
}

/// Returns whether a later try may succeed. An import can be repeated, also one whose reply was lost.
fn is_passing(error: &OperatorError) -> bool {
    match error {
        OperatorError::Transport(_) => true,
        OperatorError::Refused(refusal) => refusal.status == 503,
        _ => false,
    }
}

fn done(mut reply: ImportReply, items: &[Item], bytes: u64) -> Done {
    let errors = std::mem::take(&mut reply.errors).into_iter().map(|error| FailedItem {
        line: items.get(error.index).map_or(0, |item| item.line),
        id: error.id,
        code: Some(error.error_code),
        text: error.error_status,
    });
    Done { errors: errors.collect(), reply, bytes }
}
