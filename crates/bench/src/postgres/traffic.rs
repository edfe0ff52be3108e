//! A relay between a node and its database, which counts statements and round trips.

use std::{
    ops::{Mul, Sub},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::AbortHandle,
};

/// A running relay, which stops when dropped.
pub struct Relay {
    /// The port on the loopback address.
    pub port: u16,
    counters: Arc<Counters>,
    accepting: AbortHandle,
}

#[derive(Default)]
struct Counters {
    statements: AtomicU64,
    commits: AtomicU64,
    round_trips: AtomicU64,
}

/// What passed a relay.
#[derive(Debug, Clone, Copy)]
pub struct Traffic {
    /// Statements that were executed.
    pub statements: f64,
    /// Of these, the commits of transactions of several statements.
    pub commits: f64,
    /// How often a node sent something after an answer: statements that are sent together take one round trip.
    pub round_trips: f64,
}

impl Relay {
    /// Listens in front of the database at this port.
    pub async fn start(database: u16) -> anyhow::Result<Relay> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (port, counters) = (listener.local_addr()?.port(), Arc::new(Counters::default()));
        let counting = Arc::clone(&counters);
        let accepting = tokio::spawn(async move {
            while let Ok((node, _)) = listener.accept().await {
                tokio::spawn(relay(node, database, Arc::clone(&counting)));
            }
        });
        Ok(Relay { port, counters, accepting: accepting.abort_handle() })
    }

    /// Returns what has passed so far.
    pub fn traffic(&self) -> Traffic {
        let Counters { statements, commits, round_trips } = &*self.counters;
        let [statements, commits, round_trips] =
            [statements, commits, round_trips].map(|count| count.load(Ordering::Relaxed) as f64);
        Traffic { statements, commits, round_trips }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn relay(node: TcpStream, database: u16, counters: Arc<Counters>) -> std::io::Result<()> {
    let database = TcpStream::connect(("127.0.0.1", database)).await?;
    node.set_nodelay(true)?;
    database.set_nodelay(true)?;
    let (from_node, to_node) = node.into_split();
    let (from_database, to_database) = database.into_split();
    // Whether the database has answered since the node last sent something.
    let answered = AtomicBool::new(false);
    tokio::select! {
        ended = requests(from_node, to_database, &counters, &answered) => ended,
        ended = answers(from_database, to_node, &counters, &answered) => ended,
    }
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    counters: &Counters,
    answered: &AtomicBool,
) -> std::io::Result<()> {
    let mut bytes = BytesMut::new();
    while from.read_buf(&mut bytes).await? > 0 {
        if answered.swap(false, Ordering::Relaxed) {
            counters.round_trips.fetch_add(1, Ordering::Relaxed);
        }
        to.write_all_buf(&mut bytes).await?;
    }
    Ok(())
}

async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    counters: &Counters,
    answered: &AtomicBool,
) -> std::io::Result<()> {
    let (mut bytes, mut unread) = (BytesMut::new(), BytesMut::new());
    while from.read_buf(&mut bytes).await? > 0 {
        unread.extend_from_slice(&bytes);
        count(&mut unread, counters);
        answered.store(true, Ordering::Relaxed);
        to.write_all_buf(&mut bytes).await?;
    }
    Ok(())
}

/// Counts the whole messages in a buffer, and removes them. A message is a letter, its length without the letter, and its
/// content; the end of a statement (C) has the command as content (protocol 3.0, "Message Formats").
fn count(unread: &mut BytesMut, counters: &Counters) {
    while let Some((&[kind, a, b, c, d], rest)) = unread.split_first_chunk::<5>() {
        let content = (u32::from_be_bytes([a, b, c, d]) as usize).saturating_sub(4);
        let Some(command) = rest.get(..content) else { return };
        if kind == b'C' {
            counters.statements.fetch_add(1, Ordering::Relaxed);
            counters.commits.fetch_add(u64::from(command.starts_with(b"COMMIT")), Ordering::Relaxed);
        }
        unread.advance(5 + content);
    }
}

impl Sub for Traffic {
    type Output = Traffic;

    fn sub(self, other: Traffic) -> Traffic {
        Traffic {
            statements: self.statements - other.statements,
            commits: self.commits - other.commits,
            round_trips: self.round_trips - other.round_trips,
        }
    }
}

impl Mul<f64> for Traffic {
    type Output = Traffic;

    fn mul(self, factor: f64) -> Traffic {
        Traffic {
            statements: self.statements * factor,
            commits: self.commits * factor,
            round_trips: self.round_trips * factor,
        }
    }
}
