"""Adafruit's CircuitPython library, unmodified, on CPython: it reads an operation ID only from a 202, and subscribes to
`$iothub/methods/#`.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
import time
import types

import devices
import pytest
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties
from test_device import REPLY_SECONDS, send_to_device

# Built into MicroPython; for CPython it comes with Adafruit's Blinka.
sys.modules.setdefault("micropython", types.SimpleNamespace(const=lambda value: value))

import adafruit_logging  # noqa: E402  pylint: disable=wrong-import-position
from adafruit_azureiot import (  # noqa: E402  pylint: disable=wrong-import-position
    IoTCentralDevice,
    IoTHubDevice,
    IoTResponse,
    constants,
    hmac,
)

# CircuitPython does not mangle names in classes, which CPython does.
hmac._HMAC__translate = getattr(hmac, "__translate")
DONE = IoTResponse(200, '{"done": true}')


@pytest.fixture
def network(dev):
    """The functions of a board that the library needs: sockets, a TLS context and a log."""
    logger = adafruit_logging.getLogger("muster-tests")
    logger.setLevel(adafruit_logging.CRITICAL)
    return {"arguments": (socket, ssl.create_default_context(cafile=dev.ca_file)), "logger": logger}


@pytest.fixture
def device(service):
    keys = devices.new_key(), devices.new_key()
    devices.enroll(service, "py-circuit", devices.symmetric(*keys))
    yield devices.key_device("py-circuit", keys[0], keys)
    service.enrollment.delete("py-circuit")


def until(client, condition) -> None:
    """Runs the library's loop until the condition holds."""
    deadline = time.monotonic() + 2 * REPLY_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        client.loop()


def test_a_device_registers_and_receives_twin_changes(dev, device, network, registries, service, monkeypatch):
    monkeypatch.setattr(constants, "DPS_END_POINT", dev.device_endpoint)
    heard: list = []
    client = IoTCentralDevice(
        *network["arguments"], dev.id_scope, device.registration_id, device.key, logger=network["logger"]
    )
    client.on_property_changed = lambda name, value, _version: heard.append((name, value))
    client.connect()
    state = service.device_registration_state.get(device.registration_id)
    assert (state["status"], state["substatus"]) == ("assigned", "initialAssignment")
    registry = registries[state["assignedHub"]]
    until(client, lambda: ("interval", 30) in heard)

    registry.update_twin(device.registration_id, Twin(properties=TwinProperties(desired={"interval": 5})))
    until(client, lambda: ("interval", 5) in heard)

    client.send_property("firmware", "1.2.3")
    client.send_telemetry({"temperature": 21.5})
    until(client, lambda: registry.get_twin(device.registration_id).properties.reported.get("firmware") == "1.2.3")
    client.disconnect()


def test_a_device_receives_messages_and_answers_methods(dev, device, network, registries):
    state = device.register(dev).registration_state
    heard: list = []
    text = f"HostName={state.assigned_hub};DeviceId={state.device_id};SharedAccessKey={device.key}"
    client = IoTHubDevice(*network["arguments"], text, logger=network["logger"])
    client.on_cloud_to_device_message_received = lambda body, properties: heard.append((body, properties.get("level")))
    client.on_direct_method_invoked = lambda name, payload: heard.append((name, json.loads(payload))) or DONE
    client.connect()
    send_to_device(dev, state, "open the valve", {"level": "high"})
    until(client, lambda: ("open the valve", "high") in heard)

    answers: list = []
    call = CloudToDeviceMethod(method_name="reboot", payload={"delay": 3}, response_timeout_in_seconds=30)
    registry = registries[state.assigned_hub]
    calling = threading.Thread(
        target=lambda: answers.append(registry.invoke_device_method(state.device_id, call).payload)
    )
    calling.start()
    until(client, lambda: answers)
    calling.join()
    assert (answers, heard[-1]) == ([{"done": True}], ("reboot", {"delay": 3}))
    client.disconnect()
