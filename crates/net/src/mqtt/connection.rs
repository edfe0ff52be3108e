//! One MQTT connection after its CONNECT.

use std::time::Duration;

use bytes::BytesMut;
use codec::mqtt::{DecodeError, Packet, Publish, QoS, SubAck, Subscribe, decode, encode};

use super::{
    login,
    outbox::MessageQueue,
    reason::Reason,
    session::{MqttEndpoint, MqttSession},
};
use crate::{
    connection::{Buffered, ByteStream, End, IdleTimeouts, Protocol},
    connection_limiter::Standing,
    limits::Limits,
    listener_context::ListenerContext,
    peer::Peer,
    transport::Transport,
};

/// A client that is logged in.
pub(crate) struct MqttConnection {
    session: Box<dyn MqttSession>,
    queue: MessageQueue,
    /// Identifiers and tokens of QoS 1 messages that wait for their PUBACK.
    in_flight: Vec<(u16, u64)>,
    max_in_flight: usize,
    last_packet_id: u16,
    max_silence: Duration,
    standing: Standing,
    /// Bytes of a packet of an unproven client.
    max_unproven_packet: usize,
    /// Bytes of a packet of a proven client.
    max_packet: usize,
}

impl MqttConnection {
    pub(super) fn new(
        session: Box<dyn MqttSession>,
        queue: MessageQueue,
        limits: &Limits,
        (standing, max_silence): (Standing, Duration),
    ) -> MqttConnection {
        let max_packet = limits.mqtt.max_packet;
        MqttConnection {
            session,
            queue,
            in_flight: Vec::new(),
            max_in_flight: limits.mqtt.in_flight,
            last_packet_id: 0,
            max_silence,
            standing,
            max_unproven_packet: limits.unproven.max_bytes.min(max_packet),
            max_packet,
        }
    }
}

impl Protocol for MqttConnection {
    type Endpoint = dyn MqttEndpoint;
    type Frame = Packet;
    type Reason = Reason;

    const NAME: &'static str = "MQTT";
    const FRAME: &'static str = "a packet";
    const OVER_TLS: Transport = Transport::Mqtt;
    const OVER_WEBSOCKETS: Transport = Transport::MqttWs;

    fn write_timeout(limits: &Limits) -> Duration {
        limits.mqtt.write_timeout
    }

    async fn log_in<S: ByteStream>(
        stream: &mut Buffered<S>,
        peer: &Peer,
        context: &ListenerContext<dyn MqttEndpoint>,
    ) -> Result<MqttConnection, End<Reason>> {
        login::log_in(stream, peer, context).await
    }

    fn idle_timeouts(&self) -> IdleTimeouts {
        IdleTimeouts { client: self.max_silence, heartbeat: None }
    }

    /// Decodes the next packet. One that is too large for an unproven client is accepted if the client can prove who it is.
    async fn next_frame(&mut self, input: &mut BytesMut) -> Result<Option<Packet>, End<Reason>> {
        if self.standing.may_send_large() {
            return Ok(decode(input, self.max_packet)?);
        }
        match decode(input, self.max_unproven_packet) {
            Err(DecodeError::TooLarge { size, .. }) if size <= self.max_packet => {
                if !self.session.prove().await {
                    return Err(End::TooLarge);
                }
                self.standing.permit_large();
                Ok(decode(input, self.max_packet)?)
            }
            decoded => Ok(decoded?),
        }
    }

    async fn handle(&mut self, packet: Packet, output: &mut BytesMut) -> Result<(), End<Reason>> {
        match packet {
            Packet::Publish(publish) => self.publish(publish, output).await,
            Packet::PubAck(id) => {
                self.acknowledge(id).await;
                Ok(())
            }
            Packet::Subscribe(subscribe) => self.subscribe(subscribe, output).await,
            Packet::Unsubscribe(unsubscribe) => {
                self.session.unsubscribe(&unsubscribe.filters).await;
                Ok(encode(&Packet::UnsubAck(unsubscribe.packet_id), output)?)
            }
            Packet::PingReq => Ok(encode(&Packet::PingResp, output)?),
            Packet::Disconnect => Err(Reason::Disconnected.into()),
            Packet::Connect(_) => Err(Reason::Violation("a second CONNECT").into()),
            Packet::PubRec(_) | Packet::PubRel(_) | Packet::PubComp(_) => {
                Err(Reason::Violation("QoS 2 is not offered").into())
            }
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                Err(Reason::Violation("a packet that only servers send").into())
            }
        }
    }

    async fn send_queued(&mut self, output: &mut BytesMut) -> Result<(), End<Reason>> {
        loop {
            let has_room = self.in_flight.len() < self.max_in_flight;
            let can_send = |message: &super::Message| has_room || message.qos == QoS::AtMostOnce;
            let Some(message) = self.queue.pop_if(can_send) else { return Ok(()) };
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
            encode(&Packet::Publish(Publish { dup, qos, retain: false, topic, packet_id, payload }), output)?;
        }
    }

    fn outbox_changed(&self) -> impl Future<Output = ()> + Send {
        self.queue.changed()
    }

    fn requested_close(&self) -> Option<Reason> {
        self.queue.close_reason().map(Reason::Closed)
    }

    fn is_busy(&self) -> bool {
        self.session.busy()
    }

    async fn prove(&mut self) -> bool {
        self.session.prove().await
    }

    /// Closes the session without a packet: MQTT 3.1.1 has none that says why.
    async fn close(&mut self, _end: &End<Reason>, _output: &mut BytesMut) {
        self.queue.end();
        self.session.closed().await;
    }
}

impl MqttConnection {
    async fn publish(&mut self, publish: Publish, output: &mut BytesMut) -> Result<(), End<Reason>> {
        if publish.qos == QoS::ExactlyOnce {
            return Err(Reason::Violation("QoS 2 is not offered").into());
        }
        let packet_id = publish.packet_id;
        self.session.publish(publish).await.map_err(Reason::Closed)?;
        packet_id.map_or(Ok(()), |id| Ok(encode(&Packet::PubAck(id), output)?))
    }

    async fn subscribe(&mut self, subscribe: Subscribe, output: &mut BytesMut) -> Result<(), End<Reason>> {
        let codes = self.session.subscribe(&subscribe.filters).await;
        if codes.len() != subscribe.filters.len() {
            tracing::error!(
                filters = subscribe.filters.len(),
                codes = codes.len(),
                "a session returned a wrong number of codes for a SUBSCRIBE"
            );
            return Err(Reason::Violation("no return code for each filter").into());
        }
        Ok(encode(&Packet::SubAck(SubAck { packet_id: subscribe.packet_id, codes }), output)?)
    }

    /// Passes a PUBACK on. One for a message that is not in flight is ignored, as brokers do.
    async fn acknowledge(&mut self, id: u16) {
        if let Some(index) = self.in_flight.iter().position(|(sent, _)| *sent == id) {
            let (_, token) = self.in_flight.remove(index);
            self.session.acknowledged(token).await;
        }
    }

    /// Returns the identifier that the message had over an earlier connection, unless another one has it now.
    fn packet_id(&mut self, token: u64) -> u16 {
        let derived =
            token.checked_sub(1).and_then(|number| u16::try_from(number % u64::from(u16::MAX) + 1).ok());
        let is_free = |id: &u16| !self.in_flight.iter().any(|(sent, _)| sent == id);
        derived.filter(is_free).unwrap_or_else(|| self.next_packet_id())
    }

    /// Returns an identifier that is not 0 and not in flight.
    fn next_packet_id(&mut self) -> u16 {
        loop {
            self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
            if !self.in_flight.iter().any(|(sent, _)| *sent == self.last_packet_id) {
                return self.last_packet_id;
            }
        }
    }
}
