//! From the first byte to an open connection: SASL or bare, then the exchange of opens.

use std::borrow::Cow;
use std::time::Duration;

use codec::amqp::{
    AmqpError, Close, DecodeError, MIN_MAX_FRAME, Open, Performative, Protocol, SaslCode, SaslFrame,
    condition,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::endpoint::{AmqpConnection, AmqpEndpoint, SaslStep};
use super::frames::{End, Frames, LOGIN};
use super::outbox::{Outbox, Queued};
use crate::limits::AmqpLimits;
use crate::listener_context::ListenerContext;
use crate::peer::Peer;

/// A client that is let in and has opened its connection.
pub(super) struct Admitted {
    pub(super) connection: Box<dyn AmqpConnection>,
    pub(super) queued: Queued,
    /// After so much silence of ours the client wants to hear something.
    pub(super) heartbeat: Option<Duration>,
}

/// Lets the client in, in time.
pub(super) async fn welcome<S>(
    frames: &mut Frames<S>,
    peer: &Peer,
    context: &ListenerContext<dyn AmqpEndpoint>,
) -> Result<Admitted, End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let limits = &context.limits.amqp;
    let log_in = async {
        let client = authenticated(frames, peer, context).await?;
        open(frames, client, limits).await
    };
    tokio::select! {
        admitted = timeout(limits.login_timeout, log_in) => {
            admitted.map_err(|_| End::TimedOut(LOGIN))?
        }
        () = context.shutdown.cancelled() => Err(End::Shutdown),
    }
}

/// Who the endpoint says the client is, or why it must go. It is told after its open: there is no earlier place.
type Client = Result<Box<dyn AmqpConnection>, AmqpError>;

async fn authenticated<S>(
    frames: &mut Frames<S>,
    peer: &Peer,
    context: &ListenerContext<dyn AmqpEndpoint>,
) -> Result<Client, End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let client = match protocol(frames, Protocol::Sasl).await? {
        Protocol::Amqp => context.endpoint.bare(peer).await,
        Protocol::Sasl => {
            let client = sasl(frames, peer, context).await?;
            if protocol(frames, Protocol::Amqp).await? == Protocol::Sasl {
                return Err(DecodeError::Protocol.into());
            }
            Ok(client)
        }
    };
    frames.put_protocol(Protocol::Amqp);
    Ok(client)
}

/// The client's protocol header. A client that speaks another is told `ours` (§2.2).
async fn protocol<S>(frames: &mut Frames<S>, ours: Protocol) -> Result<Protocol, End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let protocol = frames.protocol().await;
    if let Err(End::Malformed(_)) = protocol {
        frames.put_protocol(ours);
    }
    protocol
}

async fn sasl<S>(
    frames: &mut Frames<S>,
    peer: &Peer,
    context: &ListenerContext<dyn AmqpEndpoint>,
) -> Result<Box<dyn AmqpConnection>, End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mechanisms = context.endpoint.mechanisms(peer);
    frames.put_protocol(Protocol::Sasl);
    frames.put_sasl(&SaslFrame::Mechanisms(mechanisms.iter().map(ToString::to_string).collect()))?;
    let mut step = match frames.sasl().await? {
        SaslFrame::Init(init) if mechanisms.contains(&init.mechanism.as_str()) => {
            context.endpoint.sasl(peer, init).await
        }
        SaslFrame::Init(init) => {
            let reason = format!("the SASL mechanism {:?} is not offered to this client", init.mechanism);
            SaslStep::Refused(SaslCode::Auth, Some(reason.into()))
        }
        _ => return Err(End::violation(condition::NOT_ALLOWED, "SASL begins with an init")),
    };
    for _ in 0..MAX_SASL_STEPS {
        match step {
            SaslStep::Challenge(challenge, exchange) => {
                frames.put_sasl(&SaslFrame::Challenge(challenge))?;
                step = match frames.sasl().await? {
                    SaslFrame::Response(response) => exchange.respond(response).await,
                    _ => return Err(End::violation(condition::NOT_ALLOWED, "a challenge wants a response")),
                };
            }
            SaslStep::Refused(code, reason) => return refuse(frames, code, reason),
            SaslStep::Welcome(connection) => {
                frames.put_sasl(&SaslFrame::Outcome(SaslCode::Ok))?;
                return Ok(connection);
            }
        }
    }
    refuse(frames, SaslCode::Auth, Some("more steps than any SASL mechanism has".into()))
}

fn refuse<S>(
    frames: &mut Frames<S>,
    code: SaslCode,
    reason: Option<Cow<'static, str>>,
) -> Result<Box<dyn AmqpConnection>, End> {
    frames.put_sasl(&SaslFrame::Outcome(code))?;
    Err(End::Refused { code, reason })
}

async fn open<S>(frames: &mut Frames<S>, client: Client, limits: &AmqpLimits) -> Result<Admitted, End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    frames.take_up_to(limits.max_frame_before_open);
    let Some(Performative::Open(open)) = frames.frame().await?.performative else {
        return Err(DecodeError::Descriptor.into());
    };
    frames.send_up_to(usize::try_from(open.max_frame_size).unwrap_or(usize::MAX).min(limits.max_frame));
    frames.take_up_to(limits.max_frame);
    let (outbox, queued) = Outbox::new(limits.outbox);
    let opened = match client {
        _ if open.max_frame_size < MIN_MAX_FRAME => {
            frames.send_up_to(MIN_MAX_FRAME as usize);
            Err(AmqpError::new(condition::INVALID_FIELD, "max-frame-size must be at least 512"))
        }
        Err(refusal) => Err(refusal),
        Ok(mut connection) => connection.open(&open, outbox).await.map(|()| connection),
    };
    frames.output().put(0, Performative::Open(ours(limits)))?;
    match opened {
        Ok(connection) => Ok(Admitted { connection, queued, heartbeat: heartbeat(&open) }),
        Err(error) => {
            frames.output().put(0, Performative::Close(Close { error: Some(error.clone()) }))?;
            Err(End::Unwelcome(error))
        }
    }
}

fn ours(limits: &AmqpLimits) -> Open {
    // A peer announces half of what it tolerates (§2.4.5).
    let idle_timeout_ms = u32::try_from(limits.idle_timeout.as_millis() / 2).ok();
    Open {
        container_id: "muster".into(),
        hostname: None,
        max_frame_size: u32::try_from(limits.max_frame).unwrap_or(u32::MAX),
        channel_max: limits.sessions.saturating_sub(1),
        idle_timeout_ms,
    }
}

/// Twice in the time after which the client gives up, but not more often than its interest is worth.
fn heartbeat(open: &Open) -> Option<Duration> {
    let timeout = open.idle_timeout_ms.filter(|millis| *millis > 0)?;
    Some(Duration::from_millis(u64::from(timeout) / 2).max(SHORTEST_HEARTBEAT))
}

/// More steps than any mechanism has: TPM takes three challenges, or a few more when a client splits its keys.
const MAX_SASL_STEPS: usize = 16;

/// A client that wants to hear more often than this costs more than it is worth.
const SHORTEST_HEARTBEAT: Duration = Duration::from_millis(500);
