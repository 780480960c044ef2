"""Check and read the certificate, key and secret files that the settings name."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from pathlib import Path

from server.core.setting_text import shown

MIN_SECRET_CHARS = 32


def pair_problems(certificate: Path | None, key: Path | None) -> list[str]:
    """Return a sentence for each reason why HTTPS cannot start with SSL_CERT_PATH and SSL_KEY_PATH."""
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
        # An empty password, because without one OpenSSL would prompt at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError):
        return [
            f"SSL_CERT_PATH is {shown(certificate)} and SSL_KEY_PATH is {shown(key)}, which are not a"
            " PEM certificate and its unencrypted key."
        ]
    return []


def authority_problems(path: Path | None) -> list[str]:
    """Return a sentence for each problem with CA_CERT_PATH."""
    if path is None or not (reason := authority_reason(path)):
        return []
    return [f"CA_CERT_PATH is {shown(path)}, {reason}. The page offers it for download."]


def authority_reason(path: Path) -> str:
    """Return a relative clause about a file that has no certificate; "" for one that has."""
    try:
        authority_der(path)
    except OSError as exc:
        return f"which cannot be read ({exc.strerror})"
    except ValueError:
        return "which has no certificate"
    return ""


def certificate_names(path: Path) -> set[str]:
    """Return the DNS names of a PEM file's first certificate. Raises OSError, ValueError."""
    # Here: every command reads the settings, and few read a certificate.
    from cryptography import x509

    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return set()
    return set(names.value.get_values_for_type(x509.DNSName))


def read_secret(path: Path) -> str:
    """Read a secret from a file that only its owner can read.

    Raises OSError, and ValueError with a relative clause for an error text.
    """
    with path.open("rb") as stream:
        status = os.fstat(stream.fileno())
        text = stream.read(4096).decode("ascii", "replace").strip()
    if status.st_mode & 0o077:
        raise ValueError("which can be read by others than its owner; chmod 600 changes that")
    if len(text) < MIN_SECRET_CHARS:
        raise ValueError(f"which has fewer than {MIN_SECRET_CHARS} characters")
    return text


def unreadable(
    name: str, path: Path | None, read: Callable[[Path], object], advice: str
) -> list[str]:
    """Return a sentence, and advice, where `read` refuses the file of setting `name`.

    `read` raises OSError, and ValueError with a relative clause.
    """
    if path is None:
        return []
    try:
        read(path)
    except OSError as exc:
        reason = f"which cannot be read ({exc.strerror})"
    except ValueError as exc:
        reason = str(exc)
    else:
        return []
    return [f"{name} is {shown(path)}, {reason}. {advice}"]


def authority_der(path: Path) -> bytes:
    """Return the first certificate of a PEM file as DER, and nothing else of it.

    Raises OSError, ValueError.
    """
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    text = path.read_text(encoding="ascii", errors="replace")
    if begin not in text:
        raise ValueError("there is no certificate")
    inside = text.partition(begin)[2].partition(end)[0]
    der = ssl.PEM_cert_to_DER_cert(f"{begin}{inside}{end}")
    try:
        # Parse it, so that only a certificate can leave the server.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=der)
    except ssl.SSLError:
        raise ValueError("it is no certificate") from None
    return der
