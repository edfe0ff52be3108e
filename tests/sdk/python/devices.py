"""Devices with azure-iot-device, used as firmware uses it, and their enrollments."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import os

import pki
import sas
from azure.iot.device import X509, IoTHubDeviceClient, ProvisioningDeviceClient
from azure.iot.device.common.evented_callback import EventedCallback

# The initial twin of every enrollment in these tests.
INITIAL_TWIN = {
    "tags": {"site": "plant 7"},
    "properties": {"desired": {"interval": 30, "sensors": {"names": ["t1", "t2"]}}},
}


@dataclasses.dataclass(frozen=True)
class Device:
    """A device with its credentials: a symmetric key, or a certificate and key file."""

    registration_id: str
    key: str | None = None
    x509: X509 | None = None
    # What its hub must have for it after registration.
    credentials: dict | None = None
    # Whether it uses MQTT over WebSockets on port 443, for the service and for its hub.
    websockets: bool = False

    def over(self, transport: str) -> Device:
        """The same device on `mqtt` or `websockets`."""
        return dataclasses.replace(self, websockets=transport == "websockets")

    def provisioning_client(self, dev) -> ProvisioningDeviceClient:
        """Returns the SDK's provisioning client, which can register successfully once."""
        endpoint = {
            "provisioning_host": dev.device_endpoint,
            "registration_id": self.registration_id,
            "id_scope": dev.id_scope,
            "server_verification_cert": dev.ca_pem,
            "websockets": self.websockets,
        }
        if self.key is not None:
            return ProvisioningDeviceClient.create_from_symmetric_key(symmetric_key=self.key, **endpoint)
        return ProvisioningDeviceClient.create_from_x509_certificate(x509=self.x509, **endpoint)

    def register(self, dev):
        """Registers and returns the SDK's RegistrationResult."""
        client = self.provisioning_client(dev)
        try:
            return client.register()
        except Exception:
            # The SDK closes only after success, and has no call to close after a refusal.
            closed = EventedCallback()
            client._pipeline.shutdown(callback=closed)
            closed.wait_for_completion()
            raise

    @contextlib.contextmanager
    def connected(self, dev, state):
        """The SDK's hub client, connected to the hub that the registration assigned."""
        client = self.hub_client(dev, state.assigned_hub, state.device_id)
        try:
            client.connect()
            yield client
        finally:
            client.shutdown()

    def hub_client(self, dev, host_name: str, device_id: str) -> IoTHubDeviceClient:
        """The SDK's hub client, not yet connected."""
        hub = {
            "hostname": host_name,
            "device_id": device_id,
            "server_verification_cert": dev.ca_pem,
            "websockets": self.websockets,
        }
        if self.key is not None:
            return IoTHubDeviceClient.create_from_symmetric_key(symmetric_key=self.key, **hub)
        return IoTHubDeviceClient.create_from_x509_certificate(x509=self.x509, **hub)


def new_key() -> str:
    """Returns a symmetric key like those that the service generates: 64 random bytes."""
    return base64.b64encode(os.urandom(64)).decode("ascii")


def key_device(registration_id: str, key: str, hub_keys: tuple[str, str]) -> Device:
    """A device with a symmetric key; `hub_keys` are the keys that its hub must have."""
    return Device(registration_id, key=key, credentials={"type": "sas", "keys": hub_keys})


def certificate_device(registration_id: str, credentials: pki.Credentials, directory) -> Device:
    """A device with a certificate, presented with its chain."""
    chain, key = credentials.write(directory)
    expected = {"type": "selfSigned", "thumbprint": credentials.thumbprint}
    return Device(registration_id, x509=X509(cert_file=chain, key_file=key), credentials=expected)


# Enrolls a device for each attestation: fn(service, registration id, directory) -> Device.


def individual_primary_key(service, registration_id, _directory) -> Device:
    keys = new_key(), new_key()
    enroll(service, registration_id, symmetric(*keys))
    return key_device(registration_id, keys[0], keys)


def individual_secondary_key(service, registration_id, _directory) -> Device:
    keys = new_key(), new_key()
    enroll(service, registration_id, symmetric(*keys))
    return key_device(registration_id, keys[1], keys)


def group_primary_key(service, registration_id, _directory) -> Device:
    derived = enroll_key_group(service, registration_id)
    return key_device(registration_id, derived[0], derived)


def group_secondary_key(service, registration_id, _directory) -> Device:
    derived = enroll_key_group(service, registration_id)
    return key_device(registration_id, derived[1], derived)


def individual_certificate(service, registration_id, directory) -> Device:
    leaf = pki.self_signed(registration_id)
    enroll(service, registration_id, client_certificates(leaf))
    return certificate_device(registration_id, leaf, directory)


def individual_secondary_certificate(service, registration_id, directory) -> Device:
    first, second = pki.self_signed(registration_id), pki.self_signed(registration_id, "rsa2048")
    enroll(service, registration_id, client_certificates(first, second))
    return certificate_device(registration_id, second, directory)


def group_leaf_alone(service, registration_id, directory) -> Device:
    intermediate = pki.authority(f"{registration_id} root").subordinate(f"{registration_id} intermediate")
    enroll_group(service, f"{registration_id}-group", signing_certificates(intermediate))
    leaf = intermediate.issue(registration_id).alone()
    return certificate_device(registration_id, leaf, directory)


def group_intermediate_certificate(service, registration_id, directory) -> Device:
    intermediate = pki.authority(f"{registration_id} root").subordinate(f"{registration_id} intermediate")
    enroll_group(service, f"{registration_id}-group", signing_certificates(intermediate))
    return certificate_device(registration_id, intermediate.issue(registration_id), directory)


def group_root_certificate(service, registration_id, directory) -> Device:
    root = pki.authority(f"{registration_id} root", "rsa2048")
    inner = root.subordinate(f"{registration_id} outer").subordinate(f"{registration_id} inner")
    enroll_group(service, f"{registration_id}-group", signing_certificates(root))
    return certificate_device(registration_id, inner.issue(registration_id, "rsa2048"), directory)


ATTESTATIONS = (
    individual_primary_key,
    individual_secondary_key,
    group_primary_key,
    group_secondary_key,
    individual_certificate,
    individual_secondary_certificate,
    group_leaf_alone,
    group_intermediate_certificate,
    group_root_certificate,
)
TRANSPORTS = ("mqtt", "websockets")


def enroll(service, registration_id: str, attestation: dict, **more) -> dict:
    """Creates an individual enrollment."""
    enrollment = {"registrationId": registration_id, "attestation": attestation, "initialTwin": INITIAL_TWIN, **more}
    return service.enrollment.create_or_update(registration_id, enrollment)


def enroll_group(service, group_id: str, attestation: dict, **more) -> dict:
    """Creates an enrollment group."""
    group = {"enrollmentGroupId": group_id, "attestation": attestation, "initialTwin": INITIAL_TWIN, **more}
    return service.enrollment_group.create_or_update(group_id, group)


def enroll_key_group(service, registration_id: str) -> tuple[str, str]:
    """Creates a symmetric-key group and returns the two keys derived from it for this device."""
    keys = new_key(), new_key()
    enroll_group(service, f"{registration_id}-group", symmetric(*keys))
    return sas.derive_device_key(keys[0], registration_id), sas.derive_device_key(keys[1], registration_id)


def symmetric(primary: str | None = None, secondary: str | None = None) -> dict:
    """Returns a symmetric-key attestation; without keys the service generates them."""
    keys = {} if primary is None else {"primaryKey": primary, "secondaryKey": secondary}
    return {"type": "symmetricKey", "symmetricKey": keys}


def client_certificates(primary: pki.Credentials, secondary: pki.Credentials | None = None) -> dict:
    """The attestation of exactly these leaves."""
    return {"type": "x509", "x509": {"clientCertificates": certificate_slots(primary, secondary)}}


def signing_certificates(primary: pki.Credentials, secondary: pki.Credentials | None = None) -> dict:
    """Returns the attestation of all certificates below these authorities."""
    return {"type": "x509", "x509": {"signingCertificates": certificate_slots(primary, secondary)}}


def certificate_slots(primary: pki.Credentials, secondary: pki.Credentials | None) -> dict:
    slots = {"primary": {"certificate": primary.certificate_pem}}
    if secondary is not None:
        slots["secondary"] = {"certificate": secondary.certificate_pem}
    return slots
