//! From the first byte to the CONNACK.

use std::time::Duration;

use codec::mqtt::{ConnAck, Connect, ConnectReturnCode, DecodeError, EncodeError, Packet, decode, encode};

use super::{
    connection::MqttConnection,
    outbox::Outbox,
    reason::Reason,
    session::{ConnectRefusal, MqttEndpoint},
};
use crate::{
    connection::{Buffered, ByteStream, End, within},
    listener_context::ListenerContext,
    peer::Peer,
};

/// The longest keep-alive that is honored, as at Azure's hubs: a client that vanished keeps its permit until then, and could
/// ask for 27 hours.
const MAX_KEEP_ALIVE_SECS: u16 = 1767;

/// Reads the CONNECT in time, asks the endpoint, and answers.
pub(super) async fn log_in<S: ByteStream>(
    stream: &mut Buffered<S>,
    peer: &Peer,
    context: &ListenerContext<dyn MqttEndpoint>,
) -> Result<MqttConnection, End<Reason>> {
    let limits = &context.limits;
    let (outbox, queue) = Outbox::new(limits.mqtt.outbox);
    let admitted = match read_connect(stream, context).await? {
        Ok(connect) => {
            let max_silence = max_silence(connect.keep_alive_secs, limits.mqtt.idle_timeout);
            context.endpoint.connect(peer, connect, outbox).await.map(|session| (session, max_silence))
        }
        Err(refusal) => Err(refusal),
    };
    match admitted {
        Ok((session, max_silence)) => {
            let session_present = session.is_resumed();
            put_conn_ack(stream, ConnAck { session_present, code: ConnectReturnCode::Accepted })?;
            Ok(MqttConnection::new(session, queue, limits, (peer.standing.clone(), max_silence)))
        }
        Err(refusal) => {
            let code = match refusal.code {
                ConnectReturnCode::Accepted => ConnectReturnCode::ServerUnavailable,
                code => code,
            };
            put_conn_ack(stream, ConnAck { session_present: false, code })?;
            stream.flush().await?;
            Err(Reason::Refused(ConnectRefusal { code, ..refusal }).into())
        }
    }
}

/// Reads the first packet: a CONNECT that the endpoint can decide on, or a refusal.
async fn read_connect<S: ByteStream>(
    stream: &mut Buffered<S>,
    context: &ListenerContext<dyn MqttEndpoint>,
) -> Result<Result<Connect, ConnectRefusal>, End<Reason>> {
    let limits = &context.limits.mqtt;
    let first = stream.next(|input, _| Ok(decode(input, limits.max_packet_before_connect)?));
    match within(context, limits.connect_timeout, "CONNECT", first).await {
        // MQTT 3.1.1 §3.1.3-8
        Ok(Packet::Connect(connect)) if connect.client_id.is_empty() && !connect.clean_session => {
            let reason = "a session to be kept without a client ID";
            Ok(Err(ConnectRefusal::because(ConnectReturnCode::IdentifierRejected, reason)))
        }
        Ok(Packet::Connect(connect)) => Ok(Ok(connect)),
        Ok(_) => Err(Reason::Violation("the first packet is not a CONNECT").into()),
        Err(End::Protocol(Reason::Malformed(DecodeError::UnsupportedProtocol { .. }))) => {
            let code = ConnectReturnCode::UnacceptableProtocolVersion;
            Ok(Err(ConnectRefusal::because(code, "a version of MQTT that is not 3.1.1")))
        }
        Err(end) => Err(end),
    }
}

fn put_conn_ack<S>(stream: &mut Buffered<S>, conn_ack: ConnAck) -> Result<(), EncodeError> {
    encode(&Packet::ConnAck(conn_ack), &mut stream.output)
}

/// Returns the longest silence of the client: one and a half keep-alives (MQTT 3.1.1 §3.1.2-24).
fn max_silence(keep_alive_secs: u16, idle_timeout: Duration) -> Duration {
    match keep_alive_secs.min(MAX_KEEP_ALIVE_SECS) {
        0 => idle_timeout,
        secs => Duration::from_millis(1500 * u64::from(secs)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_bounded() {
        let seconds = |keep_alive| max_silence(keep_alive, Duration::from_secs(600)).as_secs_f64();
        assert_eq!(
            [0, 1, 240, 1767, 1768, u16::MAX].map(seconds),
            [600.0, 1.5, 360.0, 2650.5, 2650.5, 2650.5]
        );
    }
}
