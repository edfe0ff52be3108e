"""An MQTT 3.1.1 client over TLS for arbitrary packets."""

from __future__ import annotations

import dataclasses
import socket
import ssl
import struct

CONNECT, CONNACK, PUBLISH, PUBACK = 1, 2, 3, 4
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK = 8, 9, 10, 11
PINGREQ, PINGRESP, DISCONNECT = 12, 13, 14

# Longer than the server takes on a loaded machine with two cores.
REPLY_SECONDS = 15


@dataclasses.dataclass(frozen=True)
class Packet:
    """One packet as received: type, low four flag bits, everything after the fixed header."""

    kind: int
    flags: int
    body: bytes


@dataclasses.dataclass(frozen=True)
class Message:
    """A PUBLISH that the server sent."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    packet_id: int | None


class Closed(Exception):
    """The server closed the connection."""


def packet(kind: int, body: bytes, flags: int = 0) -> bytes:
    """A whole packet with its remaining length."""
    length, remaining = b"", len(body)
    while True:
        remaining, digit = divmod(remaining, 128)
        length += bytes([digit | (0x80 if remaining else 0)])
        if not remaining:
            return bytes([kind << 4 | flags]) + length + body


def text(value: str) -> bytes:
    """A length-prefixed UTF-8 string."""
    encoded = value.encode("utf-8")
    return struct.pack(">H", len(encoded)) + encoded


def connect_packet(
    client_id: str,
    username: str | None,
    password: str | None,
    *,
    keep_alive: int = 60,
    level: int = 4,
    will_topic: str | None = None,
) -> bytes:
    """A CONNECT with a clean session."""
    flags = 0x02 | (0x80 if username is not None else 0) | (0x40 if password is not None else 0)
    flags |= 0x04 if will_topic is not None else 0
    body = text("MQTT") + bytes([level, flags]) + struct.pack(">H", keep_alive) + text(client_id)
    if will_topic is not None:
        body += text(will_topic) + text("gone")
    for part in (username, password):
        body += b"" if part is None else text(part)
    return packet(CONNECT, body)


def publish_packet(topic: str, payload: bytes, *, qos: int = 1, retain: bool = False, packet_id: int = 1) -> bytes:
    """A PUBLISH; QoS 0 carries no packet id."""
    identifier = struct.pack(">H", packet_id) if qos else b""
    return packet(PUBLISH, text(topic) + identifier + payload, flags=qos << 1 | int(retain))


def subscribe_packet(topic_filter: str, *, qos: int = 1, packet_id: int = 1) -> bytes:
    """A SUBSCRIBE with one filter."""
    return packet(SUBSCRIBE, struct.pack(">H", packet_id) + text(topic_filter) + bytes([qos]), flags=2)


class MqttConnection:
    """One TLS connection on which raw packets are exchanged."""

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext):
        plain = socket.create_connection(address, timeout=REPLY_SECONDS)
        self._socket = context.wrap_socket(plain, server_hostname=address[0])

    def __enter__(self) -> MqttConnection:
        return self

    def __exit__(self, *_exception) -> None:
        self._socket.close()

    def close(self) -> None:
        """Drops the connection without a DISCONNECT."""
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Sends bytes as they are."""
        self._socket.sendall(data)

    def receive(self, seconds: float = REPLY_SECONDS) -> Packet:
        """The next packet; raises `Closed` at end of stream and TimeoutError when nothing comes."""
        self._socket.settimeout(seconds)
        try:
            return self._receive()
        except (ConnectionError, ssl.SSLError) as error:
            if isinstance(error, TimeoutError):
                raise
            raise Closed from error

    def connect(self, client_id: str, username: str | None, password: str | None, **options) -> int:
        """Sends CONNECT and returns the CONNACK code; a session must never be reported present."""
        self.send(connect_packet(client_id, username, password, **options))
        reply = self.receive()
        assert reply.kind == CONNACK, reply
        assert reply.body[0] == 0, "session present must be 0"
        return reply.body[1]

    def subscribe(self, topic_filter: str, qos: int = 1) -> int:
        """Subscribes to one filter and returns its SUBACK code."""
        self.send(subscribe_packet(topic_filter, qos=qos, packet_id=7))
        reply = self.receive()
        assert reply.kind == SUBACK and reply.body[:2] == b"\x00\x07", reply
        return reply.body[2]

    def receive_message(self) -> Message:
        """Returns the next packet, which must be a PUBLISH, and acknowledges it if it has QoS 1."""
        message = as_message(self.receive())
        if message.packet_id is not None:
            self.send(packet(PUBACK, struct.pack(">H", message.packet_id)))
        return message

    def assert_closed(self, seconds: float = REPLY_SECONDS) -> None:
        """Requires that the server closes without another packet."""
        try:
            reply = self.receive(seconds)
        except Closed:
            return
        raise AssertionError(f"expected the server to close, got {reply}")

    def _receive(self) -> Packet:
        first = self._exactly(1)[0]
        length, shift = 0, 0
        while True:
            digit = self._exactly(1)[0]
            length |= (digit & 0x7F) << shift
            shift += 7
            if not digit & 0x80:
                return Packet(first >> 4, first & 0x0F, self._exactly(length))

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            chunk = self._socket.recv(count - len(data))
            if not chunk:
                raise Closed
            data += chunk
        return data


def register(connection: MqttConnection, device) -> None:
    """Connects and registers a device; the reply may have any status."""
    assert connection.connect(device.registration_id, device.username(), device.token(), keep_alive=0) == 0
    connection.send(publish_packet("$dps/registrations/PUT/iotdps-register/?$rid=1", b"{}", qos=0))
    reply = connection.receive_message()
    assert reply.topic.startswith(("$dps/registrations/res/200/", "$dps/registrations/res/202/")), reply


def as_message(received: Packet) -> Message:
    """Reads a received packet as a PUBLISH."""
    assert received.kind == PUBLISH, received
    qos = received.flags >> 1 & 3
    (length,) = struct.unpack_from(">H", received.body)
    rest = received.body[2 + length :]
    packet_id = struct.unpack_from(">H", rest)[0] if qos else None
    return Message(
        topic=received.body[2 : 2 + length].decode("utf-8"),
        payload=rest[2:] if qos else rest,
        qos=qos,
        retain=bool(received.flags & 1),
        packet_id=packet_id,
    )
