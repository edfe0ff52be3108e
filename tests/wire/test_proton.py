"""Qpid Proton, an AMQP client that is independent of the SDKs, against the device endpoint and a hub.

Proton settles, grants credit and describes its terminus as the standard lets it, where the SDKs have habits of their own.
"""

from __future__ import annotations

import contextlib
import json

import endpoint
import pki
import pytest
import sas
from proton import Delivery, Message, SSLDomain, symbol
from proton.reactor import LinkOption
from proton.utils import BlockingConnection, LinkDetached

SECONDS = 30


class Properties(LinkOption):
    """The members of an attach besides its address."""

    def __init__(self, **properties):
        self._properties = {symbol(f"com.microsoft:{name.replace('_', '-')}"): text for name, text in properties.items()}

    def apply(self, link):
        link.properties = self._properties


VERSIONED = Properties(api_version="2021-06-01", client_version="qpid-proton")


def trusting(dev, credentials: pki.Credentials | None = None, directory=None) -> SSLDomain:
    """TLS that verifies the issuer of the certificate, but not its name: Proton does not compare addresses."""
    domain = SSLDomain(SSLDomain.MODE_CLIENT)
    domain.set_trusted_ca_db(dev.ca_file)
    domain.set_peer_authentication(SSLDomain.VERIFY_PEER)
    if credentials is not None:
        chain, key = credentials.write(directory)
        domain.set_credentials(str(chain), str(key), None)
    return domain


@contextlib.contextmanager
def connected(host, port, domain, **login):
    """An open connection with a session; it is closed as the standard says, and the server must close as well."""
    opened = BlockingConnection(f"amqps://{host}:{port}", timeout=SECONDS, ssl_domain=domain, **login)
    try:
        yield opened
    finally:
        opened.close()


@contextlib.contextmanager
def by_token(dev, device):
    """A device that logs in with its token."""
    login = {"user": device.resource, "password": device.token(), "allowed_mechs": "PLAIN"}
    with connected(dev.device_endpoint, dev.amqps_port, trusting(dev), **login) as opened:
        yield opened


def links(connection, address):
    """Attaches a link in each direction."""
    receiver = connection.create_receiver(address, credit=10, options=VERSIONED)
    return connection.create_sender(address, options=VERSIONED), receiver


def ask(sender, receiver, verb, body=None, correlation_id=None, **more):
    """Sends a request, which the service must accept, and returns its reply."""
    properties = {"iotdps-operation-type": verb} | more
    request = Message(body=body, properties=properties, correlation_id=correlation_id)
    assert sender.send(request, timeout=SECONDS).remote_state == Delivery.ACCEPTED
    reply = receiver.receive(timeout=SECONDS)
    receiver.accept()
    return reply


def said(reply):
    """The JSON of a reply."""
    return json.loads(bytes(reply.body))


def registered(sender, receiver, body=b"{}"):
    """Registers and polls, because Proton is not known to accept a result in the first reply. Returns the state."""
    begun = said(ask(sender, receiver, "iotdps-register", body))
    assert begun["status"] == "assigning"
    return said(ask(sender, receiver, "iotdps-get-operationstatus", **{"iotdps-operation-id": begun["operationId"]}))


@pytest.mark.parametrize(
    ("correlation_id", "body"),
    [("text", b'{"registrationId":"x"}'), (7, b"{}"), (None, "{}"), ("text", None)],
    ids=["data", "number", "value", "empty"],
)
def test_a_device_registers_and_polls(dev, service_api, device, correlation_id, body):
    body = body.replace(b"x", device.registration_id.encode()) if isinstance(body, bytes) else body
    with by_token(dev, device) as connection:
        sender, receiver = links(connection, device.resource)
        reply = ask(sender, receiver, "iotdps-register", body, correlation_id)
        assert (reply.correlation_id, reply.content_type) == (correlation_id, "application/json; charset=utf-8")
        begun = said(reply)
        assert begun["status"] == "assigning"
        asked = {"iotdps-operation-id": begun["operationId"]}
        state = said(ask(sender, receiver, "iotdps-get-operationstatus", **asked))
        assert state["status"] == "assigned"
        assert state["registrationState"]["deviceId"] == device.registration_id
        # Links may be detached and attached again.
        sender.close()
        receiver.close()
        again = registered(*links(connection, f"/{device.resource}"))
        assert again["registrationState"]["assignedHub"] == state["registrationState"]["assignedHub"]


def test_a_device_registers_by_its_certificate(dev, service_api, tmp_path):
    leaf = pki.self_signed("proton-leaf")
    certificate = {"primary": {"certificate": leaf.certificate_pem}}
    attestation = {"type": "x509", "x509": {"clientCertificates": certificate}}
    service_api.put("enrollments", "proton-leaf", {"registrationId": "proton-leaf", "attestation": attestation})
    for mechanism in ("EXTERNAL", "ANONYMOUS"):
        domain = trusting(dev, leaf, tmp_path)
        with connected(dev.device_endpoint, dev.amqps_port, domain, allowed_mechs=mechanism) as connection:
            both = links(connection, f"{dev.id_scope}/registrations/proton-leaf")
            assert registered(*both)["status"] == "assigned"


def test_refusals_include_their_reason(dev, device):
    with by_token(dev, device) as connection:
        sender, _ = links(connection, device.resource)
        request = Message(body=b"{", properties={"iotdps-operation-type": "iotdps-register"})
        refused = sender.send(request, timeout=SECONDS, error_states=[])
        assert refused.remote_state == Delivery.REJECTED
        reason = refused.remote.condition
        assert (reason.name, json.loads(reason.description)["errorCode"]) == ("com.microsoft:argument-error", 400_003)
        with pytest.raises(LinkDetached) as detached:
            connection.create_sender(f"{dev.id_scope}/registrations/another-device", options=VERSIONED)
        assert detached.value.condition == "amqp:unauthorized-access"


def test_a_large_payload_is_received_in_many_frames(dev, device):
    with by_token(dev, device) as connection:
        both = links(connection, device.resource)
        body = json.dumps({"payload": {"x": "y" * 90_000}}).encode()
        assert registered(*both, body)["status"] == "assigned"


def test_a_device_sends_telemetry_to_its_hub(dev, service_api, device):
    """Telemetry, with the credentials in SASL PLAIN as hubs take them."""
    with by_token(dev, device) as connection:
        state = registered(*links(connection, device.resource))["registrationState"]
    hub, name = state["assignedHub"], state["deviceId"]
    token = sas.token(f"{hub}/devices/{name}", device.key)
    login = {"user": f"{name}@sas.{hub.split('.')[0]}", "password": token, "allowed_mechs": "PLAIN"}
    with connected(hub, dev.amqps_port, trusting(dev), **login) as connection:
        sender = connection.create_sender(f"/devices/{name}/messages/events")
        for number in range(10):
            sent = sender.send(Message(body=json.dumps({"n": number}).encode()), timeout=SECONDS)
            assert sent.remote_state == Delivery.ACCEPTED
