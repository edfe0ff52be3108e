"""azure-iot-device over MQTT, plain and on WebSockets: every attestation, then messages, twins and methods at the assigned
hub.
"""

from __future__ import annotations

import itertools
import json
import queue
import time

import devices
import muster_dev
import pki
import pytest
import requests
import sas
from azure.core.exceptions import ResourceNotFoundError
from azure.iot.device import Message, MethodResponse, exceptions
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties

# A push or a method call crosses two TLS connections on one machine.
REPLY_SECONDS = 15
# Numbers the devices of tests that need one each.
NUMBERS = itertools.count()


@pytest.mark.parametrize("transport", devices.TRANSPORTS)
@pytest.mark.parametrize("attestation", devices.ATTESTATIONS, ids=lambda attestation: attestation.__name__)
def test_every_attestation_reaches_its_hub(dev, service, registries, tmp_path, attestation, transport):
    registration_id = f"py-{transport}-" + attestation.__name__.replace("_", "-")
    device = attestation(service, registration_id, tmp_path).over(transport)

    state = assigned(device.register(dev))

    assert state.device_id == registration_id
    assert state.sub_status == "initialAssignment"
    assert state.created_date_time.endswith("Z") and state.last_update_date_time.endswith("Z")
    assert state.etag
    assert_hub_holds(registries[state.assigned_hub], device)
    with device.connected(dev, state) as client:
        assert_initial_twin(client.get_twin())


@pytest.mark.parametrize("transport", devices.TRANSPORTS)
@pytest.mark.parametrize(
    "attestation",
    [devices.group_primary_key, devices.group_intermediate_certificate],
    ids=["symmetric key", "certificate"],
)
class TestHubConversation:
    """Each test registers its own device, which then uses its assigned hub."""

    @pytest.fixture
    def connection(self, dev, service, registries, tmp_path, attestation, transport):
        device = attestation(service, f"py-talk-{next(NUMBERS)}", tmp_path).over(transport)
        state = assigned(device.register(dev))
        with device.connected(dev, state) as client:
            yield client, registries[state.assigned_hub], state

    def test_connection_state_is_seen_by_the_service(self, connection):
        client, registry, state = connection
        assert registry.get_device(state.device_id).connection_state == "Connected"
        client.disconnect()
        assert eventually(lambda: registry.get_device(state.device_id).connection_state == "Disconnected")

    def test_reported_properties_reach_the_service(self, connection):
        client, registry, state = connection
        client.patch_twin_reported_properties({"firmware": "1.2.3", "old": 1})
        # Longer than one WebSocket message of the server: the twin comes back in parts.
        notes = {f"n{number}": "x" * 3000 for number in range(5)}
        client.patch_twin_reported_properties({"firmware": "1.2.4", "old": None, **notes})

        reported = registry.get_twin(state.device_id).properties.reported
        assert reported["firmware"] == "1.2.4"
        assert "old" not in reported
        own = client.get_twin()["reported"]
        assert (own["firmware"], own["n4"]) == ("1.2.4", notes["n4"])

    def test_desired_properties_reach_the_device(self, connection):
        client, registry, state = connection
        received = queue.Queue()
        client.on_twin_desired_properties_patch_received = received.put

        before = client.get_twin()["desired"]["$version"]
        registry.update_twin(state.device_id, Twin(properties=TwinProperties(desired={"interval": 5})))

        patch = received.get(timeout=REPLY_SECONDS)
        assert patch["interval"] == 5
        assert patch["$version"] == before + 1
        assert client.get_twin()["desired"]["interval"] == 5

    def test_direct_method_is_answered(self, connection):
        client, registry, state = connection

        def answer(call):
            body = {"method": call.name, "echo": call.payload}
            client.send_method_response(MethodResponse.create_from_method_request(call, 200, body))

        client.on_method_request_received = answer
        call = CloudToDeviceMethod(
            method_name="reboot now", payload={"delay": 3}, response_timeout_in_seconds=REPLY_SECONDS
        )
        result = registry.invoke_device_method(state.device_id, call)

        assert result.status == 200
        assert result.payload == {"method": "reboot now", "echo": {"delay": 3}}

    def test_telemetry_is_acknowledged(self, connection):
        client, _registry, _state = connection
        message = Message(json.dumps({"temperature": 21.5}), content_encoding="utf-8", content_type="application/json")
        message.custom_properties["a b"] = "c/d"
        for _ in range(10):
            client.send_message(message)
        client.send_message(Message("x" * 200_000))
        assert client.connected

    def test_connection_survives_a_reconnect(self, connection):
        client, _registry, _state = connection
        for _ in range(3):
            client.disconnect()
            client.connect()
            client.send_message("again")

    def test_subscriptions_survive_a_reconnect(self, dev, connection):
        """The SDK connects with its session and does not subscribe again."""
        client, registry, state = connection
        patches, messages = queue.Queue(), queue.Queue()
        client.on_twin_desired_properties_patch_received = patches.put
        client.on_message_received = messages.put
        for number in range(3):
            client.disconnect()
            client.connect()
            registry.update_twin(state.device_id, Twin(properties=TwinProperties(desired={"n": number})))
            # After reconnecting, the SDK may report all desired properties first.
            while patches.get(timeout=REPLY_SECONDS).get("n") != number:
                pass
            send_to_device(dev, state, f"message {number}", {})
            assert messages.get(timeout=REPLY_SECONDS).data == f"message {number}".encode()

    def test_cloud_to_device_message_reaches_the_device(self, dev, connection):
        client, _registry, state = connection
        received = queue.Queue()
        client.on_message_received = received.put

        send_to_device(dev, state, "open the valve", {"level": "high"})

        message = received.get(timeout=REPLY_SECONDS)
        assert message.data == b"open the valve"
        assert message.custom_properties == {"level": "high"}
        assert message.message_id and message.correlation_id == "c-1"

    def test_message_waits_for_an_offline_device(self, dev, connection):
        client, _registry, state = connection
        client.disconnect()
        send_to_device(dev, state, "later", {})
        received = queue.Queue()
        client.on_message_received = received.put
        client.connect()
        assert received.get(timeout=REPLY_SECONDS).data == b"later"

    def test_deleted_device_is_cut_off(self, connection):
        client, registry, state = connection
        registry.delete_device(state.device_id)
        assert eventually(lambda: not client.connected)

    def test_disabled_device_is_cut_off(self, connection):
        client, registry, state = connection
        device = registry.get_device(state.device_id)
        if device.authentication.type == "sas":
            keys = device.authentication.symmetric_key
            update, credentials = registry.update_device_with_sas, (keys.primary_key, keys.secondary_key)
        else:
            thumbprints = device.authentication.x509_thumbprint
            update, credentials = registry.update_device_with_x509, (thumbprints.primary_thumbprint, None)
        update(state.device_id, device.etag, *credentials, "disabled")
        assert eventually(lambda: not client.connected)


def test_sample_group_of_dev_json_admits_devices(dev):
    key = sas.derive_device_key(dev.sample_group_key, "py-sample")
    assert assigned(devices.key_device("py-sample", key, ()).register(dev)).device_id == "py-sample"


def test_payload_is_accepted(dev, service, tmp_path):
    device = devices.individual_primary_key(service, "py-payload", tmp_path)
    client = device.provisioning_client(dev)
    client.provisioning_payload = {"model": "thermometer", "revision": 4}
    assert assigned(client.register()).device_id == "py-payload"


def test_registering_again_keeps_device_and_hub(dev, service, registries, tmp_path):
    device = devices.group_primary_key(service, "py-again", tmp_path)
    first = assigned(device.register(dev))
    with device.connected(dev, first) as client:
        client.patch_twin_reported_properties({"kept": True})

    second = assigned(device.register(dev))

    assert (second.assigned_hub, second.device_id) == (first.assigned_hub, first.device_id)
    assert second.created_date_time == first.created_date_time
    twin = registries[second.assigned_hub].get_twin("py-again")
    assert twin.properties.reported["kept"] is True


def test_the_hub_accepts_the_renewed_certificate(dev, service, registries, tmp_path):
    old, new = pki.self_signed("py-rolled"), pki.self_signed("py-rolled")
    devices.enroll(service, "py-rolled", devices.client_certificates(old, new))
    before = devices.certificate_device("py-rolled", old, tmp_path)
    after = devices.certificate_device("py-rolled", new, tmp_path)

    assert_hub_holds(registries[assigned(before.register(dev)).assigned_hub], before)
    state = assigned(after.register(dev))

    assert_hub_holds(registries[state.assigned_hub], after)
    with after.connected(dev, state) as client:
        assert_initial_twin(client.get_twin())
    with pytest.raises(exceptions.CredentialError), before.connected(dev, state):
        pass


def test_registration_id_keeps_its_case_and_is_found_without_it(dev, service, tmp_path):
    device = devices.individual_primary_key(service, "Py-Mixed:Case_1.0", tmp_path)
    state = assigned(device.register(dev))
    assert state.device_id == "Py-Mixed:Case_1.0"
    assert service.enrollment.get("py-mixed:case_1.0")["registrationId"] == "Py-Mixed:Case_1.0"

    lower = devices.key_device("py-mixed:case_1.0", device.key, ())
    assert assigned(lower.register(dev)).device_id == "Py-Mixed:Case_1.0"


def test_group_member_keeps_the_case_of_its_first_registration(dev, service):
    key = devices.new_key()
    devices.enroll_group(service, "py-case-group", devices.symmetric(key, devices.new_key()))
    for registration_id in ("Py-Case", "py-case", "PY-CASE"):
        member = devices.key_device(registration_id, sas.derive_device_key(key, registration_id), ())
        assert assigned(member.register(dev)).device_id == "Py-Case"


def test_own_device_id_is_used(dev, service, registries):
    key = devices.new_key()
    devices.enroll(service, "py-named", devices.symmetric(key, devices.new_key()), deviceId="press#4")
    state = assigned(devices.key_device("py-named", key, ()).register(dev))
    assert state.device_id == "press#4"
    assert registries[state.assigned_hub].get_device("press#4").status == "enabled"


def test_desired_hub_is_used(dev, service):
    for hub in dev.hubs:
        registration_id, key = f"py-static-{hub.name}", devices.new_key()
        attestation = devices.symmetric(key, devices.new_key())
        devices.enroll(service, registration_id, attestation, allocationPolicy="static", iotHubs=[hub.host_name])
        state = assigned(devices.key_device(registration_id, key, ()).register(dev))
        assert state.assigned_hub == hub.host_name


def test_edge_capability_is_set(dev, service, registries):
    key = devices.new_key()
    attestation = devices.symmetric(key, devices.new_key())
    devices.enroll(service, "py-edge", attestation, capabilities={"iotEdge": True})
    state = assigned(devices.key_device("py-edge", key, ()).register(dev))
    assert registries[state.assigned_hub].get_device("py-edge").capabilities.iot_edge is True


def test_individual_enrollment_precedes_its_group(dev, service, tmp_path):
    member = devices.group_primary_key(service, "py-both", tmp_path)
    devices.enroll(service, "py-both", devices.symmetric(member.key, devices.new_key()), deviceId="by-its-own")
    assert assigned(member.register(dev)).device_id == "by-its-own"


def test_group_nearest_the_leaf_wins(dev, service, tmp_path):
    root = pki.authority("py near root")
    plant = root.subordinate("py plant")
    line = plant.subordinate("py line")
    for group_id, signer in (("py-near-root", root), ("py-near-plant", plant)):
        devices.enroll_group(service, group_id, devices.signing_certificates(signer))
    device = devices.certificate_device("py-near", line.issue("py-near"), tmp_path)

    assigned(device.register(dev))
    assert members(service, "py-near-plant") == {"py-near"} and members(service, "py-near-root") == set()

    devices.enroll_group(
        service, "py-near-line", devices.signing_certificates(line), provisioningStatus="disabled"
    )
    with pytest.raises(exceptions.ClientError) as refusal:
        device.register(dev)
    assert "disabled" in str(refusal.value.__cause__)


class TestRefusals:
    """A device that may not register gets the documented exception of the SDK, and leaves no registration."""

    @pytest.mark.parametrize("transport", devices.TRANSPORTS)
    def test_wrong_key(self, dev, service, tmp_path, transport):
        registration_id = f"py-{transport}-wrong-key"
        devices.individual_primary_key(service, registration_id, tmp_path)
        self.refused(dev, service, devices.key_device(registration_id, devices.new_key(), ()).over(transport))

    def test_group_key_itself(self, dev, service):
        key = devices.new_key()
        devices.enroll_group(service, "py-group-key", devices.symmetric(key, devices.new_key()))
        self.refused(dev, service, devices.key_device("py-group-key-device", key, ()))

    def test_key_derived_for_another_device(self, dev, service, tmp_path):
        other = devices.group_primary_key(service, "py-other", tmp_path)
        self.refused(dev, service, devices.key_device("py-impostor", other.key, ()))

    def test_unknown_device(self, dev, service):
        self.refused(dev, service, devices.key_device("py-unknown", devices.new_key(), ()))

    def test_certificate_with_the_name_alone(self, dev, service, tmp_path):
        devices.enroll(service, "py-same-name", devices.client_certificates(pki.self_signed("py-same-name")))
        forged = devices.certificate_device("py-same-name", pki.self_signed("py-same-name"), tmp_path)
        self.refused(dev, service, forged)

    def test_certificate_of_another_authority_of_the_same_name(self, dev, service, tmp_path):
        devices.enroll_group(service, "py-forged", devices.signing_certificates(pki.authority("py authority")))
        leaf = pki.authority("py authority").issue("py-forged-device")
        self.refused(dev, service, devices.certificate_device("py-forged-device", leaf, tmp_path))

    def test_certificate_of_another_device(self, dev, service, tmp_path):
        root = pki.authority("py shared root")
        devices.enroll_group(service, "py-shared-root", devices.signing_certificates(root))
        stolen = devices.certificate_device("py-not-me", root.issue("py-me"), tmp_path)
        self.refused(dev, service, stolen)

    def refused(self, dev, service, device):
        with pytest.raises(exceptions.ClientError) as refusal:
            device.register(dev)
        assert isinstance(refusal.value.__cause__, exceptions.ServiceError), refusal.value.__cause__
        assert "401" in str(refusal.value.__cause__)
        with pytest.raises(ResourceNotFoundError):
            service.device_registration_state.get(device.registration_id)

    def test_disabled_individual(self, dev, service):
        key = devices.new_key()
        attestation = devices.symmetric(key, devices.new_key())
        devices.enroll(service, "py-disabled", attestation, provisioningStatus="disabled")
        self.disabled(dev, service, devices.key_device("py-disabled", key, ()))

    def test_disabled_group(self, dev, service, tmp_path):
        root = pki.authority("py disabled root")
        devices.enroll_group(
            service, "py-disabled-group", devices.signing_certificates(root), provisioningStatus="disabled"
        )
        leaf = root.issue("py-disabled-member")
        self.disabled(dev, service, devices.certificate_device("py-disabled-member", leaf, tmp_path))

    def test_disabled_individual_blocks_its_group(self, dev, service, tmp_path):
        member = devices.group_primary_key(service, "py-blocked", tmp_path)
        attestation = devices.symmetric(member.key, devices.new_key())
        devices.enroll(service, "py-blocked", attestation, provisioningStatus="disabled")
        self.disabled(dev, service, member)

    def disabled(self, dev, service, device):
        with pytest.raises(exceptions.ClientError) as refusal:
            device.register(dev)
        assert isinstance(refusal.value.__cause__, exceptions.ServiceError), refusal.value.__cause__
        assert "disabled" in str(refusal.value.__cause__)
        assert service.device_registration_state.get(device.registration_id)["status"] == "disabled"


def members(service, group_id) -> set[str]:
    """Returns the registrations of a group."""
    return {state["registrationId"] for state in service.device_registration_state.query(group_id)}


def assigned(result):
    """The registration state of a successful registration."""
    assert result.status == "assigned", result
    return result.registration_state


def assert_initial_twin(twin):
    """Checks that the twin equals the initial twin of the enrollment."""
    desired = {name: value for name, value in twin["desired"].items() if not name.startswith("$")}
    assert desired == devices.INITIAL_TWIN["properties"]["desired"]
    assert isinstance(twin["desired"]["$version"], int)
    assert isinstance(twin["reported"]["$version"], int)


def assert_hub_holds(registry, device):
    """Checks that the hub has the device with the credentials of its registration, and its tags."""
    identity = registry.get_device(device.registration_id)
    assert identity.status == "enabled"
    authentication, expected = identity.authentication, device.credentials
    assert authentication.type == expected["type"]
    if expected["type"] == "sas":
        keys = authentication.symmetric_key
        assert (keys.primary_key, keys.secondary_key) == expected["keys"]
    else:
        assert authentication.x509_thumbprint.primary_thumbprint.upper() == expected["thumbprint"]
    assert registry.get_twin(device.registration_id).tags == devices.INITIAL_TWIN["tags"]


def send_to_device(dev, state, text, properties):
    """Sends by the REST route of embedded hubs: the service SDK uses AMQP for this."""
    host_name = state.assigned_hub
    policy = muster_dev.parse_connection_string(dev.hub(host_name).connection_string)
    headers = {
        "Authorization": sas.token(host_name, policy["SharedAccessKey"], key_name=policy["SharedAccessKeyName"]),
        "iothub-to": f"/devices/{state.device_id}/messages/devicebound",
        "iothub-correlationid": "c-1",
        **{f"iothub-app-{name}": value for name, value in properties.items()},
    }
    url = f"https://{host_name}/messages/devicebound?api-version=2021-04-12"
    reply = requests.post(url, data=text.encode("utf-8"), headers=headers, verify=dev.ca_file, timeout=REPLY_SECONDS)
    assert reply.status_code == 201, reply.text


def eventually(condition) -> bool:
    """Returns whether the condition holds within the reply time."""
    deadline = time.monotonic() + REPLY_SECONDS
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False
