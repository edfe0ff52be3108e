"""TLS stacks of devices: restricted OpenSSL, GnuTLS, and wolfSSL and mbedTLS as built by Debian."""

from __future__ import annotations

import pathlib
import re
import subprocess
import time

import pki
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENTS = pathlib.Path(__file__).parent / "clients"
SECONDS = 30

TLS12 = {
    "ECDHE-ECDSA-AES128-GCM-SHA256": "ecdsa",
    "ECDHE-ECDSA-AES256-GCM-SHA384": "ecdsa",
    "ECDHE-ECDSA-CHACHA20-POLY1305": "ecdsa",
    "ECDHE-RSA-AES128-GCM-SHA256": "rsa",
    "ECDHE-RSA-AES256-GCM-SHA384": "rsa",
    "ECDHE-RSA-CHACHA20-POLY1305": "rsa",
}
TLS13 = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
HOSTS = ("127.0.0.1", "127.0.0.11")  # the endpoint and an embedded hub


def run(*command, said=b"") -> subprocess.CompletedProcess:
    """Runs a program to its end."""
    return subprocess.run([str(it) for it in command], input=said, capture_output=True, timeout=SECONDS, check=False)


def request(host: str) -> bytes:
    """Requires the answer: 200 by the endpoint, 401 by a hub."""
    return f"GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("ascii")


def s_client(dev, host, *options) -> subprocess.CompletedProcess:
    """OpenSSL; `-ign_eof` waits for the answer."""
    return run(
        *("openssl", "s_client", "-connect", f"{host}:{dev.https_port}", "-CAfile", dev.ca_file),
        *("-verify_return_error", "-ign_eof", *options),
        said=request(host),
    )


def answered(ended: subprocess.CompletedProcess) -> str:
    """Returns the output of a client that got an answer."""
    text = ended.stdout.decode(errors="replace")
    assert ended.returncode == 0 and re.search(r"HTTP/1.1 (200|401)", text), (text[-2000:], ended.stderr[-2000:])
    return text


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(("suite", "key"), TLS12.items())
def test_each_suite_of_tls_1_2(dev, host, suite, key):
    text = answered(s_client(dev, host, "-tls1_2", "-cipher", suite))
    assert f"Cipher    : {suite}" in text
    assert f"Peer signature type: {'ECDSA' if key == 'ecdsa' else 'RSA'}" in text


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("suite", TLS13)
def test_each_suite_of_tls_1_3(dev, host, suite):
    assert f"Cipher is {suite}" in answered(s_client(dev, host, "-tls1_3", "-ciphersuites", suite))


@pytest.mark.parametrize("group", ["X25519", "P-256", "P-384"])
def test_each_group(dev, group):
    answered(s_client(dev, HOSTS[0], "-groups", group))


# The signature algorithms of modems with RSA only, of secure elements without PSS, and of stacks that require EC.
@pytest.mark.parametrize(
    ("options", "signature"),
    [
        (("-tls1_2", "-sigalgs", "RSA+SHA256"), "RSA"),
        (("-tls1_2", "-sigalgs", "RSA+SHA256:RSA+SHA384", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"), "RSA"),
        (("-tls1_3", "-sigalgs", "RSA-PSS+SHA256:RSA+SHA256"), "RSA-PSS"),
        (("-sigalgs", "ECDSA+SHA256"), "ECDSA"),
    ],
)
def test_the_certificate_follows_what_the_client_can_verify(dev, options, signature):
    assert f"Peer signature type: {signature}" in answered(s_client(dev, HOSTS[0], *options))


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_no_ticket_and_no_root(dev, host, version):
    text = answered(s_client(dev, host, version, "-showcerts"))
    assert "Post-Handshake New Session Ticket" not in text and "TLS session ticket:" not in text
    assert text.count("BEGIN CERTIFICATE") == 1


@pytest.mark.parametrize(
    ("options", "alert"),
    [
        # It names no signature algorithms, which are checked first.
        (("-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"), "handshake failure"),
        (("-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA256"), "handshake failure"),  # CBC
        (("-tls1_2", "-cipher", "AES128-GCM-SHA256"), "handshake failure"),  # RSA key exchange
        (("-tls1_3", "-groups", "P-521"), "handshake failure"),
        (("-tls1_3", "-sigalgs", "ed448"), "handshake failure"),
    ],
)
def test_unsupported_parameters_get_an_alert_and_a_reason(dev, options, alert):
    ended = s_client(dev, HOSTS[0], *options)
    assert f"alert {alert}".encode() in ended.stderr, ended.stderr


def test_a_short_key_is_refused_with_its_reason(dev, tmp_path):
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    certificate = pki.build("weak", key.public_key(), pki.name("weak"), key, None)
    (tmp_path / "chain.pem").write_text(pki.pem(certificate))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "key.pem").write_bytes(key.private_bytes(*form))
    identity = ("-cert", tmp_path / "chain.pem", "-key", tmp_path / "key.pem", "-cipher", "DEFAULT@SECLEVEL=0")
    # Refusals of one address are summarized beyond a rate, which earlier tests may have reached.
    deadline = time.monotonic() + SECONDS
    while "weak-key" not in (dev.directory / "dev.log").read_text(errors="replace"):
        assert time.monotonic() < deadline, "the log has no reason"
        ended = s_client(dev, HOSTS[0], "-tls1_2", *identity)
        assert b"alert certificate unknown" in ended.stderr, ended.stderr
        time.sleep(0.1)


@pytest.mark.parametrize(
    "priority",
    ["NORMAL", "NORMAL:-VERS-ALL:+VERS-TLS1.2", "SECURE128", "NORMAL:-SIGN-ALL:+SIGN-RSA-SHA256:+SIGN-RSA-PSS-RSAE-SHA256"],
)
def test_gnutls(dev, priority):
    command = ["gnutls-cli", "--x509cafile", dev.ca_file, "-p", str(dev.https_port), "--priority", priority]
    command += ["--sni-hostname", "localhost", "--verify-hostname", "localhost", "127.0.0.1"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        # It exits at the end of its input, with or without an answer.
        process.stdin.write(request("localhost"))
        process.stdin.flush()
        process.wait(SECONDS)
        answered(subprocess.CompletedProcess(command, process.returncode, process.stdout.read(), process.stderr.read()))


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """The small clients in C."""
    directory = tmp_path_factory.mktemp("clients")
    libraries = {"wolfssl": ["-lwolfssl"], "mbedtls": ["-lmbedtls", "-lmbedx509", "-lmbedcrypto"]}
    for name, linked in libraries.items():
        subprocess.run(["cc", "-Wall", "-Werror", "-o", directory / name, CLIENTS / f"{name}_client.c", *linked], check=True)
    return directory


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_wolfssl(dev, compiled, host, version):
    """It reads a ticket of TLS 1.3 only if its nonce has at most eight bytes."""
    text = answered(run(compiled / "wolfssl", host, dev.https_port, dev.ca_file, version, "/health"))
    assert text.startswith(f"TLSv{version} ")


@pytest.mark.parametrize("suite", ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"])
def test_wolfssl_with_one_suite(dev, compiled, suite):
    text = answered(run(compiled / "wolfssl", HOSTS[0], dev.https_port, dev.ca_file, "1.2", "/health", suite))
    assert text.startswith(f"TLSv1.2 {suite}")


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    "suite", ["", "TLS-ECDHE-RSA-WITH-AES-128-GCM-SHA256", "TLS-ECDHE-ECDSA-WITH-AES-256-GCM-SHA384"]
)
def test_mbedtls(dev, compiled, host, suite):
    arguments = [suite] if suite else []
    text = answered(run(compiled / "mbedtls", host, dev.https_port, dev.ca_file, "/health", *arguments))
    assert text.startswith("TLSv1.2 ") and suite in text
