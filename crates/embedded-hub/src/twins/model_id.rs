//! The digital twin model that a device announces.

use model::DeviceId;

use crate::{failure::HubFailure, hub::Hub};

/// Bytes of the ID of a model (DTDL version 3).
const MAX_MODEL_BYTES: usize = 2048;

/// The ID of a digital twin model, as a device announced it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelId(String);

impl ModelId {
    /// Parses an ID; returns `None` for a length that no ID has, which is ignored as at the hosted hub.
    pub fn parse(text: &str) -> Option<ModelId> {
        (1..=MAX_MODEL_BYTES).contains(&text.len()).then(|| ModelId(text.to_owned()))
    }

    /// Returns the ID as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Hub {
    /// Stores the model that a device announced, unless it is stored; a device that announces none keeps its model.
    pub(crate) async fn store_model(&self, id: &DeviceId, model: Option<ModelId>) -> Result<(), HubFailure> {
        let Some(model) = model else { return Ok(()) };
        if self.core.storage.read(|rows| rows.model(id))?.as_deref() == Some(model.as_str()) {
            return Ok(());
        }
        let id = id.clone();
        self.core.storage.write(move |rows| rows.put_model(&id, model.as_str())).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_1_to_2048_bytes() {
        for (length, is_taken) in [(0, false), (1, true), (2048, true), (2049, false)] {
            assert_eq!(ModelId::parse(&"m".repeat(length)).is_some(), is_taken, "{length}");
        }
    }
}
