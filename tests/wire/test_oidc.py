"""Bearer tokens of a certified OpenID provider at `muster serve`: roles, audiences, rotated keys, and a provider that is down."""

from __future__ import annotations

import base64
import http.client
import json
import pathlib
import ssl
import time
import urllib.parse

import endpoint
import identity_provider
import pytest
import single_node

PROVIDER, DIRECT = 18771, 18561
ISSUER = f"http://127.0.0.1:{PROVIDER}"
# Muster asks for unknown keys at most every 30 seconds.
ROTATION_SECONDS = 60

CONFIGURATION = f"""
[[instance]]
name = "other"
id_scope = "0neBBBBBBBB"
service_hosts = ["other.example"]
[oidc]
issuer = "{ISSUER}"
[[oidc.role]]
value = "owner"
role = "owner"
[[oidc.role]]
value = "reader"
role = "data reader"
instance = "{single_node.ID_SCOPE}"
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """The directory of a running Muster."""
    directory: pathlib.Path = tmp_path_factory.mktemp("oidc")
    single_node.configure(directory, DIRECT, CONFIGURATION)
    with single_node.running(directory, DIRECT):
        yield directory


def token(client: str, resource: str | None = None) -> str:
    """An access token by client credentials."""
    form = {"grant_type": "client_credentials"} | ({"resource": resource} if resource else {})
    credentials = base64.b64encode(f"{client}:secret".encode()).decode()
    headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/x-www-form-urlencoded"}
    connection = http.client.HTTPConnection("127.0.0.1", PROVIDER, timeout=30)
    connection.request("POST", "/token", body=urllib.parse.urlencode(form), headers=headers)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer["access_token"]


def call(bearer: str, method="GET", path="/enrollments/none", host="localhost", body=None) -> endpoint.Reply:
    """One call with a bearer token."""
    context = ssl._create_unverified_context()  # the certificate is of this test
    connection = http.client.HTTPSConnection("127.0.0.1", DIRECT, timeout=30, context=context)
    try:
        return endpoint.call(connection, method, f"{path}?api-version=2021-10-01", body, f"Bearer {bearer}", Host=host)
    finally:
        connection.close()


def challenge(reply: endpoint.Reply) -> str:
    """The header that says why a token was refused."""
    return {name.lower(): value for name, value in reply.headers.items()}["www-authenticate"]


def part(text: str) -> dict:
    """A decoded part of a token."""
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def encoded(members: dict) -> str:
    """A part of a token."""
    return base64.urlsafe_b64encode(json.dumps(members).encode()).rstrip(b"=").decode()


def test_tokens_of_a_provider(directory):
    enrollment = {"registrationId": "dev-1", "attestation": {"type": "symmetricKey"}}
    with identity_provider.running(directory, PROVIDER):
        owner, reader, stranger = token("owner"), token("reader"), token("stranger")
        assert call(owner, "PUT", "/enrollments/dev-1", body=enrollment).status == 200
        actor = call(owner, path="/log").body["entries"][-1]["actor"]
        assert (actor["kind"], actor["name"], actor["issuer"]) == ("operator", "owner", ISSUER)
        assert call(owner, host="other.example").status == 404
        assert call(reader, path="/enrollments/dev-1").status == 200

        for refused in [
            call(reader, "PUT", "/enrollments/dev-1", body=enrollment),
            call(reader, path="/log"),
            call(reader, host="other.example"),
            call(stranger),
        ]:
            assert refused.status == 403 and "insufficient_scope" in challenge(refused), refused

        header, claims, signature = owner.split(".")
        changed = encoded(part(claims) | {"roles": ["owner", "reader"]})
        unsigned = encoded(part(header) | {"alg": "none"})
        for invalid, reason in [
            (token("owner", "https://other.example"), "another audience"),
            (f"{header}.{changed}.{signature}", "signature"),
            (f"{unsigned}.{claims}.", "not a JWT"),
        ]:
            refused = call(invalid)
            assert refused.status == 401 and reason in challenge(refused), refused

    # Without the provider its known keys stay in use.
    assert call(reader, path="/enrollments/dev-1").status == 200
    assert call(stranger).status == 403

    with identity_provider.running(directory, PROVIDER):
        rotated = token("owner")
        deadline = time.monotonic() + ROTATION_SECONDS
        while (reply := call(rotated)).status == 401 and time.monotonic() < deadline:
            assert "no key" in challenge(reply), reply
            time.sleep(1)
        assert reply.status == 404, reply
        # The keys that the provider withdrew verify nothing any more.
        assert call(owner).status == 401
