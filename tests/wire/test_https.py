"""The device endpoint over HTTPS, byte by byte."""

from __future__ import annotations

import contextlib
import http.client
import ssl
import time

import endpoint
import pki
import pytest
import sas

# The hosted service takes up to 96 KB.
LARGEST_BODY = 96 * 1024


@pytest.mark.parametrize("version", endpoint.OLD_VERSIONS)
def test_register_answers_assigned_at_once(device, connection, version):
    reply = device.register(connection, version)

    assert reply.status == 202
    assert reply.body["status"] == reply.body["registrationState"]["status"] == "assigned"
    poll = device.poll(connection, reply.body["operationId"], version)
    assert poll.status == 200
    assert poll.body == reply.body


@pytest.mark.parametrize("version", endpoint.NEW_VERSIONS)
def test_newest_clients_see_assigning_first(device, connection, version):
    reply = device.register(connection, version)

    assert reply.status == 202
    assert set(reply.body) == {"operationId", "status"} and reply.body["status"] == "assigning"
    assert 2 <= int(reply.headers["retry-after"]) <= 5
    poll = poll_until_done(device, connection, reply.body["operationId"], version)
    assert poll.body["status"] == "assigned"
    assert poll.body["operationId"] == reply.body["operationId"]


@pytest.mark.parametrize("version", endpoint.BAD_VERSIONS)
def test_unknown_version_is_refused(device, connection, version):
    device.register(connection, version).assert_error(400, 400001)


def test_missing_version_is_refused(device, connection):
    reply = endpoint.call(connection, "PUT", f"{device.path}/register", {}, device.token())
    reply.assert_error(400, 400001)


def test_assigned_reply_has_what_every_client_needs(dev, device, connection):
    reply = device.register(connection)
    state = reply.body["registrationState"]

    assert state["assignedHub"] in {hub.host_name for hub in dev.hubs}
    assert state["deviceId"] == state["registrationId"] == device.registration_id
    assert state["substatus"] == "initialAssignment"
    assert state["etag"]
    for member in ("createdDateTimeUtc", "lastUpdatedDateTimeUtc"):
        assert len(state[member]) == len("2022-08-31T22:02:50.5163352Z") and state[member].endswith("Z")
    assert None not in state.values()
    assert "/" not in reply.body["operationId"]


def test_headers_are_lower_case_and_complete(device, connection):
    reply = device.register(connection, "2025-07-01-preview")
    assert all(name == name.lower() for name in reply.headers)
    assert reply.headers["content-type"] == "application/json; charset=utf-8"
    assert reply.headers.get("connection", "keep-alive").lower() != "close"
    refusal = device.register(connection, "banana")
    assert all(name == name.lower() for name in refusal.headers)
    assert refusal.headers["x-ms-error-code"] == "400001"


def test_connection_is_kept_across_the_conversation(device, connection):
    reply = device.register(connection)
    socket = connection.sock
    for _ in range(3):
        device.poll(connection, reply.body["operationId"])
    device.register(connection, token="SharedAccessSignature nonsense")
    device.register(connection, body=b"{")
    device.register(connection)
    assert connection.sock is socket, "the server closed a connection that clients keep"


def test_status_lookup(device, connection):
    path = f"{device.path}?api-version=2021-06-01"
    body = {"registrationId": device.registration_id}
    before = endpoint.call(connection, "POST", path, body, device.token())
    before.assert_error(404, 404201)

    registered = device.register(connection).body["registrationState"]
    found = endpoint.call(connection, "POST", path, body, device.token())
    assert found.status == 200
    assert {name: found.body[name] for name in ("assignedHub", "deviceId", "status", "substatus", "etag")} == {
        name: registered[name] for name in ("assignedHub", "deviceId", "status", "substatus", "etag")
    }
    assert endpoint.call(connection, "POST", path, {**body, "csr": "MIIB"}, device.token()).status == 400


@pytest.mark.parametrize("body", [b"", b" ", b"{}", b'{"RegistrationId":"x"}', b'{"payload":[1],"unknown":{}}'])
def test_lenient_bodies_register(device, connection, body):
    assert device.register(connection, body=body).body["status"] == "assigned"


@pytest.mark.parametrize("body", [b"{", b"[]", b'"text"', b"\xff\xfe", b'{"payload":}'])
def test_malformed_body_is_refused(device, connection, service_api, body):
    device.register(connection, body=body).assert_error(400, 400003)
    assert service_api.call("GET", f"/registrations/{device.registration_id}").status == 404


def test_unusual_requests_are_accepted(device, connection):
    path = f"{device.path}/register?api-version=2021-06-01&forceRegistration=true&iothub-no-client-cert=true"
    oddities = {"Content-Encoding": "utf-8", "UserAgent": "prov_device_client/1.0", "X-Unknown": "1"}
    reply = endpoint.call(connection, "PUT", path, {}, device.token(), **oddities)
    assert reply.body["status"] == "assigned"
    poll = f"{device.path}/operations/{reply.body['operationId']}?api-version=2021-06-01"
    assert endpoint.call(connection, "GET", poll, {}, device.token()).body["status"] == "assigned"


@pytest.mark.parametrize(
    ("encode", "options"),
    [
        (lambda text: text, {"key_name": "registration"}),
        (lambda text: text.replace("/", "%2F"), {}),
        (lambda text: text.replace("/", "%2f"), {"key_name": "registration"}),
        (lambda text: text.lower(), {"key_name": ""}),
    ],
    ids=["node: raw", "python: upper hex", "c: lower hex", "rust: lower case"],
)
def test_every_spelling_of_a_token(device, connection, encode, options):
    token = sas.literal_token(encode(device.resource), device.key, **options)
    assert device.register(connection, token=token).body["status"] == "assigned"


class TestRefusals:
    """Wrong credentials get 401 and change nothing; unknown paths and operations get 404."""

    def test_bad_tokens(self, device, connection, service_api):
        other = endpoint.Device(device.id_scope, "another-device", device.key)
        wrong_scope = endpoint.Device("0ne00000000", device.registration_id, device.key)
        good = device.token()
        spoiled = {
            "expired": device.token(expiry=int(time.time()) - 3600),
            "another device": other.token(),
            "another scope": wrong_scope.token(),
            "wrong key": sas.token(device.resource, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
            "changed expiry": good.replace("&se=", "&se=9"),
            "no signature": good.replace("&sig=", "&gis="),
            "no scheme": good.removeprefix("SharedAccessSignature "),
            "garbage": "SharedAccessSignature &&&===",
            "bearer": "Bearer eyJ0eXAi",
        }
        for reason, token in spoiled.items():
            reply = device.register(connection, token=token)
            assert (reply.status, reply.body["errorCode"]) in {(401, 401000), (401, 401002)}, (reason, reply)
        assert device.register(connection, token=None).status == 401
        assert service_api.call("GET", f"/registrations/{device.registration_id}").status == 404

    def test_unknown_scope_and_device_look_alike(self, dev, connection):
        for scope in (dev.id_scope, "0ne0000FFFF"):
            stranger = endpoint.Device(scope, "nobody", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
            assert stranger.register(connection).status == 401

    def test_unknown_operation_is_not_found(self, device, connection):
        device.register(connection)
        device.poll(connection, "5.316aac5bdc130deb.b1e02da8-c3a0-4ff2-a121-7ea7a6b7f550").assert_error(404, 404203)

    def test_operation_of_another_device(self, device, connection, service_api):
        operation = device.register(connection).body["operationId"]
        other = service_api.enroll(f"{device.registration_id}-other")
        other.poll(connection, operation).assert_error(404, 404203)

    def test_disabled_enrollment(self, connection, service_api):
        disabled = service_api.enroll("wire-disabled", provisioningStatus="disabled")
        reply = disabled.register(connection)
        assert reply.status == 202
        assert reply.body["status"] == reply.body["registrationState"]["status"] == "disabled"

    def test_wrong_method_and_path(self, device, connection):
        for method, path in (
            ("DELETE", f"{device.path}/register"),
            ("POST", f"{device.path}/register"),
            ("PUT", f"{device.path}/operations/1"),
        ):
            reply = endpoint.call(connection, method, f"{path}?api-version=2021-06-01", token=device.token())
            assert (reply.status, reply.body["errorCode"] // 1000) == (405, 405), reply
        for path in ("/", "/favicon.ico", f"{device.path}/reboot?api-version=2021-06-01", "/%00"):
            assert endpoint.call(connection, "GET", path).status == 404

    @pytest.mark.parametrize("registration_id", ["a b", "x" * 129, "ends.", "null\0", "é"])
    def test_bad_registration_id(self, dev, connection, registration_id):
        stranger = endpoint.Device(dev.id_scope, registration_id, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
        stranger.register(connection).assert_error(400, 400002)


class TestSizes:
    """Bodies and headers up to the limit, and one past it."""

    def test_largest_body(self, device, connection):
        assert device.register(connection, body=body_of(LARGEST_BODY)).body["status"] == "assigned"

    def test_larger_body_is_refused(self, dev, device, service_api):
        for size in (LARGEST_BODY + 1, 4 * LARGEST_BODY):
            opened = endpoint.https(dev)
            device.register(opened, body=body_of(size)).assert_error(413, 413000)
            opened.close()
        assert service_api.call("GET", f"/registrations/{device.registration_id}").status == 404

    def test_larger_body_of_the_service_api_is_refused(self, service_api):
        big = {"registrationId": "wire-big", "initialTwin": {"tags": {"a": "x" * LARGEST_BODY}}}
        assert service_api.call("PUT", "/enrollments/wire-big", big).status in (400, 413)
        assert service_api.call("GET", "/enrollments/wire-big").status == 404

    def test_large_header_is_refused(self, dev, device):
        opened = endpoint.https(dev)
        with contextlib.suppress(ConnectionError, ssl.SSLError, http.client.HTTPException):
            path = f"{device.path}/operations/5.0.0?api-version=2021-06-01"
            large = {"X-Large": "x" * 100_000}
            opened.request("GET", path, headers={"Authorization": device.token(), **large})
            assert opened.getresponse().status == 431
        opened.close()
        assert device.register(endpoint.https(dev)).body["status"] == "assigned"


@pytest.mark.parametrize("kind", sorted(pki.KEY_KINDS))
def test_client_certificates(dev, service_api, tmp_path, kind):
    registration_id = f"wire-x509-{kind}"
    leaf = pki.self_signed(registration_id, kind)
    attestation = {"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": leaf.certificate_pem}}}}
    service_api.put("enrollments", registration_id, {"registrationId": registration_id, "attestation": attestation})
    device = endpoint.Device(dev.id_scope, registration_id, "")
    connection = endpoint.https(dev, endpoint.tls(dev, leaf, tmp_path))

    reply = device.register(connection, token=None)

    assert reply.body["status"] == "assigned"
    assert device_poll_without_token(device, connection, reply.body["operationId"]).body == reply.body
    connection.close()
    assert device.register(endpoint.https(dev), token=None).status == 401


def test_certificate_of_an_unknown_authority_is_refused_with_a_reason(dev, service_api, tmp_path):
    signing = {"signingCertificates": {"primary": {"certificate": pki.authority("wire root").certificate_pem}}}
    service_api.enroll_group("wire-x509-group", {"type": "x509", "x509": signing})
    leaf = pki.authority("another root").issue("wire-x509-stranger")
    connection = endpoint.https(dev, endpoint.tls(dev, leaf, tmp_path))
    reply = endpoint.Device(dev.id_scope, "wire-x509-stranger", "").register(connection, token=None)
    reply.assert_error(401, 401002)


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_tls_versions(dev, device, version):
    context = endpoint.tls(dev)
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    connection = endpoint.https(dev, context)
    assert device.register(connection).body["status"] == "assigned"
    assert connection.sock.version() == version.replace("_", ".")


def poll_until_done(device, connection, operation_id, version):
    """Polls as the server asks until the operation ends."""
    deadline = time.monotonic() + endpoint.REPLY_SECONDS
    while time.monotonic() < deadline:
        reply = device.poll(connection, operation_id, version)
        if reply.status == 200:
            return reply
        assert (reply.status, reply.body["status"]) == (202, "assigning"), reply
        assert reply.body["registrationState"]["status"] == "assigning"
        time.sleep(int(reply.headers["retry-after"]))
    raise AssertionError("the operation did not end")


def device_poll_without_token(device, connection, operation_id):
    path = f"{device.path}/operations/{operation_id}?api-version=2021-06-01"
    return endpoint.call(connection, "GET", path)


def body_of(size: int) -> bytes:
    """A valid register body of exactly this many bytes."""
    frame = b'{"payload":""}'
    return frame[:-2] + b"x" * (size - len(frame)) + frame[-2:]
