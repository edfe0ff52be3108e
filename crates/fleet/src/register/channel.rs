//! The conversation, which is the same over every transport.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use model::{IdScope, OperationId, TpmIdentity};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::Registered;
use super::answer::{Answer, Step};
use crate::device::Device;
use crate::failure::{RegisterError, TransportError};
use crate::tpm::Tpm;

/// One device's way to the endpoint.
pub(super) trait Channel {
    /// Asks to be registered.
    fn register(&mut self, body: Bytes) -> impl Future<Output = Result<Answer, TransportError>> + Send;

    /// Asks how that went.
    fn poll(
        &mut self,
        operation_id: &OperationId,
    ) -> impl Future<Output = Result<Answer, TransportError>> + Send;

    /// Presents this token from now on.
    fn present(&mut self, token: String) -> impl Future<Output = Result<(), TransportError>> + Send;
}

/// Registers, and waits until the device is assigned or there is no more hope.
pub(super) async fn converse(
    channel: &mut (impl Channel + Send),
    (device, id_scope): (&Device, &IdScope),
    payload: Option<&Value>,
) -> Result<Registered, RegisterError> {
    let conversation = async {
        let registered = until_assigned(channel, (device, id_scope), body(device, payload)).await?;
        take_over_key(device, &registered.state).await?;
        Ok(registered)
    };
    timeout(PATIENCE, conversation).await.unwrap_or(Err(RegisterError::StillAssigning(PATIENCE)))
}

fn body(device: &Device, payload: Option<&Value>) -> Bytes {
    let mut body = json!({"registrationId": device.registration_id});
    if let Some(payload) = payload {
        body["payload"] = payload.clone();
    }
    if let Some(TpmIdentity { endorsement_key, storage_root_key }) = device.tpm().map(Tpm::identity) {
        body["tpm"] = json!({"endorsementKey": endorsement_key, "storageRootKey": storage_root_key});
    }
    Bytes::from(body.to_string())
}

async fn until_assigned(
    channel: &mut (impl Channel + Send),
    (device, id_scope): (&Device, &IdScope),
    body: Bytes,
) -> Result<Registered, RegisterError> {
    let started = Instant::now();
    let mut operation = None;
    let mut proved = false;
    let mut round_trips = 0;
    loop {
        let answer = match &operation {
            Some(operation_id) => channel.poll(operation_id).await?,
            None => channel.register(body.clone()).await?,
        };
        round_trips += 1;
        let wait = match answer.step()? {
            Step::Assigned { hub, device_id, state } => {
                let time_to_assigned = started.elapsed();
                return Ok(Registered { hub, device_id, state, round_trips, time_to_assigned });
            }
            Step::Prove { authentication_key } if !proved => {
                let tpm = device.tpm().ok_or(RegisterError::NoTpm)?;
                tpm.import(&authentication_key).await.map_err(TransportError::from)?;
                let token = device.proof(id_scope, tpm).await.map_err(TransportError::from)?;
                channel.present(token).await?;
                proved = true;
                continue;
            }
            Step::Prove { .. } => return Err(RegisterError::Malformed("a second challenge".to_owned())),
            Step::Poll { operation_id, after } => {
                operation = Some(operation_id);
                after
            }
            Step::Repeat { after } => after,
        };
        sleep(wait).await;
    }
}

/// The key that the device's hub knows comes with the assignment when the device has a TPM.
async fn take_over_key(device: &Device, state: &Value) -> Result<(), RegisterError> {
    let Some(tpm) = device.tpm() else { return Ok(()) };
    let key = state.pointer("/tpm/authenticationKey").and_then(Value::as_str);
    let key = key.ok_or_else(|| RegisterError::Malformed("assigned without a key for the TPM".to_owned()))?;
    Ok(tpm.import(key).await.map_err(TransportError::from)?)
}

/// How long a device waits for its assignment. The hosted service takes seconds.
const PATIENCE: Duration = Duration::from_secs(120);
