"""Parsing the values of settings; tests/project/test_config.py has the errors around them."""

from __future__ import annotations

import datetime
import subprocess
import sys
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from server.core.setting_text import (
    check_base_url,
    check_stun_url,
    find_certificate_errors,
    find_file_errors,
    get_origin,
    host_name,
    parse_network,
    parse_port_range,
    parse_public_address,
    quote,
    read_certificate_der,
    turn_url,
)


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (parse_network, "10.1.2.3/8", ip_network("10.0.0.0/8")),
        (parse_network, "::/0", ip_network("::/0")),
        (host_name, "VM.local", "vm.local"),
        (host_name, "fd00:0::2", "fd00::2"),
        (get_origin, "https://Cam.Example.org:443/", "https://cam.example.org"),
        (check_stun_url, "stuns:[2001:db8::1]:65535", "stuns:[2001:db8::1]:65535"),
        (turn_url, "turns:t.example.org?transport=tcp", "turns:t.example.org?transport=tcp"),
        (check_base_url, "https://h:1/v1//", "https://h:1/v1"),
        (parse_port_range, "1024 - 65535", (1024, 65535)),
        (parse_port_range, "", None),
    ],
)
def test_what_is_read(read: Callable[[str], object], text: str, value: object) -> None:
    """The usual ways of writing one thing are the same thing."""
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (parse_network, "10.0.0.0/33"),
        (parse_public_address, "0.0.0.0"),
        (parse_public_address, "fe80::1"),
        (parse_public_address, "239.0.0.1"),
        (host_name, "vm_1"),
        (get_origin, "null"),
        (check_stun_url, "stun://s.example.org"),
        (check_stun_url, "stun:s.example.org:0"),
        (turn_url, "turn:t.example.org:65536"),
        (turn_url, "turns:t.example.org?transport=udp"),
        (check_base_url, "http://me:secret@h/v1"),
        (check_base_url, "http://h:99999/v1"),
        (check_base_url, "http://h:0/v1"),
        (parse_port_range, "1023-2000"),
        (parse_port_range, "40000"),
    ],
)
def test_what_is_refused(read: Callable[[str], object], text: str) -> None:
    """Anything else would fail later, at a browser or a socket."""
    with pytest.raises(ValueError, match=r"\S"):
        read(text)


def test_what_may_be_a_password_is_not_shown() -> None:
    """Neither in an address nor in what is only nearly one; long values are cut."""
    assert quote("http://me:canary@h/v1, x:canary@y") == "'(hidden)@h/v1, (hidden)@y'"
    assert len(quote("a" * 1000)) < 130


# The certificate files that the settings name.


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
    assert [one.split()[0] for one in find_certificate_errors(None, None)] == [
        "SSL_CERT_PATH",
        "SSL_KEY_PATH",
    ]
    cert, key = made(tmp_path, "one")
    _, other_key = made(tmp_path, "two")
    (gone,) = find_certificate_errors(cert, tmp_path / "gone")
    assert gone.startswith("SSL_KEY_PATH is ")
    assert "No such file" in gone
    for pair in ((cert, other_key), (key, key), (cert, tmp_path / "two.crt")):
        (wrong,) = find_certificate_errors(*pair)
        assert "not a PEM certificate" in wrong
    assert not find_certificate_errors(cert, key)


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
    (problem,) = find_certificate_errors(cert, locked)
    assert "unencrypted key" in problem


def test_the_authoritys_certificate_is_read_and_nothing_else(tmp_path: Path) -> None:
    """A file without a certificate is a problem; from one with a key too, only that is taken."""
    cert, key = made(tmp_path, "ca", authority=True)
    path = tmp_path / "both.pem"

    def problems(of: Path | None) -> list[str]:
        return find_file_errors("CA_CERT_PATH", of, read_certificate_der, "")

    assert "cannot be read" in problems(path)[0]
    for text in (
        "",
        key.read_text(),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
    ):
        path.write_text(text)
        assert "no certificate" in problems(path)[0]
        with pytest.raises(ValueError, match="certificate"):
            read_certificate_der(path)
    path.write_text(key.read_text() + cert.read_text() + key.read_text())
    assert not problems(path)
    assert not problems(None)
    loaded = x509.load_pem_x509_certificate(cert.read_bytes())
    assert read_certificate_der(path) == loaded.public_bytes(serialization.Encoding.DER)


def test_commands_read_no_certificate_that_they_do_not_need() -> None:
    """Each reads the settings first: the library for certificates would be a tenth of its start."""
    code = "import sys, config; sys.exit('cryptography.x509' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
