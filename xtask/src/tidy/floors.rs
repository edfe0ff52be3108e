//! Allowed dependencies between crates, which point downwards.

use std::{path::Path, process::Command};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::Finding;

/// The crates for runtime, network and storage.
const IO: &[&str] = &["axum", "hyper", "hyper-util", "rusqlite", "rustls", "tokio", "tokio-rustls"];

/// The crates that are forbidden in the middle floor: IO, and HTTP with its status codes.
const IO_AND_HTTP: &[&str] =
    &["axum", "http", "hyper", "hyper-util", "rusqlite", "rustls", "tokio", "tokio-rustls"];

/// The crates for network and storage, which the runner has behind ports.
const NETWORK_AND_STORAGE: &[&str] =
    &["axum", "http", "hyper", "hyper-util", "rusqlite", "rustls", "tokio-rustls"];

/// The crates that all tests may use: test support, and the real store and runner instead of mocks.
const FOR_TESTS: [&str; 5] = ["testkit", "memory-engine", "store", "durable", "runner"];

/// A dependency as a manifest declares it.
#[derive(Debug, PartialEq, Eq)]
pub struct Edge {
    from: String,
    to: String,
    kind: Kind,
    /// Whether `to` is a crate of this workspace.
    ours: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A dependency of the program.
    Normal,
    /// A dependency of tests, examples and build scripts only.
    Development,
}

/// The allowed dependencies of a crate.
struct Floor {
    name: &'static str,
    /// The allowed crates of this workspace.
    may_use: &'static [&'static str],
    /// The forbidden external crates.
    must_not_use: &'static [&'static str],
}

/// Checks that the table allows every dependency, and that every crate has a row.
pub fn check(edges: &[Edge]) -> Vec<Finding> {
    edges
        .iter()
        .filter_map(|edge| problem(edge).map(|text| Finding::of_file(&manifest(&edge.from), text)))
        .collect()
}

fn problem(edge: &Edge) -> Option<String> {
    let Edge { from, to, .. } = edge;
    let Some(floor) = FLOORS.iter().find(|floor| floor.name == from) else {
        return Some(format!("{from} has no floor: add a row in xtask/src/tidy/floors.rs"));
    };
    let allowed = match (edge.ours, edge.kind) {
        (true, Kind::Normal) => floor.may_use.contains(&to.as_str()),
        (true, Kind::Development) => floor.may_use.contains(&to.as_str()) || FOR_TESTS.contains(&to.as_str()),
        (false, Kind::Normal) => !floor.must_not_use.contains(&to.as_str()),
        (false, Kind::Development) => true,
    };
    (!allowed).then(|| format!("{from} must not depend on {to}"))
}

fn manifest(name: &str) -> String {
    if name == "xtask" { "xtask/Cargo.toml".to_owned() } else { format!("crates/{name}/Cargo.toml") }
}

/// Reads the declared dependencies of the workspace's crates.
pub fn edges(root: &Path) -> anyhow::Result<Vec<Edge>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root)
        .output()
        .context("cannot run cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    read_edges(&serde_json::from_slice(&output.stdout)?)
}

fn read_edges(metadata: &Value) -> anyhow::Result<Vec<Edge>> {
    let mut edges = Vec::new();
    for package in list(metadata, "packages")? {
        for dependency in list(package, "dependencies")? {
            let kind = match dependency["kind"].as_str() {
                None => Kind::Normal,
                Some(_) => Kind::Development,
            };
            let (from, to) = (text(package, "name")?, text(dependency, "name")?);
            edges.push(Edge { from, to, kind, ours: dependency["path"].is_string() });
        }
    }
    Ok(edges)
}

fn list<'a>(value: &'a Value, member: &str) -> anyhow::Result<&'a Vec<Value>> {
    value[member].as_array().with_context(|| format!("cargo metadata has no {member}"))
}

fn text(value: &Value, member: &str) -> anyhow::Result<String> {
    Ok(value[member].as_str().with_context(|| format!("cargo metadata has no {member}"))?.to_owned())
}

const fn floor(name: &'static str, may_use: &'static [&'static str]) -> Floor {
    Floor { name, may_use, must_not_use: &[] }
}

const fn pure(
    name: &'static str,
    may_use: &'static [&'static str],
    must_not_use: &'static [&'static str],
) -> Floor {
    Floor { name, may_use, must_not_use }
}

/// Siblings on one floor do not see each other; the arrows within a floor are the ones `ARCHITECTURE.md` names.
const FLOORS: [Floor; 20] = [
    // ground
    pure("certpath", &[], IO_AND_HTTP),
    pure("model", &["certpath"], IO_AND_HTTP),
    pure("codec", &[], IO),
    pure("wire", &["certpath", "codec", "model"], IO),
    floor("durable", &[]),
    floor("net", &["certpath", "codec", "model"]),
    // middle
    pure("provisioning", &["certpath", "model"], IO_AND_HTTP),
    // upper
    floor("device-api", &["codec", "model", "wire", "net", "provisioning"]),
    floor("service-api", &["certpath", "model", "wire", "provisioning"]),
    pure("runner", &["model", "provisioning"], NETWORK_AND_STORAGE),
    floor("store", &["certpath", "model", "provisioning", "durable", "net"]),
    floor("hub", &["certpath", "model", "wire", "net", "provisioning", "embedded-hub"]),
    floor("embedded-hub", &["certpath", "codec", "model", "wire", "durable", "net"]),
    floor("fleet", &["certpath", "codec", "model", "wire", "net"]),
    // top
    floor(
        "server",
        &[
            "certpath",
            "model",
            "wire",
            "durable",
            "net",
            "provisioning",
            "device-api",
            "service-api",
            "runner",
            "store",
            "hub",
            "embedded-hub",
        ],
    ),
    floor("muster", &["certpath", "server", "fleet", "net", "provisioning", "model", "wire"]),
    // beside
    floor("testkit", &["certpath", "model", "provisioning"]),
    floor("memory-engine", &["model", "provisioning", "store"]),
    floor(
        "bench",
        &[
            "certpath",
            "codec",
            "model",
            "wire",
            "durable",
            "net",
            "provisioning",
            "store",
            "hub",
            "embedded-hub",
            "fleet",
            "server",
            "testkit",
        ],
    ),
    floor("xtask", &[]),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check_edge(from: &str, to: &str, kind: Value, path: Value, expected: Option<&str>) {
        let dependency = json!({"name": to, "kind": kind, "path": path});
        let metadata = json!({"packages": [{"name": from, "dependencies": [dependency]}]});
        let found = check(&read_edges(&metadata).unwrap()).pop().map(|finding| finding.to_string());
        assert_eq!(found.as_deref(), expected);
    }

    #[test]
    fn edges() {
        let (ours, dev) = (json!("/x"), json!("dev"));
        check_edge("wire", "model", Value::Null, ours.clone(), None);
        check_edge(
            "model",
            "wire",
            Value::Null,
            ours.clone(),
            Some("crates/model/Cargo.toml: model must not depend on wire"),
        );
        check_edge(
            "device-api",
            "store",
            Value::Null,
            ours.clone(),
            Some("crates/device-api/Cargo.toml: device-api must not depend on store"),
        );
        check_edge("device-api", "store", dev.clone(), ours.clone(), None);
        check_edge(
            "device-api",
            "service-api",
            dev.clone(),
            ours.clone(),
            Some("crates/device-api/Cargo.toml: device-api must not depend on service-api"),
        );
        check_edge(
            "provisioning",
            "tokio",
            Value::Null,
            Value::Null,
            Some("crates/provisioning/Cargo.toml: provisioning must not depend on tokio"),
        );
        check_edge("provisioning", "tokio", dev, Value::Null, None);
        check_edge(
            "attic",
            "model",
            Value::Null,
            ours,
            Some("crates/attic/Cargo.toml: attic has no floor: add a row in xtask/src/tidy/floors.rs"),
        );
    }
}
