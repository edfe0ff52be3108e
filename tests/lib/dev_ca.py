"""Server certificates of the CA of an emulator, which every client of these tests trusts."""

from __future__ import annotations

import ipaddress
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

import pki


def issue(dev, directory: pathlib.Path, *addresses: str) -> tuple[str, str]:
    """Issues a certificate for these IP addresses; returns the files with it and with its key."""
    key = serialization.load_pem_private_key((dev.directory / "ca.key").read_bytes(), None)
    ca = pki.Credentials(key, (x509.load_pem_x509_certificate(dev.ca_pem.encode()),))
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address)) for address in addresses])
    extensions = (names, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]))
    return ca.issue(addresses[0], extensions=extensions).write(directory)
