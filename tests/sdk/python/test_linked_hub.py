"""A hub of another Muster, linked by `muster hub` while the service runs; devices and operators use the SDKs."""

from __future__ import annotations

import subprocess

import devices
import muster_dev
import pytest
import tcp_relay
from azure.iot.hub import IoTHubRegistryManager


@pytest.fixture(scope="module")
def neighbor(tmp_path_factory):
    """Another Muster, whose third hub has an address that `dev` does not use, with the standard ports."""
    with muster_dev.running_dev(tmp_path_factory.mktemp("neighbor"), "free", hubs=3) as other:
        address = other.hubs[2].host_name
        with tcp_relay.relay(address, 443, other.https_port), tcp_relay.relay(address, 8883, other.mqtts_port):
            yield other


def muster_hub(dev, *arguments: str) -> subprocess.CompletedProcess:
    """Runs `muster hub COMMAND --dev DIRECTORY …`."""
    command, *rest = arguments
    line = [str(muster_dev.binary()), "hub", command, "--dev", str(dev.directory), *rest]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)


def test_devices_are_assigned_to_a_newly_linked_hub(dev, service, neighbor, monkeypatch):
    hub = neighbor.hubs[2]
    credentials = muster_dev.parse_connection_string(hub.connection_string)
    linked = muster_hub(dev, "link", "--hub-ca", neighbor.ca_file, hub.connection_string)
    try:
        assert linked.returncode == 0, linked.stderr
        assert "SharedAccessKey=****" in linked.stdout
        assert credentials["SharedAccessKey"] not in linked.stdout

        keys = devices.new_key(), devices.new_key()
        only_here = {"allocationPolicy": "static", "iotHubs": [hub.host_name]}
        devices.enroll(service, "py-linked", devices.symmetric(*keys), **only_here)
        device = devices.key_device("py-linked", keys[0], keys)
        state = device.register(dev).registration_state
        assert state.assigned_hub == hub.host_name

        # The hub presents the other Muster's certificates.
        with device.connected(neighbor, state) as client:
            assert client.get_twin()["desired"]["interval"] == 30
        for name, value in muster_dev.sdk_environment(neighbor).items():
            monkeypatch.setenv(name, value)
        registry = IoTHubRegistryManager.from_connection_string(
            f"HostName={hub.host_name};SharedAccessKeyName=iothubowner;SharedAccessKey={credentials['SharedAccessKey']}"
        )
        found = registry.get_device("py-linked")
        assert (found.status, found.authentication.symmetric_key.primary_key) == ("enabled", keys[0])
        assert registry.get_twin("py-linked").tags == {"site": "plant 7"}

        # A wrong key is reported, and the right one is accepted again.
        refused = muster_hub(dev, "update", hub.host_name, "--key", devices.new_key())
        assert refused.returncode == 1 and "not accepted" in refused.stderr, refused.stderr
        updated = muster_hub(dev, "update", hub.host_name, "--key", credentials["SharedAccessKey"], "--weight", "2")
        assert updated.returncode == 0, updated.stderr
        assert muster_hub(dev, "check", hub.host_name).returncode == 0
    finally:
        unlinked = muster_hub(dev, "unlink", hub.host_name)
    assert unlinked.returncode == 0, unlinked.stderr
    assert hub.host_name not in muster_hub(dev, "list").stdout
