"""An AMQP 1.0 client over TLS for arbitrary frames."""

from __future__ import annotations

import dataclasses
import socket
import ssl
import struct

AMQP, SASL = b"AMQP\x00\x01\x00\x00", b"AMQP\x03\x01\x00\x00"
OPEN, BEGIN, ATTACH, FLOW, TRANSFER, DISPOSITION, DETACH, END, CLOSE = range(0x10, 0x19)
MECHANISMS, INIT, CHALLENGE, RESPONSE, OUTCOME = range(0x40, 0x45)
ACCEPTED, REJECTED = 0x24, 0x25

# Longer than the server takes on a loaded machine with two cores.
REPLY_SECONDS = 15


class Closed(Exception):
    """The server closed the connection."""


@dataclasses.dataclass(frozen=True)
class Described:
    """A value with its descriptor's number."""

    descriptor: int
    value: object


@dataclasses.dataclass(frozen=True)
class Symbol:
    """A name that is not a string."""

    name: str


@dataclasses.dataclass(frozen=True)
class Typed:
    """A number with the code of its type, such as 0x71 for an int."""

    code: int
    number: int


@dataclasses.dataclass(frozen=True)
class Frame:
    """A received frame; `payload` follows a transfer."""

    channel: int
    kind: int | None
    fields: list
    payload: bytes


def encode(value) -> bytes:
    """A value; Python's integers are uints."""
    match value:
        case None:
            return b"\x40"
        case bool():
            return b"\x41" if value else b"\x42"
        case int():
            return b"\x70" + struct.pack(">I", value)
        case bytes():
            return b"\xb0" + struct.pack(">I", len(value)) + value
        case str():
            return b"\xb1" + struct.pack(">I", len(value.encode())) + value.encode()
        case Symbol(name):
            return b"\xb3" + struct.pack(">I", len(name)) + name.encode()
        case Typed(code, number):
            return bytes([code]) + struct.pack({0x50: ">B", 0x60: ">H", 0x71: ">i", 0x80: ">Q", 0x81: ">q"}[code], number)
        case Described(descriptor, inner):
            return bytes([0, 0x53, descriptor]) + encode(inner)
        case list():
            content = b"".join(map(encode, value))
            return b"\xd0" + struct.pack(">II", len(content) + 4, len(value)) + content
        case dict():
            content = b"".join(encode(part) for pair in value.items() for part in pair)
            return b"\xd1" + struct.pack(">II", len(content) + 4, len(value) * 2) + content
    raise TypeError(value)


def decode(data: bytes):
    """Returns the first value, and the rest. Symbols become strings: no test distinguishes them."""
    code, data = data[0], data[1:]
    if code == 0:
        descriptor, data = decode(data)
        value, data = decode(data)
        return Described(descriptor, value), data
    fixed = {
        0x40: (0, None), 0x41: (0, True), 0x42: (0, False), 0x43: (0, 0), 0x44: (0, 0), 0x45: (0, []),
        0x50: (1, ">B"), 0x52: (1, ">B"), 0x53: (1, ">B"), 0x54: (1, ">b"), 0x55: (1, ">b"), 0x56: (1, ">?"),
        0x60: (2, ">H"), 0x70: (4, ">I"), 0x71: (4, ">i"), 0x80: (8, ">Q"), 0x81: (8, ">q"), 0x98: (16, "16s"),
    }  # fmt: skip
    if code in fixed:
        width, form = fixed[code]
        return (struct.unpack(form, data[:width])[0] if width else form), data[width:]
    width = 1 if code >> 4 in (0xA, 0xC, 0xE) else 4
    size = int.from_bytes(data[:width], "big")
    content, rest = data[width : width + size], data[width + size :]
    if code >> 4 in (0xA, 0xB):
        return content if code & 0xF == 0 else content.decode(), rest
    count, content = int.from_bytes(content[:width], "big"), content[width:]
    if code >> 4 in (0xE, 0xF):
        element, content = content[:1], content[1:]
        values = []
        for _ in range(count):
            value, content = decode(element + content)
            values.append(value)
        return values, rest
    values = []
    for _ in range(count):
        value, content = decode(content)
        values.append(value)
    is_map = code & 0xF == 1
    return dict(zip(values[::2], values[1::2], strict=True)) if is_map else values, rest


def frame(body: bytes, kind: int = 0, channel: int = 0) -> bytes:
    """A whole frame: `kind` 0 is AMQP, 1 SASL."""
    return struct.pack(">IBBH", len(body) + 8, 2, kind, channel) + body


def performative(kind: int, *fields, payload: bytes = b"", channel: int = 0) -> bytes:
    """A frame of AMQP."""
    return frame(encode(Described(kind, list(fields))) + payload, channel=channel)


def sasl_init(mechanism: str, response: bytes | None) -> bytes:
    """The client's choice."""
    return frame(encode(Described(INIT, [Symbol(mechanism), response])), kind=1)


def attach(name: str, handle: int, receives: bool, address: str, properties: dict | None = None) -> bytes:
    """A link with the far end `address`."""
    far, near = [address], ["local"]
    source, target = (far, near) if receives else (near, far)
    named = {Symbol(key): value for key, value in (properties or {}).items()}
    return performative(
        ATTACH, name, handle, receives, None, None, Described(0x28, source), Described(0x29, target),
        None, None, None if receives else 0, None, None, None, named,
    )  # fmt: skip


def message(application: dict, body: bytes, correlation_id: str | None = None) -> bytes:
    """A message with one data section."""
    properties = encode(Described(0x73, [None] * 5 + [correlation_id])) if correlation_id else b""
    return properties + encode(Described(0x74, application)) + encode(Described(0x75, body))


def sections(payload: bytes) -> dict:
    """A message's sections by descriptor."""
    found = {}
    while payload:
        section, payload = decode(payload)
        found[section.descriptor] = section.value
    return found


class AmqpConnection:
    """One TLS connection on which raw frames are exchanged."""

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext):
        plain = socket.create_connection(address, timeout=REPLY_SECONDS)
        self._socket = context.wrap_socket(plain, server_hostname=address[0])

    def __enter__(self) -> AmqpConnection:
        return self

    def __exit__(self, *_exception) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Sends bytes as they are."""
        self._socket.sendall(data)

    def header(self) -> bytes:
        """The next eight bytes."""
        return self._exactly(8)

    def receive(self) -> Frame:
        """The next frame; raises `Closed` at end of stream."""
        size, offset, _, channel = struct.unpack(">IBBH", self._exactly(8))
        body = self._exactly(size - 8)[offset * 4 - 8 :]
        if not body:
            return Frame(channel, None, [], b"")
        described, payload = decode(body)
        return Frame(channel, described.descriptor, described.value, payload)

    def expect(self, kind: int) -> Frame:
        """The next frame, which must be of this kind."""
        received = self.receive()
        assert received.kind == kind, received
        return received

    def log_in(self, name: str, password: str) -> int:
        """SASL PLAIN; returns the outcome's code."""
        self.send(SASL + sasl_init("PLAIN", f"\0{name}\0{password}".encode()))
        assert self.header() == SASL
        assert "PLAIN" in self.expect(MECHANISMS).fields[0]
        return self.expect(OUTCOME).fields[0]

    def open(self, address: str, properties: dict | None = None) -> None:
        """A connection, a session, and a link each way: handle 0 to the server and 1 from it."""
        self.send(
            AMQP
            + performative(OPEN, "wire-tests", "localhost")
            + performative(BEGIN, None, 0, 1000, 1000)
            + attach("out", 0, False, address, properties)
            + attach("in", 1, True, address, properties)
            + performative(FLOW, 0, 1000, 0, 1000, 1, 0, 100)
        )
        assert self.header() == AMQP
        for kind in (OPEN, BEGIN, ATTACH, FLOW, ATTACH):
            self.expect(kind)

    def ask(self, payload: bytes, number: int = 0) -> tuple[Frame, Frame | None]:
        """Sends a request; returns the verdict and, when it was accepted, the reply."""
        self.send(performative(TRANSFER, 0, number, b"tag", 0, False, payload=payload))
        verdict = self.expect(DISPOSITION)
        assert verdict.fields[1] == number and verdict.fields[3] is True, verdict
        accepted = verdict.fields[4].descriptor == ACCEPTED
        return verdict, self.expect(TRANSFER) if accepted else None

    def closing_condition(self) -> str:
        """Requires that the server closes with an error and ends the stream; returns the condition."""
        while True:
            received = self.receive()
            if received.kind == CLOSE:
                self.assert_ended()
                return received.fields[0].value[0]

    def assert_ended(self) -> None:
        """Requires that the server ends the stream without another frame."""
        try:
            received = self._exactly(1)
        except Closed:
            return
        raise AssertionError(f"expected the end, got {received}")

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                chunk = self._socket.recv(count - len(data))
            except (ConnectionError, ssl.SSLError) as error:
                if isinstance(error, TimeoutError):
                    raise
                raise Closed from error
            if not chunk:
                raise Closed
            data += chunk
        return data
