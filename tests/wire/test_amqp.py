"""The device endpoint over AMQP, frame by frame."""

from __future__ import annotations

import contextlib
import json
import struct

import endpoint
import pki
import pytest
import raw_amqp
from raw_amqp import AMQP, SASL, performative

VERSION = {"com.microsoft:api-version": "2021-06-01", "com.microsoft:client-version": endpoint.CLIENT}
REGISTER = {"iotdps-operation-type": "iotdps-register"}


def nested(depth):
    """Returns nested lists."""
    value = b"\x45"
    for _ in range(depth):
        value = b"\xd0" + struct.pack(">II", len(value) + 4, 1) + value
    return value


# This overflowed the stack of another implementation.
DEEP = nested(800)


@contextlib.contextmanager
def amqp(dev, context=None):
    """A raw connection to the AMQP listener."""
    with raw_amqp.AmqpConnection((dev.device_endpoint, dev.amqps_port), context or endpoint.tls(dev)) as opened:
        yield opened


@pytest.fixture
def session(dev, device):
    """A device that has logged in and attached its links."""
    with amqp(dev) as opened:
        assert opened.log_in(device.resource, device.token()) == 0
        opened.open(device.resource, VERSION)
        yield opened


def answer(reply):
    """Properties, application properties and JSON of a reply."""
    sections = raw_amqp.sections(reply.payload)
    assert set(sections) <= {0x73, 0x74, 0x75}
    return sections[0x73], sections.get(0x74, {}), json.loads(sections[0x75])


def poll(operation_id):
    """A request for the state of an operation."""
    application = {"iotdps-operation-type": "iotdps-get-operationstatus", "iotdps-operation-id": operation_id}
    return raw_amqp.message(application, b" ")


class TestConversation:
    """Register and poll."""

    def test_register_and_poll(self, session, device):
        _, reply = session.ask(raw_amqp.message(REGISTER, b"{}", correlation_id="c-1"))
        properties, _, body = answer(reply)
        assert (properties[5], properties[6]) == ("c-1", "application/json; charset=utf-8")
        assert body["status"] == "assigned"
        assert body["registrationState"]["deviceId"] == device.registration_id
        _, polled = session.ask(poll(body["operationId"]), number=1)
        assert answer(polled)[2] == body

    @pytest.mark.parametrize("version", endpoint.NEW_VERSIONS)
    def test_newer_versions_see_assigning_first(self, dev, device, version):
        with amqp(dev) as opened:
            assert opened.log_in(device.resource, device.token()) == 0
            opened.open(device.resource, {"com.microsoft:api-version": version})
            _, reply = opened.ask(raw_amqp.message(REGISTER, b"{}"))
            _, application, body = answer(reply)
            assert body["status"] == "assigning"
            assert application["retry-after"] == application["Retry-After"] == 3
            encoded = raw_amqp.encode("retry-after")[5:]
            # An int, of one byte or four: the C SDK reads no long.
            assert reply.payload[reply.payload.index(encoded) + len(encoded)] in (0x54, 0x71)

    @pytest.mark.parametrize("form", ["{}", "/{}", "amqps://dps.example/{}"])
    def test_addresses_as_sdks_write_them(self, dev, device, form):
        with amqp(dev) as opened:
            assert opened.log_in(device.resource, device.token()) == 0
            opened.open(form.format(device.resource), VERSION)
            _, reply = opened.ask(raw_amqp.message(REGISTER, b""))
            assert answer(reply)[2]["status"] == "assigned"

    def test_a_certificate_needs_no_sasl(self, dev, service_api, tmp_path):
        leaf = pki.self_signed("amqp-wire-leaf")
        certificate = {"primary": {"certificate": leaf.certificate_pem}}
        attestation = {"type": "x509", "x509": {"clientCertificates": certificate}}
        record = {"registrationId": "amqp-wire-leaf", "attestation": attestation}
        service_api.put("enrollments", "amqp-wire-leaf", record)
        with amqp(dev, endpoint.tls(dev, leaf, tmp_path)) as opened:
            opened.open(f"{dev.id_scope}/registrations/amqp-wire-leaf", VERSION)
            _, reply = opened.ask(raw_amqp.message(REGISTER, b"{}"))
            assert answer(reply)[2]["registrationState"]["x509"] == {}

    def test_a_long_message_in_many_transfers(self, session):
        payload = raw_amqp.message(REGISTER, json.dumps({"payload": {"x": "y" * 90_000}}).encode())
        parts = [payload[at : at + 7_000] for at in range(0, len(payload), 7_000)]
        for part in parts[:-1]:
            session.send(performative(raw_amqp.TRANSFER, 0, 0, b"tag", 0, False, True, payload=part))
        verdict, reply = session.ask(parts[-1])
        assert verdict.fields[4].descriptor == raw_amqp.ACCEPTED
        assert answer(reply)[2]["status"] == "assigned"


class TestRefusals:
    """The violation, and the expected error."""

    @pytest.mark.parametrize("name", ["", "reg-1", "0ne/devices/x", "0ne/registrations/"])
    def test_malformed_names_are_refused(self, dev, device, name):
        with amqp(dev) as opened:
            assert opened.log_in(name, device.token()) == 1
            opened.assert_ended()

    @pytest.mark.parametrize("password", ["", "rubbish"])
    def test_passwords_without_a_token_are_refused(self, dev, device, password):
        with amqp(dev) as opened:
            assert opened.log_in(device.resource, password) == 1
            opened.assert_ended()

    def test_a_wrong_key_is_rejected_and_loses_its_link(self, dev, device):
        stranger = endpoint.Device(device.id_scope, device.registration_id, "A" * 43 + "=")
        with amqp(dev) as opened:
            assert opened.log_in(stranger.resource, stranger.token()) == 0
            opened.open(stranger.resource, VERSION)
            verdict, _ = opened.ask(raw_amqp.message(REGISTER, b"{}"))
            assert verdict.fields[4].descriptor == raw_amqp.REJECTED
            condition, description = verdict.fields[4].value[0].value[:2]
            assert (condition, json.loads(description)["errorCode"]) == ("amqp:unauthorized-access", 401002)
            detached = opened.expect(raw_amqp.DETACH)
            assert detached.fields[:2] == [0, True]
            assert detached.fields[2].value[0] == "amqp:unauthorized-access"

    def test_errors_name_their_code(self, session):
        cases = [
            (raw_amqp.message(REGISTER, b"{"), 400003),
            (raw_amqp.message({}, b"{}"), 404000),
            (poll("5.0.0"), 404203),
            (raw_amqp.message(REGISTER, b"x" * 100_000), 413000),
        ]
        for number, (payload, code) in enumerate(cases):
            parts = [payload[at : at + 7_000] for at in range(0, len(payload), 7_000)]
            for part in parts[:-1]:
                session.send(performative(raw_amqp.TRANSFER, 0, number, b"tag", 0, False, True, payload=part))
            verdict, _ = session.ask(parts[-1], number)
            assert json.loads(verdict.fields[4].value[0].value[1])["errorCode"] == code

    def test_a_client_without_sasl_needs_a_certificate(self, dev):
        with amqp(dev) as opened:
            opened.send(AMQP + performative(raw_amqp.OPEN, "wire-tests"))
            assert opened.header() == AMQP
            assert opened.closing_condition() == "amqp:unauthorized-access"

    @pytest.mark.parametrize("address", ["$cbs", "0ne00000000/registrations/other", "x"])
    def test_other_addresses_are_refused(self, session, address):
        session.send(raw_amqp.attach("other", 2, False, address))
        assert session.expect(raw_amqp.ATTACH).fields[6] is None, "no target"
        assert session.expect(raw_amqp.DETACH).fields[2].value[0] in ("amqp:not-found", "amqp:unauthorized-access")


class TestHostile:
    """Frames that no client sends."""

    @pytest.mark.parametrize("header", [b"GET / HTTP/1.1\r\n", b"AMQP\x01\x01\x00\x00", b"AMQP\x00\x00\x09\x01"])
    def test_other_protocol_headers_get_the_supported_one(self, dev, header):
        with amqp(dev) as opened:
            opened.send(header)
            assert opened.header() == SASL
            opened.assert_ended()

    @pytest.mark.parametrize(
        "data",
        [
            struct.pack(">IBBH", 0xFFFF_FFFF, 2, 1, 0),
            struct.pack(">IBBH", 7, 2, 1, 0),
            struct.pack(">IBBH", 2000, 2, 1, 0) + b"x" * 1992,
            raw_amqp.frame(b"\x00\x53\x41\xd0\xff\xff\xff\xff\x7f\xff\xff\xff", kind=1),
            raw_amqp.frame(b"\x00" * 500, kind=1),
        ],
    )
    def test_malformed_sasl_frames_close_the_connection(self, dev, data):
        with amqp(dev) as opened:
            opened.send(SASL)
            assert opened.header() == SASL
            opened.expect(raw_amqp.MECHANISMS)
            opened.send(data)
            opened.assert_ended()

    @pytest.mark.parametrize(
        ("data", "condition"),
        [
            (struct.pack(">IBBH", 0x7FFF_FFFF, 2, 0, 0), "amqp:connection:framing-error"),
            (struct.pack(">IBBH", 8, 1, 0, 0), "amqp:connection:framing-error"),
            (raw_amqp.frame(b"\x00\x53\x11\xd0" + b"\xff" * 8), "amqp:decode-error"),
            (raw_amqp.frame(b"\x00\x53\x18" + DEEP), "amqp:decode-error"),
            (performative(raw_amqp.END, channel=3), "amqp:not-allowed"),
            (performative(raw_amqp.DETACH, 9), "amqp:session:unattached-handle"),
            (performative(raw_amqp.TRANSFER, 1, 0, b"t"), "amqp:not-allowed"),
            (performative(raw_amqp.BEGIN, None, 0, 1, 1, channel=200), "amqp:not-allowed"),
        ],
    )
    def test_protocol_violations_get_an_error_and_close_the_connection(self, session, data, condition):
        session.send(data)
        assert session.closing_condition() == condition

    def test_links_have_a_limit(self, session, device):
        for handle in range(2, 40):
            with contextlib.suppress(OSError):
                session.send(raw_amqp.attach(f"link-{handle}", handle, False, device.resource, VERSION))
        assert session.closing_condition() == "amqp:resource-limit-exceeded"

    def test_endless_fragments_have_a_limit(self, session):
        part = performative(raw_amqp.TRANSFER, 0, 0, b"tag", 0, False, True, payload=b"x" * 7_000)
        with contextlib.suppress(OSError):
            for _ in range(100):
                session.send(part)
        detached = session.expect(raw_amqp.DETACH)
        assert detached.fields[2].value[0] == "amqp:link:message-size-exceeded"
