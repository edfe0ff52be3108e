//! Peer text with terminal control characters or forged log lines, in the output and the log of the binary.

use std::{fs::File, path::Path, time::Duration};

use ::fleet::{Device, Endpoint, Identity, ServiceClient, Transport, Trust, register};
use model::{HostName, IdScope, PeerText, RegistrationId};
use serde_json::json;
use server::dev::DevInfo;
use testkit::ca::Authority;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};
use wire::sas::ConnectionString;

use crate::program::{World, muster};

/// A forged log line, a sequence that clears the screen, and reversed text.
const HOSTILE: &str = "x\n2026-01-01T00:00:00Z ERROR forged\u{1b}[2J\u{9b}31m\u{202e}evil\u{200b}\u{3164}";

/// Asserts that a text has no terminal control characters except line ends.
#[track_caller]
fn is_harmless(text: &str) {
    let acts = |letter: &char| *letter != '\n' && !PeerText::shows(*letter);
    assert_eq!(text.chars().find(acts), None, "{text:?}");
    assert!(!text.contains("\n2026-01-01T00:00:00Z ERROR forged"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_escape_their_output() {
    let world = World::start().await;
    let root = Authority::root(HOSTILE);
    let leaf = root.intermediate(HOSTILE).device(HOSTILE);
    let (ca, leaf) =
        (world.write("hostile-ca.pem", &root.identity().pem()), world.write("leaf.pem", &leaf.pem()));
    world.enroll_ca("factory", &root).await;
    world.muster(&["certificate", "upload"], &["root", &ca]).await;
    let verify = ["cert", "verify", "--anchor", &ca, "--leaf", &leaf];
    for (code, ended) in [
        (1, muster(verify).await),
        (1, muster(verify.iter().chain(&["--json"])).await),
        (0, world.muster(&["certificate", "list"], &[]).await),
        (0, world.muster(&["certificate", "list"], &["--expiring", "36500d"]).await),
        (0, world.muster(&["certificate", "show"], &["root"]).await),
        (0, world.muster(&["enrollment", "show", "--group"], &["factory"]).await),
        (1, world.muster(&["attest", "explain"], &["--registration-id", "dev-1", "--cert", &leaf]).await),
        (
            1,
            world
                .muster(&["attest", "explain", "--json"], &["--registration-id", "d", "--cert", &leaf])
                .await,
        ),
        (1, muster(["certificate", "list", "--dev", &format!("/nonexistent/{HOSTILE}")]).await),
    ] {
        assert_eq!(ended.code, code, "{ended:?}");
        is_harmless(&ended.stdout);
        is_harmless(&ended.stderr);
        assert!(ended.stdout.contains("forged") || ended.stderr.contains("forged"), "{ended:?}");
    }
    world.stop().await;
}

/// Starts `muster dev` with its log in a file.
async fn start(folder: &Path) -> (Child, DevInfo) {
    let dir = folder.join("muster");
    let child = Command::new(env!("CARGO_BIN_EXE_muster"))
        .args(["dev", "--ports", "free", "--hubs", "2", "--log", "info", "--json", "--dir"])
        .arg(&dir)
        .env_remove("MUSTER_LOG")
        .stdout(std::process::Stdio::piped())
        .stderr(File::create(folder.join("log")).unwrap())
        .kill_on_drop(true)
        .spawn();
    let mut child = child.unwrap();
    // It prints a line when it is ready.
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    timeout(Duration::from_secs(60), lines.next_line()).await.unwrap().unwrap();
    (child, DevInfo::read(&dir).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn log_lines_of_refusals_are_escaped_short_and_limited() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, info) = start(folder.path()).await;
    let trust = Trust::from_pem(&std::fs::read(&info.ca_file).unwrap()).unwrap();
    let connection = ConnectionString::parse(&info.service_connection_string).unwrap();
    let mut service = ServiceClient::new(&connection, info.ports.https, trust.clone()).unwrap();
    let root = Authority::root("Root");
    let signing = json!({"signingCertificates": {"primary": {"certificate": root.identity().pem()}}});
    let group = json!({"enrollmentGroupId": "g", "attestation": {"type": "x509", "x509": signing}});
    service.create_group(&group).await.unwrap();

    let endpoint = Endpoint {
        host: HostName::parse(&info.device_endpoint).unwrap(),
        https_port: info.ports.https,
        mqtts_port: info.ports.mqtts,
        amqps_port: info.ports.amqps,
        id_scope: IdScope::parse(&info.id_scope).unwrap(),
        trust: trust.clone(),
    };
    // A device whose assignment fails at once.
    let key = testkit::sample::key(7);
    let keys = json!({"primaryKey": key.to_base64(), "secondaryKey": key.to_base64()});
    let attestation = json!({"type": "symmetricKey", "symmetricKey": keys});
    let nowhere =
        json!({"registrationId": "dev-0", "attestation": attestation, "allocationPolicy": "static"});
    service.create_enrollment(&nowhere).await.unwrap();
    let device = Device::with_key(RegistrationId::parse("dev-0").unwrap(), key);
    register(&endpoint, &device, Transport::Https, None).await.unwrap_err();

    // The reason of a refusal names the missing issuer.
    let long = format!("{HOSTILE}{}", "\u{1b}".repeat(2000));
    let leaf = root.intermediate(&long).device("dev-1");
    let files = ["leaf.pem", "leaf.key"].map(|name| folder.path().join(name));
    std::fs::write(&files[0], leaf.pem()).unwrap();
    std::fs::write(&files[1], leaf.key_pem()).unwrap();
    for transport in Transport::ALL.iter().cycle().take(25) {
        let identity = Identity::from_pem_files(&files[0], &files[1]).unwrap();
        let device = Device::with_certificate(RegistrationId::parse("dev-1").unwrap(), identity);
        register(&endpoint, &device, *transport, None).await.unwrap_err();
    }
    child.kill().await.unwrap();
    let mut log = String::new();
    let mut file = tokio::fs::File::open(folder.path().join("log")).await.unwrap();
    file.read_to_string(&mut log).await.unwrap();
    is_harmless(&log);
    assert!(log.lines().all(|line| line.len() < 1024), "{log}");
    let refusals = log.lines().filter(|line| line.contains("request refused"));
    assert_eq!(refusals.count(), 9, "{log}");
    let failed = log.lines().find(|line| line.contains("assignment failed")).unwrap();
    assert!(failed.contains("registration.id=dev-0") && failed.contains("names exactly one hub"), "{failed}");
    assert!(log.contains("peer.addr=127.0.0.1") && log.contains("forged"), "{log}");
    let audited = log.lines().find(|line| line.contains("service call done")).unwrap();
    assert!(audited.contains("method=PUT path=/enrollmentGroups/g"), "{audited}");
    assert!(audited.contains(&format!("instance.id_scope={}", info.id_scope)), "{audited}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_pipe_does_not_change_the_exit_status() {
    let world = World::start().await;
    let root = Authority::root("Root");
    let (ca, leaf) = (world.write("hostile-ca.pem", &root.identity().pem()), root.device("dev-1"));
    let leaf = world.write("leaf.pem", &leaf.pem());
    let dir = world.dir().to_str().unwrap().to_owned();
    let commands: [&[&str]; 11] = [
        &["serve", "--example"],
        &["cert", "verify", "--anchor", &ca, "--leaf", &leaf],
        &["certificate", "list", "--dev", &dir],
        &["certificate", "list", "--dev", &dir, "--json"],
        &["enrollment", "list", "--dev", &dir],
        &["registration", "list", "--dev", &dir],
        &["hub", "list", "--dev", &dir],
        &["hub", "latency", "--dev", &dir],
        &["log", "--dev", &dir, "--json"],
        &["usage", "--dev", &dir],
        &["attest", "explain", "--dev", &dir, "--registration-id", "x", "--json"],
    ];
    for command in commands {
        // As `muster … | true`: the reading end is closed before the first write.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_muster")).args(command).stdout(writer).output();
        let output = output.await.unwrap();
        let expected = i32::from(command[0] == "attest");
        assert_eq!(output.status.code(), Some(expected), "{command:?} {output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{command:?}");
    }
    world.stop().await;
}
