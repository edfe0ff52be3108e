//! One MQTT connection, from CONNECT to close.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use codec::mqtt::{ConnAck, ConnectReturnCode, DecodeError, Packet, Publish, QoS, SubAck, Subscribe};
use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout};

use super::frames::{CONNECT, End, Frames};
use super::outbox::{Outbox, Queued};
use super::session::{ConnectRefusal, MqttEndpoint, MqttSession};
use crate::limits::Limits;
use crate::listener_context::ListenerContext;
use crate::peer::Peer;

/// Runs one connection to its end, over any byte stream.
pub async fn drive<S>(stream: S, peer: Peer, context: ListenerContext<dyn MqttEndpoint>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut frames = Frames::new(stream, &context.limits);
    let end = match welcome(&mut frames, &peer, &context).await {
        Ok(client) => run(client, &mut frames, &peer, &context).await,
        Err(end) => end,
    };
    if matches!(end, End::Refused(_)) {
        peer.standing.count_refusal();
    }
    match end.refused() {
        Some(reason) => peer.refuse(reason, &end).await,
        None => tracing::debug!(peer.addr = %peer.addr, reason = %end, "MQTT connection ended"),
    }
    frames.finish().await;
}

/// An accepted client.
struct Client {
    session: Box<dyn MqttSession>,
    queued: Queued,
    /// Identifiers and tokens of QoS 1 messages that wait for their PUBACK.
    in_flight: Vec<(u16, u64)>,
    in_flight_limit: usize,
    last_packet_id: u16,
    /// Longest silence.
    silence: Duration,
}

/// Reads the CONNECT and asks the endpoint.
async fn welcome<S>(
    frames: &mut Frames<S>,
    peer: &Peer,
    context: &ListenerContext<dyn MqttEndpoint>,
) -> Result<Client, End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let limits = &context.limits.mqtt;
    let first = tokio::select! {
        first = timeout(limits.connect_timeout, frames.next()) => first.map_err(|_| End::TimedOut(CONNECT))?,
        () = context.shutdown.cancelled() => return Err(End::Shutdown),
    };
    let connect = match first {
        Ok(Packet::Connect(connect)) => connect,
        Ok(_) => return Err(End::Violation("the first packet is not a CONNECT")),
        Err(End::Malformed(DecodeError::UnsupportedProtocol { .. })) => {
            let code = ConnectReturnCode::UnacceptableProtocolVersion;
            return refuse(frames, ConnectRefusal::because(code, "a version of MQTT that is not 3.1.1"))
                .await;
        }
        Err(end) => return Err(end),
    };
    if connect.client_id.is_empty() && !connect.clean_session {
        let reason = "a session to be kept without a client ID"; // §3.1.3-8
        return refuse(frames, ConnectRefusal::because(ConnectReturnCode::IdentifierRejected, reason)).await;
    }
    let silence = silence(connect.keep_alive_secs, limits.idle_timeout);
    let (outbox, queued) = Outbox::new(limits.outbox);
    match context.endpoint.connect(peer, connect, outbox).await {
        Ok(session) => {
            let (session_present, code) = (session.is_resumed(), ConnectReturnCode::Accepted);
            frames.put(&Packet::ConnAck(ConnAck { session_present, code }))?;
            let in_flight_limit = limits.in_flight;
            Ok(Client { session, queued, in_flight: Vec::new(), in_flight_limit, last_packet_id: 0, silence })
        }
        Err(ConnectRefusal { code: ConnectReturnCode::Accepted, reason }) => {
            let code = ConnectReturnCode::ServerUnavailable;
            refuse(frames, ConnectRefusal { code, reason }).await
        }
        Err(refusal) => refuse(frames, refusal).await,
    }
}

async fn refuse<S>(frames: &mut Frames<S>, refusal: ConnectRefusal) -> Result<Client, End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    frames.put(&Packet::ConnAck(ConnAck { session_present: false, code: refusal.code }))?;
    frames.flush().await?;
    Err(End::Refused(refusal))
}

/// One and a half keep-alives (§3.1.2-24).
fn silence(keep_alive_secs: u16, idle_timeout: Duration) -> Duration {
    match keep_alive_secs.min(LONGEST_KEEP_ALIVE_SECS) {
        0 => idle_timeout,
        secs => Duration::from_millis(1500 * u64::from(secs)),
    }
}

/// The longest keep-alive that is honoured, as at Azure's hubs: a client that is gone without a word keeps its place for
/// so long, and could ask for 27 hours.
const LONGEST_KEEP_ALIVE_SECS: u16 = 1767;

/// Serves the client, then tells the session, even when one of its methods panics.
async fn run<S>(
    mut client: Client,
    frames: &mut Frames<S>,
    peer: &Peer,
    context: &ListenerContext<dyn MqttEndpoint>,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let served = AssertUnwindSafe(client.serve(frames, peer, context)).catch_unwind().await;
    client.queued.end();
    client.session.closed().await;
    match served {
        Ok(Ok(())) => End::Shutdown,
        Ok(Err(end)) => end,
        Err(_) => {
            tracing::error!("an MQTT session panicked");
            End::Panicked
        }
    }
}

impl Client {
    /// Until something ends the connection; `Ok` means that it was served out after a shutdown signal.
    async fn serve<S>(
        &mut self,
        frames: &mut Frames<S>,
        peer: &Peer,
        context: &ListenerContext<dyn MqttEndpoint>,
    ) -> Result<(), End>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut last_heard = Instant::now();
        let mut timer = pin!(sleep_until(last_heard + self.silence));
        let mut shutdown = pin!(context.shutdown.cancelled());
        let mut ending = None;
        loop {
            // Who is to be closed is not heard any more, whatever has arrived.
            while self.queued.closing().is_none()
                && let Some(packet) = self.decoded(frames, peer, &context.limits).await?
            {
                last_heard = Instant::now();
                self.take(packet, frames).await?;
                self.send_queued(frames)?;
                frames.flush_if_large().await?;
            }
            self.send_queued(frames)?;
            frames.flush().await?;
            if let Some(close) = self.queued.closing() {
                return Err(End::Closed(close));
            }
            if ending.is_some() && !self.session.busy() {
                return Ok(());
            }
            tokio::select! {
                biased;
                // First, so that a client that never stops sending cannot put it off.
                () = shutdown.as_mut(), if ending.is_none() => {
                    let deadline = Instant::now() + context.limits.shutdown_grace;
                    ending = Some(deadline);
                    timer.as_mut().reset(deadline);
                }
                filled = frames.fill() => filled?,
                () = self.queued.news() => {}
                () = peer.standing.proof_wanted() => {
                    if !self.session.prove().await {
                        return Err(End::TooLarge);
                    }
                    peer.standing.permit_large();
                }
                () = timer.as_mut() => {
                    // Set anew only here, not with each packet: moving a timer costs more than a late look at
                    // the clock.
                    let deadline = ending.unwrap_or(last_heard + self.silence);
                    if deadline <= Instant::now() {
                        return Err(End::TimedOut("a packet"));
                    }
                    timer.as_mut().reset(deadline);
                }
            }
        }
    }

    /// The next packet that has arrived completely. One that is too large for an unproven client is taken if the client can
    /// show who it is.
    async fn decoded<S>(
        &mut self,
        frames: &mut Frames<S>,
        peer: &Peer,
        limits: &Limits,
    ) -> Result<Option<Packet>, End> {
        let max_packet = limits.mqtt.max_packet;
        if peer.standing.may_send_large() {
            frames.allow(max_packet);
        } else if !frames.allows(max_packet) {
            frames.allow(limits.unproven.max_bytes.min(max_packet));
        }
        match frames.decoded() {
            Err(End::Malformed(DecodeError::TooLarge { size, .. }))
                if size <= max_packet && !frames.allows(max_packet) =>
            {
                if !self.session.prove().await {
                    return Err(End::TooLarge);
                }
                peer.standing.permit_large();
                frames.allow(max_packet);
                frames.decoded()
            }
            decoded => decoded,
        }
    }

    /// One packet from the client.
    async fn take<S>(&mut self, packet: Packet, frames: &mut Frames<S>) -> Result<(), End> {
        match packet {
            Packet::Publish(publish) => self.publish(publish, frames).await,
            Packet::PubAck(id) => {
                self.acknowledged(id).await;
                Ok(())
            }
            Packet::Subscribe(subscribe) => self.subscribe(subscribe, frames).await,
            Packet::Unsubscribe(unsubscribe) => {
                self.session.unsubscribe(&unsubscribe.filters).await;
                frames.put(&Packet::UnsubAck(unsubscribe.packet_id))
            }
            Packet::PingReq => frames.put(&Packet::PingResp),
            Packet::Disconnect => Err(End::Disconnected),
            Packet::Connect(_) => Err(End::Violation("a second CONNECT")),
            Packet::PubRec(_) | Packet::PubRel(_) | Packet::PubComp(_) => {
                Err(End::Violation("QoS 2 is not offered"))
            }
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                Err(End::Violation("a packet that only servers send"))
            }
        }
    }

    async fn publish<S>(&mut self, publish: Publish, frames: &mut Frames<S>) -> Result<(), End> {
        if publish.qos == QoS::ExactlyOnce {
            return Err(End::Violation("QoS 2 is not offered"));
        }
        let packet_id = publish.packet_id;
        self.session.publish(publish).await.map_err(End::Closed)?;
        packet_id.map_or(Ok(()), |id| frames.put(&Packet::PubAck(id)))
    }

    async fn subscribe<S>(&mut self, subscribe: Subscribe, frames: &mut Frames<S>) -> Result<(), End> {
        let codes = self.session.subscribe(&subscribe.filters).await;
        if codes.len() != subscribe.filters.len() {
            tracing::error!(
                filters = subscribe.filters.len(),
                codes = codes.len(),
                "a session answered a SUBSCRIBE badly"
            );
            return Err(End::Violation("no verdict for each filter"));
        }
        frames.put(&Packet::SubAck(SubAck { packet_id: subscribe.packet_id, codes }))
    }

    /// A PUBACK for a message that is not in flight is ignored, as brokers do.
    async fn acknowledged(&mut self, id: u16) {
        if let Some(index) = self.in_flight.iter().position(|(sent, _)| *sent == id) {
            let (_, token) = self.in_flight.remove(index);
            self.session.acknowledged(token).await;
        }
    }

    /// Encodes what the outbox holds and the client may get now.
    fn send_queued<S>(&mut self, frames: &mut Frames<S>) -> Result<(), End> {
        let limit = self.in_flight_limit;
        loop {
            let room = self.in_flight.len() < limit;
            let Some(message) = self.queued.pop_if(|message| room || message.qos == QoS::AtMostOnce) else {
                return Ok(());
            };
            let (qos, packet_id) = match message.qos {
                QoS::AtMostOnce => (QoS::AtMostOnce, None),
                QoS::AtLeastOnce | QoS::ExactlyOnce => {
                    let id = self.packet_id(message.token);
                    self.in_flight.push((id, message.token));
                    (QoS::AtLeastOnce, Some(id))
                }
            };
            let dup = message.is_repeated && qos == QoS::AtLeastOnce;
            let (topic, payload) = (message.topic, message.payload);
            frames.put(&Packet::Publish(Publish { dup, qos, retain: false, topic, packet_id, payload }))?;
        }
    }

    /// The identifier that a message had over an earlier connection, unless another one has it now.
    fn packet_id(&mut self, token: u64) -> u16 {
        let own =
            token.checked_sub(1).and_then(|number| u16::try_from(number % u64::from(u16::MAX) + 1).ok());
        let is_free = |id: &u16| !self.in_flight.iter().any(|(sent, _)| sent == id);
        own.filter(is_free).unwrap_or_else(|| self.next_packet_id())
    }

    /// Never 0, never one in flight.
    fn next_packet_id(&mut self) -> u16 {
        loop {
            self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
            if !self.in_flight.iter().any(|(sent, _)| *sent == self.last_packet_id) {
                return self.last_packet_id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_bounded() {
        let seconds = |keep_alive| silence(keep_alive, Duration::from_secs(600)).as_secs_f64();
        assert_eq!(
            [0, 1, 240, 1767, 1768, u16::MAX].map(seconds),
            [600.0, 1.5, 360.0, 2650.5, 2650.5, 2650.5]
        );
    }
}
