"""azure-iot-device over MQTT on WebSockets (port 443): registration, then a conversation with the assigned hub."""

from __future__ import annotations

import contextlib
import queue

import devices
import pytest
from azure.iot.device import IoTHubDeviceClient, Message, MethodResponse, ProvisioningDeviceClient, exceptions
from azure.iot.device.common.evented_callback import EventedCallback
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties

# A push or a method call crosses two TLS connections on one machine.
REPLY_SECONDS = 15


@pytest.mark.parametrize(
    "attestation",
    [
        devices.individual_primary_key,
        devices.group_primary_key,
        devices.individual_certificate,
        devices.group_intermediate_certificate,
    ],
    ids=lambda attestation: attestation.__name__,
)
def test_device_registers_and_talks_to_its_hub(dev, service, registries, tmp_path, attestation):
    registration_id = "py-ws-" + attestation.__name__.replace("_", "-")
    device = attestation(service, registration_id, tmp_path)

    result = register(dev, device)

    assert result.status == "assigned"
    state = result.registration_state
    assert state.device_id == registration_id
    registry = registries[state.assigned_hub]
    with connected(dev, device, state) as client:
        assert registry.get_device(registration_id).connection_state == "Connected"
        assert client.get_twin()["desired"]["interval"] == 30
        reported_properties_reach_the_service(client, registry, registration_id)
        desired_properties_reach_the_device(client, registry, registration_id)
        direct_method_is_answered(client, registry, registration_id)
        client.send_message(Message("x" * 200_000))
        assert client.connected


def test_connection_survives_a_reconnect(dev, service, tmp_path):
    device = devices.individual_primary_key(service, "py-ws-reconnect", tmp_path)
    state = register(dev, device).registration_state
    with connected(dev, device, state) as client:
        for _ in range(3):
            client.disconnect()
            client.connect()
            client.send_message("again")


def test_wrong_key_is_refused(dev, service, tmp_path):
    devices.individual_primary_key(service, "py-ws-wrong-key", tmp_path)
    with pytest.raises(exceptions.ClientError) as refusal:
        register(dev, devices.key_device("py-ws-wrong-key", devices.new_key(), ()))
    assert "401" in str(refusal.value.__cause__)


def register(dev, device):
    """Registers over WebSockets."""
    endpoint = {
        "provisioning_host": dev.device_endpoint,
        "registration_id": device.registration_id,
        "id_scope": dev.id_scope,
        "server_verification_cert": dev.ca_pem,
        "websockets": True,
    }
    if device.key is not None:
        client = ProvisioningDeviceClient.create_from_symmetric_key(symmetric_key=device.key, **endpoint)
    else:
        client = ProvisioningDeviceClient.create_from_x509_certificate(x509=device.x509, **endpoint)
    try:
        return client.register()
    except Exception:
        # The SDK closes after success only and offers no way to close after a refusal.
        closed = EventedCallback()
        client._pipeline.shutdown(callback=closed)
        closed.wait_for_completion()
        raise


@contextlib.contextmanager
def connected(dev, device, state):
    """The SDK's hub client, connected over WebSockets to the hub that the registration assigned."""
    hub = {
        "hostname": state.assigned_hub,
        "device_id": state.device_id,
        "server_verification_cert": dev.ca_pem,
        "websockets": True,
    }
    if device.key is not None:
        client = IoTHubDeviceClient.create_from_symmetric_key(symmetric_key=device.key, **hub)
    else:
        client = IoTHubDeviceClient.create_from_x509_certificate(x509=device.x509, **hub)
    try:
        client.connect()
        yield client
    finally:
        client.shutdown()


def reported_properties_reach_the_service(client, registry, device_id):
    # Longer than one WebSocket message of the server: the twin comes back in parts.
    notes = {f"n{number}": "x" * 3000 for number in range(5)}
    client.patch_twin_reported_properties({"firmware": "1.2.3", **notes})
    assert registry.get_twin(device_id).properties.reported["firmware"] == "1.2.3"
    assert client.get_twin()["reported"]["n4"] == notes["n4"]


def desired_properties_reach_the_device(client, registry, device_id):
    received = queue.Queue()
    client.on_twin_desired_properties_patch_received = received.put
    registry.update_twin(device_id, Twin(properties=TwinProperties(desired={"interval": 5})))
    assert received.get(timeout=REPLY_SECONDS)["interval"] == 5


def direct_method_is_answered(client, registry, device_id):
    def answer(call):
        client.send_method_response(MethodResponse.create_from_method_request(call, 200, {"echo": call.payload}))

    client.on_method_request_received = answer
    call = CloudToDeviceMethod(
        method_name="reboot", payload={"delay": 3}, response_timeout_in_seconds=REPLY_SECONDS
    )
    result = registry.invoke_device_method(device_id, call)
    assert (result.status, result.payload) == (200, {"echo": {"delay": 3}})
