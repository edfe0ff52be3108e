//! `dev.json`: the values of an emulator for programs.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use anyhow::Context;
use model::SymmetricKey;
use serde::{Deserialize, Serialize};
use wire::sas::ConnectionString;

use super::{
    ADDRESS, SAMPLE_GROUP,
    state::{DevState, MANAGEMENT},
    write_private,
};

/// The name of the file in the emulator's folder.
const FILE: &str = "dev.json";

/// The port that connection strings omit.
const HTTPS: u16 = 443;

/// The values of an emulator for programs. Has no `Debug`, because it contains keys.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DevInfo {
    /// The ID scope of the service instance.
    pub id_scope: String,
    /// The host that devices connect to.
    pub device_endpoint: String,
    /// The ports, which are the same for the endpoint and every hub.
    pub ports: DevPorts,
    /// The connection string for service SDKs.
    pub service_connection_string: String,
    /// The connection string for the management API, at the host of the instance; empty in files of earlier versions.
    #[serde(default)]
    pub management_connection_string: String,
    /// The PEM file of the CAs of the server certificates.
    pub ca_file: PathBuf,
    /// The embedded hubs.
    pub hubs: Vec<DevHub>,
    /// The enrollment group that exists from the start.
    pub sample_enrollment_group: SampleGroup,
}

/// Ports by protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevPorts {
    /// HTTPS.
    pub https: u16,
    /// MQTT over TLS.
    pub mqtts: u16,
    /// AMQP over TLS.
    pub amqps: u16,
}

/// An embedded hub.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DevHub {
    /// Its name.
    pub name: String,
    /// The host name that devices get.
    pub host_name: String,
    /// The connection string for service SDKs.
    pub connection_string: String,
}

/// An enrollment group with its key.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SampleGroup {
    /// Its name.
    pub enrollment_group_id: String,
    /// Its primary key, base64.
    pub primary_key: String,
}

impl DevInfo {
    pub(super) fn new(state: &DevState, addresses: &[Ipv4Addr], ports: DevPorts, ca_file: &Path) -> Self {
        let host = |address: Ipv4Addr| match ports.https {
            HTTPS => address.to_string(),
            port => format!("{address}:{port}"),
        };
        let hubs = state.hubs.iter().zip(addresses).map(|(hub, address)| DevHub {
            name: hub.name.clone(),
            host_name: address.to_string(),
            connection_string: connection_string(host(*address), "iothubowner", hub.owner_key.to_base64()),
        });
        let owner = &state.owner;
        DevInfo {
            id_scope: state.id_scope.to_string(),
            device_endpoint: ADDRESS.to_string(),
            ports,
            service_connection_string: connection_string(
                host(ADDRESS),
                owner.name.as_str(),
                owner.primary_key.to_base64(),
            ),
            management_connection_string: connection_string(
                host(ADDRESS),
                MANAGEMENT,
                state.management_key.as_ref().map(SymmetricKey::to_base64).unwrap_or_default(),
            ),
            ca_file: ca_file.to_owned(),
            hubs: hubs.collect(),
            sample_enrollment_group: SampleGroup {
                enrollment_group_id: SAMPLE_GROUP.to_owned(),
                primary_key: state.sample_primary.to_base64(),
            },
        }
    }

    /// Reads the file in an emulator's folder. The error suggests to start the emulator.
    pub fn read(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join(FILE);
        let text = std::fs::read(&path).with_context(|| {
            format!("cannot read {}: is `muster dev --dir {}` running?", path.display(), dir.display())
        })?;
        serde_json::from_slice(&text).with_context(|| path.display().to_string())
    }

    /// Writes the file if it would change, so that a start without changes needs no disk space.
    pub(super) fn write(&self, dir: &Path) -> anyhow::Result<()> {
        let (path, text) = (dir.join(FILE), serde_json::to_vec_pretty(self)?);
        if std::fs::read(&path).is_ok_and(|there| there == text) {
            return Ok(());
        }
        write_private(&path, &text)
    }
}

fn connection_string(host: String, key_name: &str, key: String) -> String {
    ConnectionString { host, key_name: key_name.to_owned(), key }.to_string()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn an_unchanged_file_is_not_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let state = DevState::load_or_create(dir.path(), 1).unwrap();
        let info = |https| {
            let ports = DevPorts { https, mqtts: 18883, amqps: 15671 };
            DevInfo::new(&state, &[Ipv4Addr::new(127, 0, 0, 11)], ports, Path::new("ca.pem"))
        };
        let file = || std::fs::metadata(dir.path().join(FILE)).unwrap().ino();
        info(8443).write(dir.path()).unwrap();
        let first = file();
        info(8443).write(dir.path()).unwrap();
        assert_eq!(file(), first, "the same file");
        info(443).write(dir.path()).unwrap();
        assert_ne!(file(), first);
        assert_eq!(DevInfo::read(dir.path()).unwrap().ports.https, 443);
    }
}
