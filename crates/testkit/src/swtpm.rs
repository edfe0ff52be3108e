//! A real TPM implementation: swtpm, a process per test.

use std::{
    net::{TcpListener, TcpStream},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

/// A running emulator of a TPM 2.0, which starts empty and ends when this is dropped.
pub struct Swtpm {
    process: Child,
    port: u16,
    state: std::path::PathBuf,
}

impl Swtpm {
    /// Starts one on free ports: that of commands, and the next for control.
    pub fn start() -> Swtpm {
        for _ in 0..TRIES {
            if let Some(tpm) = Swtpm::on(free_ports()) {
                return tpm;
            }
        }
        panic!("swtpm does not start; tests/install installs it");
    }

    fn on(port: u16) -> Option<Swtpm> {
        let state = std::env::temp_dir().join(format!("muster-swtpm-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&state).unwrap();
        let mut process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .args(["--tpmstate", &format!("dir={}", state.display())])
            .args(["--server", &format!("type=tcp,port={port}")])
            .args(["--ctrl", &format!("type=tcp,port={}", port + 1)])
            .stdin(Stdio::null())
            .spawn()
            .expect("swtpm is installed by tests/install");
        let started = Instant::now();
        while started.elapsed() < PATIENCE && process.try_wait().unwrap().is_none() {
            // The control port, for a connection to the other would be the one that commands come from.
            if TcpStream::connect(("127.0.0.1", port + 1)).is_ok() {
                return Some(Swtpm { process, port, state });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        // Killing what has ended fails.
        let _ = process.kill();
        None
    }

    /// Where it takes commands, as `muster` is told.
    pub fn address(&self) -> String {
        format!("swtpm:127.0.0.1:{}", self.port)
    }

    /// Runs one of tpm2-tools on it, in a folder of its own; fails unless that succeeds.
    pub fn tool(&self, name: &str, arguments: &[&str]) -> Output {
        let output = Command::new(name)
            .args(arguments)
            .env("TPM2TOOLS_TCTI", format!("swtpm:host=127.0.0.1,port={}", self.port))
            .current_dir(&self.state)
            .output()
            .expect("tpm2-tools are installed by tests/install");
        assert!(output.status.success(), "{name} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// Writes a file for the tools.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.state.join(name), bytes).unwrap();
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing to kill.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.state);
    }
}

/// A free port that is followed by another.
fn free_ports() -> u16 {
    loop {
        let first = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
}

/// Between looking for a free port and using it another process may take it.
const TRIES: u32 = 10;
const PATIENCE: Duration = Duration::from_secs(20);
