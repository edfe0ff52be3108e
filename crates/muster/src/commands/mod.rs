//! One module per command.

pub mod apply;
pub mod attest;
pub mod backup;
pub mod cert;
pub mod certificate;
pub mod demo;
pub mod dev;
pub mod device;
mod end_signals;
pub mod enrollment;
mod explanation;
pub mod fleet;
pub mod hub;
pub mod instance;
mod listing;
mod location;
pub mod log;
pub mod login;
mod passphrase;
pub mod policy;
mod private_file;
pub mod registration;
pub mod restore;
mod sealed;
mod search;
pub mod serve;
mod service;
mod since;
pub mod store;
mod table;
mod target;
pub mod usage;
pub mod webhook;
pub mod why;

use std::fmt;

use ::fleet::{LoginError, OperatorError};
use anyhow::Context;

const FAILED: u8 = 1;
const WRONG_USAGE: u8 = 2;
const NOT_FOUND: u8 = 3;
const NOT_ALLOWED: u8 = 4;
const NOT_REACHED: u8 = 5;

/// Starts the runtime of the commands, with one thread per core, and raises the limit of open files.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    server::raise_descriptor_limit();
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")
}

/// Formats an error and its causes on one line. A cause that an outer error already contains is left out.
pub fn describe(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !line.contains(&cause) {
            let separator = if line.is_empty() { "" } else { ": " };
            line += &format!("{separator}{cause}");
        }
    }
    line
}

/// Returns the exit status of a failed command, by which scripts distinguish causes. The `--help` of a command lists
/// further ones.
pub fn exit_status(error: &anyhow::Error) -> u8 {
    error.chain().find_map(cause_status).unwrap_or(FAILED)
}

fn cause_status(cause: &(dyn std::error::Error + 'static)) -> Option<u8> {
    if cause.is::<UsageError>() {
        return Some(WRONG_USAGE);
    }
    let login = |error: &LoginError| match error {
        LoginError::Expired(_) | LoginError::None => NOT_ALLOWED,
        error if error.is_transport() => NOT_REACHED,
        _ => FAILED,
    };
    if let Some(error) = cause.downcast_ref::<LoginError>() {
        return Some(login(error));
    }
    Some(match cause.downcast_ref::<OperatorError>()? {
        OperatorError::Refused(refusal) => match refusal.status {
            401 | 403 => NOT_ALLOWED,
            404 => NOT_FOUND,
            _ => FAILED,
        },
        OperatorError::Login(error) => login(error),
        OperatorError::Transport(_) => NOT_REACHED,
        _ => FAILED,
    })
}

/// An error of a command line that its parser cannot find.
#[derive(Debug)]
pub struct UsageError(pub &'static str);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for UsageError {}

/// Returns the tracking ID under which the service logged its refusal, if the error is one.
pub fn tracking_id(error: &anyhow::Error) -> Option<&str> {
    let refused = error.chain().find_map(|cause| cause.downcast_ref::<OperatorError>());
    let Some(OperatorError::Refused(refusal)) = refused else { return None };
    Some(refusal.tracking_id.as_str()).filter(|id| !id.is_empty())
}

/// SIGHUP signals, which ask the service to reload its configuration.
pub struct Hangups {
    #[cfg(unix)]
    signals: tokio::signal::unix::Signal,
}

impl Hangups {
    /// Installs the handler; from now on SIGHUP does not end the process.
    pub fn new() -> anyhow::Result<Hangups> {
        #[cfg(unix)]
        let kind = tokio::signal::unix::SignalKind::hangup();
        Ok(Hangups {
            #[cfg(unix)]
            signals: tokio::signal::unix::signal(kind).context("cannot install the handler of SIGHUP")?,
        })
    }

    /// Waits for the next signal. Returns false if there will be none.
    pub async fn next(&mut self) -> bool {
        #[cfg(unix)]
        return self.signals.recv().await.is_some();
        #[cfg(not(unix))]
        return false;
    }
}

/// Waits for SIGTERM or Ctrl-C.
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
    // Without signals, only the end of the process stops the command.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    #[test]
    fn an_error_names_each_cause_once() {
        let describe = |error| super::describe(&error);
        assert_eq!(describe(anyhow!("refused").context("not linked")), "not linked: refused");
        assert_eq!(describe(anyhow!("no such file").context("ca.pem: no such file")), "ca.pem: no such file");
    }
}
