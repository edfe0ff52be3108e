//! Measures the CPU time of a refusal, by evidence and number of groups.

use std::sync::Arc;

use fleet::Device;
use model::RegistrationId;

use super::stranger::{self, Evidence};
use crate::{
    child::Server,
    fill,
    load::{Cost, Session, Size, measured},
};

/// The numbers of groups of each kind: by key, by signing certificate, by CA reference.
const GROUPS: [usize; 2] = [1, 1000];

/// The cost of a refusal.
pub struct Refused {
    /// The presented evidence.
    pub evidence: Evidence,
    /// The number of groups of each kind.
    pub groups: usize,
    /// The server CPU time, and the refusals per second of wall time.
    pub cost: Cost,
    /// The server CPU time of an honest registration with the same groups.
    pub honest: Cost,
}

/// Measures all kinds of evidence with all numbers of groups, over reused connections to exclude handshakes.
pub async fn measure(size: Size) -> anyhow::Result<Vec<Refused>> {
    let mut rows = Vec::new();
    for groups in GROUPS {
        let dir = tempfile::tempdir()?;
        let server = Server::muster(dir.path())?;
        let scope = server.ready.id_scope.clone();
        server.stop()?;
        fill::groups(dir.path(), &scope, groups).await?;
        let server = Server::muster(dir.path())?;
        let honest = honest(&server, size).await?;
        for evidence in Evidence::ALL {
            eprintln!("{}, {groups} groups of each kind …", evidence.title());
            rows.push(Refused { evidence, groups, cost: refusals(&server, evidence, size).await?, honest });
        }
        server.stop()?;
    }
    Ok(rows)
}

async fn refusals(server: &Server, evidence: Evidence, size: Size) -> anyhow::Result<Cost> {
    let device = Arc::new(evidence.device(&fill::signing_ca_name(0))?);
    let endpoint = server.endpoint()?;
    let each = size.devices.div_ceil(size.concurrency);
    let calls = (0..size.concurrency).map(|_| {
        let (endpoint, device) = (endpoint.clone(), Arc::clone(&device));
        async move { stranger::refused(&endpoint, &device, each).await }
    });
    Ok(measured(server, calls, Size { devices: each * size.concurrency, ..size }).await?.0)
}

/// Measures first registrations with a group key, over reused connections.
async fn honest(server: &Server, size: Size) -> anyhow::Result<Cost> {
    let (endpoint, key) = (server.endpoint()?, server.group_key()?);
    let each = size.devices.div_ceil(size.concurrency);
    let calls = (0..size.concurrency).map(|connection| {
        let (endpoint, key) = (endpoint.clone(), key.clone());
        let device = move |number: usize| {
            let id = RegistrationId::parse(format!("honest-{connection}-{number}"))?;
            anyhow::Ok(Device::in_group(id, &key))
        };
        async move {
            let mut session = Session::open(&endpoint, &device(0)?, fleet::Transport::Https).await?;
            for number in 0..each {
                session.register(&device(number)?).await?;
            }
            Ok(())
        }
    });
    Ok(measured(server, calls, Size { devices: each * size.concurrency, ..size }).await?.0)
}
