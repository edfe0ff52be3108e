"""Reprovision policies, from hub to hub, with azure-iot-device and azure-iot-hub."""

from __future__ import annotations

import time

import devices
import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.iot.hub.models import Twin, TwinProperties
from msrest.exceptions import HttpOperationError

MIGRATE = {"updateHubAssignment": True, "migrateDeviceData": True}
RESET = {"updateHubAssignment": True, "migrateDeviceData": False}
NEVER = {"updateHubAssignment": False, "migrateDeviceData": False}

# The old hub is cleaned up within a second or two.
CLEAN_UP_SECONDS = 20


class Story:
    """A device that registered at the first hub and was used there."""

    def __init__(self, dev, service, registries, registration_id, policy):
        self.dev, self.service, self.registries = dev, service, registries
        self.registration_id, self.policy = registration_id, policy
        self.keys = devices.new_key(), devices.new_key()
        self.device = devices.key_device(registration_id, self.keys[0], self.keys)
        self.hubs = [hub.host_name for hub in dev.hubs[:2]]
        self.service.enrollment.create_or_update(registration_id, self.enrollment(0))
        self.first = self.register()
        with self.device.connected(dev, self.first) as client:
            client.patch_twin_reported_properties({"firmware": "1.2"})
        registry = registries[self.first.assigned_hub]
        registry.update_twin(registration_id, Twin(tags={"by": "hand"}, properties=TwinProperties(desired={"interval": 5})))

    def enrollment(self, number):
        """Returns whether the registration names this hub."""
        return {
            "registrationId": self.registration_id,
            "attestation": devices.symmetric(*self.keys),
            "initialTwin": devices.INITIAL_TWIN,
            "iotHubs": [self.hubs[number]],
            "reprovisionPolicy": self.policy,
        }

    def wanted_at(self, number):
        """Changes the enrollment so that it names this hub."""
        self.service.enrollment.create_or_update(self.registration_id, self.enrollment(number), if_match="*")

    def register(self):
        result = self.device.register(self.dev)
        assert result.status == "assigned", result
        return result.registration_state

    def twin(self, number):
        return self.registries[self.hubs[number]].get_twin(self.registration_id)

    def is_only_at(self, number):
        """Waits until the other hub does not have the device."""
        self.registries[self.hubs[number]].get_device(self.registration_id)
        until = time.monotonic() + CLEAN_UP_SECONDS
        while time.monotonic() < until:
            try:
                self.registries[self.hubs[1 - number]].get_device(self.registration_id)
            except (ResourceNotFoundError, HttpOperationError) as error:
                assert "DeviceNotFound" in str(error) or "Not Found" in str(error), error
                return True
            time.sleep(0.2)
        return False


@pytest.fixture
def story(dev, service, registries, request):
    def begin(policy):
        name = request.node.name.replace("_", "-").removeprefix("test-")
        return Story(dev, service, registries, f"py-{name}"[:60], policy)

    return begin


def test_migrate(story):
    moving = story(MIGRATE)
    moving.wanted_at(1)

    second = moving.register()

    assert (second.assigned_hub, second.sub_status) == (moving.hubs[1], "deviceDataMigrated")
    twin = moving.twin(1)
    assert (twin.tags["by"], twin.properties.desired["interval"]) == ("hand", 5)
    # As in the .NET SDK's end-to-end tests: one reported property, version 2.
    assert (twin.properties.reported["firmware"], twin.properties.reported["$version"]) == ("1.2", 2)
    with moving.device.connected(moving.dev, second) as client:
        assert client.get_twin()["reported"]["firmware"] == "1.2"
    assert moving.is_only_at(1)


def test_reset_on_another_hub(story):
    moving = story(RESET)
    moving.wanted_at(1)

    second = moving.register()

    assert (second.assigned_hub, second.sub_status) == (moving.hubs[1], "deviceDataReset")
    twin = moving.twin(1)
    assert twin.tags == devices.INITIAL_TWIN["tags"]
    assert "firmware" not in twin.properties.reported
    assert twin.properties.reported["$version"] == 1
    assert moving.is_only_at(1)


def test_reset_on_the_same_hub(story):
    staying = story(RESET)

    second = staying.register()

    assert (second.assigned_hub, second.sub_status) == (staying.hubs[0], "deviceDataReset")
    assert staying.twin(0).tags == devices.INITIAL_TWIN["tags"]
    assert "firmware" not in staying.twin(0).properties.reported


def test_never_reprovision(story):
    staying = story(NEVER)
    staying.wanted_at(1)

    second = staying.register()

    assert (second.assigned_hub, second.sub_status) == (staying.hubs[0], "initialAssignment")
    assert staying.twin(0).properties.reported["firmware"] == "1.2"
    assert staying.is_only_at(0)


def test_migrate_on_the_same_hub(story):
    staying = story(MIGRATE)

    second = staying.register()

    # Device API 2019-03-31 has no other substatus; operators see the newer one.
    assert (second.assigned_hub, second.sub_status) == (staying.hubs[0], "initialAssignment")
    shown = staying.service.device_registration_state.get(staying.registration_id)
    assert shown["substatus"] == "reprovisionedToInitialAssignment"
    assert staying.twin(0).properties.reported["firmware"] == "1.2"


def test_move_to_another_hub_and_back(story):
    moving = story(MIGRATE)
    for number in (1, 0, 1, 0):
        moving.wanted_at(number)
        state = moving.register()
        assert (state.assigned_hub, state.sub_status) == (moving.hubs[number], "deviceDataMigrated")
        assert moving.twin(number).properties.reported["firmware"] == "1.2"
    assert moving.is_only_at(0)
