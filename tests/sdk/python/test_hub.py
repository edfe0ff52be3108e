"""azure-iot-hub against an embedded hub: registry, twins, queries, methods."""

from __future__ import annotations

import base64

import devices
import pki
import pytest
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import (
    AuthenticationMechanism,
    CloudToDeviceMethod,
    ExportImportDevice,
    QuerySpecification,
    SymmetricKey,
    Twin,
    TwinProperties,
)
from msrest.exceptions import HttpOperationError

KEYS = devices.new_key(), devices.new_key()


class TestRegistry:
    """Device identities."""

    def test_device_with_keys(self, registry):
        created = registry.create_device_with_sas("hub-keys", *KEYS, "enabled")
        read = registry.get_device("hub-keys")
        for device in (created, read):
            assert device.device_id == "hub-keys"
            assert device.status == "enabled"
            assert device.connection_state == "Disconnected"
            assert device.authentication.type == "sas"
            keys = device.authentication.symmetric_key
            assert (keys.primary_key, keys.secondary_key) == KEYS
        assert read.etag == created.etag
        assert int(read.generation_id) > 0

    def test_device_with_thumbprints(self, registry):
        thumbprint = pki.self_signed("hub-x509").thumbprint
        device = registry.create_device_with_x509("hub-x509", thumbprint, None, "enabled")
        assert device.authentication.type == "selfSigned"
        assert registry.get_device("hub-x509").authentication.x509_thumbprint.primary_thumbprint == thumbprint

    def test_keys_are_generated(self, registry):
        device = registry.create_device_with_sas("hub-generated", "", "", "enabled")
        keys = device.authentication.symmetric_key
        assert 16 <= len(base64.b64decode(keys.primary_key)) <= 64
        assert keys.primary_key != keys.secondary_key

    def test_second_create_is_a_conflict(self, registry):
        registry.create_device_with_sas("hub-twice", *KEYS, "enabled")
        refused(409, registry.create_device_with_sas, "hub-twice", *KEYS, "enabled")

    def test_update_by_etag(self, registry):
        created = registry.create_device_with_sas("hub-update", *KEYS, "enabled")
        updated = registry.update_device_with_sas("hub-update", created.etag, *KEYS, "disabled", status_reason="broken")
        assert (updated.status, updated.status_reason) == ("disabled", "broken")
        assert updated.etag != created.etag
        assert updated.generation_id == created.generation_id
        refused(412, registry.update_device_with_sas, "hub-update", created.etag, *KEYS, "enabled")
        assert registry.get_device("hub-update").status == "disabled"

    def test_delete(self, registry):
        created = registry.create_device_with_sas("hub-delete", *KEYS, "enabled")
        refused(412, registry.delete_device, "hub-delete", "c3RhbGU=")
        registry.delete_device("hub-delete", created.etag)
        for gone in (registry.get_device, registry.get_twin, registry.delete_device):
            refused(404, gone, "hub-delete")
        again = registry.create_device_with_sas("hub-delete", *KEYS, "enabled")
        assert again.generation_id != created.generation_id

    def test_device_id_with_every_kind_of_character(self, registry):
        device_id = "a-:.+%_#*?!(),=@;$'Z"
        registry.create_device_with_sas(device_id, *KEYS, "enabled")
        assert registry.get_device(device_id).device_id == device_id
        assert registry.get_twin(device_id).device_id == device_id
        registry.delete_device(device_id)

    def test_bad_device_is_refused(self, registry):
        refused(400, registry.create_device_with_sas, "hub bad", *KEYS, "enabled")
        refused(400, registry.create_device_with_sas, "hub-bad", "c2hvcnQ=", "c2hvcnQ=", "enabled")
        refused(400, registry.create_device_with_x509, "hub-bad", "ABC", None, "enabled")
        refused(404, registry.get_device, "hub-bad")

    def test_list_and_statistics(self, registry):
        registry.create_device_with_sas("hub-listed", *KEYS, "enabled")
        assert "hub-listed" in {device.device_id for device in registry.get_devices()}
        assert len(registry.get_devices(1)) == 1
        statistics = registry.get_device_registry_statistics()
        assert statistics.total_device_count == len(registry.get_devices())
        assert statistics.enabled_device_count + statistics.disabled_device_count == statistics.total_device_count
        assert registry.get_service_statistics().connected_device_count >= 0

    def test_bulk(self, registry):
        identifiers = [f"hub-bulk-{number}" for number in range(5)]
        created = registry.bulk_create_or_update_devices([exported(one, "create") for one in identifiers])
        assert created.is_successful and not created.errors
        assert all(registry.get_device(one).status == "enabled" for one in identifiers)

        again = registry.bulk_create_or_update_devices([exported(identifiers[0], "create"), exported("hub-bulk-9", "create")])
        assert again.is_successful is False
        assert [error.device_id for error in again.errors] == identifiers[:1]
        assert registry.get_device("hub-bulk-9").status == "enabled"

        removed = registry.bulk_create_or_update_devices([exported(one, "delete") for one in [*identifiers, "hub-bulk-9"]])
        assert removed.is_successful
        for identifier in identifiers:
            refused(404, registry.get_device, identifier)


class TestTwins:
    """Tags and desired properties, written by the service."""

    def test_new_twin_is_empty(self, registry):
        registry.create_device_with_sas("hub-twin-new", *KEYS, "enabled")
        twin = registry.get_twin("hub-twin-new")
        assert twin.tags in (None, {})
        assert own(twin.properties.desired) == own(twin.properties.reported) == {}
        assert twin.properties.desired["$version"] == 1

    def test_patch_merges(self, registry):
        registry.create_device_with_sas("hub-twin-patch", *KEYS, "enabled")
        patch(registry, "hub-twin-patch", {"site": "A", "rack": {"row": 1, "slot": 2}}, {"a": {"b": 1, "c": [1, 2]}})
        twin = patch(registry, "hub-twin-patch", {"rack": {"row": None}}, {"a": {"c": [3]}, "d": "x"})

        assert twin.tags == {"site": "A", "rack": {"slot": 2}}
        assert own(twin.properties.desired) == {"a": {"b": 1, "c": [3]}, "d": "x"}
        assert twin.properties.desired["$version"] == 3
        assert "$lastUpdated" in twin.properties.desired["$metadata"]["a"]

    def test_replace_removes_omitted_members(self, registry):
        registry.create_device_with_sas("hub-twin-put", *KEYS, "enabled")
        patch(registry, "hub-twin-put", {"old": 1}, {"old": 1})
        body = Twin(tags={"new": 1}, properties=TwinProperties(desired={"new": 2}))
        registry.replace_twin("hub-twin-put", body)
        twin = registry.get_twin("hub-twin-put")
        assert twin.tags == {"new": 1}
        assert own(twin.properties.desired) == {"new": 2}

    def test_stale_etag_is_refused(self, registry):
        registry.create_device_with_sas("hub-twin-etag", *KEYS, "enabled")
        before = registry.get_twin("hub-twin-etag")
        after = registry.update_twin("hub-twin-etag", Twin(tags={"a": 1}), before.etag)
        assert after.etag != before.etag
        refused(412, registry.update_twin, "hub-twin-etag", Twin(tags={"a": 2}), before.etag)
        assert registry.get_twin("hub-twin-etag").tags == {"a": 1}

    @pytest.mark.parametrize(
        "desired", [{"a.b": 1}, {"a": "x" * 4097}, {"a": [None]}, {"a": 2**60}], ids=["key", "long", "null", "integer"]
    )
    def test_bad_property_is_refused(self, registry, desired):
        with_device(registry, "hub-twin-bad")
        refused(400, registry.update_twin, "hub-twin-bad", Twin(properties=TwinProperties(desired=desired)))
        assert own(registry.get_twin("hub-twin-bad").properties.desired) == {}

    def test_query(self, registry):
        for number in range(5):
            with_device(registry, f"hub-query-{number}")
        everything = QuerySpecification(query="SELECT * FROM devices")
        found, token = [], None
        while True:
            page = registry.query_iot_hub(everything, token, 2)
            assert page.type.lower() == "twin" and 0 < len(page.items) <= 2
            found += [twin.device_id for twin in page.items]
            token = page.continuation_token
            if not token:
                break
        assert len(found) == len(set(found)) and {f"hub-query-{number}" for number in range(5)} <= set(found)

        one = registry.query_iot_hub(QuerySpecification(query="SELECT * FROM devices WHERE deviceId = 'hub-query-3'"))
        assert [twin.device_id for twin in one.items] == ["hub-query-3"]


def test_method_on_an_offline_device(registry):
    with_device(registry, "hub-offline")
    error = refused(404, registry.invoke_device_method, "hub-offline", CloudToDeviceMethod(method_name="x", payload={}))
    assert "404103" in error.response.text


def test_wrong_policy_key_is_refused(dev):
    hub = dev.hubs[0]
    stranger = IoTHubRegistryManager.from_connection_string(
        f"HostName={hub.host_name};SharedAccessKeyName=iothubowner;SharedAccessKey={devices.new_key()}"
    )
    error = refused(401, stranger.get_device, "anything")
    assert error.response.headers["iothub-errorcode"].startswith("IotHubUnauthorized")


def test_hubs_are_isolated(dev, registries):
    first, second = (registries[hub.host_name] for hub in dev.hubs)
    first.create_device_with_sas("hub-only-first", *KEYS, "enabled")
    refused(404, second.get_device, "hub-only-first")


def refused(status, operation, *arguments):
    """Requires that the operation fails with this HTTP status; returns the SDK's error."""
    with pytest.raises(HttpOperationError) as refusal:
        operation(*arguments)
    assert refusal.value.response.status_code == status, refusal.value.response.text
    return refusal.value


def exported(device_id, mode):
    """One line of a bulk request."""
    keys = SymmetricKey(primary_key=KEYS[0], secondary_key=KEYS[1])
    return ExportImportDevice(
        id=device_id,
        import_mode=mode,
        status="enabled",
        authentication=AuthenticationMechanism(type="sas", symmetric_key=keys),
    )


def with_device(registry, device_id):
    """Creates the device unless it exists: a parametrized test runs repeatedly."""
    try:
        registry.get_device(device_id)
    except HttpOperationError:
        registry.create_device_with_sas(device_id, *KEYS, "enabled")


def patch(registry, device_id, tags, desired):
    """Patches tags and desired properties in one call."""
    return registry.update_twin(device_id, Twin(tags=tags, properties=TwinProperties(desired=desired)))


def own(section):
    """Returns a twin section without the `$` members of the hub."""
    return {name: value for name, value in (section or {}).items() if not name.startswith("$")}
