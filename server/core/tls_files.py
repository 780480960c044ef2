"""The certificate and key files that the settings name: what is wrong with them, and the one that anybody may have."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from cryptography import x509

from server.core.setting_text import shown

MIN_SECRET_CHARS = 32


def pair_problems(certificate: Path | None, key: Path | None) -> list[str]:
    """What keeps HTTPS from starting with SSL_CERT_PATH and SSL_KEY_PATH, a sentence each."""
    problems = []
    for name, path in (("SSL_CERT_PATH", certificate), ("SSL_KEY_PATH", key)):
        if path is None:
            problems.append(f"{name} is empty. HTTPS_ENABLED=true needs a readable PEM file there.")
            continue
        try:
            path.open("rb").close()
        except OSError as exc:
            problems.append(
                f"{name} is {shown(path)}, which cannot be read ({exc.strerror})."
                " HTTPS_ENABLED=true needs a readable PEM file there."
            )
    if problems or certificate is None:
        return problems
    try:
        # An empty password: without it OpenSSL would ask on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError):
        return [
            f"SSL_CERT_PATH is {shown(certificate)} and SSL_KEY_PATH is {shown(key)}, which are no PEM"
            " certificate and the unencrypted key to it."
        ]
    return []


def authority_problems(path: Path | None) -> list[str]:
    """What is wrong with CA_CERT_PATH, as sentences."""
    if path is None:
        return []
    try:
        authority_der(path)
    except OSError as exc:
        reason = f"which cannot be read ({exc.strerror})"
    except ValueError:
        reason = "in which there is no certificate"
    else:
        return []
    return [f"CA_CERT_PATH is {shown(path)}, {reason}. It is sent to whoever asks for it."]


def certificate_names(path: Path) -> set[str]:
    """The DNS names that the first certificate of a PEM file is for; none where it has none. Raises OSError, ValueError."""
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return set()
    return set(names.value.get_values_for_type(x509.DNSName))


def read_secret(path: Path) -> str:
    """The text of a file that its owner alone can read. Raises OSError, ValueError with the end of a sentence."""
    with path.open("rb") as stream:
        status = os.fstat(stream.fileno())
        text = stream.read(4096).decode("ascii", "replace").strip()
    if status.st_mode & 0o077:
        raise ValueError("which others than its owner can read (chmod 600 helps)")
    if len(text) < MIN_SECRET_CHARS:
        raise ValueError(f"in which there are fewer than {MIN_SECRET_CHARS} characters")
    return text


def secret_problems(name: str, path: Path | None) -> list[str]:
    """What is wrong with the file that a setting of this name gives, as sentences."""
    if path is None:
        return []
    try:
        read_secret(path)
    except OSError as exc:
        reason = f"which cannot be read ({exc.strerror})"
    except ValueError as exc:
        reason = str(exc)
    else:
        return []
    return [f"{name} is {shown(path)}, {reason}. It signs what paired devices get in by."]


def authority_der(path: Path) -> bytes:
    """The first certificate of a PEM file in its binary form, and nothing else of that file. Raises OSError, ValueError."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    text = path.read_text(encoding="ascii", errors="replace")
    if begin not in text:
        raise ValueError("there is no certificate")
    inside = text.partition(begin)[2].partition(end)[0]
    der = ssl.PEM_cert_to_DER_cert(f"{begin}{inside}{end}")
    try:
        # Parsed, so that nothing but a certificate goes out.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=der)
    except ssl.SSLError:
        raise ValueError("it is no certificate") from None
    return der
