//! The registration of a device, which is the same over every transport.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use model::{IdScope, OperationId, TpmIdentity};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    device::Device,
    failure::{RegisterError, TransportError},
    tpm::Tpm,
};

use super::{
    Registered,
    answer::{Answer, Step},
};

/// The maximum time until a device is assigned. The hosted service takes seconds.
const ASSIGNMENT_TIMEOUT: Duration = Duration::from_secs(120);

/// A transport between a device and the endpoint.
pub(super) trait Channel {
    /// Sends a register request.
    fn register(&mut self, body: Bytes) -> impl Future<Output = Result<Answer, TransportError>> + Send;

    /// Polls an operation.
    fn poll(
        &mut self,
        operation_id: &OperationId,
    ) -> impl Future<Output = Result<Answer, TransportError>> + Send;

    /// Authenticates all further requests by this token.
    fn authenticate(&mut self, token: String) -> impl Future<Output = Result<(), TransportError>> + Send;
}

/// Registers a device, and returns when it is assigned or its registration has failed.
pub(super) async fn register_over(
    channel: &mut (impl Channel + Send),
    (device, id_scope): (&Device, &IdScope),
    payload: Option<&Value>,
) -> Result<Registered, RegisterError> {
    let registration = async {
        let registered = until_assigned(channel, (device, id_scope), body(device, payload)).await?;
        import_hub_key(device, &registered.state).await?;
        Ok(registered)
    };
    let result = timeout(ASSIGNMENT_TIMEOUT, registration).await;
    result.unwrap_or(Err(RegisterError::StillAssigning(ASSIGNMENT_TIMEOUT)))
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
                channel.authenticate(token).await?;
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

/// Imports the key for the hub into the device's TPM, if it has one. The key is in the registration state.
async fn import_hub_key(device: &Device, state: &Value) -> Result<(), RegisterError> {
    let Some(tpm) = device.tpm() else { return Ok(()) };
    let key = state.pointer("/tpm/authenticationKey").and_then(Value::as_str);
    let key = key.ok_or_else(|| RegisterError::Malformed("assigned without a key for the TPM".to_owned()))?;
    Ok(tpm.import(key).await.map_err(TransportError::from)?)
}
