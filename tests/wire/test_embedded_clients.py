"""Clients of small devices, by their sources: coreMQTT (FreeRTOS), the Azure SDK for Embedded C and
Microchip's AnyCloud firmware. None of them can be had from a package registry.
"""

from __future__ import annotations

import json
import time
import urllib.parse

import endpoint
import muster_dev
import pytest
import raw_mqtt
import sas

ACCEPTED = 0
RESPONSES = "$dps/registrations/res/#"
ASSIGNMENT_SECONDS = 60


class StrictClient:
    """Fails on messages above the granted QoS, which coreMQTT drops from version 2.0 on."""

    def __init__(self, dev, host: str, client_id: str, username: str, token: str) -> None:
        self._connection = raw_mqtt.MqttConnection((host, dev.mqtts_port), endpoint.tls(dev))
        assert self._connection.connect(client_id, username, token) == ACCEPTED
        self._granted = 0

    def __enter__(self) -> StrictClient:
        return self

    def __exit__(self, *_exception) -> None:
        self._connection.close()

    def subscribe(self, topic_filter: str, qos: int) -> None:
        assert self._connection.subscribe(topic_filter, qos) == qos
        self._granted = qos

    def publish(self, topic: str, payload: bytes = b"") -> None:
        self._connection.send(raw_mqtt.publish_packet(topic, payload, qos=0))

    def receive(self) -> raw_mqtt.Message:
        message = self._connection.receive_message()
        assert message.qos <= self._granted, f"{message} on a subscription of QoS {self._granted}"
        return message


def provisioning(dev, device: endpoint.Device) -> StrictClient:
    """A client without a known name, which gets `assigning` first."""
    username = f"{device.resource}/api-version=2019-03-31"
    return StrictClient(dev, dev.device_endpoint, device.registration_id, username, device.token())


def at_hub(dev, device: endpoint.Device, state: dict) -> StrictClient:
    host, device_id = state["assignedHub"], state["deviceId"]
    username = f"{host}/{device_id}/?api-version=2020-09-30&DeviceClientType=azsdk-c%2F1.6.0"
    token = sas.token(f"{host}/devices/{device_id}", device.key)
    return StrictClient(dev, host, device_id, username, token)


def registered(client: StrictClient, request_id: str) -> dict:
    """Takes an operation ID from 202 and polls by it; `request_id` is how the client names its requests."""
    client.publish(f"$dps/registrations/PUT/iotdps-register/?{request_id}", b"{}")
    deadline = time.monotonic() + ASSIGNMENT_SECONDS
    message = client.receive()
    assert message.topic.startswith("$dps/registrations/res/202/?$rid="), message
    while message.topic.startswith("$dps/registrations/res/202/"):
        assert time.monotonic() < deadline
        operation = json.loads(message.payload)["operationId"]
        time.sleep(float(urllib.parse.parse_qs(message.topic)["retry-after"][0]))
        client.publish(f"$dps/registrations/GET/iotdps-get-operationstatus/?{request_id}&operationId={operation}")
        message = client.receive()
    assert message.topic.startswith("$dps/registrations/res/200/?$rid="), message
    return json.loads(message.payload)["registrationState"]


def assigned(device: endpoint.Device, connection) -> dict:
    """Registers over HTTPS, where the first reply has the result unless the machine is busy."""
    operation = device.register(connection).body
    deadline = time.monotonic() + ASSIGNMENT_SECONDS
    while operation["status"] == "assigning" and time.monotonic() < deadline:
        time.sleep(0.1)
        operation = device.poll(connection, operation["operationId"]).body
    return operation["registrationState"]


def hub_call(dev, host: str, method: str, path: str, body=None, **headers) -> endpoint.Reply:
    policy = muster_dev.parse_connection_string(dev.hub(host).connection_string)
    token = sas.token(host, policy["SharedAccessKey"], key_name=policy["SharedAccessKeyName"])
    connection = endpoint.https(dev, host=host)
    try:
        return endpoint.call(connection, method, f"{path}?api-version=2021-04-12", body, token, **headers)
    finally:
        connection.close()


@pytest.mark.parametrize("qos, request_id", [(0, "$rid=1"), (1, "rid=1")], ids=["coreMQTT", "Microchip"])
def test_registration_at_the_granted_qos(dev, service_api, qos, request_id):
    device = service_api.enroll(f"embedded-{qos}")
    with provisioning(dev, device) as client:
        client.subscribe(RESPONSES, qos)
        assert registered(client, request_id)["deviceId"] == device.registration_id


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("any_device", [False, True], ids=["its own ID", "any ID"])
def test_messages_at_the_granted_qos(dev, service_api, connection, qos, any_device):
    """The Azure SDK for Embedded C subscribes to `devices/+/messages/devicebound/#`."""
    device = service_api.enroll(f"embedded-hub-{qos}-{any_device}")
    state = assigned(device, connection)
    host, device_id = state["assignedHub"], state["deviceId"]
    with at_hub(dev, device, state) as client:
        client.subscribe(f"devices/{'+' if any_device else device_id}/messages/devicebound/#", qos)
        target = {"iothub-to": f"/devices/{device_id}/messages/devicebound"}
        for text in (b"one", b"two"):
            assert hub_call(dev, host, "POST", "/messages/devicebound", text, **target).status == 201
            message = client.receive()
            assert (message.payload, message.qos) == (text, qos)
        # Answers to requests have QoS 0, whatever was granted; without `$rid` the answer has an empty one.
        client.subscribe("$iothub/twin/res/#", qos)
        client.publish("$iothub/twin/GET/?rid=7")
        assert client.receive().topic == "$iothub/twin/res/200/?$rid="
