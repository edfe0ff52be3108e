//! Measures an embedded hub by itself, with the calls of a registration.

use std::{process, sync::Arc, time::Duration};

use durable::Sealer;
use embedded_hub::{DeviceSettings, Hub, HubConfig};
use futures_util::{StreamExt, stream};
use model::{
    DeviceId, HubCredentials, HubName, InitialTwin, SymmetricKey, SymmetricKeyPair, Timestamp, TwinSpec,
};

use crate::{child, cpu};

/// Measures a hub, and prints the cost as JSON.
pub async fn measure(devices: usize, concurrency: usize) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let config = HubConfig {
        host_name: HubName::parse("127.0.0.11")?,
        aliases: Vec::new(),
        path: dir.path().join("hub.db"),
        policies: Vec::new(),
    };
    let hub = Hub::open(config, Sealer::from_key([7; 32]), || Timestamp::from_unix_seconds(1_800_000_000))?;
    let specs: Arc<[DeviceSettings]> = (0..devices).map(spec).collect::<anyhow::Result<_>>()?;
    let create = ensure_all(&hub, &specs, concurrency, TwinSpec::Initialize(InitialTwin::default())).await?;
    let confirm =
        ensure_all(&hub, &specs, concurrency, TwinSpec::Keep { initial: InitialTwin::default() }).await?;
    let each = |time: Duration| time.as_secs_f64() * 1e6 / devices as f64;
    println!(
        "{}",
        serde_json::to_string(&child::Hub { create_us: each(create), confirm_us: each(confirm) })?
    );
    Ok(())
}

fn spec(number: usize) -> anyhow::Result<DeviceSettings> {
    let key = SymmetricKey::from_bytes(&[7; 32])?.derive(&number.to_string());
    Ok(DeviceSettings {
        id: DeviceId::parse(format!("device-{number:07}"))?,
        credentials: HubCredentials::SymmetricKeys(SymmetricKeyPair { primary: key.clone(), secondary: key }),
        iot_edge: false,
    })
}

async fn ensure_all(
    hub: &Hub,
    specs: &Arc<[DeviceSettings]>,
    concurrency: usize,
    twin: TwinSpec,
) -> anyhow::Result<Duration> {
    let before = cpu::time(process::id())?;
    let calls = (0..specs.len()).map(|at| {
        let (hub, specs, twin) = (hub.clone(), Arc::clone(specs), twin.clone());
        tokio::spawn(async move { hub.ensure_device(&specs[at], &twin).await })
    });
    let mut ended = stream::iter(calls).buffer_unordered(concurrency);
    while let Some(call) = ended.next().await {
        call??;
    }
    Ok(cpu::time(process::id())?.saturating_sub(before))
}
