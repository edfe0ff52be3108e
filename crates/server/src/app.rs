//! The object graph, built and run in reading order: storage, hubs, the verbs, the endpoints, the listeners.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use anyhow::{Context, bail};
use device_api::{DeviceApi, Ports, Timing};
use durable::Sealer;
use embedded_hub::{Hub, HubConfig};
use hub::{
    Connectors, HubProberPorts,
    webhook::{WebhookClient, WebhookSettings},
};
use model::{HubName, Instance, SymmetricKey};
use net::{CancellationToken, ConnectionLimiter, HttpServices, Limits, Listener, Transport, tls};
use provisioning::{
    Provisioning,
    ports::{AssignmentRuns, Clock, Entropy, Hubs, Store},
};
use runner::{AssignmentRunner, Reconciler};
use service_api::ServiceApi;
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    attempts, change_log,
    compute::ComputeThreads,
    config::{ChangeLogConfig, Config, EmbeddedHubConfig, InstanceConfig, LatencySources, ListenConfig},
    continuity::{EpochKeeper, hold_reason},
    file_check, links,
    metrics::{self, Metrics},
    ports::{SystemClock, SystemEntropy},
    reconcile::{self, reconcile},
    reload::Reloader,
    server_certificates::{self, ServerCertificates},
    storage::Storage,
    trust::AuthorityWatch,
    watch::Watch,
    web,
};

/// What is to run, all names and files resolved.
pub struct Plan {
    /// Where everything durable is kept.
    pub storage: Storage,
    /// Who the server is.
    pub certificates: ServerCertificates,
    /// The endpoints' sockets.
    pub sockets: Sockets,
    /// Where monitoring reads, in clear; nowhere when absent.
    pub metrics: Option<TcpListener>,
    /// Hubs of this process.
    pub hubs: Vec<HubPlan>,
    /// The service instances. One that is stored keeps its operation key, and what operators changed of its links.
    pub instances: Vec<Instance>,
    /// How far devices are from hubs.
    pub latency: LatencySources,
    /// How webhooks are called.
    pub webhook: WebhookSettings,
    /// How long devices wait for what.
    pub timing: Timing,
    /// What peers can cost.
    pub limits: Limits,
    /// How much of the change log is kept.
    pub change_log: ChangeLogConfig,
}

/// Bound listeners, so that a port that is taken is told before anything is opened.
pub struct Sockets {
    /// HTTPS, and MQTT and AMQP over WebSockets.
    pub https: Listener,
    /// MQTT over TLS.
    pub mqtts: Listener,
    /// AMQP over TLS.
    pub amqps: Listener,
    /// How TLS is spoken on them.
    pub tls: tls::ServerOptions,
}

impl Sockets {
    /// Binds them all.
    pub fn bind(listen: &ListenConfig) -> anyhow::Result<Self> {
        let ListenConfig { https, mqtts, amqps, proxy, tls } = listen;
        Ok(Sockets {
            https: Listener::from(bind(*https)?).behind(&proxy.https),
            mqtts: Listener::from(bind(*mqtts)?).behind(&proxy.mqtts),
            amqps: Listener::from(bind(*amqps)?).behind(&proxy.amqps),
            tls: tls.options(),
        })
    }
}

fn bind(addr: SocketAddr) -> anyhow::Result<TcpListener> {
    net::bind(addr).with_context(|| format!("cannot listen on {addr}"))
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
    epochs: Option<EpochKeeper>,
    hubs: Vec<(Hub, Sockets)>,
    connectors: Arc<dyn Hubs>,
    watch: Watch,
    trust: AuthorityWatch,
    provisioning: Arc<Provisioning>,
    runner: AssignmentRunner,
    router: axum::Router,
    device_api: DeviceApi,
    sockets: Sockets,
    metrics: Option<(TcpListener, axum::Router)>,
    limiter: ConnectionLimiter,
    reloader: Reloader,
    change_log: ChangeLogConfig,
}

impl App {
    /// Opens the storage and builds everything; nothing is served yet.
    pub async fn open(plan: Plan) -> anyhow::Result<Self> {
        let (opened, sealer) = plan.storage.open()?;
        let file_problems = file_check::after_unclean_end(&opened).await;
        let epochs = match &plan.storage.epoch_file {
            Some(file) => EpochKeeper::begin(&opened, file, &SystemClock).await?,
            None => None,
        };
        reconcile(&opened, plan.instances, SystemClock.now()).await?;
        let store: Arc<dyn Store> = opened.clone();
        let hubs = open_hubs(&plan.storage, &sealer, plan.hubs)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::default());
        let embedded = hubs.iter().map(|(hub, _)| hub.clone());
        let connectors = Connectors::new(embedded, Arc::clone(&clock), Arc::clone(&entropy));
        let connectors: Arc<dyn Hubs> = Arc::new(connectors);
        let survey = HubProberPorts {
            store: Arc::clone(&store),
            hubs: Arc::clone(&connectors),
            clock: Arc::clone(&clock),
            entropy: Arc::clone(&entropy),
        };
        let certificates = Arc::new(plan.certificates);
        let webhook = Arc::new(WebhookClient::new(plan.webhook, Arc::clone(&clock)));
        let (watch, provisioning) = verbs(survey, plan.latency, Arc::clone(&webhook));
        let reloader = Reloader {
            store: opened,
            certificates: Arc::clone(&certificates),
            webhook,
            topology: watch.topology(),
        };

        let trust = AuthorityWatch::new(Arc::clone(&provisioning), Arc::clone(&store), Arc::clone(&clock));
        let runner = AssignmentRunner::new(Arc::clone(&provisioning));
        let runs: Arc<dyn AssignmentRuns> = Arc::new(runner.clone());
        let ports = Ports { clock: Arc::clone(&clock), entropy };
        let device_api =
            DeviceApi::new(Arc::clone(&provisioning), Arc::clone(&runs), ports.clone(), plan.timing);
        let service_api = ServiceApi::new(Arc::clone(&provisioning), runs, ports.clock, ports.entropy);
        let service = service_api::router(service_api);
        let router = web::router(device_api.router(), service);
        let limiter = ConnectionLimiter::new(within(plan.limits, net::raise_descriptor_limit(), hubs.len()));
        let metrics = Metrics {
            provisioning: Arc::clone(&provisioning),
            store: Arc::clone(&store),
            clock,
            device_api: device_api.clone(),
            runner: runner.clone(),
            limiter: limiter.clone(),
            expirations: trust.expirations(),
            file_problems,
            certificates,
        };
        let metrics = plan.metrics.map(|listener| (listener, metrics::router(Arc::new(metrics))));
        Ok(App {
            store,
            epochs,
            hubs,
            connectors,
            watch,
            trust,
            provisioning,
            runner,
            router,
            device_api,
            sockets: plan.sockets,
            metrics,
            limiter,
            reloader,
            change_log: plan.change_log,
        })
    }

    /// What takes a changed configuration up.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// What is stored, for those who set things up before it is served.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Serves until `shutdown`, then lets what is in progress finish.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let resumed = self.runner.resume_all().await?;
        if resumed > 0 {
            tracing::info!(count = resumed, "resumed assignments that were interrupted");
        }
        let checks = links::check(&*self.connectors, self.store.snapshot().await?.instances());
        let beside = [checks, self.watch.start(), self.trust.start()];
        let mut tasks = JoinSet::new();
        if let Some((listener, router)) = self.metrics {
            let limiter = metrics::limiter(self.limiter.limits());
            tasks.spawn(net::serve_http(listener, router, limiter, shutdown.clone()));
        }
        tasks.spawn(Reconciler::new(self.runner).run(shutdown.clone()));
        if let Some(epochs) = self.epochs {
            tasks.spawn(epochs.keep(shutdown.clone()));
        }
        for (hub, sockets) in self.hubs {
            let listeners =
                embedded_hub::Listeners { https: sockets.https, amqps: sockets.amqps, mqtts: sockets.mqtts };
            let limiter = self.limiter.with(embedded_hub::limits(self.limiter.limits()));
            let tls = tls::server_config_with(self.reloader.certificates.identities(), sockets.tls)?;
            tasks.spawn(embedded_hub::serve(hub, listeners, tls, limiter, shutdown.clone()));
        }
        let certificates = Arc::clone(&self.reloader.certificates);
        tasks.spawn(certificates.watch(Arc::new(SystemClock), shutdown.clone()));
        tasks.spawn(attempts::keep(self.provisioning, shutdown.clone()));
        tasks.spawn(change_log::trim(Arc::clone(&self.store), self.change_log, shutdown.clone()));
        let sockets = self.sockets;
        let tls = tls::server_config_with(self.reloader.certificates.identities(), sockets.tls)?;
        let api = self.device_api;
        let limiter = self.limiter.observed_by(Arc::new(api.clone()));
        let (mqtt, amqp) = (Some(api.mqtt(Transport::MqttWs)), Some(api.amqp(Transport::AmqpWs)));
        let site = HttpServices { router: self.router, mqtt, amqp };
        let (mqtt, amqp) = (api.mqtt(Transport::Mqtt), api.amqp(Transport::Amqp));
        tasks.spawn(net::serve_https(sockets.https, tls.clone(), site, limiter.clone(), shutdown.clone()));
        tasks.spawn(net::serve_mqtt(sockets.mqtts, tls.clone(), mqtt, limiter.clone(), shutdown.clone()));
        tasks.spawn(net::serve_amqp(sockets.amqps, tls, amqp, limiter, shutdown.clone()));
        while let Some(ended) = tasks.join_next().await {
            if !shutdown.is_cancelled() {
                shutdown.cancel();
                bail!("a listener ended by itself: {ended:?}");
            }
        }
        // Whoever starts again in the same place finds nothing held.
        for mut tasks in beside {
            tasks.shutdown().await;
        }
        Ok(())
    }
}

/// The verbs, and the watch over the hubs, of which they ask.
fn verbs(
    ports: HubProberPorts,
    latency: LatencySources,
    webhook: Arc<WebhookClient>,
) -> (Watch, Arc<Provisioning>) {
    let HubProberPorts { store, hubs, clock, entropy } = &ports;
    let (store, hubs) = (Arc::clone(store), Arc::clone(hubs));
    let (clock, entropy) = (Arc::clone(clock), Arc::clone(entropy));
    let watch = Watch::new(latency, ports);
    let topology = watch.topology();
    let ports = provisioning::Ports { store, hubs, webhook, topology, clock, entropy };
    let compute = Arc::new(ComputeThreads::default());
    (watch, Arc::new(Provisioning::new(ports).computing_on(compute)))
}

/// No more places for connections than there are descriptors for them, with some left for everything else.
fn within(mut limits: Limits, descriptors: usize, hubs: usize) -> Limits {
    if hubs == 0 {
        limits.reserved.hubs = Some(0);
    }
    let others = (DESCRIPTORS_OF_A_STORE * (hubs + 1)).max(descriptors / 8);
    let places = descriptors.saturating_sub(others).max(1);
    if places < limits.max_connections {
        tracing::warn!(
            wanted = limits.max_connections,
            connections = places,
            descriptors,
            "fewer connections than wanted: the limit of open files (ulimit -Hn) is too low"
        );
        limits.max_connections = places;
    }
    limits
}

/// A database with its pooled readers, and the listeners beside it.
const DESCRIPTORS_OF_A_STORE: usize = 48;

fn open_hubs(storage: &Storage, sealer: &Sealer, plans: Vec<HubPlan>) -> anyhow::Result<Vec<(Hub, Sockets)>> {
    let open = |plan: HubPlan| {
        let path = storage.hub(&plan.name);
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
    pub fn of(config: &Config, starts_anew: bool) -> anyhow::Result<Self> {
        config.check_addresses()?;
        let hubs = config.embedded_hubs.iter().zip(owner_keys(config)?).map(|(hub, owner_key)| {
            let sockets = Sockets::bind(&hub.listen())?;
            Ok(HubPlan { name: hub.name.clone(), host_name: hub.host_name.clone(), owner_key, sockets })
        });
        Ok(Plan {
            storage: config.storage(starts_anew),
            certificates: ServerCertificates::of(config)?,
            instances: instances(config)?,
            sockets: Sockets::bind(&config.listen)?,
            metrics: config.metrics.listen.map(bind).transpose()?,
            hubs: hubs.collect::<anyhow::Result<_>>()?,
            latency: config.latency.sources()?,
            webhook: config.webhook.settings()?,
            timing: config.device.timing(),
            limits: config.limits.limits(),
            change_log: config.change_log,
        })
    }

    /// Refuses what the start would refuse, and returns what it would warn of. Reads the keys, files and databases that a
    /// configuration names, changes nothing, and leaves its ports alone: the service may be running.
    pub async fn check(config: &Config, starts_anew: bool) -> anyhow::Result<Vec<String>> {
        config.check_addresses()?;
        let mut warnings = server_certificates::check(config, SystemClock.now())?;
        owner_keys(config)?;
        config.latency.sources()?;
        config.webhook.settings()?;
        let planned = instances(config)?;
        warnings.extend(shared_hubs(&planned));
        let storage = config.storage(starts_anew);
        let Some((store, sealer)) = storage.look()? else { return Ok(warnings) };
        for hub in &config.embedded_hubs {
            let path = storage.hub(&hub.name);
            embedded_hub::check(&path, &sealer).with_context(|| path.display().to_string())?;
        }
        warnings.extend(reconcile::foresee(&store, &planned).await?);
        let held = storage.epoch_file.as_deref().map(|file| hold_reason(&store, file)).transpose()?.flatten();
        warnings.extend(held.map(|reason| format!("{reason}: cleanups will wait until they are confirmed")));
        Ok(warnings)
    }
}

/// A warning for each hub that several instances link: a device ID is one device there, whichever instance's it is.
fn shared_hubs(instances: &[Instance]) -> Vec<String> {
    let mut linking: BTreeMap<&HubName, Vec<&str>> = BTreeMap::new();
    for instance in instances {
        for hub in &instance.linked_hubs {
            linking.entry(&hub.name).or_default().push(&instance.name);
        }
    }
    let shared = linking.into_iter().filter(|(_, names)| names.len() > 1);
    let warn = |(hub, names): (&HubName, Vec<&str>)| {
        format!(
            "the hub {hub} is linked by the instances {}: a device ID belongs to the first registration that has it \
             there, and registrations of the other instances under the same device ID fail with 409208",
            names.join(", ")
        )
    };
    shared.map(warn).collect()
}

/// Of the embedded hubs, in their order.
fn owner_keys(config: &Config) -> anyhow::Result<Vec<SymmetricKey>> {
    let key =
        |hub: &EmbeddedHubConfig| hub.owner_key.key().with_context(|| format!("embedded hub {:?}", hub.name));
    config.embedded_hubs.iter().map(key).collect()
}

pub(crate) fn instances(config: &Config) -> anyhow::Result<Vec<Instance>> {
    let entropy = SystemEntropy::default();
    let instance = |it: &InstanceConfig| it.instance(entropy.symmetric_key()?, &config.embedded_hubs);
    config.instances.iter().map(instance).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_the_rest() {
        let check = |descriptors: usize, hubs: usize, places: usize| {
            let limits = within(Limits::default(), descriptors, hubs);
            assert_eq!(limits.max_connections, places, "{descriptors} descriptors, {hubs} hubs");
        };
        check(usize::MAX, 2, 50_000);
        check(1_000_000, 2, 50_000);
        check(20_000, 2, 17_500);
        check(1024, 2, 880);
        check(100, 2, 1);
    }

    #[test]
    fn hubs_that_instances_share_are_warned_of() {
        let [one, mut two] = ["one", "two"].map(testkit::sample::instance);
        let warnings = shared_hubs(&[one.clone(), two.clone()]);
        assert_eq!(warnings.len(), one.linked_hubs.len());
        assert!(warnings[0].contains(one.linked_hubs[0].name.as_str()), "{warnings:?}");
        assert!(warnings[0].contains(&format!("{}, {}", one.name, two.name)), "{warnings:?}");
        two.linked_hubs.clear();
        assert!(shared_hubs(&[one, two]).is_empty());
    }
}
