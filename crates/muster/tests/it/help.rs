//! The help of every command, exit statuses, and wrong usage.

use crate::program::muster;

/// Scripts distinguish the causes of failures by the exit status.
#[tokio::test(flavor = "multi_thread")]
async fn the_exit_status_distinguishes_causes() {
    let world = crate::program::World::start().await;
    let info = world.emulator.info();
    let (connection, ca) = (&info.service_connection_string, info.ca_file.to_str().unwrap());
    let other_key = testkit::sample::key(9).to_base64();
    let parsed = wire::sas::ConnectionString::parse(connection).unwrap();
    let wrong = wire::sas::ConnectionString { key: other_key, ..parsed.clone() }.to_string();
    let nowhere = wire::sas::ConnectionString { host: "127.0.0.1:1".into(), ..parsed }.to_string();
    for (connection, command, code) in [
        (&format!("\"{connection}\""), &["enrollment", "list"][..], 0),
        (connection, &["enrollment", "show", "unknown"], 3),
        (&wrong, &["enrollment", "list"], 4),
        (&nowhere, &["enrollment", "list"], 5),
    ] {
        let service = ["--connection-string", connection.as_str(), "--ca", ca];
        let ended = muster([command, &service].concat()).await;
        assert_eq!(ended.code, code, "{command:?} {ended:?}");
        assert_eq!(ended.stderr.contains("(tracking ID "), [3, 4].contains(&code), "{ended:?}");
    }
    let help = muster(["--help"]).await;
    assert!(help.stdout.contains("5  the service is unreachable"), "{help:?}");
    world.stop().await;
}

#[tokio::test]
async fn every_command_has_an_example() {
    for command in COMMANDS {
        let ended = muster(command.iter().chain(&["--help"])).await;
        assert_eq!(ended.code, 0, "{command:?}");
        assert!(ended.stdout.contains(&format!("muster {}", command.join(" "))), "{command:?}");
        assert!(ended.stdout.contains("Example"), "{command:?}");
    }
}

const COMMANDS: &[&[&str]] = &[
    &["serve"],
    &["dev"],
    &["demo"],
    &["fleet"],
    &["device", "register"],
    &["login"],
    &["logout"],
    &["cert", "verify"],
    &["apply"],
    &["diff"],
    &["enrollment", "create"],
    &["enrollment", "list"],
    &["enrollment", "show"],
    &["enrollment", "update"],
    &["enrollment", "enable"],
    &["enrollment", "disable"],
    &["enrollment", "delete"],
    &["enrollment", "rotate-keys"],
    &["enrollment", "rotation", "begin"],
    &["enrollment", "rotation", "report"],
    &["enrollment", "rotation", "finish"],
    &["enrollment", "import"],
    &["enrollment", "export"],
    &["certificate", "upload"],
    &["certificate", "list"],
    &["certificate", "show"],
    &["certificate", "delete"],
    &["certificate", "verify"],
    &["certificate", "block"],
    &["certificate", "unblock"],
    &["certificate", "crl", "upload"],
    &["certificate", "crl", "policy"],
    &["certificate", "crl", "fetch"],
    &["certificate", "crl", "show"],
    &["certificate", "crl", "delete"],
    &["instance", "create"],
    &["instance", "list"],
    &["instance", "show"],
    &["instance", "update"],
    &["instance", "delete"],
    &["policy", "list"],
    &["policy", "connection-string"],
    &["policy", "put"],
    &["policy", "rotate"],
    &["webhook", "new-key"],
    &["policy", "delete"],
    &["hub", "link"],
    &["hub", "list"],
    &["hub", "show"],
    &["hub", "update"],
    &["hub", "unlink"],
    &["hub", "check"],
    &["hub", "policy"],
    &["store", "init"],
    &["store", "migrate"],
    &["store", "apply"],
    &["store", "copy"],
    &["store", "check"],
    &["attest", "explain"],
    &["registration", "list"],
    &["registration", "show"],
    &["registration", "explain"],
    &["registration", "cancel"],
    &["registration", "delete"],
    &["registration", "attempts"],
    &["registration", "cleanups"],
    &["why"],
    &["log"],
    &["usage"],
];

#[tokio::test]
async fn wrong_usage_is_refused_with_status_2() {
    for (arguments, reason) in [
        (&["demo", "--devices", "0"][..], "--devices"),
        (&["demo", "--hubs", "0"], "--hubs"),
        (&["demo", "--hubs", "101"], "--hubs"),
        (&["demo", "--concurrency", "-1"], "-1"),
        (&["fleet"], "--endpoint"),
        (&["hub", "link", "--dev", "."], "HUB_CONNECTION_STRING"),
        (&["hub", "list"], "muster login"),
        (&["hub", "list", "--service", "a:b"], "port"),
        (&["login"], "--issuer"),
        (&["apply", "--dev", "."], "-f FILE"),
        (&["login", "--service", "dps.example", "--client-id", "muster"], "--issuer"),
        (&["login", "--issuer", "http://login.example"], "https URL"),
        (&["login", "--redirect-port", "1"], "--browser"),
        (&["hub", "show", "--dev", ".", "a b"], "hub name"),
        (&["hub", "update", "--dev", ".", "h", "--weight", "many"], "--weight"),
        (&["hub", "policy", "--dev", ".", "custom"], "geoLatency"),
        (
            &["registration", "list", "--dev", ".", "--status", "lost"],
            "assigning, assigned, failed, disabled",
        ),
        (&["registration", "list", "--dev", ".", "--limit", "0"], "--limit"),
        (&["registration", "show", "--dev", ".", "a b"], "registration ID"),
        (&["registration", "cleanups", "--dev", ".", "--forget", "hub/a b"], "device ID"),
        (&["registration", "cleanups", "--dev", ".", "--forget", "a b/d"], "hub name"),
        (&["log", "--dev", ".", "--since", "yesterday"], "7d"),
        (&["log", "--dev", ".", "--kind", "device"], "enrollmentGroup"),
        (&["log", "--dev", ".", "--follow", "--limit", "1"], "--limit"),
        (&["fleet", "--dev", ".", "--endpoint", "x"], "--endpoint"),
        (&["fleet", "--dev", ".", "--transport", "coap"], "mixed"),
        (&["fleet", "--dev", ".", "--ca-key", "x"], "--ca-cert"),
        (&["fleet", "--dev", ".", "--enrollment-group-key", "short"], "symmetric key"),
        (&["fleet", "--dev", ".", "--hub-port", "1"], "--connect-hub"),
        (&["fleet", "--endpoint", "host:x", "--id-scope", "s", "--ca", "f"], "port"),
        (&["device", "register", "--dev", "."], "--registration-id"),
        (&["device", "register", "--dev", ".", "--registration-id", "a b"], "registration ID"),
        (&["device", "register", "--dev", ".", "--registration-id", "a", "--payload", "{"], "--payload"),
        (&["device", "register", "--dev", ".", "--registration-id", "a", "--cert", "x"], "--cert-key"),
        (
            &["device", "register", "--dev", ".", "--registration-id", "a", "--transport", "coap"],
            "must be one of https, mqtt, mqtt-ws, amqp, amqp-ws",
        ),
        (&["device", "register", "--endpoint", "h", "--registration-id", "a"], "--id-scope"),
    ] {
        let ended = muster(arguments).await;
        assert_eq!(ended.code, 2, "{arguments:?} {ended:?}");
        assert!(ended.stderr.contains(reason), "{arguments:?} {ended:?}");
        assert!(ended.stdout.is_empty(), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_missing_file_is_named_with_status_1() {
    for (arguments, reason) in [
        (&["fleet", "--dev", "/nonexistent"][..], "/nonexistent"),
        (&["device", "register", "--dev", "/nonexistent", "--registration-id", "a"], "/nonexistent"),
        (
            &[
                "fleet",
                "--endpoint",
                "h",
                "--id-scope",
                "s",
                "--ca",
                "/nonexistent",
                "--ca-key",
                "k",
                "--ca-cert",
                "c",
            ],
            "/nonexistent",
        ),
    ] {
        let ended = muster(arguments).await;
        assert_eq!(ended.code, 1, "{arguments:?} {ended:?}");
        assert!(ended.stderr.contains(reason), "{arguments:?} {ended:?}");
    }
}
