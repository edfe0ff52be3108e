//! Measures honest devices while many strangers are active: their latency, and their CPU cost.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use fleet::{Device, Endpoint, Transport};
use model::{RegistrationId, SymmetricKey};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

use tokio_rustls::client::TlsStream;

use super::stranger;
use crate::{child::Server, load::Size};

/// The number of tasks that share a rate.
const WORKERS: usize = 50;

/// The honest registrations per second.
const HONEST_RATE: u32 = 100;

/// The duration of the measurement with strangers alone.
const STRANGERS_ONLY: Duration = Duration::from_secs(5);

/// The time for opening connections and for rates to settle.
const SETTLING: Duration = Duration::from_secs(2);

/// The activity of strangers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// No strangers.
    None,
    /// Idle connections.
    Idle(usize),
    /// Connections that send one byte of a header per second.
    Slow(usize),
    /// Tokens with an unknown key, per second.
    WrongTokens(usize),
    /// Tokens with an unknown key, per second, from the address of the honest devices.
    WrongTokensBesides(usize),
    /// Connections that are opened and closed, per second.
    NewConnections(usize),
}

impl Load {
    const ALL: [Load; 6] = [
        Load::None,
        Load::Idle(5000),
        Load::Slow(1200),
        Load::WrongTokens(4000),
        Load::WrongTokensBesides(4000),
        Load::NewConnections(500),
    ];

    /// Returns the title in the table.
    pub fn title(self) -> String {
        match self {
            Load::None => "nothing".to_owned(),
            Load::Idle(count) => format!("{count} idle connections"),
            Load::Slow(count) => format!("{count} connections that send a byte a second"),
            Load::WrongTokens(rate) => format!("{rate} wrong tokens a second"),
            Load::WrongTokensBesides(rate) => format!("{rate} wrong tokens a second from their own address"),
            Load::NewConnections(rate) => format!("{rate} new connections a second"),
        }
    }
}

/// The results of honest devices.
pub struct Crowd {
    /// The activity of the strangers.
    pub load: Load,
    /// The actions of strangers per second, if the load is a rate.
    pub reached: f64,
    /// The server CPU time of one registration, without the cost of the strangers alone.
    pub cpu: Duration,
    /// The median and the 99th percentile of the time to `assigned`; zero if no device was assigned.
    pub latency: [Duration; 2],
    /// The number of devices that were not assigned.
    pub failed: usize,
}

/// Measures all loads, first without strangers, each with a new server.
pub async fn measure(size: Size) -> anyhow::Result<Vec<Crowd>> {
    server::raise_descriptor_limit();
    let mut crowds = Vec::new();
    for load in Load::ALL {
        eprintln!("honest devices beside {} …", load.title());
        crowds.push(beside(load, size).await?);
    }
    Ok(crowds)
}

async fn beside(load: Load, size: Size) -> anyhow::Result<Crowd> {
    let dir = tempfile::tempdir()?;
    let server = Server::muster(dir.path())?;
    let (endpoint, key) = (server.endpoint()?, server.group_key()?);
    honest(&endpoint, &key, "warm", size.devices / 4).await?;
    let strangers = Strangers::start(load, &endpoint)?;
    sleep(SETTLING).await;

    let (cpu, began) = (server.cpu()?, Instant::now());
    sleep(STRANGERS_ONLY).await;
    let alone = (server.cpu()?.saturating_sub(cpu)).as_secs_f64() / began.elapsed().as_secs_f64();

    let (cpu, began, done) = (server.cpu()?, Instant::now(), strangers.done());
    let mut results = honest(&endpoint, &key, "device", size.devices).await?;
    let elapsed = began.elapsed().as_secs_f64();
    let reached = (strangers.done() - done) as f64 / elapsed;
    let cpu = (server.cpu()?.saturating_sub(cpu)).as_secs_f64() - alone * elapsed;
    strangers.stop().await;
    server.stop()?;

    results.latencies.sort_unstable();
    let at = |share: usize| results.latencies.get(results.latencies.len() * share / 100).copied();
    let latency = [at(50), at(99)].map(|latency| latency.unwrap_or_default());
    let cpu = Duration::from_secs_f64((cpu / size.devices as f64).max(0.0));
    Ok(Crowd { load, reached, cpu, latency, failed: results.failed })
}

#[derive(Default)]
struct HonestResults {
    latencies: Vec<Duration>,
    failed: usize,
}

/// Registers devices for the first time, over new connections, at an even rate.
async fn honest(
    endpoint: &Endpoint,
    key: &SymmetricKey,
    name: &str,
    count: usize,
) -> anyhow::Result<HonestResults> {
    let mut ticks = interval(Duration::from_secs(1) / HONEST_RATE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut devices = JoinSet::new();
    for number in 0..count {
        ticks.tick().await;
        let device = Device::in_group(RegistrationId::parse(format!("{name}-{number}"))?, key);
        let endpoint = endpoint.clone();
        devices.spawn(async move { fleet::register(&endpoint, &device, Transport::Https, None).await });
    }
    let mut results = HonestResults::default();
    while let Some(ended) = devices.join_next().await {
        match ended? {
            Ok(registered) => results.latencies.push(registered.time_to_assigned),
            Err(_) => results.failed += 1,
        }
    }
    Ok(results)
}

/// Active strangers.
struct Strangers {
    tasks: JoinSet<()>,
    done: Arc<AtomicUsize>,
    ending: Arc<AtomicBool>,
}

impl Strangers {
    fn start(load: Load, endpoint: &Endpoint) -> anyhow::Result<Strangers> {
        let mut strangers = Strangers { tasks: JoinSet::new(), done: Arc::default(), ending: Arc::default() };
        match load {
            Load::None => {}
            Load::Idle(count) => (0..count).for_each(|number| strangers.hold(endpoint, number, None)),
            Load::Slow(count) => {
                let drip = Some(Duration::from_secs(1));
                (0..count).for_each(|number| strangers.hold(endpoint, number, drip));
            }
            Load::WrongTokens(rate) | Load::WrongTokensBesides(rate) => {
                let request: Arc<[u8]> = stranger::wrong_token(endpoint)?.into();
                let from = match load {
                    Load::WrongTokensBesides(_) => Some(IpAddr::from(Ipv4Addr::LOCALHOST)),
                    _ => None,
                };
                let work = || StrangerTask::WrongToken { kept: None, request: Arc::clone(&request), from };
                strangers.repeat(rate, endpoint, work);
            }
            Load::NewConnections(rate) => strangers.repeat(rate, endpoint, || StrangerTask::NewConnection),
        }
        Ok(strangers)
    }

    /// Keeps a connection open, and opens it again after the server closed it.
    fn hold(&mut self, endpoint: &Endpoint, number: usize, drip: Option<Duration>) {
        let (endpoint, ending) = (endpoint.clone(), Arc::clone(&self.ending));
        self.tasks.spawn(async move {
            while !ending.load(Ordering::Relaxed) {
                let _ = held(&endpoint, number, drip).await;
                sleep(Duration::from_millis(500)).await;
            }
        });
    }

    /// Repeats the work at a rate per second, distributed over workers.
    fn repeat(&mut self, rate: usize, endpoint: &Endpoint, work: impl Fn() -> StrangerTask) {
        for worker in 0..WORKERS {
            let (mut work, endpoint) = (work(), endpoint.clone());
            let (done, ending) = (Arc::clone(&self.done), Arc::clone(&self.ending));
            self.tasks.spawn(async move {
                let mut ticks = interval(Duration::from_secs_f64(WORKERS as f64 / rate as f64));
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                for number in (worker..).step_by(WORKERS) {
                    ticks.tick().await;
                    if ending.load(Ordering::Relaxed) {
                        return;
                    }
                    if work.once(&endpoint, number).await.is_ok() {
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    }

    fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    async fn stop(mut self) {
        self.ending.store(true, Ordering::Relaxed);
        self.tasks.shutdown().await;
    }
}

/// The repeated work of a stranger.
enum StrangerTask {
    /// Sends a token with an unknown key, reusing a connection while the server keeps it open; from one address, or from one
    /// of many.
    WrongToken { kept: Option<Box<TlsStream<TcpStream>>>, request: Arc<[u8]>, from: Option<IpAddr> },
    /// Connects and disconnects.
    NewConnection,
}

impl StrangerTask {
    async fn once(&mut self, endpoint: &Endpoint, number: usize) -> anyhow::Result<()> {
        match self {
            StrangerTask::WrongToken { kept, request, from } => {
                let from = from.unwrap_or_else(|| stranger::address(number));
                let (port, client) = (endpoint.https_port, endpoint.trust.anonymous());
                let mut stream = match kept.take() {
                    Some(stream) => stream,
                    None => Box::new(stranger::connect_from(endpoint, port, from, client).await?),
                };
                stream.write_all(request).await?;
                // An error body is far shorter, and arrives at once.
                let mut answer = [0; 4096];
                let read = stream.read(&mut answer).await?;
                anyhow::ensure!(answer.get(..read).is_some_and(|it| it.starts_with(b"HTTP/1.1 401")));
                *kept = Some(stream);
            }
            StrangerTask::NewConnection => {
                drop(stranger::connect(endpoint, endpoint.https_port, number).await?)
            }
        }
        Ok(())
    }
}

/// Holds one connection until the server closes it.
async fn held(endpoint: &Endpoint, number: usize, drip: Option<Duration>) -> anyhow::Result<()> {
    let mut stream = stranger::connect(endpoint, endpoint.https_port, number).await?;
    let Some(pause) = drip else {
        let mut buffer = [0; 64];
        while stream.read(&mut buffer).await? > 0 {}
        return Ok(());
    };
    stream.write_all(b"GET / HTTP/1.1\r\nX: ").await?;
    loop {
        sleep(pause).await;
        stream.write_all(b"x").await?;
        stream.flush().await?;
    }
}
