"""Replays recordings of Azure and of Azure CLI against Muster."""

from __future__ import annotations

import json
import pathlib

import endpoint
import muster_dev
import pytest
import replay

RECORDED = pathlib.Path(__file__).parent / "recorded"
HOSTED = json.loads((RECORDED / "hosted_service.json").read_text(encoding="utf-8"))
AZURE_CLI = json.loads((RECORDED / "azure_cli.json").read_text(encoding="utf-8"))

# The members in which Muster differs from Azure, with the reason.
DIFFERENCES = {
    "etag": "a quoted string, as HTTP has it; the hosted service's is the base64 of one",
    "provisioningStatus": "`enabled` where null was sent; the hosted service repeats the null",
    "symmetricKey": "a registration says by which enrollment group it came; the hosted service says so to devices alone",
    "errors.errorStatus": "other words; the code says which error it is",
}


@pytest.fixture(scope="module")
def lone_hub(tmp_path_factory):
    """A `muster dev` with one hub, as the recorded service had it, and with no enrollments."""
    with muster_dev.running_dev(tmp_path_factory.mktemp("recorded"), "free", hubs=1) as running:
        removed = endpoint.ServiceApi(running).call("DELETE", f"/enrollmentGroups/{running.sample_group_id}")
        assert removed.status == 204
        yield running


def test_replies_match_the_recordings_of_azure(lone_hub):
    """Each scenario cleans up. Remove a difference from the table when it no longer exists."""
    met = set()
    for name, steps in HOSTED["scenarios"].items():
        found = replay.Replay(lone_hub, HOSTED).run(steps)
        undocumented = [what for where, what in found if where not in DIFFERENCES]
        assert not undocumented, "\n".join([name, *undocumented])
        met |= {where for where, _ in found}
    assert met == DIFFERENCES.keys()


@pytest.mark.parametrize("service", ["provisioning", "hub"])
def test_azure_cli_is_served(lone_hub, service):
    hub = lone_hub.hubs[0] if service == "hub" else None
    found = replay.Replay(lone_hub, AZURE_CLI, hub).run(AZURE_CLI[service])
    assert not found, "\n".join(what for _, what in found)
