"""The service API as bytes: what clients other than the tested SDKs depend on."""

from __future__ import annotations

import base64
import os
import time

import endpoint
import pytest
import sas

VERSIONS = (
    "2018-04-01",
    "2018-09-01-preview",
    "2018-11-01",
    "2019-03-31",
    "2021-06-01",
    "2021-10-01",
    "2025-07-01-preview",
    "2026-07-01-preview",
    "2026-11-01",
)


@pytest.fixture
def ask(dev, connection):
    """Sends one request with the owner's token, or with the one given."""
    policy = dev.service_credentials

    def send(method, target, body=None, *, sr=policy["HostName"], key=None, policy_name=None, expiry=None, **headers):
        token = sas.token(
            sr,
            policy["SharedAccessKey"] if key is None else key,
            key_name=policy["SharedAccessKeyName"] if policy_name is None else policy_name,
            expiry=expiry,
        )
        return endpoint.call(connection, method, target, body, token, **headers)

    return send


def enrollment(identifier, **more):
    return {"registrationId": identifier, "attestation": {"type": "symmetricKey"}, **more}


@pytest.mark.parametrize("version", VERSIONS)
def test_versions_and_status_codes(ask, version):
    target = f"/enrollments/svc-{version}?api-version={version}"
    assert ask("PUT", target, enrollment(f"svc-{version}")).status == 200
    assert ask("PUT", target, enrollment(f"svc-{version}")).status == 409
    assert ask("PUT", target, enrollment(f"svc-{version}"), **{"If-Match": "*"}).status == 200
    assert ask("GET", target).status == 200
    deleted = ask("DELETE", target)
    assert (deleted.status, deleted.body) == (204, None)


@pytest.mark.parametrize("version", endpoint.BAD_VERSIONS)
def test_unknown_version_is_refused(ask, version):
    ask("GET", f"/enrollments/x?api-version={version}").assert_error(400, 400001)
    ask("GET", "/enrollments/x").assert_error(400, 400001)


def test_paths_ignore_case_and_a_trailing_slash(ask):
    bulk = {"mode": "create", "enrollments": [enrollment("svc-slash")]}
    assert ask("POST", "/enrollments/?api-version=2021-10-01", bulk).body == {"isSuccessful": True, "errors": []}
    shown = ask("POST", "/ENROLLMENTS/svc-slash/AttestationMechanism?api-version=2021-10-01")
    assert shown.body["symmetricKey"]["primaryKey"]


def test_query_headers(ask):
    for number in range(3):
        ask("PUT", f"/enrollments/svc-page-{number}?api-version=2021-10-01", enrollment(f"svc-page-{number}"))
    query, token, seen = {"query": "select * from Enrollments"}, None, 0
    while True:
        page = ask(
            "POST", "/enrollments/query?api-version=2021-10-01", query,
            **{"x-ms-max-item-count": "2"} | ({} if token is None else {"x-ms-continuation": token}),
        )
        assert (page.status, page.headers["x-ms-item-type"]) == (200, "Enrollment")
        seen += len(page.body)
        token = page.headers.get("x-ms-continuation")
        if token is None:
            break
        assert token and token.isascii() and len(page.body) == 2
    assert seen >= 3
    groups = ask("POST", "/enrollmentGroups/query?api-version=2021-10-01", {"query": "SELECT *"})
    assert groups.headers["x-ms-item-type"] == "EnrollmentGroup"
    bad = ask(
        "POST", "/enrollments/query?api-version=2021-10-01", query, **{"x-ms-continuation": "forged"}
    )
    assert bad.status == 400


@pytest.mark.parametrize(
    "if_match", ['{etag}', '"{bare}"', "{bare}", 'W/"{bare}"', "*", '"*"'], ids=["as read", "quoted", "bare", "weak", "star", "quoted star"]
)
def test_every_spelling_of_if_match(ask, if_match):
    identifier = "svc-match"
    target = f"/enrollments/{identifier}?api-version=2021-10-01"
    ask("DELETE", target)
    etag = ask("PUT", target, enrollment(identifier)).body["etag"]
    spelled = if_match.format(etag=etag, bare=etag.strip('"'))
    assert ask("PUT", target, enrollment(identifier), **{"If-Match": spelled}).status == 200


def test_errors(ask):
    version = "api-version=2021-10-01"
    ask("GET", f"/enrollments/nobody?{version}").assert_error(404, 404201)
    ask("GET", f"/enrollmentGroups/nobody?{version}").assert_error(404, 404204)
    ask("GET", f"/registrations/nobody?{version}").assert_error(404, 404202)
    assert ask("PUT", f"/enrollments?{version}", {}).status == 405
    assert ask("PUT", f"/registrations/x?{version}", {}).status == 405
    assert ask("PUT", f"/enrollments/x?{version}", b"{").status == 400
    assert ask("PUT", f"/enrollments/x?{version}", enrollment("y")).status == 400
    assert ask("PUT", f"/enrollments/x?{version}", b"<x/>", **{"Content-Type": "application/xml"}).status == 415


class TestTokens:
    """Accepted and refused tokens."""

    TARGET = "/enrollments/svc-token?api-version=2021-10-01"

    def test_accepted_resources(self, dev, ask):
        host = dev.service_credentials["HostName"].split(":")[0]
        for sr in (host, host.upper(), f"{host}:443", f"https://{host}", f"{host}/enrollments", f"{host}/enrollments/svc-token"):
            assert ask("GET", self.TARGET, sr=sr).status == 404, sr

    def test_refused_resources(self, dev, ask):
        host = dev.service_credentials["HostName"].split(":")[0]
        for sr in ("elsewhere.example", f"{host}/enrollmentGroups", f"{host}/enrollments/svc", f"{host}.evil", "", dev.id_scope):
            assert ask("GET", self.TARGET, sr=sr).status == 401, sr

    def test_refused_keys(self, ask):
        ask("GET", self.TARGET, key=base64.b64encode(os.urandom(32)).decode()).assert_error(401, 401002)
        ask("GET", self.TARGET, policy_name="nobody").assert_error(401, 401002)
        ask("GET", self.TARGET, expiry=int(time.time()) - 3600).assert_error(401, 401002)

    def test_device_token_is_refused_by_the_service(self, dev, device, connection):
        reply = endpoint.call(connection, "GET", self.TARGET, token=device.token(key_name="registration"))
        assert reply.status == 401

    def test_no_token(self, connection):
        assert endpoint.call(connection, "GET", self.TARGET).status == 401


def test_metering_counts_only_successful_calls(ask, service_api, connection):
    before = operations(ask)
    device = service_api.enroll("svc-metered")
    service_api.call("GET", "/enrollments/svc-metered")
    registered = device.register(connection)
    device.poll(connection, registered.body["operationId"])
    device.register(connection, token="SharedAccessSignature nonsense")
    service_api.call("GET", "/enrollments/svc-metered-not")
    after = operations(ask)

    # Billable are the put, the read and the registration; polls are free and failures are not counted.
    assert after - before == 3


def operations(ask) -> int:
    """All operations counted so far."""
    usage = ask("GET", "/usage?api-version=2021-10-01").body
    assert usage["total"] == sum(row["count"] for row in usage["usage"])
    return usage["total"]
