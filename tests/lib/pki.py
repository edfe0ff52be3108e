"""Device certificates for the tests, made fresh: self-signed leaves, authorities, chains.

As a program it prints one set of credentials as JSON, for tests that are not Python; a chain is a leaf below the
authority `inner`, below `outer`, below `root`:

    python tests/lib/pki.py self-signed COMMON_NAME
    python tests/lib/pki.py chain COMMON_NAME
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import pathlib
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

KEY_KINDS = {
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "rsa2048": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}

# Clocks of devices and of test machines are rarely exact.
BACKDATED = datetime.timedelta(hours=1)
VALID_FOR = datetime.timedelta(days=1)


@dataclasses.dataclass(frozen=True)
class Credentials:
    """A private key with its certificate and the certificates that issued it, nearest first."""

    key: object
    certificates: tuple[x509.Certificate, ...]

    @property
    def certificate_pem(self) -> str:
        """The certificate without its issuers."""
        return pem(self.certificates[0])

    @property
    def chain_pem(self) -> str:
        """The certificate and its issuers, without the root."""
        return "".join(pem(certificate) for certificate in self.certificates)

    @property
    def key_pem(self) -> str:
        """PKCS #8, not encrypted."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode("ascii")

    @property
    def thumbprint(self) -> str:
        """SHA-256 of the certificate in upper-case hex, as a hub stores it."""
        return self.certificates[0].fingerprint(hashes.SHA256()).hex().upper()

    def write(self, directory: pathlib.Path) -> tuple[str, str]:
        """Writes chain and key as PEM files and returns their paths."""
        name = self.thumbprint[:16]
        chain, key = directory / f"{name}.pem", directory / f"{name}.key"
        chain.write_text(self.chain_pem, encoding="ascii")
        key.write_text(self.key_pem, encoding="ascii")
        return str(chain), str(key)

    def alone(self) -> Credentials:
        """Without the certificates of the issuers."""
        return Credentials(self.key, self.certificates[:1])

    def issue(
        self, common_name: str, key_kind: str = "p256", extensions: tuple[x509.ExtensionType, ...] = ()
    ) -> Credentials:
        """A certificate of a device, or of a server by its extensions, below this authority."""
        return self._below(common_name, key_kind, None, extensions)

    def subordinate(self, common_name: str, key_kind: str = "p256") -> Credentials:
        """An intermediate authority below this one."""
        return self._below(common_name, key_kind, x509.BasicConstraints(ca=True, path_length=None))

    def _below(
        self,
        common_name: str,
        key_kind: str,
        constraints: x509.BasicConstraints | None,
        extensions: tuple[x509.ExtensionType, ...] = (),
    ) -> Credentials:
        key = KEY_KINDS[key_kind]()
        issuer = self.certificates[0].subject
        certificate = build(common_name, key.public_key(), issuer, self.key, constraints, extensions)
        issuers = tuple(issuer for issuer in self.certificates if issuer.issuer != issuer.subject)
        return Credentials(key, (certificate, *issuers))


def authority(common_name: str, key_kind: str = "p256") -> Credentials:
    """A self-signed root."""
    return self_signed(common_name, key_kind, x509.BasicConstraints(ca=True, path_length=None))


def self_signed(
    common_name: str,
    key_kind: str = "p256",
    constraints: x509.BasicConstraints | None = None,
    extensions=(),
) -> Credentials:
    """A certificate that signed itself; without constraints and others it has no extensions at all."""
    key = KEY_KINDS[key_kind]()
    certificate = build(common_name, key.public_key(), name(common_name), key, constraints, extensions)
    return Credentials(key, (certificate,))


def build(common_name, public_key, issuer, issuer_key, constraints, extensions=()) -> x509.Certificate:
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(common_name))
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + VALID_FOR)
    )
    if constraints is not None:
        builder = builder.add_extension(constraints, critical=True)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    # Ed25519 defines its digest.
    digest = None if isinstance(issuer_key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(issuer_key, digest)


def name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def as_json(credentials: Credentials, signers: dict[str, Credentials]) -> str:
    return json.dumps(
        {
            "certificate": credentials.chain_pem,
            "leaf": credentials.certificate_pem,
            "key": credentials.key_pem,
            "thumbprint": credentials.thumbprint,
            **{role: signer.certificate_pem for role, signer in signers.items()},
        }
    )


def main(arguments: list[str]) -> int:
    """Prints credentials for one device as JSON."""
    match arguments:
        case ["self-signed", common_name]:
            print(as_json(self_signed(common_name), {}))
        case ["chain", common_name]:
            root = authority(f"{common_name} root")
            outer = root.subordinate(f"{common_name} outer")
            inner = outer.subordinate(f"{common_name} inner")
            print(as_json(inner.issue(common_name), {"root": root, "outer": outer, "inner": inner}))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
