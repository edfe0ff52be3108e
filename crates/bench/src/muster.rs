//! The service as a child process.

use std::path::PathBuf;

use model::AllocationWeight;
use server::dev::{self, DevOptions, PortChoice};

use crate::child::{Ready, ready_until_told};

/// Serves from this folder, with so many embedded hubs, until told to stop.
pub async fn serve(dir: PathBuf, hubs: usize) -> anyhow::Result<()> {
    let hub_weights = vec![AllocationWeight::default(); hubs];
    let emulator = dev::start(DevOptions { dir, ports: PortChoice::Free, hub_weights }).await?;
    let info = emulator.info();
    let ready = Ready {
        https: info.ports.https,
        mqtts: info.ports.mqtts,
        amqps: info.ports.amqps,
        id_scope: info.id_scope.clone(),
        ca_pem: std::fs::read_to_string(&info.ca_file)?,
        service: info.service_connection_string.clone(),
        group_key: info.sample_enrollment_group.primary_key.clone(),
    };
    ready_until_told(&ready).await?;
    emulator.stop().await
}
