//! A TLS server that answers by a script, and records the requests.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use net::tls::server_config;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::world::{RestAddress, certificates};

/// What the server does with one request.
#[derive(Debug, Clone)]
pub enum Step {
    /// Answers.
    Reply { status: u16, body: String },
    /// Answers with these bytes, and closes.
    Raw(&'static str),
    /// Closes without an answer.
    Cut,
    /// Does not answer for this long.
    Hang(Duration),
    /// Answers after this long.
    Late { after: Duration, status: u16, body: &'static str },
    /// Sends the start of an answer, and then single bytes at intervals, without end.
    Trickle(&'static str),
    /// Answers with a body of this many bytes.
    Long(usize),
    /// Answers, and closes the connection a moment later without `Connection: close`.
    ReplyAndClose { status: u16, body: String },
}

impl Step {
    pub fn reply(status: u16, body: &str) -> Step {
        Step::Reply { status, body: body.to_owned() }
    }
}

pub struct Script {
    pub site: RestAddress,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    steps: Mutex<VecDeque<Step>>,
    heard: Mutex<Vec<Heard>>,
    connections: Mutex<usize>,
}

/// A recorded request.
struct Heard {
    line: String,
    token: String,
    body: String,
}

impl Script {
    /// Starts the server. After the last step it cuts connections.
    pub async fn start(steps: impl IntoIterator<Item = Step>) -> Script {
        let (ca_pem, identity) = certificates();
        let acceptor = TlsAcceptor::from(server_config(vec![identity]).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State { steps: Mutex::new(steps.into_iter().collect()), ..State::default() });
        let served = Arc::clone(&state);
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (acceptor, state) = (acceptor.clone(), Arc::clone(&served));
                tokio::spawn(async move { serve(acceptor, tcp, &state).await });
            }
        });
        Script { site: RestAddress { port, ca_pem }, state }
    }

    /// Returns `METHOD path If-Match:…` of each request so far.
    pub fn requests(&self) -> Vec<String> {
        self.state.heard.lock().unwrap().iter().map(|heard| heard.line.clone()).collect()
    }

    /// Returns the bodies of the requests so far.
    pub fn bodies(&self) -> Vec<String> {
        self.state.heard.lock().unwrap().iter().map(|heard| heard.body.clone()).collect()
    }

    pub fn last_request(&self) -> String {
        self.requests().pop().unwrap()
    }

    pub fn last_token(&self) -> String {
        self.state.heard.lock().unwrap().last().unwrap().token.clone()
    }

    pub fn connections(&self) -> usize {
        *self.state.connections.lock().unwrap()
    }

    pub fn steps_left(&self) -> usize {
        self.state.steps.lock().unwrap().len()
    }
}

async fn serve(acceptor: TlsAcceptor, tcp: TcpStream, state: &State) -> Option<()> {
    let mut stream = acceptor.accept(tcp).await.ok()?;
    *state.connections.lock().unwrap() += 1;
    loop {
        let heard = request(&mut stream).await?;
        state.heard.lock().unwrap().push(heard);
        let step = state.steps.lock().unwrap().pop_front()?;
        let closes = matches!(step, Step::ReplyAndClose { .. });
        match step {
            Step::Reply { status, body } | Step::ReplyAndClose { status, body } => {
                let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all((head + &body).as_bytes()).await.ok()?;
            }
            Step::Raw(bytes) => {
                stream.write_all(bytes.as_bytes()).await.ok()?;
                return stream.shutdown().await.ok();
            }
            Step::Late { after, status, body } => {
                tokio::time::sleep(after).await;
                let reply = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                stream.write_all(reply.as_bytes()).await.ok()?;
            }
            Step::Trickle(start) => {
                stream.write_all(start.as_bytes()).await.ok()?;
                loop {
                    stream.write_all(b"x").await.ok()?;
                    stream.flush().await.ok()?;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            Step::Long(length) => {
                let head = format!("HTTP/1.1 200 X\r\nContent-Length: {length}\r\n\r\n");
                stream.write_all(head.as_bytes()).await.ok()?;
                let chunk = [b' '; 64 * 1024];
                for _ in 0..length / chunk.len() {
                    stream.write_all(&chunk).await.ok()?;
                }
            }
            Step::Cut => return None,
            Step::Hang(time) => tokio::time::sleep(time).await,
        }
        stream.flush().await.ok()?;
        if closes {
            return stream.shutdown().await.ok();
        }
    }
}

/// Reads the next request.
async fn request(stream: &mut TlsStream<TcpStream>) -> Option<Heard> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        (stream.read_buf(&mut bytes).await.ok()? > 0).then_some(())?;
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
    let header = |name: &str| {
        let found = head.lines().skip(1).filter_map(|line| line.split_once(": "));
        found.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
    };
    let length: usize = header("content-length").map_or(0, |length| length.parse().unwrap());
    while bytes.len() < head_end + 4 + length {
        (stream.read_buf(&mut bytes).await.ok()? > 0).then_some(())?;
    }
    let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1");
    let if_match = header("if-match").map(|etag| format!(" If-Match:{etag}")).unwrap_or_default();
    Some(Heard {
        line: format!("{line}{if_match}"),
        token: header("authorization").unwrap_or_default(),
        body: String::from_utf8(bytes[head_end + 4..].to_vec()).unwrap(),
    })
}
