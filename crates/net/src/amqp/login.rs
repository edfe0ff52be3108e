//! The login, from the first byte to an open connection.

use std::time::Duration;

use codec::amqp::{
    AmqpError, Open,
    server::{Login, LoginConfig, LoginStart, Opening, ServerError},
};

use super::{
    connection::ServerConnection,
    endpoint::{AmqpConnection, AmqpEndpoint, SaslStep},
    outbox::Outbox,
    reason::Reason,
};
use crate::{
    connection::{Buffered, ByteStream, End, within},
    limits::AmqpLimits,
    listener_context::ListenerContext,
    peer::Peer,
};

/// Heartbeats are not sent more often than this, whatever the client asks for.
const MIN_HEARTBEAT_INTERVAL: Duration = Duration::from_millis(500);

/// The connection that the endpoint made of the client, or why it is to be closed.
type Admission = Result<Box<dyn AmqpConnection>, AmqpError>;

/// Admits the client, or refuses it at the deadline.
pub(super) async fn log_in<S: ByteStream>(
    stream: &mut Buffered<S>,
    peer: &Peer,
    context: &ListenerContext<dyn AmqpEndpoint>,
) -> Result<ServerConnection, End<Reason>> {
    let steps = async {
        let (admission, opening) = authenticate(stream, peer, context).await?;
        open(stream, (admission, opening), peer, context).await
    };
    within(context, context.limits.amqp.login_timeout, "the client to log in", steps).await
}

/// Reads until the endpoint has decided on the client. A client without SASL gets its refusal only after its open.
async fn authenticate<S: ByteStream>(
    stream: &mut Buffered<S>,
    peer: &Peer,
    context: &ListenerContext<dyn AmqpEndpoint>,
) -> Result<(Admission, Opening), End<Reason>> {
    let endpoint = &context.endpoint;
    let mut login = Login::new(endpoint.mechanisms(peer), config(&context.limits.amqp));
    let mut step = match next(stream, |input, output| login.receive(input, output)).await? {
        LoginStart::Bare => {
            let admission = endpoint.bare(peer).await;
            return Ok((admission, login.skip_sasl(&mut stream.output)));
        }
        LoginStart::Sasl(init) => endpoint.sasl(peer, init).await,
    };
    loop {
        step = match step {
            SaslStep::Challenge(challenge, exchange) => {
                login.challenge(challenge, &mut stream.output)?;
                let response = next(stream, |input, _| login.receive_response(input)).await?;
                exchange.respond(response).await
            }
            SaslStep::Refused(code, reason) => {
                login.refuse(code, &mut stream.output)?;
                return Err(Reason::SaslRefused { code, reason }.into());
            }
            SaslStep::Welcome(connection) => return Ok((Ok(connection), login.accept(&mut stream.output)?)),
        }
    }
}

async fn open<S: ByteStream>(
    stream: &mut Buffered<S>,
    (admission, mut opening): (Admission, Opening),
    peer: &Peer,
    context: &ListenerContext<dyn AmqpEndpoint>,
) -> Result<ServerConnection, End<Reason>> {
    let limits = &context.limits;
    let open = next(stream, |input, output| opening.receive(input, output)).await?;
    let (outbox, queue) = Outbox::new(limits.amqp.outbox);
    let opened = match admission {
        Ok(mut connection) => connection.open(&open, outbox).await.map(|()| connection),
        Err(refusal) => Err(refusal),
    };
    let client_max_frame = opening.client_max_frame(&open);
    match opened {
        Ok(connection) => {
            opening.accept(client_max_frame, &mut stream.output)?;
            let heartbeat = heartbeat_interval(&open);
            Ok(ServerConnection::new((connection, queue), peer, limits, (client_max_frame, heartbeat)))
        }
        Err(error) => Err(opening.refuse(client_max_frame, error, &mut stream.output).into()),
    }
}

async fn next<S: ByteStream, T>(
    stream: &mut Buffered<S>,
    mut receive: impl FnMut(&mut bytes::BytesMut, &mut bytes::BytesMut) -> Result<Option<T>, ServerError>,
) -> Result<T, End<Reason>> {
    stream.next(|input, output| Ok(receive(input, output)?)).await
}

fn config(limits: &AmqpLimits) -> LoginConfig {
    LoginConfig {
        container_id: "muster",
        max_sasl_frame: limits.max_sasl_frame,
        max_open_frame: limits.max_frame_before_open,
        max_frame: limits.max_frame,
        max_sessions: limits.sessions,
        idle_timeout: limits.idle_timeout,
    }
}

/// Returns half of the time after which the client gives up.
fn heartbeat_interval(open: &Open) -> Option<Duration> {
    let timeout = open.idle_timeout_ms.filter(|millis| *millis > 0)?;
    Some(Duration::from_millis(u64::from(timeout) / 2).max(MIN_HEARTBEAT_INTERVAL))
}
