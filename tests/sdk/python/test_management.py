"""The management API with azure-mgmt-iothubprovisioningservices, unmodified but for base URL and credential."""

from __future__ import annotations

import time
import uuid

import pki
import pytest
import sas
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.mgmt.iothubprovisioningservices import IotDpsClient
from muster_dev import parse_connection_string

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
GROUP = "plant"
API_VERSIONS = ["2017-11-15", "2020-01-01", "2022-02-05", "2026-11-01"]


class SharedAccess(SansIOHTTPPolicy):
    """Signs requests with a key of the management API."""

    def __init__(self, connection: dict[str, str]):
        super().__init__()
        self.connection = connection

    def on_request(self, request):
        host = self.connection["HostName"].partition(":")[0]
        name, key = (self.connection[part] for part in ("SharedAccessKeyName", "SharedAccessKey"))
        request.http_request.headers["Authorization"] = sas.token(host, key, key_name=name)


def client_of(dev, connection_string: str, **more) -> IotDpsClient:
    connection = parse_connection_string(connection_string)
    return IotDpsClient(
        credential=object(),
        subscription_id=SUBSCRIPTION,
        base_url=f"https://{connection['HostName']}",
        credential_scopes=["unused"],
        authentication_policy=SharedAccess(connection),
        connection_verify=dev.ca_file,
        polling_interval=1,
        **more,
    )


@pytest.fixture
def client(dev):
    with client_of(dev, dev.management_connection_string) as client:
        yield client


@pytest.fixture
def resources(client):
    return client.iot_dps_resource


@pytest.fixture
def name():
    return f"plant-{uuid.uuid4().hex[:8]}"


def description(**properties) -> dict:
    return {"location": "north", "tags": {"line": "3"}, "sku": {"name": "S1", "capacity": 1}, "properties": properties}


@pytest.fixture
def instance(resources, name):
    """An instance that exists during a test."""
    created = resources.begin_create_or_update(
        resource_group_name=GROUP,
        provisioning_service_name=name,
        iot_dps_description=description(allocationPolicy="Static"),
    ).result()
    yield created
    resources.begin_delete(name, GROUP).result()


def test_create_get_update_and_delete(resources, name):
    created = resources.begin_create_or_update(GROUP, name, description(allocationPolicy="GeoLatency")).result()
    assert created.name == name
    assert created.properties.state == "Active"
    assert created.properties.id_scope.startswith("0ne")
    assert created.properties.service_operations_host_name == f"{name}.localhost"
    read = resources.get(name, GROUP)
    assert (read.etag, read.properties.id_scope) == (created.etag, created.properties.id_scope)

    # Clients read, change and write back the whole resource.
    read.properties.allocation_policy = "Hashed"
    read.properties.iot_hubs = [
        {
            "connectionString": "HostName=far.example;SharedAccessKeyName=owner;SharedAccessKey=AQEBAQEBAQEBAQEBAQEBAQ==",
            "location": "far",
            "allocationWeight": 0,
        }
    ]
    changed = resources.begin_create_or_update(GROUP, name, read).result()
    assert changed.properties.allocation_policy == "Hashed"
    assert changed.properties.iot_hubs[0].name == "far.example"
    assert "****" in changed.properties.iot_hubs[0].connection_string
    again = resources.begin_create_or_update(GROUP, name, changed).result()
    assert again.etag == changed.etag, "a masked key keeps the stored one"
    assert changed.properties.id_scope == created.properties.id_scope

    tagged = resources.begin_update(GROUP, name, {"tags": {"a": "b"}}).result()
    assert tagged.tags == {"a": "b"}
    resources.begin_delete(name, GROUP).result()
    with pytest.raises(ResourceNotFoundError):
        resources.get(name, GROUP)
    state = resources.get_operation_result(
        f"delete-{created.properties.id_scope}", GROUP, name, asyncinfo="true"
    )
    assert state.status == "Succeeded"


def test_a_resource_is_written_back_as_it_was_read(resources, dev):
    """The emulator's own instance has embedded hubs, whose connection strings have no key."""
    read = resources.get("dev", "default")
    assert read.properties.iot_hubs
    assert all("****" in hub.connection_string for hub in read.properties.iot_hubs)
    written = resources.begin_create_or_update("default", "dev", read).result()
    assert written.etag == read.etag


def test_a_hub_keeps_its_ca_and_its_bound(resources, name, instance):
    """Clients may drop the members that Azure does not have, so they stay when they are absent."""
    authority = pki.authority("hub root").certificate_pem
    connection = "HostName=far.example;SharedAccessKeyName=owner;SharedAccessKey=AQEBAQEBAQEBAQEBAQEBAQ=="
    hub = {"connectionString": connection, "location": "far", "caCertificates": authority, "maxDevices": 7}
    linked = resources.begin_create_or_update(GROUP, name, description(iotHubs=[hub])).result()
    read = resources.get(name, GROUP).as_dict()
    assert resources.begin_create_or_update(GROUP, name, read).result().etag == linked.etag
    hub = read["properties"]["iotHubs"][0]
    assert (hub.pop("caCertificates").strip(), hub.pop("maxDevices")) == (authority.strip(), 7)
    assert resources.begin_create_or_update(GROUP, name, read).result().etag == linked.etag


def test_an_ip_filter_round_trips(resources, name, instance):
    rules = [
        {"filterName": "plant", "action": "Accept", "ipMask": "10.0.0.0/8", "target": "deviceApi"},
        {"filterName": "others", "action": "Reject", "ipMask": "0.0.0.0/0"},
    ]
    properties = {"ipFilterRules": rules, "publicNetworkAccess": "Disabled"}
    filtered = resources.begin_create_or_update(GROUP, name, description(**properties)).result()
    shown = [
        (rule.filter_name, rule.action, rule.ip_mask, rule.target) for rule in filtered.properties.ip_filter_rules
    ]
    assert shown == [("plant", "Accept", "10.0.0.0/8", "deviceApi"), ("others", "Reject", "0.0.0.0/0", "all")]
    assert filtered.properties.public_network_access == "Disabled"
    read = resources.get(name, GROUP)
    assert resources.begin_create_or_update(GROUP, name, read).result().etag == filtered.etag


def test_an_operator_that_is_shut_out_undoes_it(resources, service):
    """Of the emulator's own instance: its service endpoint is filtered, and the management API is not."""
    read = resources.get("dev", "default")
    read.properties.ip_filter_rules = [{"filterName": "all", "action": "Reject", "ipMask": "0.0.0.0/0", "target": "serviceApi"}]
    resources.begin_create_or_update("default", "dev", read).result()
    try:
        with pytest.raises(HttpResponseError) as refused:
            list(service.enrollment.query({"query": "*"}))
        assert refused.value.status_code == 401
        assert refused.value.response.json()["errorCode"] == 401002
    finally:
        read.properties.ip_filter_rules = []
        restored = resources.begin_create_or_update("default", "dev", read).result()
    assert restored.properties.ip_filter_rules == []
    list(service.enrollment.query({"query": "*"}))


def test_operations_beyond_the_throttle_are_repeated_by_the_service_sdk(resources, service):
    """Sixty at once, and then one a second: the SDK waits for Retry-After."""

    def limited_to(operations: int) -> None:
        quotas = {"preset": "off", "operationsPerMinute": operations} if operations else {"preset": "off"}
        body = {"sku": {"name": "S1"}, "properties": {"muster": {"quotas": quotas}}}
        written = resources.begin_create_or_update("default", "dev", body).result().as_dict()
        assert written["properties"]["muster"]["quotas"] == quotas

    limited_to(60)
    try:
        begun = time.monotonic()
        for _ in range(63):
            list(service.enrollment.query({"query": "*"}))
        assert time.monotonic() - begun >= 2
    finally:
        limited_to(0)


def test_mistakes_in_ip_filter_rules_are_named(resources, name, instance):
    rule = {"filterName": "a", "action": "Accept", "ipMask": "10.0.0.0/8"}
    for rules, message in (
        ([{**rule, "ipMask": "10.0.0.0/33"}], "ipFilterRules.0..ipMask"),
        ([rule, rule], "two rules have the name a"),
    ):
        with pytest.raises(HttpResponseError, match=message):
            resources.begin_create_or_update(GROUP, name, description(ipFilterRules=rules)).result()


def test_lists(resources, instance, name, dev):
    of_group = [listed.name for listed in resources.list_by_resource_group("PLANT")]
    assert of_group == [name]
    of_subscription = [listed.properties.id_scope for listed in resources.list_by_subscription()]
    assert {instance.properties.id_scope, dev.id_scope} <= set(of_subscription)
    assert list(resources.list_by_resource_group("none")) == []


def test_names_skus_and_operations(client, resources, instance, name):
    taken = resources.check_provisioning_service_name_availability({"name": name.upper()})
    assert (taken.name_available, taken.reason) == (False, "AlreadyExists")
    assert resources.check_provisioning_service_name_availability({"name": f"{name}x"}).name_available
    assert resources.check_provisioning_service_name_availability({"name": "-"}).reason == "Invalid"
    assert [sku.name for sku in resources.list_valid_skus(name, GROUP)] == ["S1"]
    assert "Microsoft.Devices/provisioningServices/read" in [operation.name for operation in client.operations.list()]


def test_keys(resources, instance, name):
    assert all(policy.primary_key is None for policy in instance.properties.authorization_policies)
    [owner] = resources.list_keys(name, GROUP)
    assert owner.key_name == "provisioningserviceowner"
    assert "ServiceConfig" in owner.rights
    one = resources.list_keys_for_key_name(name, owner.key_name, GROUP)
    assert one.primary_key == owner.primary_key
    policies = [*instance.properties.authorization_policies, {"keyName": "line", "rights": "EnrollmentRead"}]
    body = description(authorizationPolicies=policies)
    resources.begin_create_or_update(GROUP, name, body).result()
    by_name = {policy.key_name: policy for policy in resources.list_keys(name, GROUP)}
    assert by_name[owner.key_name].primary_key == owner.primary_key
    assert by_name["line"].primary_key


def test_certificates(client, instance, name):
    certificates = client.dps_certificate
    authority = pki.authority("line root")
    body = {"properties": {"certificate": authority.certificate_pem}}
    created = certificates.create_or_update(GROUP, name, "line", body)
    assert created.id.endswith(f"/provisioningServices/{name}/certificates/line")
    assert not created.properties.is_verified
    assert [listed.name for listed in certificates.list(GROUP, name).value] == ["line"]
    condition = {"match_condition": MatchConditions.IfNotModified}
    code = certificates.generate_verification_code("line", GROUP, name, etag=created.etag, **condition)
    proof = authority.issue(code.properties.verification_code)
    verified = certificates.verify_certificate(
        "line", GROUP, name, {"certificate": proof.certificate_pem}, etag=code.etag, **condition
    )
    assert verified.properties.is_verified
    assert certificates.get("line", GROUP, name).properties.is_verified
    certificates.delete(GROUP, name, "line", etag=verified.etag, **condition)
    with pytest.raises(ResourceNotFoundError):
        certificates.get("line", GROUP, name)


def test_private_links_do_not_exist(resources, instance, name):
    assert list(resources.list_private_link_resources(GROUP, name).value or []) == []
    assert resources.list_private_endpoint_connections(GROUP, name) == []
    with pytest.raises(ResourceNotFoundError):
        resources.get_private_link_resources(GROUP, name, "iotDps")
    with pytest.raises(ResourceNotFoundError):
        resources.get_private_endpoint_connection(GROUP, name, "one")
    connection = {"properties": {"privateLinkServiceConnectionState": {"status": "Approved", "description": ""}}}
    with pytest.raises(HttpResponseError, match="private endpoints are not supported"):
        resources.begin_create_or_update_private_endpoint_connection(GROUP, name, "one", connection)
    resources.begin_delete_private_endpoint_connection(GROUP, name, "one").result()


@pytest.mark.parametrize("version", API_VERSIONS)
def test_versions(dev, version):
    with client_of(dev, dev.management_connection_string, api_version=version) as client:
        assert dev.id_scope in [listed.properties.id_scope for listed in client.iot_dps_resource.list_by_subscription()]
        with pytest.raises(ResourceNotFoundError) as refusal:
            client.iot_dps_resource.get("none", "none")
        assert "there is no provisioning service none" in str(refusal.value)


def test_a_key_of_an_instance_manages_nothing(dev, resources, instance, name):
    with client_of(dev, dev.service_connection_string) as other:
        listed = [listed.properties.id_scope for listed in other.iot_dps_resource.list_by_subscription()]
        assert listed == [dev.id_scope]
        for call in (
            lambda: other.iot_dps_resource.get(name, GROUP),
            lambda: list(other.iot_dps_resource.list_keys(name, GROUP)),
            lambda: other.iot_dps_resource.begin_create_or_update(GROUP, f"{name}x", description()),
            lambda: list(other.iot_dps_resource.list_keys("dev", "default")),
            lambda: other.iot_dps_resource.begin_delete(name, GROUP),
        ):
            with pytest.raises(HttpResponseError) as refusal:
                call()
            assert refusal.value.status_code in (403, 404)
    assert resources.get(name, GROUP).properties.state == "Active"
