"""The certificate files that the settings name."""

from __future__ import annotations

import datetime
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from server.core.setting_text import authority_der, authority_problems, pair_problems


def made(folder: Path, name: str, *, authority: bool = False) -> tuple[Path, Path]:
    """PEM files of a certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), 1, now, now)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_path, key_path = folder / f"{name}.crt", folder / f"{name}.key"
    cert_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert_path, key_path


def test_a_certificate_and_its_key(tmp_path: Path) -> None:
    """Missing, unreadable and mismatched files are named, a right pair is taken."""
    assert [one.split()[0] for one in pair_problems(None, None)] == [
        "SSL_CERT_PATH",
        "SSL_KEY_PATH",
    ]
    cert, key = made(tmp_path, "one")
    _, other_key = made(tmp_path, "two")
    (gone,) = pair_problems(cert, tmp_path / "gone")
    assert gone.startswith("SSL_KEY_PATH is ")
    assert "No such file" in gone
    for pair in ((cert, other_key), (key, key), (cert, tmp_path / "two.crt")):
        (wrong,) = pair_problems(*pair)
        assert "not a PEM certificate" in wrong
    assert not pair_problems(cert, key)


def test_a_key_with_a_password_is_not_asked_for(tmp_path: Path) -> None:
    """OpenSSL would wait at the terminal for it."""
    cert, _ = made(tmp_path, "one")
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"open sesame"),
        )
    )
    (problem,) = pair_problems(cert, locked)
    assert "unencrypted key" in problem


def test_the_authoritys_certificate_is_read_and_nothing_else(tmp_path: Path) -> None:
    """A file without a certificate is a problem; from one with a key too, only that is taken."""
    cert, key = made(tmp_path, "ca", authority=True)
    path = tmp_path / "both.pem"
    assert "cannot be read" in authority_problems(path)[0]
    for text in (
        "",
        key.read_text(),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
    ):
        path.write_text(text)
        assert "no certificate" in authority_problems(path)[0]
        with pytest.raises(ValueError, match="certificate"):
            authority_der(path)
    path.write_text(key.read_text() + cert.read_text() + key.read_text())
    assert not authority_problems(path)
    assert not authority_problems(None)
    loaded = x509.load_pem_x509_certificate(cert.read_bytes())
    assert authority_der(path) == loaded.public_bytes(serialization.Encoding.DER)


def test_commands_read_no_certificate_that_they_do_not_need() -> None:
    """Each reads the settings first: the library for certificates would be a tenth of its start."""
    code = "import sys, config; sys.exit('cryptography.x509' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
