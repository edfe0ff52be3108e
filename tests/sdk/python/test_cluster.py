"""The Python and Node SDKs with three nodes behind a load balancer: any node serves any device, any poll and any operator."""

from __future__ import annotations

import json
import pathlib
import subprocess

import cluster
import devices
import muster_dev
import pytest
import webhook
from azure.iot.deviceprovisioning import DeviceProvisioningClient

NODE_SDK = pathlib.Path(__file__).parents[1] / "node"
NODE_TRANSPORTS = ("http", "mqtt", "mqttWs", "amqp", "amqpWs")


@pytest.fixture(scope="module")
def nodes(dev, tmp_path_factory):
    """A running cluster, with the hubs of `dev`."""
    with cluster.running(dev, tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="module")
def operator(nodes):
    """The service SDK, each of whose requests goes to the next node."""
    view = nodes.by_request
    with DeviceProvisioningClient.from_connection_string(
        view.service_connection_string, connection_verify=view.ca_file
    ) as client:
        yield client


def run_node(view: muster_dev.MusterDev, *arguments: str) -> str:
    """Runs a program with the Node SDK against the cluster, and returns what it prints."""
    environment = muster_dev.command_environment(view)
    ended = subprocess.run(
        ["node", *arguments], cwd=NODE_SDK, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-5000:]
    return ended.stdout


def register_with_node(view, transport: str, registration_id: str, key: str, times: int) -> list[tuple]:
    states = json.loads(run_node(view, "register.js", transport, registration_id, key, str(times)))
    return [(state["status"], state["assignedHub"], state["createdDateTimeUtc"]) for state in states]


def register_with_python(view, transport: str, registration_id: str, key: str, times: int) -> list[tuple]:
    device = devices.key_device(registration_id, key, (key, key)).over(transport)
    results = [device.register(view) for _ in range(times)]
    states = [(result.status, result.registration_state) for result in results]
    return [(status, state.assigned_hub, state.created_date_time) for status, state in states]


def served(before: list[int], after: list[int]) -> list[int]:
    """Returns what each node did."""
    return [late - early for early, late in zip(before, after)]


@pytest.mark.parametrize(
    ("register", "transport"),
    [
        *((register_with_python, transport) for transport in devices.TRANSPORTS),
        *((register_with_node, transport) for transport in NODE_TRANSPORTS),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__.removeprefix("register_with_"),
)
def test_a_device_is_the_same_at_every_node(nodes, operator, register, transport):
    registration_id, key = f"cluster-{register.__name__[-4:]}-{transport}".lower(), devices.new_key()
    devices.enroll(operator, registration_id, devices.symmetric(key, key))
    before = nodes.answers()
    # Node keeps the connection of HTTP.
    view = nodes.by_request if transport == "http" else nodes.by_connection
    states = register(view, transport, registration_id, key, cluster.NODES)
    assert states[0][0] == "assigned"
    assert states == states[:1] * cluster.NODES
    assert all(served(before, nodes.answers())), "each node served it"


def test_an_operation_is_polled_at_another_node_than_it_began_at(nodes, operator):
    key, hub = devices.new_key(), nodes.by_request.hubs[0].host_name
    before = [nodes.answers(outcome) for outcome in ("assigning", "assigned")]
    # The webhook is busy at first, so that the register call is answered before there is a result.
    with webhook.serving(nodes.by_request, (503, {}), (200, {"iotHubHostName": hub})) as hook:
        devices.enroll(operator, "cluster-polls", devices.symmetric(key, key), **hook.definition())
        [state] = register_with_node(nodes.by_request, "http", "cluster-polls", key, 1)
    assert state[:2] == ("assigned", hub)
    assert len(hook.requests) == 2, "one node executed the operation"
    assigning, assigned = (
        served(early, nodes.answers(outcome)) for early, outcome in zip(before, ("assigning", "assigned"))
    )
    began = next(number for number, count in enumerate(assigning) if count)
    ended = next(number for number, count in enumerate(assigned) if count)
    assert began != ended, (assigning, assigned)
    record = operator.device_registration_state.get("cluster-polls")
    assert (record["status"], record["assignedHub"]) == ("assigned", hub)


def test_an_operator_reads_at_one_node_what_another_wrote(nodes, operator):
    for number in range(2 * cluster.NODES):
        identifier = f"cluster-operator-{number}"
        created = devices.enroll(operator, identifier, devices.symmetric())
        # Twice, so that the next one is created at another node.
        for _ in range(2):
            assert operator.enrollment.get(identifier)["etag"] == created["etag"]
        operator.enrollment.delete(identifier, if_match=created["etag"])
    for node in nodes.nodes:
        assert "enrollments/cluster-operator-" in node.log.read_text(), f"node {node.number} served no operator"


def test_the_service_sdk_of_node_goes_from_node_to_node(nodes):
    run_node(nodes.by_request, "--test", "--test-force-exit", "service.test.js")


def test_devices_of_the_node_sdk_reach_their_hubs(nodes):
    pattern = "--test-name-pattern=with derived group key reaches|keeps device and hub"
    before = nodes.answers()
    run_node(nodes.by_connection, "--test", "--test-force-exit", pattern, "device.test.js")
    assert all(served(before, nodes.answers()))
