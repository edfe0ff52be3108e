"""HAProxy in front of `muster serve`, which forwards TLS and names its clients by the PROXY protocol."""

from __future__ import annotations

import contextlib
import http.client
import json
import pathlib
import re
import ssl
import subprocess
import time

import endpoint
import pki
import processes
import pytest
import sas
import single_node
from single_node import KEY

DIRECT, METRICS = 18545, 19101
# By the option of the server line, which sets the version of the protocol.
FRONTENDS = {"send-proxy": 18551, "send-proxy-v2": 18552}
# TLS ends here, with a suite that Muster does not have.
ENDING, CBC = 18553, "ECDHE-RSA-AES128-SHA256"
CLIENT = "127.0.0.9"
# Several health checks by each server line.
CHECKED_SECONDS = 2

CONFIGURATION = f"""
{single_node.OWNER}
[listen.proxy]
https = ["127.0.0.1"]
[metrics]
listen = "127.0.0.1:{METRICS}"
"""

HAPROXY = """
global
    maxconn 100
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Muster with its log in a file, and HAProxy in front."""
    directory: pathlib.Path = tmp_path_factory.mktemp("haproxy")
    chain = single_node.configure(directory, DIRECT, CONFIGURATION)
    sections = [HAPROXY]
    for option, port in FRONTENDS.items():
        # The check has no options: it connects, sends a header of its own and closes.
        sections.append(f"listen {option}\n    bind 127.0.0.1:{port}\n")
        sections.append(f"    server muster 127.0.0.1:{DIRECT} {option} check inter 200ms\n")
    pair = pki.self_signed("localhost", "rsa2048")
    (directory / "rsa.pem").write_text(pair.chain_pem + pair.key_pem)
    sections.append(f"listen ends-tls\n    bind 127.0.0.1:{ENDING} ssl crt rsa.pem ciphers {CBC} ssl-max-ver TLSv1.2\n")
    sections.append(f"    server muster 127.0.0.1:{DIRECT} ssl verify required ca-file {chain} verifyhost localhost send-proxy-v2\n")
    (directory / "haproxy.cfg").write_text("".join(sections))
    with contextlib.ExitStack() as stack:
        stack.enter_context(single_node.running(directory, METRICS))
        stack.enter_context(processes.running([processes.haproxy(), "-db", "-f", "haproxy.cfg"], directory, subprocess.DEVNULL))
        for port in (*FRONTENDS.values(), ENDING):
            processes.wait_for(port)
        yield directory / "log"


def refused_registration(port: int, source: str) -> int:
    """Sends a register call of an unknown device from its own address; returns the logged address of the refusal."""
    context = ssl._create_unverified_context()  # the certificate is of this test
    connection = http.client.HTTPSConnection(
        "127.0.0.1", port, timeout=30, context=context, source_address=(source, 0)
    )
    try:
        connection.request("PUT", "/0neAAAAAAAA/registrations/stranger/register?api-version=2021-06-01", body=b"{}")
        return connection.getresponse().status
    finally:
        connection.close()


def refusals() -> dict[str, float]:
    """Refused connections by reason."""
    connection = http.client.HTTPConnection("127.0.0.1", METRICS, timeout=30)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return dict(
        (reason, float(count))
        for reason, count in re.findall(r'^muster_connections_refused_total\{reason="(.*)"\} (\d+)$', text, re.MULTILINE)
    )


@pytest.mark.parametrize("option", FRONTENDS)
def test_the_proxy_header_names_the_client(served, option):
    before = served.read_text().count(CLIENT)
    assert refused_registration(FRONTENDS[option], CLIENT) == 401
    # A direct client sends no header, and none is required of it.
    assert refused_registration(DIRECT, "127.0.0.8") == 401
    deadline = time.monotonic() + 10
    while served.read_text().count(CLIENT) == before:
        assert time.monotonic() < deadline, served.read_text()
        time.sleep(0.1)
    assert "127.0.0.8" in served.read_text()


def test_health_checks_are_not_counted_as_refusals(served):
    before = refusals()
    time.sleep(CHECKED_SECONDS)
    assert refusals() == before
    assert not any(before.values()), before
    assert "connection refused" not in served.read_text()


def test_a_device_with_a_cbc_suite_registers_through_a_tls_proxy(served):
    """Firmware without other suites needs this; the proxy forwards symmetric keys, but no client certificates."""
    device = endpoint.Device("0neAAAAAAAA", "cbc-device", KEY)
    keys = {"type": "symmetricKey", "symmetricKey": {"primaryKey": KEY, "secondaryKey": KEY}}
    enrollment = json.dumps({"registrationId": "cbc-device", "attestation": keys}).encode()
    context = ssl._create_unverified_context()
    connection = http.client.HTTPSConnection(
        "127.0.0.1", DIRECT, timeout=30, context=context, source_address=("127.0.0.8", 0)
    )
    path = "/enrollments/cbc-device?api-version=2021-10-01"
    headers = {
        "Host": "localhost",
        "Content-Type": "application/json",
        "Authorization": sas.token("localhost", KEY, key_name="owner"),
    }
    connection.request("PUT", path, body=enrollment, headers=headers)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    connection.close()

    body = b'{"registrationId":"cbc-device"}'
    head = (
        f"PUT {device.path}/register?api-version=2021-06-01 HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: {device.token()}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    client = ["openssl", "s_client", "-connect", f"127.0.0.1:{ENDING}", "-tls1_2", "-cipher", CBC, "-ign_eof"]
    ended = subprocess.run(client, input=head.encode() + body, capture_output=True, timeout=60, check=False)
    text = ended.stdout.decode(errors="replace")
    assert f"Cipher    : {CBC}" in text and '"status":"assigned"' in text, (text[-2000:], ended.stderr[-500:])


def test_the_header_is_required_of_the_proxy(served):
    with pytest.raises(OSError):
        refused_registration(DIRECT, "127.0.0.1")
    assert refusals()["proxy-header"] == 1
    assert re.search(r"connection refused .*reason=proxy-header", served.read_text())
