"""Devices of azure-iot-device whose hub a webhook chooses: a real HTTPS server, as an Azure Function would be."""

import base64
import hashlib
import hmac
import json
import subprocess
import time

import documented
import pki
import pytest
import webhook
from azure.iot.device import exceptions
from devices import certificate_device, enroll, enroll_group, key_device, new_key, signing_certificates, symmetric


@pytest.fixture
def individual(service):
    """Enrolls a device with a key for a webhook."""

    def enrolled(registration_id, hook, **more):
        keys = new_key(), new_key()
        enroll(service, registration_id, symmetric(*keys), **hook.definition(), **more)
        return key_device(registration_id, keys[0], keys)

    return enrolled


def payload(state):
    """Returns the payload of the webhook for the device, which the SDK returns as text."""
    return json.loads(state.response_payload)


def test_the_webhook_chooses_hub_twin_and_payload(dev, individual, registries):
    twin = {"tags": {"by": "webhook"}, "properties": {"desired": {"speed": 9}}}
    for hub in dev.hubs:
        answer = {"iotHubHostName": hub.host_name, "initialTwin": twin, "payload": {"hello": "device"}}
        registration_id = f"webhook-{hub.name}"
        with webhook.serving(dev, (200, answer)) as hook:
            device = individual(registration_id, hook)
            client = device.provisioning_client(dev)
            client.provisioning_payload = {"model": "x7"}
            result = client.register()
        state = result.registration_state
        assert (result.status, state.assigned_hub) == ("assigned", hub.host_name)
        assert payload(state) == {"hello": "device"}
        found = registries[hub.host_name].get_twin(registration_id)
        assert found.tags == {"by": "webhook"}
        assert found.properties.desired["speed"] == 9

        [asked] = hook.requests
        assert asked["path"] == "/choose?code=secret"
        assert asked["linkedHubs"] == [hub.host_name for hub in dev.hubs]
        context = asked["deviceRuntimeContext"]
        assert context == {"registrationId": registration_id, "symmetricKey": {}, "payload": {"model": "x7"}}
        shown = asked["individualEnrollment"]
        assert shown["attestation"] == {"type": "symmetricKey"}
        assert shown["customAllocationDefinition"]["webhookUrl"].endswith("/choose?****")


def test_the_service_shows_the_payload(dev, individual, service):
    answer = {"iotHubHostName": dev.hubs[0].host_name, "payload": {"shown": True}}
    with webhook.serving(dev, (200, answer)) as hook:
        individual("webhook-payload", hook).register(dev)
    assert service.device_registration_state.get("webhook-payload")["payload"] == {"shown": True}


def test_the_webhook_gets_the_leaf_of_a_certificate_group(dev, service, tmp_path):
    authority = pki.authority("webhook group root")
    hub = dev.hubs[1].host_name
    with webhook.serving(dev, (200, {"iotHubHostName": hub})) as hook:
        enroll_group(service, "webhook-group", signing_certificates(authority), **hook.definition(), iotHubs=[hub])
        device = certificate_device("webhook-member", authority.issue("webhook-member"), tmp_path)
        state = device.register(dev).registration_state
    assert state.assigned_hub == hub
    [asked] = hook.requests
    assert asked["enrollmentGroup"]["enrollmentGroupId"] == "webhook-group"
    assert asked["linkedHubs"] == [hub]
    info = asked["deviceRuntimeContext"]["x509"]["info"]
    assert "CN=webhook-member" in info["subjectName"]


def test_a_busy_webhook_is_retried(dev, individual):
    hub = dev.hubs[0].host_name
    with webhook.serving(dev, (503, {}), (200, {"iotHubHostName": hub})) as hook:
        result = individual("webhook-busy", hook).register(dev)
    assert (result.status, result.registration_state.assigned_hub) == ("assigned", hub)
    assert len(hook.requests) == 2


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        pytest.param((400, {}), 400207, id="refused"),
        pytest.param((200, {"iotHubHostName": "other.example"}), 400207, id="a hub that is not linked"),
        pytest.param((200, {"iotHubHostName": None}), 400208, id="no hub"),
        pytest.param((401, {}), 400209, id="unauthorized"),
    ],
)
def test_invalid_webhook_responses_fail_the_registration(dev, individual, service, answer, code):
    registration_id = f"webhook-fails-{code}-{answer[0]}"
    with webhook.serving(dev, answer) as hook:
        device = individual(registration_id, hook)
        with pytest.raises(exceptions.ClientError) as failure:
            device.register(dev)
    assert "failed registration status" in str(failure.value.__cause__)
    assert len(hook.requests) == 1
    shown = service.device_registration_state.get(registration_id)
    assert (shown["status"], shown["errorCode"]) == ("failed", code)


def test_a_device_that_never_reprovisions_gets_only_the_payload(dev, individual, registries):
    first, second = (hub.host_name for hub in dev.hubs)
    answers = [
        (200, {"iotHubHostName": first, "payload": {"turn": 1}}),
        (200, {"iotHubHostName": second, "payload": {"turn": 2}, "initialTwin": {"tags": {"late": 1}}}),
    ]
    never = {"updateHubAssignment": False, "migrateDeviceData": False}
    with webhook.serving(dev, *answers) as hook:
        device = individual("webhook-never", hook, reprovisionPolicy=never)
        states = [device.register(dev).registration_state for _ in answers]
    assert [(state.assigned_hub, payload(state)) for state in states] == [
        (first, {"turn": 1}),
        (first, {"turn": 2}),
    ]
    assert "late" not in (registries[first].get_twin("webhook-never").tags or {})
    context = hook.requests[1]["deviceRuntimeContext"]
    assert (context["currentIotHubHostName"], context["currentDeviceId"]) == (first, "webhook-never")


def test_a_failing_webhook_also_fails_a_returning_device(dev, individual, registries, service):
    hub = dev.hubs[0].host_name
    never = {"updateHubAssignment": False, "migrateDeviceData": False}
    with webhook.serving(dev, (200, {"iotHubHostName": hub}), (401, {})) as hook:
        device = individual("webhook-stays", hook, reprovisionPolicy=never)
        assert device.register(dev).registration_state.assigned_hub == hub
        with pytest.raises(exceptions.ClientError):
            device.register(dev)
    assert service.device_registration_state.get("webhook-stays")["errorCode"] == 400209
    assert registries[hub].get_device("webhook-stays").device_id == "webhook-stays"


NODE = "\nconst [,, ...given] = process.argv; process.exit(isFromMuster(given[0], Buffer.from(given[1]), ...given.slice(2)) ? 0 : 3);"


def verified_in_node(header, body, key, scope, url):
    """Runs the documented code for Node, and returns its verdict."""
    program = documented.snippet("allocation.md", "javascript", "isFromMuster") + NODE
    ended = subprocess.run(["node", "-", header, body, key, scope, url], input=program.encode(), check=False)
    assert ended.returncode in (0, 3)
    return ended.returncode == 0


def signed(key, scope, url, body, at):
    """Returns the header of another sender that knows this key."""
    text = f"v2\n{at}\n{scope}\n{url}\n".encode() + body
    digest = hmac.new(base64.b64decode(key), text, hashlib.sha256).hexdigest()
    return f"t={at},scope={scope},v2={digest}"


def test_the_documented_code_verifies_webhook_signatures(dev, individual):
    with webhook.serving(dev, (200, {"iotHubHostName": dev.hubs[0].host_name})) as hook:
        individual("webhook-signed", hook).register(dev)
        [(header, body)] = hook.received
    key, scope, url = hook.key, hook.id_scope, hook.url
    other_key, now = base64.b64encode(b"b" * 32).decode(), int(time.time())
    cases = {
        "the service's own": (header, body, True),
        "the same by hand": (signed(key, scope, url, body, now), body, True),
        "another instance's, by its key": (signed(other_key, scope, url, body, now), body, False),
        "another instance's, as it was signed": (signed(other_key, "0neB", url, body, now), body, False),
        "for another instance, by one key": (signed(key, "0neB", url, body, now), body, False),
        "for another webhook": (signed(key, scope, "https://b.example/choose", body, now), body, False),
        "recorded an hour ago": (signed(key, scope, url, body, now - 3600), body, False),
        "another body": (header, body + b" ", False),
        "the old form": (f"t={now},v1=" + "0" * 64, body, False),
        "none": ("", body, False),
        "rubbish": ("t=x,v2=é,=", body, False),
    }
    for name, (given, text, expected) in cases.items():
        assert webhook.VERIFY(given, text, key, scope, url) == expected, name
        assert verified_in_node(given, text, key, scope, url) == expected, name
