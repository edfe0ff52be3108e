//! The TPM emulator swtpm, with one process per test.

use std::{
    net::{TcpListener, TcpStream},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

/// The maximum number of starts: another process may take a free port before the emulator binds it.
const MAX_STARTS: u32 = 10;
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A running TPM 2.0 emulator, which has no keys at first, and ends on drop.
pub struct Swtpm {
    process: Child,
    port: u16,
    state: std::path::PathBuf,
}

impl Swtpm {
    /// Starts an emulator on two free ports: one for commands, and the next one for control.
    pub fn start() -> Swtpm {
        for _ in 0..MAX_STARTS {
            if let Some(tpm) = Swtpm::start_on(free_ports()) {
                return tpm;
            }
        }
        panic!("swtpm does not start; tests/install installs it");
    }

    fn start_on(port: u16) -> Option<Swtpm> {
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
        while started.elapsed() < START_TIMEOUT && process.try_wait().unwrap().is_none() {
            // Not the port for commands, which accepts a single connection.
            if TcpStream::connect(("127.0.0.1", port + 1)).is_ok() {
                return Some(Swtpm { process, port, state });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        // This fails if the process has ended already.
        let _ = process.kill();
        None
    }

    /// Returns the address for commands, in the form of `muster`'s options.
    pub fn address(&self) -> String {
        format!("swtpm:127.0.0.1:{}", self.port)
    }

    /// Runs one of tpm2-tools with the emulator, in the emulator's folder; panics if it fails.
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

    /// Writes a file into the emulator's folder.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.state.join(name), bytes).unwrap();
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        // This fails if the process has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.state);
    }
}

/// Returns a free port whose next port is free, too.
fn free_ports() -> u16 {
    loop {
        let first = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
}
