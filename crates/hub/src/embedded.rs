//! The way to an embedded hub in the same process. It is the only thing the two share.

use async_trait::async_trait;
use embedded_hub::{DeviceSpec, Hub, HubFailure};
use model::{DeviceId, Order};
use provisioning::ports::{HubConnector, HubError};

/// Calls an embedded hub directly.
pub struct EmbeddedConnector {
    hub: Hub,
}

impl EmbeddedConnector {
    /// To this hub.
    pub fn new(hub: Hub) -> Self {
        EmbeddedConnector { hub }
    }
}

#[async_trait]
impl HubConnector for EmbeddedConnector {
    async fn ensure_device(&self, order: &Order) -> Result<(), HubError> {
        let spec = DeviceSpec {
            id: order.device_id.clone(),
            credentials: order.credentials.clone(),
            iot_edge: order.iot_edge,
        };
        self.hub.ensure_device(&spec, &order.twin).await.map_err(hub_error)?;
        Ok(())
    }

    async fn device_count(&self) -> Result<Option<u64>, HubError> {
        Ok(Some(self.hub.counts().map_err(hub_error)?.devices))
    }

    async fn remove_device(&self, device: &DeviceId) -> Result<(), HubError> {
        self.hub.delete_device(device).await.map_err(hub_error)?;
        Ok(())
    }
}

/// What the request itself caused will be refused again; all else may pass.
fn hub_error(failure: HubFailure) -> HubError {
    match failure {
        HubFailure::Invalid(_) | HubFailure::TooLarge(_) => HubError::Refused(failure.to_string()),
        _ => HubError::Unavailable(failure.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_order_caused_is_final() {
        for (failure, is_final) in [
            (HubFailure::Invalid("the key 'a.b'".to_owned()), true),
            (HubFailure::TooLarge(1), true),
            (HubFailure::Busy, false),
            (HubFailure::Broken("disk".to_owned()), false),
        ] {
            let text = failure.to_string();
            let expected = if is_final { HubError::Refused(text) } else { HubError::Unavailable(text) };
            assert_eq!(hub_error(failure), expected);
        }
    }
}
