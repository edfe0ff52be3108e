"""Slow and idle clients: the service stays available and closes their connections."""

from __future__ import annotations

import contextlib
import random
import select
import socket
import time

import endpoint
import pytest
import raw_mqtt

IDLE_CONNECTIONS = 2_000
# The lifetime of an unproven connection, and a margin.
UNPROVEN_SECONDS = 90
# Longer than any time limit for a first request, shorter than those for a kept connection.
PATIENCE_SECONDS = 120


@pytest.mark.timeout(PATIENCE_SECONDS + 60)
def test_slow_clients_are_cut_off(dev, device):
    """One client stops in each stage: all are closed, and other clients are served meanwhile."""
    stalled = {
        "no handshake on 443": socket.create_connection((dev.device_endpoint, dev.https_port)),
        "no handshake on 8883": socket.create_connection((dev.device_endpoint, dev.mqtts_port)),
        "no request": stall(dev, dev.https_port, b""),
        "half a request line": stall(dev, dev.https_port, b"PUT /0ne"),
        "half the headers": stall(dev, dev.https_port, b"PUT / HTTP/1.1\r\nHost: x\r\nX-A: "),
        "no packet": stall(dev, dev.mqtts_port, b""),
        "no frame": stall(dev, dev.amqps_port, b""),
        "half a header": stall(dev, dev.amqps_port, b"AMQP\x03"),
        "no login": stall(dev, dev.amqps_port, b"AMQP\x03\x01\x00\x00"),
        "half a packet": stall(dev, dev.mqtts_port, b"\x10\x20\x00\x04MQ"),
    }
    assert register(dev, device) == "assigned"

    deadline = time.monotonic() + PATIENCE_SECONDS
    while stalled and time.monotonic() < deadline:
        readable, _, _ = select.select(list(stalled.values()), [], [], 1)
        stalled = {stage: client for stage, client in stalled.items() if client not in readable or not closed(client)}
    assert not stalled, f"still open after {PATIENCE_SECONDS} s: {sorted(stalled)}"
    assert register(dev, device) == "assigned"


@pytest.mark.timeout(300)
def test_thousands_of_idle_connections(dev, device):
    """A new client is served as usual, the idle connections end, and registered devices stay connected."""
    context = endpoint.tls(dev)
    with contextlib.ExitStack() as opened:
        registered = opened.enter_context(raw_mqtt.MqttConnection((dev.device_endpoint, dev.mqtts_port), context))
        raw_mqtt.register(registered, device)
        idle = [opened.enter_context(idle_device(dev, context, number)) for number in range(IDLE_CONNECTIONS)]

        started = time.monotonic()
        assert register(dev, device) == "assigned"
        assert time.monotonic() - started < 5

        # All of them have sent an invalid token, and no keep-alive interval.
        for connection in random.sample(idle, 100):
            connection.assert_closed(UNPROVEN_SECONDS)
        registered.send(raw_mqtt.packet(raw_mqtt.PINGREQ, b""))
        assert registered.receive().kind == raw_mqtt.PINGRESP


def test_random_bytes(dev, device):
    """Arbitrary input on any port does not stop the service."""
    noise = random.Random(20_240_229)
    for _ in range(200):
        port = noise.choice((dev.https_port, dev.mqtts_port, dev.amqps_port))
        with contextlib.suppress(OSError), stall(dev, port, noise.randbytes(noise.randrange(1, 2_000))) as client:
            client.settimeout(0.05)
            client.recv(4096)
    assert register(dev, device) == "assigned"


def test_connections_dropped_in_mid_request(dev, device):
    """A client that leaves without reading its answer affects only its own connection."""
    for _ in range(100):
        connection = endpoint.https(dev)
        connection.putrequest("PUT", f"{device.path}/register?api-version=2021-06-01")
        connection.putheader("Content-Length", "100")
        connection.endheaders(b"{")
        connection.close()
    assert register(dev, device) == "assigned"


def idle_device(dev, context, number):
    """Returns a connected MQTT client that sends nothing more."""
    connection = raw_mqtt.MqttConnection((dev.device_endpoint, dev.mqtts_port), context)
    stranger = endpoint.Device(dev.id_scope, f"idle-{number}", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
    assert connection.connect(stranger.registration_id, stranger.username(), stranger.token(), keep_alive=0) == 0
    return connection


def stall(dev, port: int, data: bytes):
    """A TLS connection on which only `data` is ever sent."""
    client = endpoint.tls(dev).wrap_socket(
        socket.create_connection((dev.device_endpoint, port)), server_hostname=dev.device_endpoint
    )
    client.sendall(data)
    return client


def closed(client) -> bool:
    """Returns whether the server closed this readable connection, possibly after a response."""
    try:
        return client.recv(4096) == b""
    except OSError:
        return True


def register(dev, device) -> str:
    """Registers a device over a new connection."""
    connection = endpoint.https(dev)
    try:
        return device.register(connection).body["status"]
    finally:
        connection.close()
