//! The check of the database file after an unclean shutdown.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use store::{Depth, EmbeddedStore};
use tokio::task;

/// Files up to this size are checked before serving, which takes some tenths of a second.
const BLOCKING_CHECK_BYTES: u64 = 64 << 20;

/// The time limit for the check of a larger file, which runs while serving.
const TIME_LIMIT: Duration = Duration::from_secs(120);

/// The number of problems that are logged.
const MAX_LOGGED: usize = 20;

/// The number of problems, once the check is complete.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileProblems(Arc<OnceLock<usize>>);

impl FileProblems {
    /// Returns the number of problems; `None` without a complete check.
    pub(crate) fn count(&self) -> Option<usize> {
        self.0.get().copied()
    }
}

/// Checks the file if the last process did not close it: before this function returns if the file is small, otherwise in the
/// background. Problems are logged and counted, and do not prevent serving.
pub(crate) async fn check_after_crash(store: &Arc<EmbeddedStore>) -> FileProblems {
    let problems = FileProblems::default();
    if !store.was_cut_off() {
        return problems;
    }
    tracing::warn!("the last shutdown was unclean; checking the database");
    let (checked, found) = (Arc::clone(store), problems.clone());
    let checking = task::spawn_blocking(move || check(&checked, &found));
    if store.file_size() <= BLOCKING_CHECK_BYTES {
        // An error means that the check panicked, which was logged.
        let _ = checking.await;
    }
    problems
}

fn check(store: &EmbeddedStore, problems: &FileProblems) {
    let check = match store.check_file(Depth::Pages, TIME_LIMIT) {
        Ok(check) => check,
        Err(error) => return tracing::error!(%error, "the database cannot be checked"),
    };
    for problem in check.problems.iter().take(MAX_LOGGED) {
        tracing::error!(problem, "the database is damaged; stop the service and run `muster store check`");
    }
    match (check.problems.len(), check.is_complete) {
        (0, false) => tracing::warn!("the check of the database was incomplete; run `muster store check`"),
        (0, true) => tracing::info!("no damage found in the database"),
        (count, _) => tracing::error!(count, "the database has problems"),
    }
    if check.is_complete || !check.problems.is_empty() {
        let _ = problems.0.set(check.problems.len());
    }
}
