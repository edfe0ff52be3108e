"""CA certificates: proof of possession, references in enrollments, and completed chains."""

from __future__ import annotations

import dataclasses
import http.client
import json
import ssl
import urllib.parse

import pki
import pytest
import sas
from azure.iot.device.exceptions import ClientError
from devices import certificate_device

API_VERSION = "2022-02-05"


@dataclasses.dataclass(frozen=True)
class Certificates:
    """The calls of Azure Resource Manager for CA certificates, without an SDK."""

    dev: object

    def call(self, method: str, path: str, body=None, *, if_match: str | None = None, version=API_VERSION):
        """The parsed answer; an error status raises."""
        parts = dict(pair.split("=", 1) for pair in self.dev.service_connection_string.split(";"))
        host, _, port = parts["HostName"].partition(":")
        token = sas.token(host, parts["SharedAccessKey"], key_name=parts["SharedAccessKeyName"])
        headers = {"authorization": token, "content-type": "application/json"}
        if if_match is not None:
            headers["if-match"] = if_match
        context = ssl.create_default_context(cafile=self.dev.ca_file)
        connection = http.client.HTTPSConnection(host, int(port or 443), context=context, timeout=30)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, f"{path}?api-version={version}", body=text, headers=headers)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status >= 300:
            raise AssertionError(f"{method} {path}: {response.status} {answer.decode()}")
        return json.loads(answer) if answer else None

    def path(self, name: str, what: str = "") -> str:
        return f"/certificates/{urllib.parse.quote(name)}{what}"

    def upload(self, name: str, credentials: pki.Credentials, **more):
        return self.call("PUT", self.path(name), {"certificate": credentials.certificate_pem, **more})

    def verify(self, name: str, authority: pki.Credentials):
        """Proves possession of the key of a CA."""
        answer = self.call("POST", self.path(name, "/generateVerificationCode"), if_match="*")
        proof = authority.issue(answer["properties"]["verificationCode"])
        body = {"certificate": proof.certificate_pem}
        return self.call("POST", self.path(name, "/verify"), body, if_match=answer["etag"])


@dataclasses.dataclass(frozen=True)
class Plant:
    """A root, two intermediates below each other, and names of their own for a test."""

    name: str
    root: pki.Credentials
    region: pki.Credentials
    factory: pki.Credentials

    @classmethod
    def new(cls, name: str) -> Plant:
        root = pki.authority(f"{name} root")
        region = root.subordinate(f"{name} region")
        return cls(name, root, region, region.subordinate(f"{name} factory"))


@pytest.fixture(scope="module")
def certificates(dev) -> Certificates:
    return Certificates(dev)


def names(primary: str, secondary: str | None = None) -> dict:
    references = {"primary": primary} if secondary is None else {"primary": primary, "secondary": secondary}
    return {"type": "x509", "x509": {"caReferences": references}}


def enroll_group(service, group_id: str, attestation: dict):
    return service.enrollment_group.create_or_update(
        group_id, {"enrollmentGroupId": group_id, "attestation": attestation}
    )


def register(dev, registration_id, credentials, directory):
    return certificate_device(registration_id, credentials, directory).register(dev)


def refused(dev, registration_id, credentials, directory):
    with pytest.raises(ClientError):
        register(dev, registration_id, credentials, directory)


def test_group_by_ca_reference_with_every_chain(dev, service, certificates, tmp_path):
    plant = Plant.new("by-name")
    certificates.upload("by-name-root", plant.root)
    group = enroll_group(service, "by-name", names("by-name-root"))
    assert group["attestation"]["x509"]["caReferences"]["primary"] == "by-name-root"

    def device(suffix):
        return f"by-name-{suffix}", plant.factory.issue(f"by-name-{suffix}")

    first = device("1")
    refused(dev, *first, tmp_path)
    assert certificates.verify("by-name-root", plant.root)["properties"]["isVerified"] is True
    # With both intermediates.
    assert register(dev, *first, tmp_path).status == "assigned"
    # Without the intermediates there is no path from the leaf, until they are stored.
    registration_id, credentials = device("2")
    refused(dev, registration_id, credentials.alone(), tmp_path)
    certificates.upload("by-name-region", plant.region)
    certificates.upload("by-name-factory", plant.factory)
    assert register(dev, registration_id, credentials.alone(), tmp_path).status == "assigned"
    # With one of the two.
    registration_id, credentials = device("3")
    half = pki.Credentials(credentials.key, credentials.certificates[:2])
    assert register(dev, registration_id, half, tmp_path).status == "assigned"


def test_individual_by_ca_reference(dev, service, certificates, tmp_path):
    plant = Plant.new("own-name")
    certificates.upload("own-name-root", plant.root, isVerified=True)
    service.enrollment.create_or_update(
        "own-name-1", {"registrationId": "own-name-1", "attestation": names("own-name-root")}
    )
    assert register(dev, "own-name-1", plant.factory.issue("own-name-1"), tmp_path).status == "assigned"
    stranger = Plant.new("own-name")
    refused(dev, "own-name-1", stranger.factory.issue("own-name-1"), tmp_path)


def test_authority_is_rolled_while_devices_register(dev, service, certificates, tmp_path):
    old, new = pki.authority("roll 2026"), pki.authority("roll 2027")
    certificates.upload("roll-2026", old, isVerified=True)
    certificates.upload("roll-2027", new, isVerified=True)
    stored = enroll_group(service, "roll", names("roll-2026"))
    assert register(dev, "roll-1", old.issue("roll-1"), tmp_path).status == "assigned"
    refused(dev, "roll-2", new.issue("roll-2"), tmp_path)

    def reference(*slots):
        nonlocal stored
        body = {"enrollmentGroupId": "roll", "attestation": names(*slots)}
        stored = service.enrollment_group.create_or_update("roll", body, if_match=stored["etag"])

    reference("roll-2026", "roll-2027")
    assert register(dev, "roll-1", old.issue("roll-1"), tmp_path).status == "assigned"
    assert register(dev, "roll-2", new.issue("roll-2"), tmp_path).status == "assigned"
    reference("roll-2027")
    refused(dev, "roll-1", old.issue("roll-1"), tmp_path)
    assert register(dev, "roll-1", new.issue("roll-1"), tmp_path).status == "assigned"


def test_deleted_and_blocked_authorities_admit_no_device(dev, service, certificates, tmp_path):
    plant = Plant.new("gone")
    uploaded = certificates.upload("gone-root", plant.root, isVerified=True)
    enroll_group(service, "gone", names("gone-root"))
    credentials = plant.factory.issue("gone-1")
    assert register(dev, "gone-1", credentials, tmp_path).status == "assigned"

    path = f"/blockedCertificates/{plant.region.thumbprint}"
    certificates.call("PUT", path, {"reason": "key lost"}, version="2021-10-01")
    refused(dev, "gone-1", credentials, tmp_path)
    certificates.call("DELETE", path, version="2021-10-01")
    assert register(dev, "gone-1", credentials, tmp_path).status == "assigned"

    certificates.call("DELETE", certificates.path("gone-root"), if_match=uploaded["etag"])
    refused(dev, "gone-1", credentials, tmp_path)
