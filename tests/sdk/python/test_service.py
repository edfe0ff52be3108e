"""azure-iot-deviceprovisioning: enrollments, groups and registrations."""

from __future__ import annotations

import base64

import devices
import pki
import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.iot.deviceprovisioning import DeviceProvisioningClient

# Page size of the paging tests: far below the number of records, so that there are several pages.
PAGE = 3


class Individuals:
    """The individual enrollment routes of the SDK under one set of names."""

    id_key, collection, query_text, missing_code = "registrationId", "enrollments", "SELECT * FROM enrollments", 404201

    def __init__(self, service):
        self.routes = service.enrollment

    def enroll(self, identifier, attestation, **more):
        return self.routes.create_or_update(identifier, self.body(identifier, attestation, **more))

    def body(self, identifier, attestation, **more):
        return {self.id_key: identifier, "attestation": attestation, **more}


class Groups(Individuals):
    """The enrollment group routes."""

    id_key, collection, missing_code = "enrollmentGroupId", "enrollmentGroups", 404204
    query_text = "SELECT * FROM enrollmentGroups"

    def __init__(self, service):
        self.routes = service.enrollment_group


@pytest.fixture(params=[Individuals, Groups], ids=["individual", "group"])
def kind(service, request):
    return request.param(service)


class TestOneRecord:
    """Create, read, change by etag, delete."""

    def test_record_is_returned_as_stored(self, kind):
        identifier = f"Stored-{kind.id_key}"
        more = {
            "initialTwin": {"tags": {"site": "A"}, "properties": {"desired": {"list": [{"a": 1}, {"b": "x"}], "n": 1.5}}},
            "capabilities": {"iotEdge": True},
            "allocationPolicy": "hashed",
            "provisioningStatus": "disabled",
            "reprovisionPolicy": {"updateHubAssignment": True, "migrateDeviceData": False},
        }
        created = kind.enroll(identifier, devices.symmetric(), **more)
        read = kind.routes.get(identifier)

        for record in (created, read):
            assert record[kind.id_key] == identifier
            assert {name: record[name] for name in more} == more
            assert record["createdDateTimeUtc"] == record["lastUpdatedDateTimeUtc"]
            assert record["etag"] == created["etag"]
        if kind.id_key == "registrationId":
            assert read["registrationState"] == {"registrationId": identifier, "status": "unassigned"}

    def test_defaults(self, kind):
        record = kind.enroll(f"defaults-{kind.id_key}", devices.symmetric())
        assert record["provisioningStatus"] == "enabled"
        assert record.get("reprovisionPolicy") is None
        assert record.get("allocationPolicy") is None

    def test_second_create_is_a_conflict(self, kind):
        identifier = f"twice-{kind.id_key}"
        first = kind.enroll(identifier, devices.symmetric())
        with pytest.raises(ResourceExistsError) as conflict:
            kind.enroll(identifier.upper(), devices.symmetric())
        assert conflict.value.status_code == 409
        assert kind.routes.get(identifier)["etag"] == first["etag"]

    def test_update_by_etag(self, kind):
        identifier = f"update-{kind.id_key}"
        first = kind.enroll(identifier, devices.symmetric())

        change = kind.body(identifier, devices.symmetric(), provisioningStatus="disabled")
        second = kind.routes.create_or_update(identifier, change, if_match=first["etag"])
        assert second["provisioningStatus"] == "disabled"
        assert second["etag"] != first["etag"]
        assert second["createdDateTimeUtc"] == first["createdDateTimeUtc"]

        with pytest.raises(HttpResponseError) as stale:
            kind.routes.create_or_update(identifier, change, if_match=first["etag"])
        assert stale.value.status_code == 412
        assert kind.routes.get(identifier)["etag"] == second["etag"]

        third = kind.routes.create_or_update(identifier, kind.body(identifier, devices.symmetric()), if_match="*")
        assert third["provisioningStatus"] == "enabled"

    def test_update_of_a_missing_record(self, kind):
        identifier = f"absent-{kind.id_key}"
        with pytest.raises(HttpResponseError) as missing:
            kind.routes.create_or_update(identifier, kind.body(identifier, devices.symmetric()), if_match='"etag"')
        assert missing.value.status_code in (404, 412)
        with pytest.raises(ResourceNotFoundError):
            kind.routes.get(identifier)

    def test_delete(self, kind):
        identifier = f"delete-{kind.id_key}"
        record = kind.enroll(identifier, devices.symmetric())
        with pytest.raises(HttpResponseError) as stale:
            kind.routes.delete(identifier, if_match='"stale"')
        assert stale.value.status_code == 412

        kind.routes.delete(identifier, if_match=record["etag"])

        for gone in (kind.routes.get, kind.routes.delete, kind.routes.get_attestation_mechanism):
            with pytest.raises(ResourceNotFoundError) as missing:
                gone(identifier)
            assert error_code(missing.value) == kind.missing_code

    def test_id_with_every_allowed_character(self, kind):
        identifier = f"A.b_c:d-{kind.id_key}-"
        kind.enroll(identifier, devices.symmetric())
        assert kind.routes.get(identifier)[kind.id_key] == identifier
        kind.routes.delete(identifier)

    @pytest.mark.parametrize("identifier", ["a b", "ends.", "x" * 129, "sla/sh"])
    def test_bad_id_is_refused(self, kind, identifier):
        with pytest.raises(HttpResponseError) as refusal:
            kind.enroll(identifier, devices.symmetric())
        assert refusal.value.status_code == 400
        assert error_code(refusal.value) // 1000 == 400

    @pytest.mark.parametrize(
        "change",
        [
            {"attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": "not base64!"}}},
            {"attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": "c2hvcnQ="}}},
            {"attestation": {"type": "x509", "x509": {}}},
            {"attestation": {"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": "nonsense"}}}}},
            {"attestation": {"type": "telepathy"}},
            {"allocationPolicy": "random"},
            {"provisioningStatus": "perhaps"},
            {"iotHubs": ["nobody.example.net"]},
            {"initialTwin": {"tags": "text"}},
        ],
        ids=str,
    )
    def test_bad_record_is_refused(self, kind, change):
        identifier = f"bad-{kind.id_key}"
        with pytest.raises(HttpResponseError) as refusal:
            kind.routes.create_or_update(identifier, {**kind.body(identifier, devices.symmetric()), **change})
        assert refusal.value.status_code == 400
        with pytest.raises(ResourceNotFoundError):
            kind.routes.get(identifier)


class TestAttestation:
    """The visible members of an attestation, and its secrets."""

    def test_given_keys(self, kind):
        identifier, keys = f"keys-{kind.id_key}", (devices.new_key(), devices.new_key())
        created = kind.enroll(identifier, devices.symmetric(*keys))
        assert shown_keys(created["attestation"]) == keys
        assert shown_keys(kind.routes.get_attestation_mechanism(identifier)) == keys
        assert not any(key in str(kind.routes.get(identifier)) for key in keys)
        assert not any(key in str(list(kind.routes.query({"query": kind.query_text}))) for key in keys)

    def test_generated_keys(self, kind):
        identifier = f"generated-{kind.id_key}"
        created = kind.enroll(identifier, devices.symmetric())
        primary, secondary = shown_keys(kind.routes.get_attestation_mechanism(identifier))
        assert len(base64.b64decode(primary)) == len(base64.b64decode(secondary)) == 64
        assert primary != secondary
        assert shown_keys(created["attestation"]) == (primary, secondary)

    def test_update_without_keys_keeps_them(self, kind):
        identifier = f"kept-{kind.id_key}"
        kind.enroll(identifier, devices.symmetric())
        before = kind.routes.get_attestation_mechanism(identifier)
        read = kind.routes.get(identifier)
        kind.routes.create_or_update(identifier, {**read, "provisioningStatus": "disabled"}, if_match=read["etag"])
        assert shown_keys(kind.routes.get_attestation_mechanism(identifier)) == shown_keys(before)

    def test_certificate_is_described_but_not_returned(self, service):
        leaf = pki.self_signed("described", "rsa2048")
        devices.enroll(service, "described", devices.client_certificates(leaf, leaf))
        mechanism = service.enrollment.get_attestation_mechanism("described")
        for attestation in (service.enrollment.get("described")["attestation"], mechanism):
            assert attestation["type"] == "x509"
            for slot in ("primary", "secondary"):
                certificate = attestation["x509"]["clientCertificates"][slot]
                assert certificate.get("certificate") is None
                assert certificate["info"]["sha256Thumbprint"] == leaf.thumbprint
                assert certificate["info"]["subjectName"] == "CN=described"
                assert certificate["info"]["version"] == 3

    def test_certificate_slot_can_be_removed_in_the_returned_form(self, service):
        first, second = pki.self_signed("slots"), pki.self_signed("slots")
        devices.enroll(service, "slots", devices.client_certificates(first, second))
        read = service.enrollment.get("slots")
        read["attestation"]["x509"]["clientCertificates"]["primary"] = None
        service.enrollment.create_or_update("slots", read, if_match=read["etag"])

        slots = service.enrollment.get("slots")["attestation"]["x509"]["clientCertificates"]
        assert slots.get("primary") is None
        assert slots["secondary"]["info"]["sha256Thumbprint"] == second.thumbprint


class TestManyRecords:
    """Queries in pages, and bulk operations."""

    def test_query_returns_every_record_once_in_several_pages(self, kind):
        identifiers = {f"paged-{kind.id_key}-{number:02}" for number in range(4 * PAGE + 1)}
        for identifier in identifiers:
            kind.enroll(identifier, devices.symmetric())

        pages = [list(page) for page in kind.routes.query({"query": kind.query_text}, top=PAGE).by_page()]

        assert all(0 < len(page) <= PAGE for page in pages)
        assert len(pages) >= 5
        found = [record[kind.id_key] for page in pages for record in page]
        assert len(found) == len(set(found))
        assert identifiers <= set(found)
        for identifier in identifiers:
            kind.routes.delete(identifier)

    def test_query_texts_are_ignored(self, kind):
        identifier = f"queried-{kind.id_key}"
        kind.enroll(identifier, devices.symmetric())
        found = list(kind.routes.query({"query": "DROP TABLE enrollments"}))
        assert identifier in {record[kind.id_key] for record in found}

    def test_bulk(self, kind):
        identifiers = [f"bulk-{kind.id_key}-{number}" for number in range(10)]
        bodies = [kind.body(identifier, devices.symmetric()) for identifier in identifiers]

        assert self.run(kind, "create", bodies) == (True, {})
        again = self.run(kind, "create", bodies[:2])
        assert again[0] is False and set(again[1]) == set(identifiers[:2])
        assert all(code // 1000 == 409 for code in again[1].values())

        blind = self.run(kind, "update", bodies[:2])
        assert blind[0] is False and set(blind[1]) == set(identifiers[:2])
        assert all(code // 1000 == 409 for code in blind[1].values())

        etags = [kind.routes.get(identifier)["etag"] for identifier in identifiers]
        disabled = [
            {**body, "provisioningStatus": "disabled", "etag": etag} for body, etag in zip(bodies, etags)
        ]
        assert self.run(kind, "update", disabled) == (True, {})
        assert {kind.routes.get(identifier)["provisioningStatus"] for identifier in identifiers} == {"disabled"}

        assert self.run(kind, "delete", bodies) == (True, {})
        for identifier in identifiers:
            with pytest.raises(ResourceNotFoundError):
                kind.routes.get(identifier)

    def test_bulk_update_by_etag(self, kind):
        identifiers = [f"bulk-etag-{kind.id_key}-{number}" for number in range(2)]
        fresh, stale = (kind.enroll(identifier, devices.symmetric()) for identifier in identifiers)
        bodies = [kind.body(identifier, devices.symmetric(), provisioningStatus="disabled") for identifier in identifiers]
        bodies[0]["etag"], bodies[1]["etag"] = fresh["etag"], '"stale"'

        successful, errors = self.run(kind, "updateIfMatchETag", bodies)

        assert successful is False and set(errors) == {identifiers[1]}
        assert kind.routes.get(identifiers[0])["provisioningStatus"] == "disabled"
        assert kind.routes.get(identifiers[1])["etag"] == stale["etag"]

    def test_bulk_of_eleven_is_refused(self, kind):
        bodies = [kind.body(f"eleven-{kind.id_key}-{number}", devices.symmetric()) for number in range(11)]
        with pytest.raises(HttpResponseError) as refusal:
            self.run(kind, "create", bodies)
        assert refusal.value.status_code == 400
        with pytest.raises(ResourceNotFoundError):
            kind.routes.get(f"eleven-{kind.id_key}-0")

    def run(self, kind, mode, bodies):
        """The outcome, and by id the error code of each record that failed."""
        result = kind.routes.run_bulk_operation({"mode": mode, kind.collection: bodies})
        return result["isSuccessful"], {error[kind.id_key]: error["errorCode"] for error in result["errors"]}


class TestRegistrations:
    """Registrations come from devices; an operator may read and delete them."""

    def test_registration_of_an_individual(self, dev, service, tmp_path):
        device = devices.individual_certificate(service, "svc-registered", tmp_path)
        reply = device.register(dev).registration_state

        state = service.device_registration_state.get("svc-registered")
        assert state["status"] == "assigned"
        assert state["registrationId"] == state["deviceId"] == "svc-registered"
        assert state["assignedHub"] == reply.assigned_hub
        assert state["createdDateTimeUtc"] == reply.created_date_time
        assert state["lastUpdatedDateTimeUtc"] == reply.last_update_date_time
        assert service.enrollment.get("svc-registered")["registrationState"]["assignedHub"] == reply.assigned_hub

        with pytest.raises(HttpResponseError) as stale:
            service.device_registration_state.delete("svc-registered", if_match='"stale"')
        assert stale.value.status_code == 412
        service.device_registration_state.delete("svc-registered", if_match=state["etag"])
        with pytest.raises(ResourceNotFoundError):
            service.device_registration_state.get("svc-registered")
        assert service.enrollment.get("svc-registered")["registrationId"] == "svc-registered"

    def test_registrations_of_a_group_in_pages(self, dev, service, tmp_path):
        root = pki.authority("svc root")
        devices.enroll_group(service, "svc-group", devices.signing_certificates(root))
        assert list(service.device_registration_state.query("svc-group")) == []

        members = {f"svc-member-{number}" for number in range(PAGE + 2)}
        for member in members:
            devices.certificate_device(member, root.issue(member), tmp_path).register(dev)

        pages = [list(page) for page in service.device_registration_state.query("svc-group", top=PAGE).by_page()]
        assert len(pages) == 2
        assert {state["registrationId"] for page in pages for state in page} == members
        assert {state["status"] for page in pages for state in page} == {"assigned"}

    def test_registration_outlives_its_group(self, dev, service, tmp_path):
        device = devices.group_primary_key(service, "svc-orphan", tmp_path)
        device.register(dev)
        service.enrollment_group.delete("svc-orphan-group")
        assert service.device_registration_state.get("svc-orphan")["status"] == "assigned"


class TestAccess:
    """Only a signature with a key of the policy is accepted."""

    @pytest.mark.parametrize(
        "change",
        [{"SharedAccessKey": base64.b64encode(bytes(32)).decode()}, {"SharedAccessKeyName": "nobody"}],
        ids=["wrong key", "unknown policy"],
    )
    def test_wrong_credentials(self, dev, change):
        parts = {**dev.service_credentials, **change}
        text = ";".join(f"{name}={value}" for name, value in parts.items())
        with DeviceProvisioningClient.from_connection_string(text, connection_verify=dev.ca_file) as stranger:
            with pytest.raises(ClientAuthenticationError) as refusal:
                stranger.enrollment.get("anything")
        assert refusal.value.status_code == 401

    def test_sample_group_of_dev_json_exists(self, dev, service):
        mechanism = service.enrollment_group.get_attestation_mechanism(dev.sample_group_id)
        assert mechanism["symmetricKey"]["primaryKey"] == dev.sample_group_key


def shown_keys(attestation) -> tuple[str, str]:
    """Primary and secondary key of a symmetric-key attestation that shows them."""
    return attestation["symmetricKey"]["primaryKey"], attestation["symmetricKey"]["secondaryKey"]


def error_code(error: HttpResponseError) -> int:
    """The six-digit code of the error body."""
    return error.response.json()["errorCode"]
