//! The configuration of a hub.

use std::path::PathBuf;

use model::{HubName, KeyedPolicy, SymmetricKey, Timestamp};

/// One hub: its names, its file, and its policies.
#[derive(Debug, Clone)]
pub struct HubConfig {
    /// Its host name, which devices connect to and tokens are signed for.
    pub host_name: HubName,
    /// Further host names that tokens and user names may carry, in lower case: for tunnels and gateways.
    pub aliases: Vec<String>,
    /// Its own SQLite file.
    pub path: PathBuf,
    /// Its shared access policies.
    pub policies: Vec<Policy>,
}

/// A shared access policy.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Its name, `skn` in tokens.
    pub name: String,
    /// The primary key.
    pub primary_key: SymmetricKey,
    /// The secondary key, if there is one; it is equally valid.
    pub secondary_key: Option<SymmetricKey>,
    /// The rights of tokens that are signed with either key.
    pub rights: Vec<Right>,
}

/// A right of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Connect as any device.
    DeviceConnect,
    /// Read identities.
    RegistryRead,
    /// Change identities; includes reading them.
    RegistryWrite,
    /// Use twins, methods and messages.
    ServiceConnect,
}

impl Policy {
    /// Creates `iothubowner`: all rights.
    pub fn owner(key: SymmetricKey) -> Policy {
        use Right::{DeviceConnect, RegistryRead, RegistryWrite, ServiceConnect};
        Policy::new("iothubowner", key, &[DeviceConnect, RegistryRead, RegistryWrite, ServiceConnect])
    }

    /// Creates `service`: twins, methods and messages.
    pub fn service(key: SymmetricKey) -> Policy {
        Policy::new("service", key, &[Right::ServiceConnect])
    }

    /// Creates `device`: connecting as any device.
    pub fn device(key: SymmetricKey) -> Policy {
        Policy::new("device", key, &[Right::DeviceConnect])
    }

    /// Creates `registryRead`: reading identities.
    pub fn registry_read(key: SymmetricKey) -> Policy {
        Policy::new("registryRead", key, &[Right::RegistryRead])
    }

    /// Creates `registryReadWrite`: reading and changing identities.
    pub fn registry_read_write(key: SymmetricKey) -> Policy {
        Policy::new("registryReadWrite", key, &[Right::RegistryRead, Right::RegistryWrite])
    }

    /// Returns whether it allows `right`; writing identities includes reading them.
    pub fn allows(&self, right: Right) -> bool {
        self.rights.contains(&right)
            || (right == Right::RegistryRead && self.rights.contains(&Right::RegistryWrite))
    }

    fn new(name: &str, key: SymmetricKey, rights: &[Right]) -> Policy {
        Policy { name: name.to_owned(), primary_key: key, secondary_key: None, rights: rights.to_vec() }
    }
}

impl KeyedPolicy for Policy {
    fn name(&self) -> &str {
        &self.name
    }

    fn keys(&self) -> [&SymmetricKey; 2] {
        [&self.primary_key, self.secondary_key.as_ref().unwrap_or(&self.primary_key)]
    }
}

/// Returns the time: hubs do not read the system's clock.
pub trait HubClock: Send + Sync + 'static {
    /// Returns the current time.
    fn now(&self) -> Timestamp;
}

impl<F: Fn() -> Timestamp + Send + Sync + 'static> HubClock for F {
    fn now(&self) -> Timestamp {
        self()
    }
}
