//! A relay in front of a hub, which can close connections or delay responses.

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

/// The delay of a slow hub.
const DELAY: Duration = Duration::from_secs(5);

/// The simulated state of a hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HubState {
    /// Everything is forwarded.
    Healthy,
    /// Responses are delayed by 5 s.
    Slow,
    /// Connections are closed immediately.
    Down,
}

/// A running relay.
pub struct Relay {
    name: String,
    address: SocketAddr,
    state: Arc<AtomicU8>,
    accepting: AbortHandle,
}

impl Relay {
    /// Listens on a free port of the hub's address, so that the hub's certificate and name are valid.
    pub async fn start(hub: SocketAddr) -> anyhow::Result<Relay> {
        let listener = TcpListener::bind((hub.ip(), 0)).await?;
        let (address, state) = (listener.local_addr()?, Arc::new(AtomicU8::new(HubState::Healthy as u8)));
        let seen = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, hub, Arc::clone(&seen)));
            }
        });
        Ok(Relay { name: hub.ip().to_string(), address, state, accepting: accepting.abort_handle() })
    }

    /// Returns the name of the hub.
    pub fn name(&self) -> String {
        self.name.clone()
    }

    /// Returns the address of the relay.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the state, which also applies to open connections.
    pub fn set(&self, state: HubState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Relays one connection. When it returns, both sides are closed.
async fn relay(client: TcpStream, hub: SocketAddr, state: Arc<AtomicU8>) -> std::io::Result<()> {
    if state.load(Ordering::Relaxed) == HubState::Down as u8 {
        return Ok(());
    }
    let server = TcpStream::connect(hub).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    tokio::select! {
        ended = copy(&mut from_client, &mut to_server) => ended.map(drop),
        ended = answers(from_server, to_client, state) => ended,
    }
}

async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    state: Arc<AtomicU8>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        let state = state.load(Ordering::Relaxed);
        if count == 0 || state == HubState::Down as u8 {
            return Ok(());
        }
        if state == HubState::Slow as u8 {
            tokio::time::sleep(DELAY).await;
        }
        to.write_all(buffer.get(..count).unwrap_or_default()).await?;
    }
}

impl fmt::Display for HubState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HubState::Healthy => "healthy",
            HubState::Slow => "answering 5 s late",
            HubState::Down => "down",
        })
    }
}
