//! The client's side of one AMQP connection, as devices use it: one session, a link in each direction, one request at a time.

use std::{future::Future, pin::Pin, time::Duration};

use bytes::{Bytes, BytesMut};
use codec::amqp::{
    AmqpError, Attach, Begin, Close, DecodeError, DeliveryState, Disposition, EncodeError, Entries, Flow,
    Frame, LinkFlow, Message, Open, Performative, Protocol, Role, SaslCode, SaslFrame, SaslInit, SettleMode,
    Terminus, Transfer, decode_frame, decode_protocol, decode_sasl, encode_frame, encode_protocol,
    encode_sasl, transfer_overhead,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{ClientError, within};

/// An open connection with its links.
pub struct AmqpClient<S> {
    stream: S,
    inbound: BytesMut,
    outbound: BytesMut,
    /// The longest frame that the server accepts.
    max_frame: usize,
    next_delivery_id: u32,
    limit: Duration,
}

/// How a client authenticates.
pub enum Login<'a> {
    /// Without SASL, by the certificate of its TLS connection.
    Bare,
    /// By SASL PLAIN.
    Plain {
        /// The user name.
        name: &'a str,
        /// The password.
        password: &'a str,
    },
    /// By another mechanism of SASL, in which the server challenges the client.
    Challenged(&'a mut dyn SaslMechanism),
}

/// The client's side of a mechanism of SASL.
pub trait SaslMechanism: Send {
    /// Returns its name.
    fn name(&self) -> &'static str;

    /// Returns the initial response.
    fn initial_response(&self) -> Bytes;

    /// Returns the response to a challenge, or why there is none.
    fn respond(&mut self, challenge: Bytes) -> ResponseFuture<'_>;
}

/// A future response.
pub type ResponseFuture<'a> = Pin<Box<dyn Future<Output = Result<Bytes, String>> + Send + 'a>>;

/// Why an AMQP connection failed.
#[derive(Debug, thiserror::Error)]
pub enum AmqpClientError {
    /// It failed below AMQP.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The server sent malformed AMQP.
    #[error("AMQP: {0}")]
    Decode(#[from] DecodeError),
    /// A message cannot be encoded.
    #[error("AMQP: {0}")]
    Encode(#[from] EncodeError),
    /// The server ended the connection, the session or a link.
    #[error("AMQP: the server closed: {}", text(.0.as_ref()))]
    Ended(Option<AmqpError>),
    /// The client has no response to a challenge.
    #[error("AMQP: {0}")]
    Challenge(String),
    /// The server refused the client.
    #[error("AMQP: SASL outcome {code} ({0:?})", code = *.0 as u8)]
    NotAccepted(SaslCode),
    /// The server rejected a message.
    #[error("AMQP: rejected: {}", text(.0.as_ref()))]
    Rejected(Option<AmqpError>),
    /// The server sent an unexpected frame.
    #[error("AMQP: the server sent {0}")]
    Unexpected(&'static str),
}

impl From<std::io::Error> for AmqpClientError {
    fn from(error: std::io::Error) -> Self {
        ClientError::Io(error).into()
    }
}

fn text(error: Option<&AmqpError>) -> String {
    error.map_or_else(
        || "no reason given".to_owned(),
        |error| match &error.description {
            Some(description) => format!("{}: {description}", error.condition),
            None => error.condition.clone(),
        },
    )
}

impl<S: AsyncRead + AsyncWrite + Unpin> AmqpClient<S> {
    /// Opens a connection, a session, and a link in each direction with the address `address`. If the server refuses a link, the
    /// first request fails. Each step and request may take `limit`.
    pub async fn open(
        stream: S,
        host: &str,
        login: Login<'_>,
        link: (&str, Entries),
        limit: Duration,
    ) -> Result<AmqpClient<S>, AmqpClientError> {
        let mut client = AmqpClient {
            stream,
            inbound: BytesMut::new(),
            outbound: BytesMut::new(),
            max_frame: codec::amqp::MIN_MAX_FRAME as usize,
            next_delivery_id: 0,
            limit,
        };
        within(limit, client.handshake(host, login, link)).await?;
        Ok(client)
    }

    async fn handshake(
        &mut self,
        host: &str,
        login: Login<'_>,
        (address, properties): (&str, Entries),
    ) -> Result<(), AmqpClientError> {
        match login {
            Login::Bare => {}
            Login::Plain { name, password } => {
                self.log_in(host, &mut Plain(format!("\0{name}\0{password}"))).await?;
            }
            Login::Challenged(mechanism) => self.log_in(host, mechanism).await?,
        }
        encode_protocol(Protocol::Amqp, &mut self.outbound);
        self.put(Performative::Open(open(host)))?;
        self.put(Performative::Begin(begin()))?;
        for role in [Role::Sender, Role::Receiver] {
            self.put(Performative::Attach(attach(role, address, properties.clone())))?;
        }
        self.put(Performative::Flow(credit()))?;
        self.flush().await?;
        if self.next_of(|input, _| decode_protocol(input)).await? != Protocol::Amqp {
            return Err(AmqpClientError::Unexpected("a header of SASL"));
        }
        match self.receive().await? {
            Performative::Open(open) => {
                self.max_frame = usize::try_from(open.max_frame_size).unwrap_or(MAX_FRAME).min(MAX_FRAME);
                Ok(())
            }
            _ => Err(AmqpClientError::Unexpected("another frame before the open")),
        }
    }

    async fn log_in(&mut self, host: &str, mechanism: &mut dyn SaslMechanism) -> Result<(), AmqpClientError> {
        encode_protocol(Protocol::Sasl, &mut self.outbound);
        let init = SaslInit {
            mechanism: mechanism.name().into(),
            initial_response: Some(mechanism.initial_response()),
            hostname: Some(host.to_owned()),
        };
        encode_sasl(&SaslFrame::Init(init), MAX_FRAME, &mut self.outbound)?;
        self.flush().await?;
        self.next_of(|input, _| decode_protocol(input)).await?;
        loop {
            match self.next_of(decode_sasl).await? {
                SaslFrame::Mechanisms(_) => {}
                SaslFrame::Challenge(challenge) => {
                    let response = mechanism.respond(challenge).await.map_err(AmqpClientError::Challenge)?;
                    encode_sasl(&SaslFrame::Response(response), MAX_FRAME, &mut self.outbound)?;
                    self.flush().await?;
                }
                SaslFrame::Outcome(SaslCode::Ok) => return Ok(()),
                SaslFrame::Outcome(code) => return Err(AmqpClientError::NotAccepted(code)),
                _ => return Err(AmqpClientError::Unexpected("a SASL frame that only clients send")),
            }
        }
    }

    /// Sends a request, and returns the message that answers it.
    pub async fn request(&mut self, message: &Message) -> Result<Message, AmqpClientError> {
        within(self.limit, self.exchange(message)).await
    }

    async fn exchange(&mut self, message: &Message) -> Result<Message, AmqpClientError> {
        let delivery_id = self.next_delivery_id;
        self.next_delivery_id = delivery_id.wrapping_add(1);
        self.put_message(delivery_id, message.encode()?)?;
        self.flush().await?;
        let (mut accepted, mut payload) = (false, BytesMut::new());
        loop {
            match self.receive().await? {
                Performative::Disposition(disposition) if disposition.role == Role::Receiver => {
                    match disposition.state {
                        Some(DeliveryState::Accepted) => accepted = true,
                        Some(DeliveryState::Rejected(error)) => return Err(AmqpClientError::Rejected(error)),
                        _ => return Err(AmqpClientError::Unexpected("another verdict")),
                    }
                }
                Performative::Transfer(transfer) => {
                    payload.extend_from_slice(&transfer.payload);
                    if !transfer.more {
                        // Some SDKs require that the verdict on the request comes first.
                        return match accepted {
                            true => self.accept_reply(&payload).await,
                            false => {
                                Err(AmqpClientError::Unexpected("a reply before the verdict on its request"))
                            }
                        };
                    }
                }
                Performative::Close(Close { error }) => return Err(AmqpClientError::Ended(error)),
                Performative::Detach(detach) => return Err(AmqpClientError::Ended(detach.error)),
                Performative::End(end) => return Err(AmqpClientError::Ended(end.error)),
                _ => {}
            }
        }
    }

    /// Settles a reply.
    async fn accept_reply(&mut self, payload: &[u8]) -> Result<Message, AmqpClientError> {
        let all = Disposition {
            role: Role::Receiver,
            first: 0,
            last: Some(u32::MAX),
            settled: true,
            state: Some(DeliveryState::Accepted),
        };
        self.put(Performative::Disposition(all))?;
        self.flush().await?;
        Ok(Message::decode(payload)?)
    }

    /// Closes the connection. The server may have closed it before.
    pub async fn close(mut self) {
        let limit = self.limit;
        let closing = async {
            self.put(Performative::Close(Close { error: None }))?;
            self.flush().await?;
            self.stream.shutdown().await?;
            Ok::<(), AmqpClientError>(())
        };
        if let Err(error) = within(limit, closing).await {
            tracing::trace!(%error, "the server closed the connection first");
        }
    }

    /// Puts a message in as many transfers as the server's frame size needs.
    fn put_message(&mut self, delivery_id: u32, mut payload: Bytes) -> Result<(), AmqpClientError> {
        let mut first = true;
        loop {
            let size = payload.len().min(self.max_frame.saturating_sub(transfer_overhead()).max(1));
            let part = payload.split_to(size);
            self.put(Performative::Transfer(Transfer {
                handle: OUT,
                delivery_id: first.then_some(delivery_id),
                delivery_tag: first.then(|| Bytes::copy_from_slice(&delivery_id.to_be_bytes())),
                message_format: first.then_some(0),
                settled: Some(false),
                more: !payload.is_empty(),
                state: None,
                resume: false,
                aborted: false,
                payload: part,
            }))?;
            if payload.is_empty() {
                return Ok(());
            }
            first = false;
        }
    }

    fn put(&mut self, performative: Performative) -> Result<(), AmqpClientError> {
        let frame = Frame { channel: 0, performative: Some(performative) };
        Ok(encode_frame(&frame, MAX_FRAME, &mut self.outbound)?)
    }

    async fn flush(&mut self) -> Result<(), AmqpClientError> {
        self.stream.write_all(&self.outbound).await?;
        self.outbound.clear();
        Ok(self.stream.flush().await?)
    }

    async fn receive(&mut self) -> Result<Performative, AmqpClientError> {
        loop {
            if let Some(performative) = self.next_of(decode_frame).await?.performative {
                return Ok(performative);
            }
        }
    }

    async fn next_of<T>(
        &mut self,
        decode: impl Fn(&mut BytesMut, usize) -> Result<Option<T>, DecodeError>,
    ) -> Result<T, AmqpClientError> {
        loop {
            if let Some(decoded) = decode(&mut self.inbound, MAX_FRAME)? {
                return Ok(decoded);
            }
            if self.stream.read_buf(&mut self.inbound).await? == 0 {
                return Err(ClientError::Closed.into());
            }
        }
    }
}

/// The mechanism PLAIN: user name and password in one response.
struct Plain(String);

impl SaslMechanism for Plain {
    fn name(&self) -> &'static str {
        "PLAIN"
    }

    fn initial_response(&self) -> Bytes {
        Bytes::copy_from_slice(self.0.as_bytes())
    }

    fn respond(&mut self, _challenge: Bytes) -> ResponseFuture<'_> {
        Box::pin(async { Err("the server sent a challenge after PLAIN".to_owned()) })
    }
}

fn open(host: &str) -> Open {
    Open {
        container_id: "muster-client".into(),
        hostname: Some(host.to_owned()),
        max_frame_size: MAX_FRAME as u32,
        channel_max: 0,
        idle_timeout_ms: None,
    }
}

fn begin() -> Begin {
    Begin {
        remote_channel: None,
        next_outgoing_id: 0,
        incoming_window: UNLIMITED,
        outgoing_window: UNLIMITED,
        handle_max: IN,
    }
}

fn attach(role: Role, address: &str, properties: Entries) -> Attach {
    let far = Some(Terminus { address: Some(address.to_owned()) });
    let near = Some(Terminus { address: Some("client".into()) });
    let (name, handle, source, target) = match role {
        Role::Sender => ("requests", OUT, near, far),
        Role::Receiver => ("replies", IN, far, near),
    };
    Attach {
        name: name.into(),
        handle,
        role,
        settle_mode: SettleMode::Unsettled,
        source,
        target,
        initial_delivery_count: (role == Role::Sender).then_some(0),
        max_message_size: None,
        properties,
    }
}

/// Returns a flow with credit for more replies than a connection ever receives.
fn credit() -> Flow {
    Flow {
        next_incoming_id: None,
        incoming_window: UNLIMITED,
        next_outgoing_id: 0,
        outgoing_window: UNLIMITED,
        link: Some(LinkFlow {
            handle: IN,
            delivery_count: Some(0),
            link_credit: Some(UNLIMITED),
            ..LinkFlow::default()
        }),
        echo: false,
    }
}

/// The handle of the link to the server.
const OUT: u32 = 0;
/// The handle of the link from the server.
const IN: u32 = 1;

/// The longest frame, either way.
const MAX_FRAME: usize = 64 * 1024;

const UNLIMITED: u32 = i32::MAX as u32;
