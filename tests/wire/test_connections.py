"""A refusal keeps the connection open, because clients reuse it and fail if the server closes it."""

from __future__ import annotations

import time

import endpoint
import muster_dev
import pytest
import sas

# Clients send header and body in two writes; a server that answers between them must still read the body.
BETWEEN_WRITES_SECONDS = 0.2
UNKNOWN_POLICY_TOKEN = "SharedAccessSignature sr=x&sig=AAAA&se=4000000000&skn=nobody"


def refusals_by_the_device_api(dev, device):
    """Host, method, path and token of requests that the device API refuses at various stages."""
    register = f"{device.path}/register?api-version=2021-06-01"
    yield dev.device_endpoint, "PUT", register, "SharedAccessSignature nonsense"
    yield dev.device_endpoint, "PUT", register, UNKNOWN_POLICY_TOKEN
    yield dev.device_endpoint, "PUT", f"{device.path}/register?api-version=never", device.token()
    yield dev.device_endpoint, "POST", register, device.token()
    yield dev.device_endpoint, "GET", f"{device.path}/operations/5.0.0?api-version=2021-06-01", device.token()
    yield dev.device_endpoint, "PUT", "/nowhere/at/all", device.token()


def refusals_by_the_service_api(dev, _device):
    """The same for the service API."""
    for method, path in (("PUT", "/enrollments/x"), ("POST", "/enrollments/query"), ("DELETE", "/enrollments")):
        for version in ("2021-10-01", "never"):
            yield dev.device_endpoint, method, f"{path}?api-version={version}", UNKNOWN_POLICY_TOKEN


def refusals_by_a_hub(dev, _device):
    """The same for an embedded hub."""
    host = dev.hubs[0].host_name
    policy = muster_dev.parse_connection_string(dev.hubs[0].connection_string)
    token = sas.token(host, policy["SharedAccessKey"], key_name=policy["SharedAccessKeyName"])
    for method, path in (("PUT", "/devices/x"), ("PATCH", "/twins/x"), ("DELETE", "/devices/x"), ("PUT", "/nowhere")):
        yield host, method, f"{path}?api-version=2021-04-12", UNKNOWN_POLICY_TOKEN
    for method, path in (("DELETE", "/devices/x"), ("PUT", "/nowhere"), ("PUT", "/devices/bad%20id")):
        yield host, method, f"{path}?api-version=2021-04-12", token


@pytest.mark.parametrize(
    "refusals",
    [refusals_by_the_device_api, refusals_by_the_service_api, refusals_by_a_hub],
    ids=lambda refusals: refusals.__name__,
)
def test_refusal_keeps_the_connection(dev, device, refusals):
    for host, method, path, token in refusals(dev, device):
        connection = endpoint.https(dev, host=host)
        first = in_two_writes(connection, method, path, token)
        kept = connection.sock
        assert 400 <= first < 500, (method, path, first)
        assert in_two_writes(connection, method, path, token) == first, (method, path)
        assert connection.sock is kept, f"the connection was closed after {method} {path}"
        connection.close()


def in_two_writes(connection, method, path, token) -> int:
    """Sends one request, its body later than its header; returns the status."""
    body = b'{"registrationId":"x"}'
    connection.putrequest(method, path)
    for name, value in (
        ("Authorization", token),
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
    ):
        connection.putheader(name, value)
    connection.endheaders()
    time.sleep(BETWEEN_WRITES_SECONDS)
    connection.send(body)
    response = connection.getresponse()
    response.read()
    return response.status
