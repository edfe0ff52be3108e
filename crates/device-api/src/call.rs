//! The three calls of the device API, for all transports.

use std::{net::IpAddr, sync::Arc, time::Duration};

use model::{
    EndorsementKey, FilteredApi, IdScope, OperationId, Registration, RegistrationId, Status, StorageRootKey,
    TpmKeyError,
};
use net::{Peer, Purpose, Standing, Transport};
use provisioning::{
    Error,
    attest::{Attested, Evidence, tpm::PresentedTpm},
    ports::{DeviceRecords, RunStatus},
    register::{DefaultReprovision, RegisterOutcome, RegisterRequest},
};
use serde::Serialize;
use serde_json::Value;
use wire::{
    api_version::DeviceApiVersion,
    device::{
        ChallengeReply, DeviceAddress, DeviceRegistration, ErrorBody, OperationReply, TpmKeys,
        disabled_reply, failure_code, registration_result,
    },
    sas,
};

use crate::{
    DeviceApi, FirstReply, Outcome,
    client::Client,
    error::{self, CallError, ErrorContext},
    retry_after::Wait,
};

/// The longest body on an unproven connection; before a longer one is read, its client must be verified.
pub(crate) const MAX_UNPROVEN_BODY_BYTES: u64 = 8 * 1024;

/// The device that calls, its evidence, and the version of the API.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) scope: IdScope,
    pub(crate) registration_id: RegistrationId,
    pub(crate) api_version: DeviceApiVersion,
    pub(crate) client: Client,
    pub(crate) evidence: Evidence,
    pub(crate) address: IpAddr,
    pub(crate) transport: Transport,
    pub(crate) standing: Standing,
}

/// The reply to a call.
pub(crate) struct Answer {
    pub(crate) reply: Reply,
    /// Retry-After; absent if the device need not ask again.
    pub(crate) retry_after_secs: Option<u32>,
}

/// Returns the error of a process that cannot renew its lease: another one may be taking its work over.
fn no_lease() -> Error {
    Error::Unwritable("this process cannot renew its lease".into())
}

/// The body of an answer.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Reply {
    /// The state of the operation.
    Operation(OperationReply),
    /// A challenge that the device's TPM must open first.
    Challenge(ChallengeReply),
}

impl Reply {
    /// Returns the HTTP status: 202 while the operation is in progress, 401 for a challenge, otherwise 200.
    pub(crate) fn http_status(&self) -> u16 {
        match self {
            Reply::Operation(operation) if operation.status == "assigning" => 202,
            Reply::Operation(_) => 200,
            Reply::Challenge(_) => 401,
        }
    }
}

impl DeviceApi {
    /// Registers the device. The reply carries the result if that is known in time.
    pub(crate) async fn register(&self, caller: &Caller, body: &[u8]) -> Result<Answer, CallError> {
        let answer = self.registered(caller, body).await?;
        if matches!(answer.reply, Reply::Operation(_)) {
            caller.standing.mark_proven(Purpose::Provisioning);
        }
        self.tally.count(Some(&caller.scope), caller.transport, Outcome::of(&answer.reply));
        Ok(answer)
    }

    async fn registered(&self, caller: &Caller, body: &[u8]) -> Result<Answer, CallError> {
        let device = self.device_of(caller).await?;
        let asked = parse_registration(body)?;
        let tpm = asked.tpm.map(presented_tpm).transpose()?;
        let request = RegisterRequest {
            evidence: Evidence { tpm: tpm.or(caller.evidence.tpm.clone()), ..caller.evidence.clone() },
            payload: asked.payload,
            address: Some(caller.address),
            default_reprovision: if caller.api_version.is_sticky() {
                DefaultReprovision::Stay
            } else {
                DefaultReprovision::Migrate
            },
            runner: Some(self.runs.lease().ok_or_else(no_lease)?),
        };
        let instance = Arc::clone(&device.instance);
        let run = match self.provisioning.begin(device, &request).await? {
            RegisterOutcome::Settled(registration) => {
                log_failure(&caller.scope, caller.address, &registration);
                return self.first_answer(caller, &registration);
            }
            RegisterOutcome::Running(run) => run,
            RegisterOutcome::Challenged(blob) => {
                let reply = Reply::Challenge(ChallengeReply::new(&blob));
                return Ok(Answer { reply, retry_after_secs: None });
            }
        };
        let operation_id = run.registration.operation_id.clone();
        let wait = match self.runs.execute(&instance, *run, self.timing.answer_within).await? {
            RunStatus::Ended(registration) => return self.first_answer(caller, &registration),
            continuing => Wait::of(&continuing),
        };
        Ok(self.ask_again(caller, OperationReply::accepted(&operation_id), wait))
    }

    /// Returns the state of an operation.
    pub(crate) async fn poll(
        &self,
        caller: &Caller,
        operation_id: &OperationId,
    ) -> Result<Answer, CallError> {
        let answer = self.polled(caller, operation_id).await?;
        caller.standing.mark_proven(Purpose::Provisioning);
        self.tally.count(Some(&caller.scope), caller.transport, Outcome::of(&answer.reply));
        Ok(answer)
    }

    async fn polled(&self, caller: &Caller, operation_id: &OperationId) -> Result<Answer, CallError> {
        let device = self.device_of(caller).await?;
        let registration = self.provisioning.poll(&device, operation_id, &caller.evidence).await?;
        // After the credential: a stranger does not use up the polls of a device.
        self.polls.admit(&device).map_err(CallError::Throttled)?;
        if let Some(status) = self.runs.join(&device.instance, &registration).await? {
            let reply = OperationReply::assigning(operation_id, &caller.registration_id);
            return Ok(self.ask_again(caller, reply, Wait::of(&status)));
        }
        let state = self.operation(caller, &registration)?;
        let reply = OperationReply { operation_id: operation_id.to_string(), ..state };
        Ok(Answer { reply: Reply::Operation(reply), retry_after_secs: None })
    }

    /// Returns the state of the registration.
    pub(crate) async fn look_up(&self, caller: &Caller, body: &[u8]) -> Result<Value, CallError> {
        if DeviceRegistration::parse(body)?.csr.is_some() {
            return Err(Error::Invalid("csr is only for the register call".into()).into());
        }
        let device = self.device_of(caller).await?;
        let registration = self.provisioning.look_up(&device, &caller.evidence).await?;
        caller.standing.mark_proven(Purpose::Provisioning);
        Ok(registration_result(&registration, caller.api_version))
    }

    /// Returns a challenge to this TPM, for a device that has presented no other evidence.
    pub(crate) async fn challenge(
        &self,
        address: &DeviceAddress,
        tpm: PresentedTpm,
        from: IpAddr,
    ) -> Result<Vec<u8>, CallError> {
        let device = self.device(&address.id_scope, &address.registration_id, from).await?;
        Ok(self.provisioning.challenge_tpm(&device, tpm).await?)
    }

    /// Verifies the identity that a device claims, and returns the proof.
    pub(crate) async fn verify_identity(
        &self,
        address: &DeviceAddress,
        evidence: &Evidence,
        from: IpAddr,
    ) -> Result<Attested, CallError> {
        let device = self.device(&address.id_scope, &address.registration_id, from).await?;
        Ok(self.provisioning.verify_identity(&device, evidence, Some(from)).await?)
    }

    /// Verifies a caller before the rest of its request is read, which is larger than an unproven connection may send.
    pub(crate) async fn prove(&self, caller: &Caller) -> Result<(), CallError> {
        let (id_scope, registration_id) = (caller.scope.clone(), caller.registration_id.clone());
        self.verify_identity(&DeviceAddress { id_scope, registration_id }, &caller.evidence, caller.address)
            .await?;
        caller.standing.mark_proven(Purpose::Provisioning);
        Ok(())
    }

    /// Returns the error body for a refused call, and records the reason in the log and for operators.
    pub(crate) async fn refusal(
        &self,
        transport: Transport,
        error: &CallError,
        context: &ErrorContext,
    ) -> ErrorBody {
        let body = error::body(error, context, &self.ports);
        self.tally.count(context.scope.as_ref(), transport, error.outcome());
        self.note_refused_call(error, context).await;
        body
    }

    async fn device_of(&self, caller: &Caller) -> Result<DeviceRecords, CallError> {
        self.device(&caller.scope, &caller.registration_id, caller.address).await
    }

    /// Returns what is stored of a device: everything that its call is judged by. Fails if the instance does not admit its address.
    async fn device(
        &self,
        scope: &IdScope,
        id: &RegistrationId,
        from: IpAddr,
    ) -> Result<DeviceRecords, CallError> {
        let device = self.provisioning.device(scope, id).await?;
        let device = device.ok_or_else(|| CallError::UnknownScope(scope.to_string()))?;
        self.tally.note_instance(&device.instance.id_scope);
        match device.instance.address_refusal(from, FilteredApi::Device) {
            Some(refusal) => Err(refusal.into()),
            None => Ok(device),
        }
    }

    /// Returns the answer to a register call whose result is known. A client that is not known to read a result from this reply
    /// gets an operation ID instead, and the result with its next poll.
    fn first_answer(&self, caller: &Caller, registration: &Registration) -> Result<Answer, CallError> {
        let has_operation = !matches!(registration.status, Status::Disabled { .. });
        if has_operation && self.is_assigning_first(caller) {
            let reply = OperationReply::accepted(&registration.operation_id);
            return Ok(self.ask_again(caller, reply, Wait::InProgress(Duration::ZERO)));
        }
        self.answer(caller, registration)
    }

    fn is_assigning_first(&self, caller: &Caller) -> bool {
        // The newest clients require it over every transport.
        if caller.api_version.assigning_first() {
            return true;
        }
        match (caller.transport, self.timing.first_reply) {
            (Transport::Https, _) | (_, FirstReply::Result) => false,
            (_, FirstReply::Assigning) => true,
            (_, FirstReply::ByClient) => !caller.client.reads_result_at_once(),
        }
    }

    fn answer(&self, caller: &Caller, registration: &Registration) -> Result<Answer, CallError> {
        let reply = match registration.status {
            // A newer request of this device superseded the run.
            Status::Assigning { .. } => {
                let reply = OperationReply::accepted(&registration.operation_id);
                return Ok(self.ask_again(caller, reply, Wait::InProgress(Duration::ZERO)));
            }
            Status::Disabled { .. } => disabled_reply(&registration.registration_id),
            Status::Assigned(_) | Status::Failed { .. } => self.operation(caller, registration)?,
        };
        Ok(Answer { reply: Reply::Operation(reply), retry_after_secs: None })
    }

    /// Returns the state of a registration; for an assigned device with a TPM, with the sealed key for its hub.
    fn operation(&self, caller: &Caller, registration: &Registration) -> Result<OperationReply, CallError> {
        let reply = OperationReply::of(registration, caller.api_version);
        Ok(match self.provisioning.handover(registration)? {
            Some(blob) => reply.with_authentication_key(&blob),
            None => reply,
        })
    }

    fn ask_again(&self, caller: &Caller, reply: OperationReply, wait: Wait) -> Answer {
        let seconds = caller.client.retry_after_secs(self.timing.retry_after_secs, wait);
        Answer { reply: Reply::Operation(reply), retry_after_secs: Some(seconds) }
    }
}

/// Parses the body of a register call. Fails if the device asks for a certificate: it would wait for one in vain.
fn parse_registration(body: &[u8]) -> Result<DeviceRegistration, CallError> {
    let asked = DeviceRegistration::parse(body)?;
    match asked.csr {
        Some(_) => {
            Err(Error::Invalid("this service issues no certificates: register without csr".into()).into())
        }
        None => Ok(asked),
    }
}

/// Parses the TPM keys in a register call.
fn presented_tpm(keys: TpmKeys) -> Result<PresentedTpm, CallError> {
    let problem = |key: &str, error: TpmKeyError| Error::Invalid(format!("tpm.{key} {error}"));
    let storage_root_key = keys.storage_root_key.map(|text| StorageRootKey::parse(&text)).transpose();
    Ok(PresentedTpm {
        endorsement_key: EndorsementKey::parse(&keys.endorsement_key)
            .map_err(|error| problem("endorsementKey", error))?,
        storage_root_key: storage_root_key.map_err(|error| problem("storageRootKey", error))?,
    })
}

/// Collects the evidence that the device presented: the certificates of its TLS connection, and the token if there is one. An
/// empty token counts as none, because some MQTT clients cannot omit the password.
pub(crate) fn evidence(peer: &Peer, token: Option<&[u8]>) -> Result<Evidence, CallError> {
    let token = token.filter(|token| !token.is_empty());
    // A token that is not UTF-8 is malformed, not absent.
    let token = token.map(|token| std::str::from_utf8(token).unwrap_or_default());
    let claim = token.map(sas::parse).transpose()?;
    Ok(Evidence { claim, certificates: Arc::clone(&peer.certificates), tpm: None })
}

/// Parses the api-version.
pub(crate) fn api_version(text: &str) -> Result<DeviceApiVersion, CallError> {
    DeviceApiVersion::parse(text).ok_or_else(|| CallError::ApiVersion(text.to_owned()))
}

/// Logs an assignment that failed before there was a run. The device gets the same reason.
fn log_failure(scope: &IdScope, from: IpAddr, registration: &Registration) {
    if let Status::Failed { failure, .. } = &registration.status {
        tracing::warn!(
            instance.id_scope = %scope,
            registration.id = %registration.registration_id,
            // Lines with the same address are summarized if there are many.
            peer.addr = %from,
            code = failure_code(failure.reason),
            reason = failure.message,
            "assignment failed"
        );
    }
}
