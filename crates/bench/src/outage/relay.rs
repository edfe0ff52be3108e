//! A relay before a hub, which can be told to lose or to delay what goes through it.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    task::AbortHandle,
};

/// How a hub fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// As it should.
    Healthy,
    /// Whatever it says comes 5 s late.
    Slow,
    /// Connections are closed as soon as they are made.
    Down,
}

/// How late a slow hub is.
const LATE: Duration = Duration::from_secs(5);

/// A running relay.
pub struct Relay {
    name: String,
    address: SocketAddr,
    mood: Arc<AtomicU8>,
    accepting: AbortHandle,
}

impl Relay {
    /// Listens on the hub's own address, at a free port: the hub's certificate and name stay right.
    pub async fn start(hub: SocketAddr) -> anyhow::Result<Relay> {
        let listener = TcpListener::bind((hub.ip(), 0)).await?;
        let (address, mood) = (listener.local_addr()?, Arc::new(AtomicU8::new(Mood::Healthy as u8)));
        let seen = Arc::clone(&mood);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, hub, Arc::clone(&seen)));
            }
        });
        Ok(Relay { name: hub.ip().to_string(), address, mood, accepting: accepting.abort_handle() })
    }

    /// The hub's name.
    pub fn name(&self) -> String {
        self.name.clone()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How the hub fares from now on; connections that are open follow.
    pub fn set(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::Relaxed);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Its end, however it comes, closes both connections.
async fn relay(client: TcpStream, hub: SocketAddr, mood: Arc<AtomicU8>) -> std::io::Result<()> {
    if mood.load(Ordering::Relaxed) == Mood::Down as u8 {
        return Ok(());
    }
    let server = TcpStream::connect(hub).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    tokio::select! {
        ended = copy(&mut from_client, &mut to_server) => ended.map(drop),
        ended = answers(from_server, to_client, mood) => ended,
    }
}

async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mood: Arc<AtomicU8>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        let mood = mood.load(Ordering::Relaxed);
        if count == 0 || mood == Mood::Down as u8 {
            return Ok(());
        }
        if mood == Mood::Slow as u8 {
            tokio::time::sleep(LATE).await;
        }
        to.write_all(buffer.get(..count).unwrap_or_default()).await?;
    }
}

impl fmt::Display for Mood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mood::Healthy => "healthy",
            Mood::Slow => "answering 5 s late",
            Mood::Down => "down",
        })
    }
}
