"""The device endpoint and the service API as bytes, without any SDK."""

from __future__ import annotations

import base64
import http.client
import json
import os
import ssl
import urllib.parse
from dataclasses import dataclass

import pki
import sas

# Every api-version that a published or old device SDK is known to send.
# A client that is known to read the result from the first reply; other clients get `assigning` first, as in Azure.
CLIENT = "azure-iot-provisioning-device/1.9.1"
OLD_VERSIONS = ("2017-11-15", "2018-11-01", "2019-03-31", "2021-06-01", "2021-10-01", "2021-11-01-preview")
# From this version on, clients require `assigning` first.
NEW_VERSIONS = (
    "2025-07-01-preview",
    "2026-07-01-preview",
    "2026-11-01",
    "2026-11-02-preview",
    "2026-11-15-preview",
)
BAD_VERSIONS = ("banana", "2019-3-31", "2019-03-31-beta", "")

REPLY_SECONDS = 30


@dataclass(frozen=True)
class Reply:
    """An HTTP answer; header names as they stood on the wire."""

    status: int
    headers: dict[str, str]
    body: object

    def assert_error(self, status: int, code: int) -> None:
        """Requires the error body of the protocol."""
        assert (self.status, self.body.get("errorCode")) == (status, code), self
        assert self.body["message"] and self.body["trackingId"] and self.body["timestampUtc"].endswith("Z")
        assert self.headers["content-type"] == "application/json; charset=utf-8"


def tls(dev, credentials: pki.Credentials | None = None, directory=None) -> ssl.SSLContext:
    """A client context that trusts the server, with a client certificate when given."""
    context = ssl.create_default_context(cafile=dev.ca_file)
    if credentials is not None:
        chain, key = credentials.write(directory)
        context.load_cert_chain(chain, key)
    return context


def https(dev, context: ssl.SSLContext | None = None, host: str | None = None) -> http.client.HTTPSConnection:
    """A kept connection to the service, or to an embedded hub."""
    return http.client.HTTPSConnection(
        host or dev.device_endpoint, dev.https_port, timeout=REPLY_SECONDS, context=context or tls(dev)
    )


def call(connection, method: str, path: str, body=None, token: str | None = None, **headers) -> Reply:
    """One request; `body` is JSON unless it is bytes already."""
    payload = body if isinstance(body, bytes | None) else json.dumps(body).encode("utf-8")
    sent = {"Content-Type": "application/json; charset=utf-8"} if payload is not None else {}
    sent |= {} if token is None else {"Authorization": token}
    connection.request(method, path, body=payload, headers=sent | headers)
    response = connection.getresponse()
    text = response.read()
    return Reply(response.status, dict(response.getheaders()), json.loads(text) if text else None)


@dataclass(frozen=True)
class Device:
    """A device with an individual symmetric-key enrollment."""

    id_scope: str
    registration_id: str
    key: str

    @property
    def resource(self) -> str:
        """The resource of its token."""
        return f"{self.id_scope}/registrations/{self.registration_id}"

    @property
    def path(self) -> str:
        """The start of its HTTPS paths."""
        return f"/{self.id_scope}/registrations/{urllib.parse.quote(self.registration_id, safe='')}"

    def token(self, **options) -> str:
        """Returns a token, which is valid unless the options make it invalid."""
        return sas.token(self.resource, self.key, **options)

    def username(self, version: str = "2021-06-01") -> str:
        """Its MQTT user name."""
        return f"{self.resource}/api-version={version}&ClientVersion={urllib.parse.quote(CLIENT, safe='')}"

    def register(self, connection, version: str = "2021-06-01", **options) -> Reply:
        """Sends the register call."""
        body = options.pop("body", {"registrationId": self.registration_id})
        token = options.pop("token", self.token())
        return call(connection, "PUT", f"{self.path}/register?api-version={version}", body, token, **options)

    def poll(self, connection, operation_id: str, version: str = "2021-06-01") -> Reply:
        """Asks for the state of an operation."""
        path = f"{self.path}/operations/{operation_id}?api-version={version}"
        return call(connection, "GET", path, token=self.token())


class ServiceApi:
    """The calls of the service API that the tests use."""

    def __init__(self, dev):
        self._dev = dev

    def enroll(self, registration_id: str, **more) -> Device:
        """Creates an individual enrollment with a fresh key."""
        key = base64.b64encode(os.urandom(32)).decode("ascii")
        attestation = {"type": "symmetricKey", "symmetricKey": {"primaryKey": key, "secondaryKey": key}}
        self.put("enrollments", registration_id, {"registrationId": registration_id, "attestation": attestation, **more})
        return Device(self._dev.id_scope, registration_id, key)

    def enroll_group(self, group_id: str, attestation: dict) -> None:
        """Creates an enrollment group."""
        self.put("enrollmentGroups", group_id, {"enrollmentGroupId": group_id, "attestation": attestation})

    def put(self, collection: str, identifier: str, record: dict) -> None:
        """Stores one record, which must be new."""
        reply = self.call("PUT", f"/{collection}/{urllib.parse.quote(identifier, safe='')}", record)
        assert reply.status == 200, reply

    def call(self, method: str, path: str, body=None, **headers) -> Reply:
        """One authorized request."""
        policy = self._dev.service_credentials
        token = sas.token(policy["HostName"], policy["SharedAccessKey"], key_name=policy["SharedAccessKeyName"])
        connection = https(self._dev)
        try:
            return call(connection, method, f"{path}?api-version=2021-10-01", body, token, **headers)
        finally:
            connection.close()
