//! The service as a child process.

use std::path::PathBuf;

use model::AllocationWeight;
use server::dev::{self, DevOptions, PortChoice};

use crate::child::{Ready, report_ready_and_wait};

/// Serves from this folder, with this number of embedded hubs, until standard input is closed.
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
    report_ready_and_wait(&ready).await?;
    emulator.stop().await
}
