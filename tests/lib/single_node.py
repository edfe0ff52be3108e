"""`muster serve` with an embedded hub and an instance that links it, on the loopback address."""

from __future__ import annotations

import contextlib
import ipaddress
import pathlib

import muster_dev
import pki
import processes
from cryptography import x509

ID_SCOPE = "0neAAAAAAAA"
KEY = "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE="
# A policy of the instance, whose keys are `KEY`.
OWNER = f"""
[[instance.access_policy]]
name = "owner"
primary_key = "{KEY}"
secondary_key = "{KEY}"
rights = "ServiceConfig, EnrollmentWrite"
"""


def configure(directory: pathlib.Path, port: int, more: str, name: str = "plant") -> str:
    """Writes `muster.toml`, which ends with the instance and with `more`, and a certificate for localhost, whose file it returns.

    HTTPS, MQTT and AMQP have the port and the two that follow, those of the hub the next three.
    """
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))])
    chain, key = pki.self_signed("localhost", extensions=[names]).write(directory)
    (directory / "muster.toml").write_text(f"""
data_dir = "data"
[listen]
https = "127.0.0.1:{port}"
mqtts = "127.0.0.1:{port + 1}"
amqps = "127.0.0.1:{port + 2}"
[[tls]]
certificate = "{chain}"
key = "{key}"
[[embedded_hub]]
name = "hub"
host_name = "hub.example"
https = "127.0.0.1:{port + 3}"
mqtts = "127.0.0.1:{port + 4}"
amqps = "127.0.0.1:{port + 5}"
owner_key = "{KEY}"
[[instance]]
name = '''{name}'''
id_scope = "{ID_SCOPE}"
service_hosts = ["localhost"]
[[instance.linked_hub]]
embedded_hub = "hub"
{more}""")
    return chain


@contextlib.contextmanager
def running(directory: pathlib.Path, port: int):
    """Runs it, with its log in the file `log`, once this port has a listener."""
    with (directory / "log").open("w") as log:
        command = [str(muster_dev.binary()), "serve", "--config", "muster.toml", "--log", "info"]
        with processes.running(command, directory, log):
            processes.wait_for(port)
            yield
