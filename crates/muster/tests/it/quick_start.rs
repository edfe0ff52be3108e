//! The operator's quick start of README.md, followed literally, on ports that are free.

use std::{path::Path, process::Stdio};

use tokio::process::Command;

use crate::serve::free_ports;

const README: &str = include_str!("../../../../README.md");

/// Returns the section, without the heading of the next one.
fn section() -> &'static str {
    let (_, rest) = README.split_once("## An operator's quick start\n").unwrap();
    rest.split_once("\n## ").unwrap().0
}

/// Returns the commands of its blocks, one after another.
fn commands() -> String {
    let blocks = section().split("```sh\n").skip(1);
    blocks.map(|block| block.split_once("```").unwrap().0).collect()
}

#[test]
fn the_quick_start_is_at_most_sixty_lines_long() {
    assert!(section().lines().count() <= 60, "{}", section().lines().count());
}

#[tokio::test]
async fn the_quick_start_provisions_a_device() {
    let [https, mqtts, amqps, ..] = free_ports().map(|port| port.to_string());
    let commands = commands().replace("8443", &https).replace("8883", &mqtts).replace("5671", &amqps);
    let folder = tempfile::tempdir().unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_muster")).parent().unwrap();
    let prelude = format!("PATH={}:$PATH; trap 'kill $(jobs -p)' EXIT", binary.display());
    let ended = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &format!("{prelude}\n{commands}")])
        .current_dir(&folder)
        .env_remove("MUSTER_STORE")
        .env_remove("MUSTER_LOG")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{stdout}\n{stderr}");
    for shown in [
        "muster.toml is valid",
        "3 created, 0 replaced, 0 unchanged, 0 failed",
        r#""status": "assigned""#,
        r#""assignedHub": "127.0.0.11""#,
        "refused, as it must be",
        "wrongKey",
        "next: ",
        "registration.assign",
        "is written and checked",
    ] {
        assert!(stdout.contains(shown), "{shown} is missing in {stdout}\n{stderr}");
    }
    let audit = std::fs::read_to_string(folder.path().join("plant/audit.jsonl")).unwrap();
    assert!(audit.contains("IotDpsResource_ListKeys"), "{audit}");
}
