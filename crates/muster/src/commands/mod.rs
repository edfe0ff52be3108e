//! One module per command.

pub mod attest;
pub mod cert;
pub mod certificate;
pub mod demo;
pub mod dev;
pub mod device;
pub mod enrollment;
mod explanation;
pub mod fleet;
pub mod hub;
mod listing;
pub mod log;
pub mod registration;
pub mod serve;
mod service;
pub mod store;
mod table;
mod target;
pub mod usage;
pub mod webhook;

use ::fleet::OperatorError;
use anyhow::Context;

/// The runtime that commands run on: one thread per core. They have as many connections as they may.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    server::raise_descriptor_limit();
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")
}

/// The error and its causes in one line. Many errors name their cause already; it is not told twice.
pub fn told(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !line.contains(&cause) {
            let separator = if line.is_empty() { "" } else { ": " };
            line += &format!("{separator}{cause}");
        }
    }
    line
}

/// The exit status that a failed command ends with, so that scripts can tell what they may mend. Each command's `--help`
/// says what else its status means.
pub fn exit_status(error: &anyhow::Error) -> u8 {
    match error.chain().find_map(|cause| cause.downcast_ref::<OperatorError>()) {
        Some(OperatorError::Refused(refusal)) => match refusal.status {
            401 | 403 => NOT_ALLOWED,
            404 => NOT_FOUND,
            _ => FAILED,
        },
        Some(OperatorError::Transport(_)) => NOT_REACHED,
        _ => FAILED,
    }
}

const FAILED: u8 = 1;
const NOT_FOUND: u8 = 3;
const NOT_ALLOWED: u8 = 4;
const NOT_REACHED: u8 = 5;

/// How the service's log names what it refused, if it refused something.
pub fn tracking_id(error: &anyhow::Error) -> Option<&str> {
    let refused = error.chain().find_map(|cause| cause.downcast_ref::<OperatorError>());
    let Some(OperatorError::Refused(refusal)) = refused else { return None };
    Some(refusal.tracking_id.as_str()).filter(|id| !id.is_empty())
}

/// The signals that ask a service to read its configuration again.
pub struct Hangups {
    #[cfg(unix)]
    signals: tokio::signal::unix::Signal,
}

impl Hangups {
    /// From now on such a signal does not end the process.
    pub fn new() -> anyhow::Result<Hangups> {
        #[cfg(unix)]
        let kind = tokio::signal::unix::SignalKind::hangup();
        Ok(Hangups {
            #[cfg(unix)]
            signals: tokio::signal::unix::signal(kind).context("SIGHUP cannot be waited for")?,
        })
    }

    /// Waits for the next one; false when there is never one.
    pub async fn next(&mut self) -> bool {
        #[cfg(unix)]
        return self.signals.recv().await.is_some();
        #[cfg(not(unix))]
        return false;
    }
}

/// Resolves when the process is asked to stop: SIGTERM, or Ctrl-C.
pub async fn stop_signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = tokio::signal::ctrl_c() => return,
            }
        }
    }
    // Without signals there is nothing to wait for but the end of the process.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    #[test]
    fn a_cause_is_told_once() {
        let told = |error| super::told(&error);
        assert_eq!(told(anyhow!("refused").context("not linked")), "not linked: refused");
        assert_eq!(told(anyhow!("no such file").context("ca.pem: no such file")), "ca.pem: no such file");
    }
}
