"""Certificates for `run.sh --https`: an authority that can certify only this machine, and a
server's certificate.
"""

from __future__ import annotations

import ipaddress
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from scripts.lan_addresses import Identity

LOOPBACK = Identity(
    ("localhost",), (ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1"))
)
# Below Apple's limits of 825 days for an authority that the user installed (HT210176) and 398 for a
# public one (HT211025). Long, because a phone that only accepted the certificate asks again for
# each new one.
LEAF_DAYS = 397
AUTHORITY_DAYS = 3650
# Validity begins earlier, for phones whose clock is behind.
BACKDATED = timedelta(days=1)

# P-256 with SHA-256, which every browser accepts.
_CURVE = ec.SECP256R1()
Key = ec.EllipticCurvePrivateKey


def general_names(identity: Identity) -> list[x509.GeneralName]:
    """Return the names and addresses of the identity and of loopback, each once."""
    names = dict.fromkeys((*identity.names, *LOOPBACK.names))
    addresses = dict.fromkeys((*identity.addresses, *LOOPBACK.addresses))
    return [*map(x509.DNSName, names), *map(x509.IPAddress, addresses)]


def subtree(name: x509.GeneralName) -> x509.GeneralName:
    """Convert a name to the form of name constraints: an address becomes a network of one."""
    return (
        x509.IPAddress(ipaddress.ip_network(name.value))
        if isinstance(name, x509.IPAddress)
        else name
    )


def make_authority(
    names: list[x509.GeneralName], label: str, now: datetime
) -> tuple[Key, x509.Certificate]:
    """Create a certificate authority constrained to these names.

    `label` identifies it in a phone's list.
    """
    key = ec.generate_private_key(_CURVE)
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "qwen-camera"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"qwen-camera {label}"[:64]),
        ]
    )
    public = key.public_key()
    certificate = (
        _builder(subject, subject, public, now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(certificates=True), critical=True)
        .add_extension(x509.NameConstraints([subtree(name) for name in names], None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def make_leaf(
    authority_key: Key,
    authority: x509.Certificate,
    names: list[x509.GeneralName],
    now: datetime,
) -> tuple[Key, x509.Certificate]:
    """Create a server's certificate for these names, in subjectAltName only."""
    key = ec.generate_private_key(_CURVE)
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "qwen-camera")])
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    certificate = (
        _builder(subject, authority.subject, key.public_key(), now, LEAF_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
            critical=False,
        )
        .sign(authority_key, hashes.SHA256())
    )
    return key, certificate


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    begin = now - BACKDATED
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key,
        serial_number=x509.random_serial_number(),
        not_valid_before=begin,
        # The end is inclusive (RFC 5280, section 4.1.2.5).
        not_valid_after=begin + timedelta(days=days) - timedelta(seconds=1),
    )


def _key_usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        key_cert_sign=certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def pem(key: Key | None, certificate: x509.Certificate) -> bytes:
    """Write key and certificate as one text, so that one rename replaces both; without a key only
    the certificate.
    """
    text = certificate.public_bytes(serialization.Encoding.PEM)
    if key is None:
        return text
    return text + key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
