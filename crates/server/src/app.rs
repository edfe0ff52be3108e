//! The object graph, built in this order: storage, hubs, domain, endpoints, listeners.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use anyhow::{Context, bail};
use arc_swap::ArcSwap;
use device_api::{DeviceApi, Ports, Timing};
use durable::Sealer;
use embedded_hub::{Hub, HubConfig};
use hub::{
    Connectors, HubProberPorts, RevocationListClient,
    webhook::{WebhookClient, WebhookSettings},
};
use model::{HubName, Instance, SymmetricKey};
use net::{CancellationToken, ConnectionLimiter, HttpServices, Limits, Listener, Transport, tls};
use provisioning::{
    Provisioning,
    ports::{AssignmentRuns, Clock, Entropy, Hubs, RunnerId, Store},
    search::SearchSettings,
};
use runner::{JobPorts, Retention, Runner, RunnerLimits};
use service_api::{OperatorAccess, ServiceApi};
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    audit::AuditTrail,
    compute::ComputeThreads,
    config::{Config, EmbeddedHubConfig, InstanceConfig, LatencySources, ListenConfig},
    continuity::{EpochKeeper, hold_reason},
    file_check::{self, FileProblems},
    links,
    metrics::{self, Metrics},
    migrations,
    ports::{SystemClock, SystemEntropy},
    reconcile,
    reload::Reloader,
    server_certificates::{self, ServerCertificates},
    storage::Storage,
    store_location::{self, OpenedStore, StoreLocation},
    watch::Watch,
    web,
};

/// The input of [`App::open`]: a configuration with all names and files resolved, and sockets bound.
pub struct Plan {
    /// Where the records are.
    pub store: StoreLocation,
    /// The server certificates.
    pub certificates: ServerCertificates,
    /// The sockets of the endpoints.
    pub sockets: Sockets,
    /// The listener for metrics over plain HTTP, if any.
    pub metrics: Option<TcpListener>,
    /// The embedded hubs.
    pub hubs: Vec<HubPlan>,
    /// The service instances. A stored one keeps its operation key and the operators' changes of its links.
    pub instances: Vec<Instance>,
    /// The sources of latencies.
    pub latency: LatencySources,
    /// The settings of webhook calls.
    pub webhook: WebhookSettings,
    /// The timing of replies to devices.
    pub timing: Timing,
    /// The limits of connections.
    pub limits: Limits,
    /// How much is kept of the change log, and of refused attempts.
    pub retention: Retention,
    /// What searches use; `None` if they examine records.
    pub search: Option<SearchSettings>,
    /// The limits of the runner.
    pub runner: RunnerLimits,
    /// Where calls of operators are recorded.
    pub audit: Arc<AuditTrail>,
    /// Who may call beside the keys of instances.
    pub access: OperatorAccess,
}

/// Bound listeners. They are bound first, so that a port in use is reported before a database is opened.
pub struct Sockets {
    /// HTTPS, and MQTT and AMQP over WebSockets.
    pub https: Listener,
    /// MQTT over TLS.
    pub mqtts: Listener,
    /// AMQP over TLS.
    pub amqps: Listener,
    /// The TLS options of the listeners.
    pub tls: tls::ServerOptions,
}

impl Sockets {
    /// Binds all listeners. Fails if an address is not available.
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
    /// The name of the hub's database file.
    pub name: String,
    /// The host name that devices get.
    pub host_name: HubName,
    /// The key of `iothubowner`.
    pub owner_key: SymmetricKey,
    /// The hub's sockets.
    pub sockets: Sockets,
}

/// The opened service.
pub struct App {
    store: Arc<dyn Store>,
    epochs: Option<EpochKeeper>,
    hubs: Vec<(Hub, Sockets)>,
    connectors: Arc<dyn Hubs>,
    watch: Watch,
    runner: Runner,
    router: axum::Router,
    device_api: DeviceApi,
    sockets: Sockets,
    metrics: Option<(TcpListener, axum::Router)>,
    limiter: ConnectionLimiter,
    reloader: Reloader,
    audit: Arc<AuditTrail>,
}

impl App {
    /// Opens the storage and builds the object graph. [`App::run`] starts serving.
    pub async fn open(plan: Plan) -> anyhow::Result<Self> {
        let (opened, sealer) = plan.store.open().await?;
        let (file_problems, epochs) = examine(&plan.store, &opened).await?;
        let store =
            store_location::reconcile_instances(&opened, plan.instances, &plan.access.management).await?;
        let hubs = match plan.store.files() {
            Some(files) => open_hubs(files, &sealer, plan.hubs)?,
            None => Vec::new(),
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::default());
        let connectors = connectors(&hubs, &clock, &entropy);
        let prober = HubProberPorts {
            store: Arc::clone(&store),
            hubs: Arc::clone(&connectors),
            clock: Arc::clone(&clock),
            entropy: Arc::clone(&entropy),
        };
        let certificates = Arc::new(plan.certificates);
        let webhook = Arc::new(WebhookClient::new(plan.webhook, Arc::clone(&clock)));
        let (watch, provisioning) = domain(prober, plan.latency, Arc::clone(&webhook), plan.search);
        let access = Arc::new(ArcSwap::from_pointee(plan.access));
        let reloader = Reloader {
            access: Arc::clone(&access),
            store: opened,
            certificates: Arc::clone(&certificates),
            webhook,
            topology: watch.topology(),
        };

        let jobs = JobPorts { lists: Arc::new(RevocationListClient::default()), retention: plan.retention };
        let id = RunnerId::random(&*entropy);
        let runner =
            Runner::with_limits(Arc::clone(&provisioning), store.clone(), id, plan.runner).with_jobs(jobs);
        let runs: Arc<dyn AssignmentRuns> = Arc::new(runner.assignments().clone());
        let ports = Ports { clock: Arc::clone(&clock), entropy };
        let device_api =
            DeviceApi::new(Arc::clone(&provisioning), Arc::clone(&runs), ports.clone(), plan.timing);
        let service_api = ServiceApi::new(Arc::clone(&provisioning), runs, ports.clock, ports.entropy)
            .with_audit(plan.audit.clone())
            .with_access(Arc::clone(&access));
        let router = web::router(&device_api, &service_api, runner.assignments().clone());
        let limiter = ConnectionLimiter::new(capped(plan.limits, net::raise_descriptor_limit(), hubs.len()));
        let metrics = Metrics {
            provisioning: Arc::clone(&provisioning),
            store: Arc::clone(&store),
            clock,
            device_api: device_api.clone(),
            service_api,
            runs: runner.assignments().clone(),
            limiter: limiter.clone(),
            expiring: runner.expiring_certificates().clone(),
            file_problems,
            certificates,
        };
        Ok(App {
            store,
            epochs,
            hubs,
            connectors,
            watch,
            runner,
            router,
            device_api,
            sockets: plan.sockets,
            metrics: plan.metrics.map(|listener| (listener, metrics::router(Arc::new(metrics)))),
            limiter,
            reloader,
            audit: plan.audit,
        })
    }

    /// Returns the handle that applies a changed configuration.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Returns the store, for set-up before serving.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Serves until `shutdown`, then waits for requests in progress. Fails if a listener stops by itself.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let audit = Arc::clone(&self.audit);
        let ended = self.serve(shutdown).await;
        tokio::task::spawn_blocking(move || audit.close()).await.context("the audit trail was not closed")?;
        ended
    }

    async fn serve(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let resumed = self.runner.start().await?;
        if resumed > 0 {
            tracing::info!(count = resumed, "resumed interrupted assignments");
        }
        let checks = links::check(&*self.connectors, self.store.snapshot().await?.instances());
        let beside = [checks, self.watch.start()];
        let mut tasks = JoinSet::new();
        if let Some((listener, router)) = self.metrics {
            let limiter = metrics::limiter(self.limiter.limits());
            tasks.spawn(net::serve_http(listener, router, limiter, shutdown.clone()));
        }
        let (runner, served) = (Arc::new(self.runner), CancellationToken::new());
        let mut keeping = tokio::spawn(keep_leases(Arc::clone(&runner), served.clone()));
        let working = shutdown.clone();
        tasks.spawn(async move { runner.work(working).await });
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
        tokio::select! {
            ended = until_all_end(tasks, &shutdown) => ended?,
            // Without leases no device is registered: another start may help.
            ended = &mut keeping => bail!("the runner ended by itself: {ended:?}"),
        }
        served.cancel();
        // After a panic of the keeper the leases end by their time.
        let _ = keeping.await;
        // All tasks release the storage before this returns, so that the same process may open it again.
        for mut tasks in beside {
            tasks.shutdown().await;
        }
        Ok(())
    }
}

/// Checks the file of an embedded store, if it was not closed, and whether it was restored or copied.
async fn examine(
    location: &StoreLocation,
    opened: &OpenedStore,
) -> anyhow::Result<(FileProblems, Option<EpochKeeper>)> {
    let (StoreLocation::Files(files), OpenedStore::Embedded(store)) = (location, opened) else {
        return Ok((FileProblems::default(), None));
    };
    let problems = file_check::check_after_crash(store).await;
    let epochs = match &files.epoch_file {
        Some(file) => EpochKeeper::begin(store, file, &SystemClock).await?,
        None => None,
    };
    Ok((problems, epochs))
}

/// Waits until all parts of the service end after `shutdown`. Fails, and begins the shutdown, if one ends by itself.
async fn until_all_end(mut tasks: JoinSet<()>, shutdown: &CancellationToken) -> anyhow::Result<()> {
    while let Some(ended) = tasks.join_next().await {
        if !shutdown.is_cancelled() {
            shutdown.cancel();
            bail!("a part of the service ended by itself: {ended:?}");
        }
    }
    Ok(())
}

async fn keep_leases(runner: Arc<Runner>, ended: CancellationToken) {
    runner.keep_leases(ended).await;
}

fn connectors(hubs: &[(Hub, Sockets)], clock: &Arc<dyn Clock>, entropy: &Arc<dyn Entropy>) -> Arc<dyn Hubs> {
    let embedded = hubs.iter().map(|(hub, _)| hub.clone());
    Arc::new(Connectors::new(embedded, Arc::clone(clock), Arc::clone(entropy)))
}

/// Builds the domain, and the watch over the hubs that it uses.
fn domain(
    ports: HubProberPorts,
    latency: LatencySources,
    webhook: Arc<WebhookClient>,
    search: Option<SearchSettings>,
) -> (Watch, Arc<Provisioning>) {
    let HubProberPorts { store, hubs, clock, entropy } = &ports;
    let (store, hubs) = (Arc::clone(store), Arc::clone(hubs));
    let (clock, entropy) = (Arc::clone(clock), Arc::clone(entropy));
    let watch = Watch::new(latency, ports);
    let topology = watch.topology();
    let ports = provisioning::Ports { store, hubs, webhook, topology, clock, entropy };
    let compute = Arc::new(ComputeThreads::default());
    (watch, Arc::new(Provisioning::new(ports).computing_on(compute).searching(search)))
}

/// Lowers `max_connections` to the available file descriptors, with a reserve for everything else.
fn capped(mut limits: Limits, descriptors: usize, hubs: usize) -> Limits {
    if hubs == 0 {
        limits.reserved.hubs = Some(0);
    }
    let others = (DESCRIPTORS_PER_STORE * (hubs + 1)).max(descriptors / 8);
    let connections = descriptors.saturating_sub(others).max(1);
    if connections < limits.max_connections {
        tracing::warn!(
            configured = limits.max_connections,
            connections,
            descriptors,
            "max_connections is reduced: raise the limit of open files (ulimit -Hn)"
        );
        limits.max_connections = connections;
    }
    limits
}

/// The file descriptors of a database with its pooled readers and listeners.
const DESCRIPTORS_PER_STORE: usize = 48;

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
    /// Resolves a configuration: reads its keys and files, and binds its sockets. `new_database` permits an empty database
    /// beside files of an earlier start.
    pub fn of(config: &Config, new_database: bool) -> anyhow::Result<Self> {
        config.check_addresses()?;
        let hubs = config.embedded_hubs.iter().zip(owner_keys(config)?).map(|(hub, owner_key)| {
            let sockets = Sockets::bind(&hub.listen())?;
            Ok(HubPlan { name: hub.name.clone(), host_name: hub.host_name.clone(), owner_key, sockets })
        });
        Ok(Plan {
            store: config.store_location(new_database)?,
            certificates: ServerCertificates::of(config)?,
            instances: instances(config)?,
            sockets: Sockets::bind(&config.listen)?,
            metrics: config.metrics.listen.map(bind).transpose()?,
            hubs: hubs.collect::<anyhow::Result<_>>()?,
            latency: config.latency.sources()?,
            webhook: config.webhook.settings()?,
            timing: config.device.timing(),
            limits: config.limits.limits(),
            search: config.search.settings(),
            retention: Retention {
                change_log: config.change_log.limits(),
                attempts_days: config.attempts.keep_days,
            },
            runner: config.runner.limits(),
            audit: Arc::new(config.audit.open()?),
            access: OperatorAccess {
                management: config.management.management()?,
                bearer: config.oidc.tokens()?,
            },
        })
    }

    /// Fails if the start would fail, and returns the warnings that it would log. Reads the keys, files and databases of a
    /// configuration, changes nothing, and binds no ports: the service may be running.
    pub async fn check(config: &Config, new_database: bool) -> anyhow::Result<Vec<String>> {
        config.check_addresses()?;
        let mut warnings = server_certificates::check(config, SystemClock.now())?;
        owner_keys(config)?;
        config.latency.sources()?;
        config.webhook.settings()?;
        config.management.management()?;
        config.oidc.tokens()?;
        config.audit.check()?;
        let planned = instances(config)?;
        warnings.extend(shared_hubs(&planned));
        let storage = match config.store_location(new_database)? {
            StoreLocation::Files(files) => files,
            StoreLocation::Shared(database) => {
                warnings.extend(database.check(&planned).await?);
                return Ok(warnings);
            }
        };
        let Some((store, sealer)) = storage.look()? else { return Ok(warnings) };
        warnings.extend(migrations::foresee(&storage, (&store, &sealer), &config.embedded_hubs)?);
        warnings.extend(reconcile::foresee(&store, &planned).await?);
        let held = storage.epoch_file.as_deref().map(|file| hold_reason(&store, file)).transpose()?.flatten();
        warnings.extend(
            held.map(|reason| {
                format!("{reason}: cleanups wait for `muster registration cleanups --confirm`")
            }),
        );
        Ok(warnings)
    }
}

/// Returns a warning for each hub that several instances link: a device ID there is one device for all of them.
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

/// Reads the owner keys of the embedded hubs, in their order.
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
    fn connections_leave_descriptors_for_other_files() {
        let check = |descriptors: usize, hubs: usize, connections: usize| {
            let limits = capped(Limits::default(), descriptors, hubs);
            assert_eq!(limits.max_connections, connections, "{descriptors} descriptors, {hubs} hubs");
        };
        check(usize::MAX, 2, 50_000);
        check(1_000_000, 2, 50_000);
        check(20_000, 2, 17_500);
        check(1024, 2, 880);
        check(100, 2, 1);
    }

    #[test]
    fn shared_hubs_cause_a_warning() {
        let [one, mut two] = ["one", "two"].map(testkit::sample::instance);
        let warnings = shared_hubs(&[one.clone(), two.clone()]);
        assert_eq!(warnings.len(), one.linked_hubs.len());
        assert!(warnings[0].contains(one.linked_hubs[0].name.as_str()), "{warnings:?}");
        assert!(warnings[0].contains(&format!("{}, {}", one.name, two.name)), "{warnings:?}");
        two.linked_hubs.clear();
        assert!(shared_hubs(&[one, two]).is_empty());
    }
}
