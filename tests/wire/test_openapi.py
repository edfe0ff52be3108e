"""The OpenAPI document: a public validator reads it, and schemathesis calls the service by it.

schemathesis makes requests from the document, valid and invalid ones, and compares the replies with it. Two of its checks are left
out: the service takes more than the document says, on purpose (clients differ), so that `negative_data_rejection` cannot hold; and
`/enrollments/query` is a query for POST, but an enrollment for other methods, which a document cannot say of one path, so that
`allow_header_conformance` cannot hold. Everything is seeded.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import endpoint
import muster_dev
import openapi_spec_validator
import pki
import pytest
import requests
import sas

SCHEMATHESIS = pathlib.Path(sys.executable).with_name("schemathesis")
LEFT_OUT = "negative_data_rejection,positive_data_acceptance,allow_header_conformance"
NAME = "known"


@pytest.fixture
def own_dev(tmp_path):
    """A separate service, because schemathesis changes settings such as the allocation policy."""
    directory = tmp_path / "muster"
    directory.mkdir()
    with muster_dev.running_dev(directory, "free") as dev:
        yield dev


def address(dev) -> str:
    """Returns the URL of the document; the host name of the connection string includes the port."""
    return f"https://{dev.service_credentials['HostName']}/openapi.json"


def test_the_document_is_valid(own_dev):
    document = requests.get(address(own_dev), verify=own_dev.ca_file, timeout=30).json()
    openapi_spec_validator.validate(document)
    assert document["paths"]["/enrollments/{registrationId}"]["put"]["operationId"] == "IndividualEnrollment_CreateOrUpdate"


def test_replies_to_random_requests_match_the_document(own_dev, tmp_path):
    """Unknown names, and every parameter and body at its limits and beyond."""
    schemathesis(own_dev, tmp_path, "--phases", "coverage,fuzzing", "--max-examples", "5")


def test_replies_about_existing_records_match_the_document(own_dev, tmp_path):
    """All paths name a record that exists, so that replies of success are seen, too."""
    service = endpoint.ServiceApi(own_dev)
    register_device(own_dev)
    service.enroll(NAME)
    service.enroll_group(NAME, {"type": "symmetricKey"})
    root = pki.authority("Root")
    service.put("certificates", NAME, {"certificate": root.certificate_pem})
    thumbprint = "AB" * 32
    service.put("blockedCertificates", thumbprint, {"reason": "lost"})
    known = {
        "registrationId": NAME,
        "enrollmentGroupId": NAME,
        "certificateName": NAME,
        "thumbprint": thumbprint,
        "hubName": own_dev.hubs[0].host_name,
    }
    lines = [f'"path.{name}" = "{value}"' for name, value in known.items()]
    (tmp_path / "schemathesis.toml").write_text("\n".join(["[parameters]", *lines]), encoding="utf-8")
    # The management API has tests of its own: a random host name of the instance would end this one.
    excluded = ["--exclude-method", "DELETE", "--exclude-path-regex", "^/(subscriptions|providers)/"]
    output = schemathesis(
        own_dev, tmp_path, "--phases", "fuzzing", "--mode", "positive", "--max-examples", "8", *excluded
    )
    assert "repeatedly returned 404" not in output, output


def register_device(dev) -> None:
    """Makes a registration by the sample group."""
    command = [muster_dev.binary(), "device", "register", "--dev", dev.directory, "--registration-id", NAME]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def schemathesis(dev, directory, *options: str) -> str:
    """Runs schemathesis with the owner's token, and returns its output. A failed check fails the test."""
    policy = dev.service_credentials
    token = sas.token(policy["HostName"], policy["SharedAccessKey"], key_name=policy["SharedAccessKeyName"])
    command = [SCHEMATHESIS, "run", address(dev), "--header", f"Authorization: {token}", "--tls-verify", dev.ca_file]
    command += ["--seed", "1", "--generation-deterministic"]
    command += ["--exclude-checks", LEFT_OUT, "--continue-on-failure", "--no-color", *options]
    environment = {**os.environ, **muster_dev.sdk_environment(dev)}
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
