"""The device endpoint over MQTT, packet by packet."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import time
import urllib.parse

import endpoint
import pki
import pytest
import raw_mqtt

RESPONSES = "$dps/registrations/res/#"
REGISTER = "$dps/registrations/PUT/iotdps-register/?$rid="
POLL = "$dps/registrations/GET/iotdps-get-operationstatus/?$rid="

ACCEPTED, BAD_PROTOCOL, BAD_CREDENTIALS, NOT_AUTHORIZED = 0, 1, 4, 5
SUBSCRIBE_FAILED = 0x80


@contextlib.contextmanager
def mqtt(dev, context=None):
    """A raw connection to the MQTT listener."""
    with raw_mqtt.MqttConnection((dev.device_endpoint, dev.mqtts_port), context or endpoint.tls(dev)) as opened:
        yield opened


@pytest.fixture
def session(dev, device):
    """A device that has connected and subscribed to its responses."""
    with mqtt(dev) as opened:
        join(opened, device)
        yield opened


def join(opened, device, version="2021-06-01", **options):
    """CONNECT and SUBSCRIBE as every SDK does."""
    assert opened.connect(device.registration_id, device.username(version), device.token(), **options) == ACCEPTED
    assert opened.subscribe(RESPONSES) in (0, 1)


def ask(opened, topic, payload=b"{}", qos=1):
    """Publishes a request; with QoS 1 the PUBACK must come before the answer, which is returned parsed."""
    opened.send(raw_mqtt.publish_packet(topic, payload, qos=qos, packet_id=21))
    if qos:
        acknowledged = opened.receive()
        assert (acknowledged.kind, acknowledged.body) == (raw_mqtt.PUBACK, struct.pack(">H", 21))
    return answer(opened)


def answer(opened):
    """Status, query parameters in order, and JSON body of the next response."""
    message = opened.receive_message()
    assert (message.qos, message.retain) == (1, False)
    path, query = message.topic.split("/?", 1)
    *prefix, status = path.split("/")
    assert prefix == ["$dps", "registrations", "res"]
    return int(status), urllib.parse.parse_qsl(query, keep_blank_values=True), json.loads(message.payload)


class TestConversation:
    """Register and poll."""

    @pytest.mark.parametrize("version", endpoint.OLD_VERSIONS)
    def test_register_answers_assigned_at_once(self, dev, device, version):
        with mqtt(dev) as opened:
            join(opened, device, version)
            status, query, body = ask(opened, REGISTER + "1")
            assert (status, query) == (200, [("$rid", "1")])
            assert body["status"] == body["registrationState"]["status"] == "assigned"
            assert body["registrationState"]["substatus"] == "initialAssignment"
            again = ask(opened, f"{POLL}2&operationId={body['operationId']}", b" ")
            assert again == (200, [("$rid", "2")], body)

    @pytest.mark.parametrize("version", endpoint.NEW_VERSIONS)
    def test_newest_clients_see_assigning_first(self, dev, device, version):
        with mqtt(dev) as opened:
            join(opened, device, version)
            status, query, body = ask(opened, REGISTER + "a")
            assert (status, body["status"]) == (202, "assigning")
            assert query[0] == ("$rid", "a") and query[1][0] == "retry-after" and 2 <= int(query[1][1]) <= 5
            deadline = time.monotonic() + endpoint.REPLY_SECONDS
            while body["status"] == "assigning" and time.monotonic() < deadline:
                time.sleep(int(query[1][1]))
                status, query, body = ask(opened, f"{POLL}b&operationId={body['operationId']}")
            assert (status, query, body["status"]) == (200, [("$rid", "b")], "assigned")

    @pytest.mark.parametrize("version", ["banana", "2019-3-31"])
    def test_unknown_version_is_refused(self, dev, device, version):
        with mqtt(dev) as opened:
            join(opened, device, version)
            status, _, body = ask(opened, REGISTER + "1")
            assert (status, body["errorCode"]) == (400, 400001)

    @pytest.mark.parametrize("rid", ["", "{1}", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "x" * 100])
    def test_request_id_is_echoed_byte_for_byte(self, session, rid):
        _, query, _ = ask(session, REGISTER + rid)
        assert query == [("$rid", rid)]

    @pytest.mark.parametrize("payload", [b"", b" ", b'{"payload":null,"registrationId":"other"}'])
    def test_identity_comes_from_the_user_name(self, session, device, payload):
        status, _, body = ask(session, REGISTER + "1", payload)
        assert (status, body["registrationState"]["registrationId"]) == (200, device.registration_id)

    def test_quality_of_service_0(self, session):
        assert ask(session, REGISTER + "1", qos=0)[0] == 200

    def test_malformed_body_is_refused(self, session):
        status, query, body = ask(session, REGISTER + "1", b"{")
        assert (status, query, body["errorCode"]) == (400, [("$rid", "1")], 400003)

    def test_unknown_operation(self, session):
        status, _, body = ask(session, POLL + "1&operationId=5.0.0")
        assert (status, body["errorCode"]) == (404, 404203)

    def test_requests_in_flight_together(self, session):
        for number in range(4):
            session.send(raw_mqtt.publish_packet(f"{REGISTER}{number}", b"{}", qos=0))
        answers = [answer(session) for _ in range(4)]
        assert {query[0][1] for _, query, _ in answers} == set("0123")
        assert {status for status, _, _ in answers} == {200}
        assert len({body["registrationState"]["assignedHub"] for _, _, body in answers}) == 1

    def test_ping_unsubscribe_disconnect(self, session):
        session.send(raw_mqtt.packet(raw_mqtt.PINGREQ, b""))
        assert session.receive().kind == raw_mqtt.PINGRESP
        session.send(raw_mqtt.packet(raw_mqtt.UNSUBSCRIBE, b"\x00\x09" + raw_mqtt.text(RESPONSES), flags=2))
        reply = session.receive()
        assert (reply.kind, reply.body) == (raw_mqtt.UNSUBACK, b"\x00\x09")
        session.send(raw_mqtt.packet(raw_mqtt.DISCONNECT, b""))
        session.assert_closed()

    def test_client_certificate(self, dev, service_api, tmp_path):
        leaf = pki.self_signed("wire-mqtt-x509")
        slots = {"primary": {"certificate": leaf.certificate_pem}}
        attestation = {"type": "x509", "x509": {"clientCertificates": slots}}
        service_api.put("enrollments", "wire-mqtt-x509", {"registrationId": "wire-mqtt-x509", "attestation": attestation})
        device = endpoint.Device(dev.id_scope, "wire-mqtt-x509", "")
        with mqtt(dev, endpoint.tls(dev, leaf, tmp_path)) as opened:
            assert opened.connect(device.registration_id, device.username(), None) == ACCEPTED
            assert opened.subscribe(RESPONSES) in (0, 1)
            assert ask(opened, REGISTER + "1")[0] == 200


class TestRefusals:
    """Refused devices get an error; connections that violate the protocol are closed."""

    @pytest.mark.parametrize("spoil", ["wrong key", "expired", "garbage"])
    def test_bad_token_gets_an_error_response(self, dev, device, spoil):
        stranger = endpoint.Device(device.id_scope, device.registration_id, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
        token = {
            "wrong key": stranger.token(),
            "expired": device.token(expiry=int(time.time()) - 3600),
            "garbage": "SharedAccessSignature garbage",
        }[spoil]
        with mqtt(dev) as opened:
            assert opened.connect(device.registration_id, device.username(), token) == ACCEPTED
            assert opened.subscribe(RESPONSES) in (0, 1)
            status, query, body = ask(opened, REGISTER + "1")
            assert (status, query) == (401, [("$rid", "1")])
            assert body["errorCode"] in (401000, 401002)
            assert body["message"] and body["trackingId"]

    def test_unknown_scope(self, dev):
        stranger = endpoint.Device("0ne0000FFFF", "nobody", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
        with mqtt(dev) as opened:
            join(opened, stranger)
            assert ask(opened, REGISTER + "1")[0] == 401

    @pytest.mark.parametrize("username", ["", "device", "/registrations/", "{scope}/devices/x/api-version=2019-03-31"])
    def test_malformed_user_name(self, dev, device, username):
        with mqtt(dev) as opened:
            code = opened.connect(device.registration_id, username.format(scope=dev.id_scope), device.token())
            assert code in (BAD_CREDENTIALS, NOT_AUTHORIZED)
            opened.assert_closed()

    def test_client_id_of_another_device(self, dev, device):
        with mqtt(dev) as opened:
            assert opened.connect("another-device", device.username(), device.token()) == NOT_AUTHORIZED
            opened.assert_closed()

    def test_no_credentials(self, dev, device):
        with mqtt(dev) as opened:
            assert opened.connect(device.registration_id, device.username(), None) == NOT_AUTHORIZED
            opened.assert_closed()

    @pytest.mark.parametrize("level", [3, 5])
    def test_other_protocol_level(self, dev, device, level):
        with mqtt(dev) as opened:
            code = opened.connect(device.registration_id, device.username(), device.token(), level=level)
            assert code == BAD_PROTOCOL
            opened.assert_closed()

    @pytest.mark.parametrize("topic_filter", ["#", "$dps/registrations/PUT/#", "devices/x/#", "+"])
    def test_other_filter(self, session, topic_filter):
        assert session.subscribe(topic_filter) == SUBSCRIBE_FAILED
        assert ask(session, REGISTER + "1")[0] == 200

    def test_quality_of_service_2_is_granted_as_1(self, dev, device):
        with mqtt(dev) as opened:
            assert opened.connect(device.registration_id, device.username(), device.token()) == ACCEPTED
            assert opened.subscribe(RESPONSES, qos=2) == 1

    def test_will(self, dev, device):
        with mqtt(dev) as opened:
            packet = raw_mqtt.connect_packet(
                device.registration_id, device.username(), device.token(), will_topic="gone"
            )
            opened.send(packet)
            with contextlib.suppress(raw_mqtt.Closed):
                reply = opened.receive()
                assert reply.kind == raw_mqtt.CONNACK and reply.body[1] != ACCEPTED
                opened.assert_closed()

    @pytest.mark.parametrize(
        "data",
        [
            raw_mqtt.publish_packet("devices/x/messages/events/", b""),
            raw_mqtt.publish_packet(REGISTER + "1", b"", qos=2),
            raw_mqtt.publish_packet(REGISTER + "1", b"", retain=True),
            raw_mqtt.publish_packet(REGISTER + "1", b"x" * 1024 * 1024),
            raw_mqtt.connect_packet("again", "user", "password"),
            raw_mqtt.packet(15, b""),
            raw_mqtt.packet(raw_mqtt.SUBSCRIBE, b"", flags=2),
            raw_mqtt.packet(raw_mqtt.SUBSCRIBE, b"\x00\x01", flags=2),
            raw_mqtt.packet(raw_mqtt.PUBLISH, b"\x00\xff", flags=2),
            raw_mqtt.packet(raw_mqtt.PINGREQ, b"", flags=1),
            b"\x30\xff\xff\xff\xff\x7f",
        ],
        ids=[
            "other topic", "publish qos 2", "retain", "oversize", "second connect", "reserved type",
            "empty subscribe", "no filter", "truncated topic", "reserved flags", "five length bytes",
        ],
    )
    def test_illegal_traffic_is_cut_off(self, session, data):
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            session.send(data)
        session.assert_closed()

    @pytest.mark.parametrize("data", [raw_mqtt.packet(raw_mqtt.PINGREQ, b""), b"\x10\xff\xff\xff\x7f", b"GET / HTTP/1.1\r\n\r\n"])
    def test_anything_before_connect_is_cut_off(self, dev, data):
        with mqtt(dev) as opened:
            opened.send(data)
            opened.assert_closed()

    def test_plain_text_is_cut_off(self, dev, device):
        with socket.create_connection((dev.device_endpoint, dev.mqtts_port), timeout=endpoint.REPLY_SECONDS) as plain:
            plain.sendall(raw_mqtt.connect_packet(device.registration_id, device.username(), device.token()))
            assert drained(plain)


class TestKeepAlive:
    """A silent client is closed after one and a half keep-alive periods; a pinging one is not."""

    def test_silent_client(self, dev, device):
        with mqtt(dev) as opened:
            join(opened, device, keep_alive=2)
            started = time.monotonic()
            opened.assert_closed(seconds=20)
            assert 2 <= time.monotonic() - started < 15

    def test_pinging_client(self, dev, device):
        with mqtt(dev) as opened:
            join(opened, device, keep_alive=2)
            for _ in range(5):
                time.sleep(1.5)
                opened.send(raw_mqtt.packet(raw_mqtt.PINGREQ, b""))
                assert opened.receive().kind == raw_mqtt.PINGRESP
            assert ask(opened, REGISTER + "1")[0] == 200


def drained(plain: socket.socket) -> bool:
    """Reads until the server closes, and ignores an alert."""
    try:
        while plain.recv(4096):
            pass
    except ConnectionError:
        pass
    return True
