//! What a registration would come to, for the operator who wonders.

use model::{Explanation, IdScope, Instance, RegistrationId};

use crate::{
    Error, Provisioning,
    attest::{self, Evidence, Judgement, Refusal},
};

/// A device as an operator describes it.
#[derive(Debug, Clone)]
pub struct Described {
    /// The ID scope that it addresses, if that is said; else the instance's.
    pub scope: Option<IdScope>,
    /// The name that it registers under.
    pub registration_id: RegistrationId,
    /// What it presents. That it holds the key of its leaf is taken for granted.
    pub evidence: Evidence,
}

impl Provisioning {
    /// Explains whether this device would be let in and why. Nothing is written, counted, or told to a hub, and no
    /// challenge is issued or used up.
    pub async fn explain(&self, instance: &Instance, device: &Described) -> Result<Explanation, Error> {
        let judgement = match &device.scope {
            Some(scope) if *scope != instance.id_scope => {
                Judgement::without_candidates(Refusal::OtherScope(scope.clone()))
            }
            _ => {
                let id = &device.registration_id;
                let previous = self.store.registration(&instance.id_scope, id).await?;
                self.weigh(instance, id, &device.evidence, previous.as_ref()).await?
            }
        };
        Ok(attest::explanation(&judgement, &device.evidence))
    }
}
