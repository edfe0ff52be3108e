"""azure-iot-device receives from its hub after a cut connection, and after restarts of the server."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import queue
import shutil
import signal
import time

import devices
import muster_dev
import pytest
import requests
import sas
import tcp_relay
from azure.iot.device import IoTHubDeviceClient, MethodResponse

API_VERSION = "2021-04-12"
# The SDK tries again every second here; its own default is ten.
RETRY_SECONDS = 1
PATIENCE_SECONDS = 40


@dataclasses.dataclass
class OwnServer:
    """A `muster dev` on the high ports, with relays from the standard ports of its third hub."""

    dev: muster_dev.MusterDev
    relays: list[tcp_relay.Relay]

    @property
    def host(self) -> str:
        """The address of the third hub, which the shared `muster dev` does not have."""
        return self.dev.hubs[2].host_name.split(":")[0]

    def cut(self) -> None:
        assert sum(relay.cut() for relay in self.relays) >= len(devices.TRANSPORTS)

    def restart(self, number: signal.Signals) -> None:
        self.dev.process.send_signal(number)
        self.dev.process.wait(muster_dev.STOP_SECONDS)
        self.dev = muster_dev.start(self.dev.directory, "high", 3)

    def ask(self, method: str, path: str, body=None, **headers) -> requests.Response:
        """Sends a request of the hub's owner."""
        policy = muster_dev.parse_connection_string(self.dev.hubs[2].connection_string)
        token = sas.token(self.host, policy["SharedAccessKey"], key_name=policy["SharedAccessKeyName"])
        url = f"https://{self.host}{path}?api-version={API_VERSION}"
        sent = {"Authorization": token, **headers}
        return requests.request(method, url, json=body, headers=sent, verify=self.dev.ca_file, timeout=PATIENCE_SECONDS)


class Device:
    """A device at the hub, and its received messages."""

    def __init__(self, server: OwnServer, transport: str) -> None:
        self.device_id, key = f"py-goes-on-{transport}", devices.new_key()
        keys = {"primaryKey": key, "secondaryKey": devices.new_key()}
        identity = {"deviceId": self.device_id, "authentication": {"type": "sas", "symmetricKey": keys}}
        created = server.ask("PUT", f"/devices/{self.device_id}", identity)
        assert created.status_code == 200, created.text
        self.messages, self.desired = queue.Queue(), queue.Queue()
        self.client = IoTHubDeviceClient.create_from_symmetric_key(
            symmetric_key=key,
            hostname=server.host,
            device_id=self.device_id,
            server_verification_cert=server.dev.ca_pem,
            websockets=transport == "websockets",
            connection_retry_interval=RETRY_SECONDS,
        )
        self.client.connect()
        self.client.on_message_received = lambda message: self.messages.put(message.data.decode())
        self.client.on_twin_desired_properties_patch_received = lambda patch: self.desired.put(patch.get("value"))
        self.client.on_method_request_received = self._answer

    def _answer(self, call) -> None:
        self.client.send_method_response(MethodResponse(call.request_id, 200, call.payload))

    def hears(self, server: OwnServer, value: str) -> None:
        """Requires that a message, a method call and a desired property reach the device."""
        target = {"iothub-to": f"/devices/{self.device_id}/messages/devicebound"}
        assert server.ask("POST", "/messages/devicebound", value, **target).status_code == 201
        eventually(f"{self.device_id}: the message", lambda: f'"{value}"' in drained(self.messages))
        call = {"methodName": "echo", "payload": value, "responseTimeoutInSeconds": 5}
        called = f"/twins/{self.device_id}/methods"
        eventually(
            f"{self.device_id}: the method call",
            lambda: server.ask("POST", called, call).json().get("payload") == value,
        )
        eventually(f"{self.device_id}: the desired property", lambda: self._is_shown(server, value))

    def _is_shown(self, server: OwnServer, value: str) -> bool:
        """Changes a property until the device gets it: a hub pushes changes only to connected devices."""
        changed = server.ask("PATCH", f"/twins/{self.device_id}", {"properties": {"desired": {"value": value}}})
        assert changed.status_code == 200, changed.text
        time.sleep(0.2)
        return value in drained(self.desired)


def drained(heard: queue.Queue) -> list:
    return [heard.get_nowait() for _ in range(heard.qsize())]


def eventually(what: str, condition) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


@pytest.fixture(scope="module")
def server(dev, tmp_path_factory):
    directory: pathlib.Path = tmp_path_factory.mktemp("goes-on")
    # It has the CAs of the shared one, which this process trusts.
    for file in dev.directory.glob("ca*"):
        shutil.copy(file, directory)
    started = OwnServer(muster_dev.start(directory, "high", 3), [])
    try:
        with contextlib.ExitStack() as stack:
            ports = {443: started.dev.https_port, 8883: started.dev.mqtts_port}
            started.relays += [stack.enter_context(tcp_relay.relay(started.host, *pair)) for pair in ports.items()]
            yield started
    finally:
        muster_dev.stop(started.dev.process, directory)


@pytest.fixture(scope="module")
def listeners(server):
    connected = [Device(server, transport) for transport in devices.TRANSPORTS]
    for device in connected:
        device.hears(server, "at first")
    yield connected
    for device in connected:
        device.client.shutdown()


@pytest.mark.parametrize("interruption", ["cut", signal.SIGTERM, signal.SIGKILL], ids=["cut", "SIGTERM", "SIGKILL"])
def test_a_device_receives_messages_after_reconnections(server, listeners, interruption):
    if interruption == "cut":
        server.cut()
    else:
        server.restart(interruption)
    for device in listeners:
        device.hears(server, f"after {interruption}")
