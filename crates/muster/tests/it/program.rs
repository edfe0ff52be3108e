//! Runs the binary, and an emulator as its peer.

use std::path::PathBuf;

use ::fleet::{ServiceClient, Trust};
use model::AllocationWeight;
use serde_json::{Value, json};
use server::dev::{self, DevOptions, Emulator, PortChoice};
use tempfile::TempDir;
use testkit::ca::Authority;
use tokio::process::Command;
use wire::sas::ConnectionString;

/// The exit status and the output of a finished program.
#[derive(Debug)]
pub struct ProgramOutput {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl ProgramOutput {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|_| unreachable!("no JSON: {self:?}"))
    }

    pub fn last_line(&self) -> &str {
        self.stdout.lines().last().unwrap_or_default()
    }
}

/// Runs `muster` to its end, without the variables of the environment that affect it.
pub async fn muster<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> ProgramOutput {
    muster_with(&[], arguments).await
}

/// The same with these variables.
pub async fn muster_with<S: AsRef<std::ffi::OsStr>>(
    variables: &[(&str, &str)],
    arguments: impl IntoIterator<Item = S>,
) -> ProgramOutput {
    let output = Command::new(env!("CARGO_BIN_EXE_muster"))
        .args(arguments)
        .env_remove("MUSTER_STORE")
        .env_remove("MUSTER_LOG")
        .env_remove("MUSTER_ENROLLMENT_GROUP_KEY")
        .env_remove("MUSTER_DEVICE_KEY")
        .env_remove("MUSTER_SAS_TOKEN")
        .env_remove("MUSTER_PASSPHRASE")
        .env_remove("MUSTER_SERVICE")
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .envs(variables.iter().copied())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    ProgramOutput {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// An emulator in its own temporary folder.
pub struct World {
    pub emulator: Emulator,
    pub folder: TempDir,
}

impl World {
    pub async fn start() -> World {
        World::in_folder(tempfile::tempdir().unwrap()).await
    }

    async fn in_folder(folder: TempDir) -> World {
        let hub_weights = vec![AllocationWeight::default(); 2];
        let options = DevOptions { dir: folder.path().join("muster"), ports: PortChoice::Free, hub_weights };
        World { emulator: dev::start(options).await.unwrap(), folder }
    }

    /// Restarts the emulator, on other ports.
    pub async fn restarted(self) -> World {
        self.emulator.stop().await.unwrap();
        World::in_folder(self.folder).await
    }

    pub fn dir(&self) -> PathBuf {
        self.folder.path().join("muster")
    }

    /// Runs a command with `--dev` and further arguments.
    pub async fn muster(&self, command: &[&str], more: &[&str]) -> ProgramOutput {
        let dir = self.dir();
        muster([command, &["--dev", dir.to_str().unwrap()], more].concat()).await
    }

    pub fn service(&self) -> ServiceClient {
        let info = self.emulator.info();
        let connection = ConnectionString::parse(&info.service_connection_string).unwrap();
        let trust = Trust::from_pem(&std::fs::read(&info.ca_file).unwrap()).unwrap();
        ServiceClient::new(&connection, info.ports.https, trust).unwrap()
    }

    /// Creates an X.509 enrollment group for a CA, and returns the files with its certificate and key.
    pub async fn enroll_ca(&self, name: &str, ca: &Authority) -> [String; 2] {
        let signing = json!({"signingCertificates": {"primary": {"certificate": ca.identity().pem()}}});
        let group = json!({"enrollmentGroupId": name, "attestation": {"type": "x509", "x509": signing}});
        self.service().create_group(&group).await.unwrap();
        [
            self.write(&format!("{name}.pem"), &ca.identity().pem()),
            self.write(&format!("{name}.key"), &ca.identity().key_pem()),
        ]
    }

    /// Writes a file into the folder and returns its path.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.dir().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub async fn stop(self) {
        self.emulator.stop().await.unwrap();
    }
}
