"""`muster dev` keeps all data in its folder, so that a restart continues the same service."""

from __future__ import annotations

import time

import endpoint
import muster_dev
import pytest
import raw_mqtt
import sas

FACTS = ("id_scope", "device_endpoint", "service_connection_string", "ca_pem", "hubs", "sample_group_id", "sample_group_key")


@pytest.fixture
def directory(tmp_path):
    """A separate directory; the high ports keep the standard ones free for other tests."""
    return tmp_path / "kept"


def test_everything_is_kept_across_a_restart(directory):
    directory.mkdir()
    with muster_dev.running_dev(directory, "high") as dev:
        device = endpoint.ServiceApi(dev).enroll("kept", initialTwin={"tags": {"site": "A"}})
        before = registered(device, endpoint.https(dev))
        facts = [getattr(dev, name) for name in FACTS]
        record = endpoint.ServiceApi(dev).call("GET", "/registrations/kept").body

    with muster_dev.running_dev(directory, "high") as dev:
        assert [getattr(dev, name) for name in FACTS] == facts
        assert endpoint.ServiceApi(dev).call("GET", "/registrations/kept").body == record
        connection = endpoint.https(dev)
        assert device.poll(connection, before["operationId"]).body == before
        again = registered(device, connection)["registrationState"]
        assert again["assignedHub"] == before["registrationState"]["assignedHub"]
        assert hub_twin(dev, again)["tags"] == {"site": "A"}


def test_open_connections_do_not_delay_the_shutdown(directory):
    directory.mkdir()
    with muster_dev.running_dev(directory, "high") as dev:
        address = (dev.device_endpoint, dev.mqtts_port)
        idle = [endpoint.https(dev), raw_mqtt.MqttConnection(address, endpoint.tls(dev))]
        idle[0].connect()
        stranger = endpoint.Device(dev.id_scope, "idle", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
        assert idle[1].connect(stranger.registration_id, stranger.username(), stranger.token()) == 0
    for connection in idle:
        connection.close()


def registered(device, connection):
    """Polls until the operation ends: on a busy machine the register call replies earlier."""
    operation = device.register(connection).body
    deadline = time.monotonic() + 60
    while operation["status"] == "assigning" and time.monotonic() < deadline:
        time.sleep(0.1)
        operation = device.poll(connection, operation["operationId"]).body
    return operation


def hub_twin(dev, state):
    """The twin of an assigned device, read from its hub."""
    hub = dev.hub(state["assignedHub"])
    policy = muster_dev.parse_connection_string(hub.connection_string)
    host = policy["HostName"].split(":")[0]
    token = sas.token(host, policy["SharedAccessKey"], key_name=policy["SharedAccessKeyName"])
    connection = endpoint.https(dev, host=host)
    return endpoint.call(connection, "GET", f"/twins/{state['deviceId']}?api-version=2021-04-12", token=token).body
