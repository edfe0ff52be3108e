//! The object graph, built and run in reading order: storage, hubs, the verbs, the endpoints, the listeners.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use device_api::{Desk, DeviceApi, Ports, Timing};
use durable::Sealer;
use embedded_hub::{Hub, HubConfig};
use model::{HubName, Instance, SymmetricKey};
use net::{CancellationToken, Gate, Limits, Site, tls};
use provisioning::{
    Provisioning,
    ports::{Clock, Entropy, Store},
};
use service_api::ServiceApi;
use store::EmbeddedStore;
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    config::Config,
    ports::{SystemClock, SystemEntropy},
    web,
};

/// What is to run, all names and files resolved.
pub struct Plan {
    /// Where everything durable is kept.
    pub data_dir: PathBuf,
    /// The key that seals secrets at rest.
    pub master_key_file: PathBuf,
    /// Who the server is.
    pub identities: Vec<tls::Identity>,
    /// The endpoints' sockets.
    pub sockets: Sockets,
    /// Hubs of this process.
    pub hubs: Vec<HubPlan>,
    /// The service instances. One that is stored keeps its operation key.
    pub instances: Vec<Instance>,
    /// How long devices wait for what.
    pub timing: Timing,
    /// What peers can cost.
    pub limits: Limits,
}

/// Bound listeners, so that a port that is taken is told before anything is opened.
pub struct Sockets {
    /// HTTPS, and MQTT over WebSockets.
    pub https: TcpListener,
    /// MQTT over TLS.
    pub mqtts: TcpListener,
}

impl Sockets {
    /// Binds both.
    pub fn bind(https: SocketAddr, mqtts: SocketAddr) -> anyhow::Result<Self> {
        let bind = |addr| net::bind(addr).with_context(|| format!("cannot listen on {addr}"));
        Ok(Sockets { https: bind(https)?, mqtts: bind(mqtts)? })
    }
}

/// An embedded hub and its listeners.
pub struct HubPlan {
    /// The name of its database file.
    pub name: String,
    /// What devices are told.
    pub host_name: HubName,
    /// The key of `iothubowner`.
    pub owner_key: SymmetricKey,
    /// Its sockets.
    pub sockets: Sockets,
}

/// Everything that runs.
pub struct App {
    store: Arc<dyn Store>,
    hubs: Vec<(Hub, Sockets)>,
    desk: Arc<Desk>,
    router: axum::Router,
    device_api: DeviceApi,
    sockets: Sockets,
    tls: Arc<rustls::ServerConfig>,
    gate: Gate,
}

impl App {
    /// Opens the storage and builds everything; nothing is served yet.
    pub async fn open(plan: Plan) -> anyhow::Result<Self> {
        std::fs::create_dir_all(plan.data_dir.join("hubs"))
            .with_context(|| format!("cannot create {}", plan.data_dir.display()))?;
        let sealer = Sealer::load_or_create(&plan.master_key_file)?;
        let path = plan.data_dir.join("muster.db");
        let store = EmbeddedStore::open(&path, sealer.clone()).with_context(|| path.display().to_string())?;
        let store: Arc<dyn Store> = Arc::new(store);
        reconcile(&*store, plan.instances).await?;

        let hubs = open_hubs(&plan.data_dir, &sealer, plan.hubs)?;
        let connectors = hub::Connectors::to_embedded(hubs.iter().map(|(hub, _)| hub.clone()));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::default());
        let provisioning = Arc::new(Provisioning::new(
            Arc::clone(&store),
            Arc::new(connectors),
            Arc::clone(&clock),
            Arc::clone(&entropy),
        ));

        let desk = Desk::new(Arc::clone(&provisioning));
        let ports = Ports { clock, entropy };
        let device_api =
            DeviceApi::new(Arc::clone(&provisioning), Arc::clone(&desk), ports.clone(), plan.timing);
        let service = service_api::router(ServiceApi::new(provisioning, ports.clock, ports.entropy));
        let router = web::router(device_api.router(), service);
        let tls = tls::server_config(plan.identities)?;
        let gate = Gate::new(plan.limits);
        Ok(App { store, hubs, desk, router, device_api, sockets: plan.sockets, tls, gate })
    }

    /// What is stored, for those who set things up before it is served.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Serves until `shutdown`, then lets what is in progress finish.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let resumed = self.desk.resume().await?;
        if resumed > 0 {
            tracing::info!(count = resumed, "took up assignments that were cut off");
        }
        let mut tasks = JoinSet::new();
        for (hub, sockets) in self.hubs {
            let listeners = embedded_hub::Listeners { https: sockets.https, mqtts: sockets.mqtts };
            let gate = self.gate.with(embedded_hub::limits(self.gate.limits()));
            tasks.spawn(embedded_hub::serve(hub, listeners, self.tls.clone(), gate, shutdown.clone()));
        }
        let (tls, gate) = (self.tls, self.gate);
        let site = Site { router: self.router, mqtt: Some(self.device_api.mqtt()) };
        tasks.spawn(net::serve_https(self.sockets.https, tls.clone(), site, gate.clone(), shutdown.clone()));
        tasks.spawn(net::serve_mqtt(self.sockets.mqtts, tls, self.device_api.mqtt(), gate, shutdown.clone()));
        while let Some(ended) = tasks.join_next().await {
            if !shutdown.is_cancelled() {
                shutdown.cancel();
                bail!("a listener ended by itself: {ended:?}");
            }
        }
        Ok(())
    }
}

/// Brings the stored instances in line with the planned ones. An instance that is stored and not planned is refused,
/// because its devices would be turned away without anyone having said so.
async fn reconcile(store: &dyn Store, planned: Vec<Instance>) -> anyhow::Result<()> {
    let mut stored = store.instances().await?;
    for mut instance in planned {
        if let Some(same) = stored.iter().find(|other| other.id_scope == instance.id_scope) {
            instance.operation_key = same.operation_key.clone();
        }
        stored.retain(|other| other.id_scope != instance.id_scope);
        store.put_instance(instance).await?;
    }
    if let Some(left) = stored.first() {
        bail!(
            "the database has the instance {:?} with ID scope {}, and the configuration does not",
            left.name,
            left.id_scope
        );
    }
    Ok(())
}

fn open_hubs(data_dir: &Path, sealer: &Sealer, plans: Vec<HubPlan>) -> anyhow::Result<Vec<(Hub, Sockets)>> {
    let open = |plan: HubPlan| {
        let path = data_dir.join("hubs").join(format!("{}.db", plan.name));
        let config = HubConfig {
            host_name: plan.host_name,
            aliases: Vec::new(),
            path: path.clone(),
            policies: vec![embedded_hub::Policy::owner(plan.owner_key)],
        };
        let clock = SystemClock;
        let hub = Hub::open(config, sealer.clone(), move || clock.now())
            .with_context(|| path.display().to_string())?;
        Ok((hub, plan.sockets))
    };
    plans.into_iter().map(open).collect()
}

impl Plan {
    /// What a configuration says, with its keys and files read and its sockets bound.
    pub fn of(config: &Config) -> anyhow::Result<Self> {
        let identities = config.tls_identities.iter().map(|identity| {
            tls::Identity::from_pem_files(&identity.certificate, &identity.key).context("[[tls]]")
        });
        let hubs = config.embedded_hubs.iter().map(|hub| {
            Ok(HubPlan {
                name: hub.name.clone(),
                host_name: hub.host_name.clone(),
                owner_key: hub.owner_key.key().with_context(|| format!("embedded hub {:?}", hub.name))?,
                sockets: Sockets::bind(hub.https, hub.mqtts)?,
            })
        });
        let host_of = |name: &str| {
            let hub = config.embedded_hubs.iter().find(|hub| hub.name == name);
            hub.map(|hub| hub.host_name.clone())
        };
        let entropy = SystemEntropy::default();
        let instances = config.instances.iter().map(|it| it.instance(entropy.symmetric_key()?, host_of));
        Ok(Plan {
            data_dir: config.data_dir.clone(),
            master_key_file: config
                .master_key_file
                .clone()
                .unwrap_or_else(|| config.data_dir.join("master.key")),
            identities: identities.collect::<anyhow::Result<_>>()?,
            sockets: Sockets::bind(config.listen.https, config.listen.mqtts)?,
            hubs: hubs.collect::<anyhow::Result<_>>()?,
            instances: instances.collect::<anyhow::Result<_>>()?,
            timing: config.device.timing(),
            limits: config.limits.limits(),
        })
    }
}
