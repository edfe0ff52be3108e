//! Measures whole registrations with a TPM over HTTPS: the challenge, its proof, and the key for the hub.

use std::{mem, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use fleet::{BulkMode, Endpoint, ServiceClient};
use futures_util::{StreamExt, stream};
use http::Method;
use model::RegistrationId;
use net::client::{Call, Deadlines, HttpsConnection};
use provisioning::ports::Clock;
use serde_json::{Value, json};
use server::SystemClock;
use testkit::tpm::{Kind, SoftTpm};
use wire::sas;

use crate::{
    child::Server,
    load::{Cost, Size, first_and_again, measured, registration_ids, service},
};

/// The number of TPMs that the devices share, because RSA keys take long to generate. The server parses them each time.
const TPMS: usize = 8;

const DEADLINES: Deadlines =
    Deadlines { connect: Duration::from_secs(30), exchange: Duration::from_secs(60) };

/// The costs of first and repeated registrations.
pub struct Registrations {
    /// Over a new connection, for both the challenge and its proof.
    pub fresh: [Cost; 2],
    /// Over a reused connection.
    pub kept: [Cost; 2],
}

/// Measures both, each with a new server.
pub async fn measure(size: Size) -> anyhow::Result<Registrations> {
    eprintln!("TPMs, https …");
    let tpms: Vec<_> = (0..TPMS).map(|_| Arc::new(SoftTpm::new(Kind::Rsa, Kind::Rsa))).collect();
    Ok(Registrations { fresh: twice(&tpms, size, false).await?, kept: twice(&tpms, size, true).await? })
}

/// Registers all devices, then all of them again.
async fn twice(tpms: &[Arc<SoftTpm>], size: Size, kept: bool) -> anyhow::Result<[Cost; 2]> {
    let dir = tempfile::tempdir()?;
    let server = Server::muster(dir.path())?;
    let devices: Arc<[Device]> = enrolled(&server, tpms, size).await?.into();
    let endpoint = server.endpoint()?;
    let costs = if kept {
        let open = stream::iter(0..size.concurrency).map(|_| connect(&endpoint));
        let opened: Vec<_> = open.buffered(size.concurrency).collect().await;
        let mut connections = opened.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
        let round = async || {
            let cost;
            (cost, connections) = on_kept(&server, mem::take(&mut connections), &devices, size).await?;
            Ok(cost)
        };
        first_and_again(round).await?
    } else {
        first_and_again(async || on_fresh(&server, &devices, size).await).await?
    };
    server.stop()?;
    Ok(costs)
}

async fn on_fresh(server: &Server, devices: &Arc<[Device]>, size: Size) -> anyhow::Result<Cost> {
    let endpoint = server.endpoint()?;
    let calls = (0..devices.len()).map(|at| {
        let (endpoint, devices) = (endpoint.clone(), Arc::clone(devices));
        async move { devices[at].register(&mut connect(&endpoint).await?, &endpoint).await }
    });
    Ok(measured(server, calls, size).await?.0)
}

/// Registers all devices. Each of the n connections serves every n-th device.
async fn on_kept(
    server: &Server,
    connections: Vec<HttpsConnection>,
    devices: &Arc<[Device]>,
    size: Size,
) -> anyhow::Result<(Cost, Vec<HttpsConnection>)> {
    let (endpoint, step) = (server.endpoint()?, connections.len());
    let calls = connections.into_iter().enumerate().map(|(first, mut connection)| {
        let (endpoint, devices) = (endpoint.clone(), Arc::clone(devices));
        async move {
            for device in devices.iter().skip(first).step_by(step) {
                device.register(&mut connection, &endpoint).await?;
            }
            Ok(connection)
        }
    });
    measured(server, calls, size).await
}

async fn connect(endpoint: &Endpoint) -> anyhow::Result<HttpsConnection> {
    let config = endpoint.trust.anonymous();
    Ok(HttpsConnection::open(endpoint.host.as_str(), endpoint.https_port, config, DEADLINES).await?)
}

/// A device and its TPM.
struct Device {
    id: RegistrationId,
    tpm: Arc<SoftTpm>,
    body: String,
}

async fn enrolled(server: &Server, tpms: &[Arc<SoftTpm>], size: Size) -> anyhow::Result<Vec<Device>> {
    let ids = registration_ids(size)?;
    let devices = ids.into_iter().zip(tpms.iter().cycle()).map(|(id, tpm)| Device::new(id, tpm));
    let devices: Vec<_> = devices.collect();
    let mut service = service(server)?;
    for some in devices.chunks(ServiceClient::BULK_LIMIT) {
        let enrollments: Vec<Value> = some.iter().map(Device::enrollment).collect();
        service.bulk(BulkMode::Create, &enrollments).await?;
    }
    Ok(devices)
}

impl Device {
    fn new(id: RegistrationId, tpm: &Arc<SoftTpm>) -> Device {
        let identity = tpm.identity();
        let keys = json!({
            "endorsementKey": identity.endorsement_key,
            "storageRootKey": identity.storage_root_key,
        });
        let body = json!({"registrationId": id, "tpm": keys}).to_string();
        Device { id, tpm: Arc::clone(tpm), body }
    }

    fn enrollment(&self) -> Value {
        let endorsement_key = &self.tpm.identity().endorsement_key;
        let attestation = json!({"type": "tpm", "tpm": {"endorsementKey": endorsement_key}});
        json!({"registrationId": self.id, "attestation": attestation})
    }

    /// Registers the device with challenge, proof, and key for the hub. The challenge is opened in the process of the load.
    async fn register(&self, connection: &mut HttpsConnection, endpoint: &Endpoint) -> anyhow::Result<()> {
        let resource = format!("{}/registrations/{}", endpoint.id_scope, self.id);
        let route = format!("/{resource}/register");
        let challenge = self.call(connection, Method::PUT, &route, None).await?;
        let blob = challenge["authenticationKey"]
            .as_str()
            .with_context(|| format!("not challenged: {challenge}"))?;
        let key = self.tpm.open(&STANDARD.decode(blob)?).key;
        let expiry = u64::try_from(SystemClock.now().unix_seconds())? + 3600;
        let token = sas::sign(&resource, key.as_bytes(), expiry, Some("registration"));
        let mut reply = self.call(connection, Method::PUT, &route, Some(&token)).await?;
        while reply["status"] == "assigning" {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let operation = reply["operationId"].as_str().context("no operation")?;
            let route = format!("/{resource}/operations/{operation}");
            reply = self.call(connection, Method::GET, &route, Some(&token)).await?;
        }
        match reply.pointer("/registrationState/tpm/authenticationKey") {
            Some(_) => Ok(()),
            None => bail!("not assigned: {reply}"),
        }
    }

    async fn call(
        &self,
        connection: &mut HttpsConnection,
        method: Method,
        route: &str,
        authorization: Option<&str>,
    ) -> anyhow::Result<Value> {
        let body = if method == Method::PUT { self.body.clone().into() } else { bytes::Bytes::new() };
        let path_and_query = format!("{route}?api-version=2021-06-01");
        let call = Call { method, path_and_query, authorization, body, ..Call::default() };
        Ok(serde_json::from_slice(connection.call(call).await?.body())?)
    }
}
