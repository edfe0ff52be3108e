//! The local emulator: the service without configuration, with all data in one folder.

mod certificates;
mod info;
mod ports;
mod state;

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use device_api::Timing;
use hub::webhook::WebhookSettings;
use model::{
    AllocationPolicy, AllocationWeight, Configured, EnrollmentGroup, EnrollmentGroupId, EnrollmentSettings,
    Etag, GroupAttestation, HostName, HubEndpoint, HubName, Instance, LinkedHub, Record,
    RegistrationOwnership, SymmetricKeyPair,
};
use net::{CancellationToken, Limits};
use provisioning::ports::{Change, Clock, Commit, Expect};
use runner::{Retention, RunnerLimits};
use service_api::{Management, OperatorAccess};
use tokio::task::JoinHandle;

pub use info::{DevHub, DevInfo, DevPorts, SampleGroup};
pub use ports::PortChoice;

use crate::{
    app::{App, HubPlan, Plan},
    config::{AttemptsConfig, AuditConfig, ChangeLogConfig, LatencyConfig, SearchConfig},
    configured::with_digests,
    ports::SystemClock,
    reconcile::by_configuration,
    server_certificates::ServerCertificates,
    storage::Storage,
    store_location::StoreLocation,
};
use state::DevState;

/// The address of the device endpoint and the service operations endpoint.
const ADDRESS: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// The ID of the group that exists from the start.
const SAMPLE_GROUP: &str = "sample-group";

/// The options of an emulator.
#[derive(Debug, Clone)]
pub struct DevOptions {
    /// The folder for all data.
    pub dir: PathBuf,
    /// The ports.
    pub ports: PortChoice,
    /// The weights of the embedded hubs, one hub per weight.
    pub hub_weights: Vec<AllocationWeight>,
}

/// A running emulator.
pub struct Emulator {
    info: DevInfo,
    shutdown: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Emulator {
    /// Returns the content of `dev.json`.
    pub fn info(&self) -> &DevInfo {
        &self.info
    }

    /// Stops serving, waits for requests in progress, and closes the storage.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        self.running.await.context("the emulator panicked")?
    }

    /// Waits until the emulator ends by itself, or stops it at `signal`.
    pub async fn run_until(mut self, signal: impl Future<Output = ()>) -> anyhow::Result<()> {
        tokio::select! {
            ended = &mut self.running => ended.context("the emulator panicked")?,
            () = signal => self.stop().await,
        }
    }
}

/// Starts an emulator. When this returns, it serves and `dev.json` is written.
pub async fn start(options: DevOptions) -> anyhow::Result<Emulator> {
    durable::make_private_directory(&options.dir)
        .with_context(|| format!("cannot create {}", options.dir.display()))?;
    let addresses: Vec<Ipv4Addr> =
        (0..options.hub_weights.len()).map(hub_address).collect::<anyhow::Result<_>>()?;
    let bound = ports::bind(options.ports, ADDRESS, &addresses)?;
    let mut state = DevState::load_or_create(&options.dir, addresses.len())?;
    let certificates = certificates::load_or_create(&options.dir, &addresses)?;
    let info = DevInfo::new(&state, &addresses, bound.ports, &certificates.ca_file);

    let hubs = state.hubs.iter().zip(&addresses).zip(bound.hubs).map(|((hub, address), sockets)| {
        let host_name = HubName::parse(address.to_string())?;
        Ok(HubPlan { name: hub.name.clone(), host_name, owner_key: hub.owner_key.clone(), sockets })
    });
    let app = App::open(Plan {
        store: StoreLocation::Files(Storage::of_emulator(&options.dir)),
        certificates: ServerCertificates::fixed(certificates.identities)?,
        sockets: bound.device,
        metrics: None,
        hubs: hubs.collect::<anyhow::Result<_>>()?,
        instances: vec![instance(&state, &addresses, &options.hub_weights)?],
        latency: LatencyConfig::default().sources()?,
        webhook: webhook_settings(&certificates.ca_file)?,
        timing: Timing::default(),
        search: SearchConfig::default().settings(),
        retention: Retention {
            change_log: ChangeLogConfig::default().limits(),
            attempts_days: AttemptsConfig::default().keep_days,
        },
        runner: RunnerLimits::default(),
        audit: Arc::new(AuditConfig::default().open()?),
        access: OperatorAccess {
            management: Management {
                host: None,
                domain: Some("localhost".to_owned()),
                policies: state.management_policy()?.into_iter().collect(),
            },
            bearer: None,
        },
        limits: Limits::default(),
    })
    .await?;
    if state.lacks_sample_group {
        create_sample_group(&app, &state).await?;
        state.lacks_sample_group = false;
        state.save(&options.dir)?;
    }
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(app.run(shutdown.clone()));
    info.write(&options.dir)?;
    Ok(Emulator { info, shutdown, running })
}

/// Returns the address of a hub, from 127.0.0.11 on: SDKs require a dotted name without a port.
fn hub_address(index: usize) -> anyhow::Result<Ipv4Addr> {
    let last = u8::try_from(index + 11).ok().filter(|last| *last < 255).context("at most 244 hubs")?;
    Ok(Ipv4Addr::new(127, 0, 0, last))
}

fn instance(
    state: &DevState,
    addresses: &[Ipv4Addr],
    weights: &[AllocationWeight],
) -> anyhow::Result<Instance> {
    let hubs = addresses.iter().zip(weights).map(|(address, weight)| {
        Ok(LinkedHub {
            name: HubName::parse(address.to_string())?,
            endpoint: HubEndpoint::Embedded,
            location: "here".into(),
            weight: *weight,
            takes_new_devices: true,
            max_devices: None,
        })
    });
    let linked_hubs: Vec<LinkedHub> = hubs.collect::<anyhow::Result<_>>()?;
    with_digests(Instance {
        id_scope: state.id_scope.clone(),
        name: "dev".into(),
        service_hosts: vec![HostName::parse(ADDRESS.to_string())?, HostName::parse("localhost")?],
        allocation_policy: AllocationPolicy::Hashed,
        access_policies: vec![state.owner.clone()],
        configured: Configured {
            allocation_policy: AllocationPolicy::Hashed,
            failover: false,
            linked_hubs: linked_hubs.clone(),
            settings: Default::default(),
        },
        linked_hubs,
        failover: false,
        // Unlike in `muster serve`, tests and first steps need no proof of possession.
        require_verified_ca: false,
        registrations: RegistrationOwnership::default(),
        existing_devices: model::ExistingDevices::default(),
        crl_max_age: certpath::CrlMaxAge::default(),
        max_registrations_per_minute: None,
        quotas: Default::default(),
        public_network_access: Default::default(),
        ip_filter: Default::default(),
        latency_table: Default::default(),
        keep_attempts: None,
        resource: model::ResourceFacts::default(),
        managed: model::ManagedBy::Operators,
        deletion: None,
        cleanups_held: None,
        webhook_key: None,
        operation_key: state.operation_key.clone(),
    })
}

/// Trusts the emulator's CA, for webhooks under development, and the CAs of the system.
fn webhook_settings(ca_file: &Path) -> anyhow::Result<WebhookSettings> {
    let ca = std::fs::read(ca_file).with_context(|| ca_file.display().to_string())?;
    Ok(WebhookSettings::new(Some(net::tls::client_config_of_system_and(&ca)?)))
}

/// Creates the sample group, once: after a deletion it is not created again.
async fn create_sample_group(app: &App, state: &DevState) -> anyhow::Result<()> {
    let now = SystemClock.now();
    let keys =
        SymmetricKeyPair { primary: state.sample_primary.clone(), secondary: state.sample_secondary.clone() };
    let group = EnrollmentGroup {
        group_id: EnrollmentGroupId::parse(SAMPLE_GROUP)?,
        attestation: GroupAttestation::SymmetricKey(keys),
        registration_ids: None,
        settings: EnrollmentSettings::default(),
        record: Record { etag: Etag::parse("sample")?, created: now, last_updated: now },
    };
    let changes = vec![(Expect::Anything, Change::PutGroup(Box::new(group)))];
    app.store().commit(&state.id_scope, Commit { changes, ..Commit::by(by_configuration(now)) }).await?;
    Ok(())
}

/// Writes a file atomically, readable only by its owner.
fn write_private(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let temporary = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        if temporary.exists() {
            std::fs::remove_file(&temporary)?; // left by a crash; its mode may be anything
        }
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&temporary)?;
        std::io::Write::write_all(&mut file, content)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        path.parent().map_or(Ok(()), |dir| std::fs::File::open(dir)?.sync_all())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leftover_of_a_crash_does_not_make_a_file_readable() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.new"), "half").unwrap();
        std::fs::set_permissions(dir.path().join("ca.new"), std::fs::Permissions::from_mode(0o666)).unwrap();
        write_private(&dir.path().join("ca.key"), b"key").unwrap();
        let written = std::fs::metadata(dir.path().join("ca.key")).unwrap();
        assert_eq!((written.permissions().mode() & 0o777, written.len()), (0o600, 3));
        assert!(!dir.path().join("ca.new").exists());
    }

    #[test]
    fn each_hub_has_its_own_address() {
        assert_eq!(hub_address(0).unwrap(), Ipv4Addr::new(127, 0, 0, 11));
        assert_eq!(hub_address(1).unwrap(), Ipv4Addr::new(127, 0, 0, 12));
        assert!(hub_address(244).is_err());
    }
}
