//! The state of an emulator, generated at its first start: its ID scope and its keys.

use std::path::Path;

use anyhow::Context;
use model::{AccessPolicy, IdScope, PolicyName, Rights, SymmetricKey};
use provisioning::ports::Entropy;
use serde::{Deserialize, Serialize};

use super::write_private;
use crate::ports::SystemEntropy;

const FILE: &str = "state.json";

/// The name of the access policy of the management API.
pub(super) const MANAGEMENT: &str = "management";

/// The emulator's secrets. The file is readable by its owner only.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct DevState {
    pub(super) id_scope: IdScope,
    pub(super) owner: AccessPolicy,
    pub(super) operation_key: SymmetricKey,
    pub(super) sample_primary: SymmetricKey,
    pub(super) sample_secondary: SymmetricKey,
    pub(super) hubs: Vec<HubState>,
    /// The key of the management API; `None` in files of earlier versions.
    #[serde(default)]
    pub(super) management_key: Option<SymmetricKey>,
    /// Whether the sample group was not created yet. After a deletion it is not created again.
    #[serde(default)]
    pub(super) lacks_sample_group: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct HubState {
    pub(super) name: String,
    pub(super) owner_key: SymmetricKey,
}

impl DevState {
    /// Reads or generates the state in the folder, with at least this number of hubs. Saves it before it is used, because a
    /// database with another ID scope would be unusable.
    pub(super) fn load_or_create(dir: &Path, hubs: usize) -> anyhow::Result<Self> {
        let path = dir.join(FILE);
        let mut state = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).with_context(|| path.display().to_string())?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::create()?,
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        state.fit_hubs(hubs)?;
        if state.management_key.is_none() {
            state.management_key = Some(SystemEntropy::default().symmetric_key()?);
        }
        state.save(dir)?;
        Ok(state)
    }

    pub(super) fn save(&self, dir: &Path) -> anyhow::Result<()> {
        let (path, content) = (dir.join(FILE), serde_json::to_vec_pretty(self)?);
        // What is written already needs no room: an emulator starts on a full disk.
        if std::fs::read(&path).is_ok_and(|stored| stored == content) {
            return Ok(());
        }
        write_private(&path, &content)
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
                rights: Rights::OF_POLICIES,
            },
            operation_key: entropy.symmetric_key()?,
            sample_primary: entropy.symmetric_key()?,
            sample_secondary: entropy.symmetric_key()?,
            hubs: Vec::new(),
            management_key: None,
            lacks_sample_group: true,
        })
    }

    /// Returns the access policy of the management API.
    pub(super) fn management_policy(&self) -> anyhow::Result<Option<AccessPolicy>> {
        let Some(key) = &self.management_key else { return Ok(None) };
        Ok(Some(AccessPolicy {
            name: PolicyName::parse(MANAGEMENT)?,
            primary_key: key.clone(),
            secondary_key: key.clone(),
            rights: Rights::ALL,
        }))
    }

    /// Hubs beyond the current number keep their keys for a later start.
    fn fit_hubs(&mut self, wanted: usize) -> anyhow::Result<()> {
        let entropy = SystemEntropy::default();
        while self.hubs.len() < wanted {
            let name = format!("hub{}", self.hubs.len() + 1);
            self.hubs.push(HubState { name, owner_key: entropy.symmetric_key()? });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_saved_before_it_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let first = DevState::load_or_create(dir.path(), 2).unwrap();
        assert!(first.lacks_sample_group);
        // As after a kill of the emulator.
        let mut second = DevState::load_or_create(dir.path(), 3).unwrap();
        assert_eq!((&second.id_scope, second.hubs.len()), (&first.id_scope, 3));
        assert_eq!(second.hubs[1].owner_key, first.hubs[1].owner_key);
        assert!(second.lacks_sample_group, "it was not created yet");
        second.lacks_sample_group = false;
        second.save(dir.path()).unwrap();
        assert!(!DevState::load_or_create(dir.path(), 1).unwrap().lacks_sample_group);
        assert_eq!(
            DevState::load_or_create(dir.path(), 3).unwrap().hubs[2].owner_key,
            second.hubs[2].owner_key
        );
    }
}
