"""Replays recorded requests and compares the answers with recorded ones, member by member."""

from __future__ import annotations

import base64
import itertools
import os
import re
import time

import endpoint
import muster_dev
import pki
import sas

# Values that differ in each run, by placeholder.
VOLATILE = {
    "<time>": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,7})?Z",
    "<seconds>": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
    # The base64 of a quoted string.
    "<etag>": r"I[A-Za-z0-9+/]+={0,2}",
    "<key>": r"[A-Za-z0-9+/]{22,86}={0,2}",
    "<thumbprint>": r"[0-9A-F]{40}|[0-9A-F]{64}",
    "<serial number>": r"[0-9A-F]+",
    "<hub>": r"127\.0\.0\.11",
}
# A TPM's RSA endorsement key as TPM2B_PUBLIC, up to its modulus (TCG EK Credential Profile, template L-1).
ENDORSEMENT_KEY = bytes.fromhex(
    "013a0001000b000300b20020837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa"
    "00060080004300100800000000000100"
)
# Longer than a busy machine needs.
ASSIGNMENT_SECONDS = 60
# How a step names the headers that matter.
HEADERS = {"ifMatch": "If-Match", "maxItemCount": "x-ms-max-item-count"}


class Replay:
    """Recorded requests against one service: the provisioning service, or one of its hubs."""

    def __init__(self, dev, recorded: dict, hub: muster_dev.Hub | None = None) -> None:
        self._dev, self._recorded, self._parts = dev, recorded, dict(recorded["parts"])
        text = dev.service_connection_string if hub is None else hub.connection_string
        self._policy = muster_dev.parse_connection_string(text)
        self._host = self._policy["HostName"].split(":")[0]
        self._connection = endpoint.https(dev, host=self._host)
        certificate = pki.self_signed("recorded")
        self._values = {
            "<key 1>": new_key(),
            "<key 2>": new_key(),
            "<certificate>": certificate.certificate_pem,
            "<common name>": "recorded",
            "<endorsement key>": base64.b64encode(ENDORSEMENT_KEY + new_modulus()).decode(),
        }

    def run(self, steps: list[dict]) -> list[tuple[str, str]]:
        """Returns the differences between the answers and the recorded ones, by member."""
        return [(where, f"{step.get('request', 'the device')}: {what}") for step in steps for where, what in self._step(self._filled(step))]

    def _step(self, step: dict) -> list[tuple[str, str]]:
        if "registers" in step:
            return self._register(step["registers"])
        reply = self._ask(step)
        self._remember(step["request"], reply.body)
        found = [*compared(step["status"], reply.status, "status")]
        if "shows" in step:
            found += compared(step["shows"], picked(step["shows"], reply.body), "")
        if "answer" in step:
            found += compared(step["answer"], reply.body, "")
            found += compared(step.get("itemType"), reply.headers.get("x-ms-item-type"), "itemType")
        return found

    def _ask(self, step: dict) -> endpoint.Reply:
        method, target = step["request"].split(" ")
        if "?" not in target:
            target += f"?api-version={self._recorded['apiVersion']}"
        token = sas.token(self._host, self._policy["SharedAccessKey"], key_name=self._policy["SharedAccessKeyName"])
        headers = {header: step[name] for name, header in HEADERS.items() if name in step}
        return endpoint.call(self._connection, method, target, step.get("body"), token, **headers)

    def _remember(self, request: str, answer) -> None:
        """Stores values that later requests repeat."""
        if not isinstance(answer, dict):
            return
        for name in ("etag", "generationId"):
            if name in answer:
                self._values[f"<last {name}>"] = answer[name]
        for certificates in answer.get("attestation", {}).get("x509", {}).values():
            self._parts["last secondary"] = certificates.get("secondary")
        if "/attestationmechanism" in request and "symmetricKey" in answer:
            self._values["<last key>"] = answer["symmetricKey"]["primaryKey"]

    def _register(self, registration_id: str) -> list[tuple[str, str]]:
        """A device of the group whose key was asked for last registers."""
        key = sas.derive_device_key(self._values["<last key>"], registration_id)
        device = endpoint.Device(self._dev.id_scope, registration_id, key)
        operation = device.register(self._connection).body
        deadline = time.monotonic() + ASSIGNMENT_SECONDS
        while operation.get("status") == "assigning" and time.monotonic() < deadline:
            time.sleep(0.1)
            operation = device.poll(self._connection, operation["operationId"]).body
        return [*compared("assigned", operation.get("status"), "status")]

    def _filled(self, value):
        """The recorded value with the values of this run."""
        if isinstance(value, dict):
            return {name: self._filled(member) for name, member in value.items()}
        if isinstance(value, list):
            return [self._filled(item) for item in value]
        if not isinstance(value, str):
            return value
        if value.startswith("{") and value[1:-1] in self._parts:
            return self._filled(self._parts[value[1:-1]])
        for placeholder, sent in self._values.items():
            value = value.replace(placeholder, sent)
        return value


def picked(wanted, answer):
    """The response without ignored members; null means absent."""
    if isinstance(wanted, dict) and isinstance(answer, dict):
        return {name: picked(wanted[name], answer.get(name)) for name in wanted}
    return answer


def compared(theirs, ours, path: str):
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for name in theirs.keys() | ours.keys():
            where = f"{path}.{name}".lstrip(".")
            if name not in ours:
                yield where, f"{where} is missing"
            elif name not in theirs:
                yield where, f"{where} is not there at the hosted service: {ours[name]!r}"
            else:
                yield from compared(theirs[name], ours[name], where)
    elif isinstance(theirs, list) and isinstance(ours, list):
        for index, (their, our) in enumerate(itertools.zip_longest(sorted(theirs, key=identifier), sorted(ours, key=identifier))):
            yield from compared(their, our, path) if index < len(theirs) else [(path, f"too many: {our}")]
    elif isinstance(theirs, str) and theirs in VOLATILE:
        if not isinstance(ours, str) or not re.fullmatch(VOLATILE[theirs], ours):
            yield path, f"{path} is {ours!r} in place of {theirs}"
    elif theirs != ours:
        yield path, f"{path} is {ours!r} in place of {theirs!r}"


def identifier(item) -> str:
    """The key by which items are paired, regardless of order."""
    return str(item.get("registrationId") or item.get("enrollmentGroupId")) if isinstance(item, dict) else str(item)


def new_modulus() -> bytes:
    """Returns an odd number of 2048 bits."""
    number = int.from_bytes(os.urandom(256)) | 1 << 2047 | 1
    return number.to_bytes(256)


def new_key() -> str:
    return base64.b64encode(os.urandom(64)).decode("ascii")
