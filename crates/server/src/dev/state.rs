//! What an emulator made up at its first start and keeps: its ID scope and its keys.

use std::path::Path;

use anyhow::Context;
use model::{AccessPolicy, IdScope, PolicyName, Rights, SymmetricKey};
use provisioning::ports::Entropy;
use serde::{Deserialize, Serialize};

use super::write_private;
use crate::ports::SystemEntropy;

const FILE: &str = "state.json";

/// The emulator's secrets. The file is readable by its owner only.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct DevState {
    pub(super) id_scope: IdScope,
    pub(super) owner: AccessPolicy,
    pub(super) operation_key: SymmetricKey,
    pub(super) sample_primary: SymmetricKey,
    pub(super) sample_secondary: SymmetricKey,
    pub(super) hubs: Vec<HubState>,
    /// Whether it was made just now.
    #[serde(skip)]
    pub(super) is_new: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct HubState {
    pub(super) name: String,
    pub(super) owner_key: SymmetricKey,
}

impl DevState {
    /// Reads the folder's state, with as many hubs as are wanted now, or makes one, which is not saved yet.
    pub(super) fn load_or_create(dir: &Path, hubs: usize) -> anyhow::Result<Self> {
        let path = dir.join(FILE);
        let mut state = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).with_context(|| path.display().to_string())?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::create()?,
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        state.fit_hubs(hubs)?;
        if !state.is_new {
            state.save(dir)?;
        }
        Ok(state)
    }

    pub(super) fn save(&self, dir: &Path) -> anyhow::Result<()> {
        write_private(&dir.join(FILE), &serde_json::to_vec_pretty(self)?)
    }

    fn create() -> anyhow::Result<Self> {
        let entropy = SystemEntropy::default();
        let mut scope = [0; 4];
        entropy.fill(&mut scope);
        Ok(DevState {
            id_scope: IdScope::parse(format!("0ne{:08X}", u32::from_be_bytes(scope)))?,
            owner: AccessPolicy {
                name: PolicyName::parse("provisioningserviceowner")?,
                primary_key: entropy.symmetric_key()?,
                secondary_key: entropy.symmetric_key()?,
                rights: Rights::ALL,
            },
            operation_key: entropy.symmetric_key()?,
            sample_primary: entropy.symmetric_key()?,
            sample_secondary: entropy.symmetric_key()?,
            hubs: Vec::new(),
            is_new: true,
        })
    }

    /// Hubs that are not wanted this time keep their keys for the next.
    fn fit_hubs(&mut self, wanted: usize) -> anyhow::Result<()> {
        let entropy = SystemEntropy::default();
        while self.hubs.len() < wanted {
            let name = format!("hub{}", self.hubs.len() + 1);
            self.hubs.push(HubState { name, owner_key: entropy.symmetric_key()? });
        }
        Ok(())
    }
}
