//! An AMQP endpoint that records its calls, and a client.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use codec::amqp::{
    AmqpError, Attach, Begin, Body, DeliveryState, Entries, Flow, Frame, LinkFlow, Message, Open,
    Performative, Protocol, Role, SaslCode, SaslFrame, SaslInit, SettleMode, Terminus, Transfer, condition,
    decode_frame, decode_protocol, decode_sasl, encode_frame, encode_protocol, encode_sasl,
};
use net::{
    Peer, Purpose, Standing,
    amqp::{
        AmqpConnection, AmqpEndpoint, Delivery, DeliveryRef, Direction, LinkId, LinkRequest, Outbox,
        SaslExchange, SaslStep, Verdict,
    },
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The calls of the endpoint, and its latest client.
#[derive(Debug, Default)]
pub struct Notes {
    notes: Mutex<Vec<String>>,
    outboxes: Mutex<Vec<Outbox>>,
    links: Mutex<Vec<LinkId>>,
    later: Mutex<Vec<DeliveryRef>>,
}

impl Notes {
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.notes.lock().unwrap())
    }

    /// Returns the outbox of the latest client.
    pub fn outbox(&self) -> Outbox {
        self.outboxes.lock().unwrap().last().expect("a client").clone()
    }

    /// Returns the latest link to a client.
    pub fn link(&self) -> LinkId {
        *self.links.lock().unwrap().last().expect("a link to the client")
    }

    /// Returns the oldest delivery without a verdict.
    pub fn later(&self) -> DeliveryRef {
        self.later.lock().unwrap().remove(0)
    }

    fn note(&self, note: String) {
        self.notes.lock().unwrap().push(note);
    }
}

/// The endpoint.
pub struct RecordingEndpoint(pub Arc<Notes>);

/// A client of it.
struct Connection {
    notes: Arc<Notes>,
    busy: bool,
    standing: Standing,
}

/// A SASL exchange with these challenges, the last one first.
struct Steps {
    notes: Arc<Notes>,
    standing: Standing,
    answers: Vec<&'static str>,
}

#[async_trait]
impl AmqpEndpoint for RecordingEndpoint {
    fn mechanisms(&self, _: &Peer) -> Vec<&'static str> {
        vec!["PLAIN", "STEPS", "ENDLESS"]
    }

    async fn sasl(&self, peer: &Peer, init: SaslInit) -> SaslStep {
        self.0.note(format!("sasl {}", init.mechanism));
        let notes = Arc::clone(&self.0);
        let answers = match (init.mechanism.as_str(), init.initial_response.as_deref()) {
            ("PLAIN", Some(b"\0user\0secret")) => vec![],
            ("STEPS", _) => vec!["b", "a"],
            ("ENDLESS", _) => vec!["x"; 1000],
            _ => return SaslStep::Refused(SaslCode::Auth, None),
        };
        next(Box::new(Steps { notes, standing: peer.standing.clone(), answers }))
    }

    async fn bare(&self, peer: &Peer) -> Result<Box<dyn AmqpConnection>, AmqpError> {
        match peer.addr.port() {
            REFUSED_PORT => Err(AmqpError::new(condition::UNAUTHORIZED_ACCESS, "no certificate")),
            _ => {
                let (notes, standing) = (Arc::clone(&self.0), peer.standing.clone());
                Ok(Box::new(Connection { notes, busy: false, standing }))
            }
        }
    }
}

/// A peer from this port is refused without SASL.
pub const REFUSED_PORT: u16 = 2;

fn next(steps: Box<Steps>) -> SaslStep {
    match steps.answers.last() {
        Some(answer) => SaslStep::Challenge(Bytes::from(format!("{answer}?")), steps),
        None => {
            let Steps { notes, standing, .. } = *steps;
            SaslStep::Welcome(Box::new(Connection { notes, busy: false, standing }))
        }
    }
}

#[async_trait]
impl SaslExchange for Steps {
    async fn respond(mut self: Box<Self>, response: Bytes) -> SaslStep {
        match self.answers.pop() {
            Some(answer) if response == answer.as_bytes() => next(self),
            _ => SaslStep::Refused(SaslCode::Auth, None),
        }
    }
}

#[async_trait]
impl AmqpConnection for Connection {
    async fn open(&mut self, open: &Open, outbox: Outbox) -> Result<(), AmqpError> {
        self.notes.note(format!("open {}", open.container_id));
        if open.container_id == "unwelcome" {
            return Err(AmqpError::new(condition::NOT_ALLOWED, "unwelcome"));
        }
        self.notes.outboxes.lock().unwrap().push(outbox);
        Ok(())
    }

    async fn attach(&mut self, link: &LinkRequest) -> Result<(), AmqpError> {
        let address = link.address.as_deref().unwrap_or("nowhere");
        self.notes.note(format!("attach {} {address}", link.name));
        if address == "forbidden" {
            return Err(AmqpError::new(condition::NOT_FOUND, "nothing here"));
        }
        if link.direction == Direction::ToClient {
            self.notes.links.lock().unwrap().push(link.id);
        }
        Ok(())
    }

    async fn message(&mut self, delivery: Delivery) -> Result<Verdict, AmqpError> {
        let body = delivery.message.body.bytes().unwrap_or_default();
        let text = String::from_utf8_lossy(&body).into_owned();
        if text == "prove" {
            self.standing.mark_proven(Purpose::Hub);
        }
        match text.len() {
            ..20 => self.notes.note(format!("message {text}")),
            length => self.notes.note(format!("message of {length} bytes")),
        }
        let outbox = self.notes.outbox();
        match text.as_str() {
            "echo" => outbox.try_send(self.notes.link(), delivery.message, 77).unwrap(),
            "reject" => return Ok(Verdict::Settled(DeliveryState::Rejected(None))),
            "later" => {
                self.notes.later.lock().unwrap().push(delivery.id);
                return Ok(Verdict::Later);
            }
            "kick" => outbox.close(AmqpError::new(condition::CONNECTION_FORCED, "kicked")),
            "close" => return Err(AmqpError::new(condition::NOT_ALLOWED, "asked to")),
            "panic" => panic!("provoked"),
            "busy" => self.busy = true,
            "done" => self.busy = false,
            _ => {}
        }
        Ok(Verdict::Settled(DeliveryState::Accepted))
    }

    async fn prove(&mut self) -> bool {
        self.standing.is_proven()
    }

    async fn settled(&mut self, _: LinkId, token: u64, state: DeliveryState) {
        self.notes.note(format!("settled {token} {state:?}"));
    }

    async fn detached(&mut self, _: LinkId) {
        self.notes.note("detached".into());
    }

    fn busy(&self) -> bool {
        self.busy
    }

    async fn closed(&mut self) {
        self.notes.note("closed".into());
    }
}

/// A client.
pub struct Client<S> {
    stream: S,
    input: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub fn new(stream: S) -> Client<S> {
        Client { stream, input: BytesMut::new() }
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        self.try_send_bytes(bytes).await.unwrap();
    }

    /// Sends bytes. An error means that the server has closed the connection.
    pub async fn try_send_bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await
    }

    pub async fn send_protocol(&mut self, protocol: Protocol) {
        let mut bytes = BytesMut::new();
        encode_protocol(protocol, &mut bytes);
        self.send_bytes(&bytes).await;
    }

    pub async fn send_sasl(&mut self, frame: SaslFrame) {
        let mut bytes = BytesMut::new();
        encode_sasl(&frame, usize::MAX, &mut bytes).unwrap();
        self.send_bytes(&bytes).await;
    }

    /// Sends all on channel 0, in one write.
    pub async fn send(&mut self, performatives: impl IntoIterator<Item = Performative>) {
        self.send_bytes(&encoded(performatives)).await;
    }

    pub async fn receive_protocol(&mut self) -> Option<Protocol> {
        self.next(|input| decode_protocol(input).unwrap()).await
    }

    pub async fn receive_sasl(&mut self) -> Option<SaslFrame> {
        self.next(|input| decode_sasl(input, 512).unwrap()).await
    }

    /// Receives the next frame; `None` at the end of the stream.
    pub async fn receive_frame(&mut self) -> Option<Frame> {
        self.next(|input| decode_frame(input, 1 << 20).unwrap()).await
    }

    /// Receives the next frame, and returns its performative.
    pub async fn receive(&mut self) -> Option<Performative> {
        Some(self.receive_frame().await?.performative.expect("no heartbeat"))
    }

    async fn next<T>(&mut self, decode: impl Fn(&mut BytesMut) -> Option<T>) -> Option<T> {
        loop {
            if let Some(decoded) = decode(&mut self.input) {
                return Some(decoded);
            }
            if self.stream.read_buf(&mut self.input).await.unwrap() == 0 {
                assert!(self.input.is_empty(), "half a frame: {:?}", self.input);
                return None;
            }
        }
    }

    /// Opens a connection without SASL, a session, and a link each way with handles 0 (from the client) and 1.
    pub async fn enter(&mut self) {
        self.send_protocol(Protocol::Amqp).await;
        let credit =
            LinkFlow { handle: 1, delivery_count: Some(0), link_credit: Some(10), ..LinkFlow::default() };
        self.send([
            open(),
            begin(),
            attach(0, Role::Sender, "in"),
            attach(1, Role::Receiver, "out"),
            flow(credit),
        ])
        .await;
        assert_eq!(self.receive_protocol().await, Some(Protocol::Amqp));
        for _ in 0..5 {
            self.receive().await.expect("open, begin, attach, flow, attach");
        }
    }

    /// Receives the close, which must be the last frame, and returns its condition.
    pub async fn closed_with(&mut self) -> Option<String> {
        loop {
            match self.receive().await {
                Some(Performative::Close(close)) => {
                    assert_eq!(self.receive_frame().await, None);
                    return close.error.map(|error| error.condition);
                }
                Some(_) => {}
                None => panic!("the stream ends without a close"),
            }
        }
    }
}

pub fn encoded(performatives: impl IntoIterator<Item = Performative>) -> BytesMut {
    let mut bytes = BytesMut::new();
    for performative in performatives {
        let frame = Frame { channel: 0, performative: Some(performative) };
        encode_frame(&frame, usize::MAX, &mut bytes).unwrap();
    }
    bytes
}

pub fn open() -> Performative {
    Performative::Open(Open {
        container_id: "device".into(),
        hostname: Some("dps.test".into()),
        max_frame_size: 65_536,
        channel_max: 0,
        idle_timeout_ms: None,
    })
}

pub fn begin() -> Performative {
    Performative::Begin(Begin {
        remote_channel: None,
        next_outgoing_id: 0,
        incoming_window: 1000,
        outgoing_window: 1000,
        handle_max: 100,
    })
}

/// Returns an attach; `address` is that of the server's end.
pub fn attach(handle: u32, role: Role, address: &str) -> Performative {
    let far = Some(Terminus { address: Some(address.into()) });
    let near = Some(Terminus::default());
    let (source, target) = if role == Role::Sender { (near, far) } else { (far, near) };
    Performative::Attach(Attach {
        name: format!("link-{handle}"),
        handle,
        role,
        settle_mode: SettleMode::Mixed,
        source,
        target,
        initial_delivery_count: (role == Role::Sender).then_some(0),
        max_message_size: None,
        properties: Entries::new(),
    })
}

pub fn flow(link: LinkFlow) -> Performative {
    Performative::Flow(Flow {
        next_incoming_id: Some(0),
        incoming_window: 1000,
        next_outgoing_id: 0,
        outgoing_window: 1000,
        link: Some(link),
        echo: false,
    })
}

pub fn transfer(delivery_id: u32, body: &str) -> Transfer {
    let message = Message { body: Body::of(body.to_owned()), ..Message::default() };
    Transfer {
        handle: 0,
        delivery_id: Some(delivery_id),
        delivery_tag: Some(Bytes::from_static(b"t")),
        message_format: Some(0),
        settled: None,
        more: false,
        state: None,
        resume: false,
        aborted: false,
        payload: message.encode().unwrap(),
    }
}

pub fn send(delivery_id: u32, body: &str) -> Performative {
    Performative::Transfer(transfer(delivery_id, body))
}
