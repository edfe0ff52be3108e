//! Removes what a command has on the disk when a signal ends it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// How often the folder is tried to be removed while the command creates files in it, and the pause between two attempts.
const ATTEMPTS: usize = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// The handlers of SIGINT, SIGTERM and SIGHUP.
pub struct EndSignals {
    signals: Vec<(SignalKind, Signal)>,
}

impl EndSignals {
    /// Installs the handlers: the signals do not end the process any more, but are kept for [`remove`](EndSignals::remove).
    /// Signals that the caller of the program had it ignore, as `nohup` does, stay ignored.
    pub fn install() -> io::Result<EndSignals> {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let ignored = ignored_signals(&status);
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let kinds = kinds.into_iter().filter(|kind| ignored >> (kind.as_raw_value() - 1) & 1 == 0);
        let signals = kinds.map(|kind| Ok((kind, signal(kind)?)));
        Ok(EndSignals { signals: signals.collect::<io::Result<_>>()? })
    }

    /// From now on a signal removes the folder and ends the process.
    pub fn remove(self, folder: &Path) {
        for (kind, signal) in self.signals {
            tokio::spawn(end(kind, signal, folder.to_owned()));
        }
    }
}

async fn end(kind: SignalKind, mut signal: Signal, folder: PathBuf) {
    if signal.recv().await.is_none() {
        return;
    }
    for _ in 0..ATTEMPTS {
        if fs::remove_dir_all(&folder).is_ok() || !folder.exists() {
            break;
        }
        // Blocks: the process must not end before this does.
        thread::sleep(PAUSE);
    }
    std::process::exit(128 + kind.as_raw_value());
}

/// Returns the signals that a process ignores, as bits, from its status in Linux; none if the text does not have them.
fn ignored_signals(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::ignored_signals;

    #[test]
    fn ignored_signals_are_read_from_the_status() {
        let status =
            |mask| format!("SigBlk:\t0000000000000004\nSigIgn:\t{mask}\nSigCgt:\t0000000000000002\n");
        assert_eq!(ignored_signals(&status("0000000000001001")), 0x1001, "SIGHUP and SIGPIPE");
        for text in [String::new(), status("none")] {
            assert_eq!(ignored_signals(&text), 0);
        }
    }
}
