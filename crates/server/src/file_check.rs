//! The look at the database's file after an end that was not clean.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use store::{Depth, EmbeddedStore};
use tokio::task;

/// Files up to this size are looked at before anything is served: some tenths of a second.
const AT_ONCE_BYTES: u64 = 64 << 20;

/// How long a larger file is looked at, while it is served from.
const AT_MOST: Duration = Duration::from_secs(120);

/// Problems that are logged.
const MAX_LOGGED: usize = 20;

/// What the look found: the number of problems, once it is over.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileProblems(Arc<OnceLock<usize>>);

impl FileProblems {
    /// How many problems were found; nothing when the file was not looked at, or not to its end.
    pub(crate) fn count(&self) -> Option<usize> {
        self.0.get().copied()
    }
}

/// Looks at the file if the last process that had it open was cut off: before this returns if the file is small, else
/// beside everything else. What is wrong is logged and counted, and no reason not to serve what can be read.
pub(crate) async fn after_unclean_end(store: &Arc<EmbeddedStore>) -> FileProblems {
    let problems = FileProblems::default();
    if !store.was_cut_off() {
        return problems;
    }
    tracing::warn!("the service did not end cleanly the last time; the database is checked");
    let (looked_at, found) = (Arc::clone(store), problems.clone());
    let look = task::spawn_blocking(move || look(&looked_at, &found));
    if store.file_size() <= AT_ONCE_BYTES {
        // An error means that it panicked, and was logged.
        let _ = look.await;
    }
    problems
}

fn look(store: &EmbeddedStore, problems: &FileProblems) {
    let check = match store.check_file(Depth::Pages, AT_MOST) {
        Ok(check) => check,
        Err(error) => return tracing::error!(%error, "the database cannot be checked"),
    };
    for problem in check.problems.iter().take(MAX_LOGGED) {
        tracing::error!(problem, "the database is damaged; stop the service, then: muster store check");
    }
    match (check.problems.len(), check.is_complete) {
        (0, false) => tracing::warn!("the database was not checked to its end: muster store check"),
        (0, true) => tracing::info!("the database is in order"),
        (count, _) => tracing::error!(count, "problems were found in the database"),
    }
    if check.is_complete || !check.problems.is_empty() {
        let _ = problems.0.set(check.problems.len());
    }
}
