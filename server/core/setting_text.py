"""Parse the values of settings, and quote them without secrets. Pure.

Each parser raises ValueError; its text becomes part of the error about the setting.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Callable, Mapping
from ipaddress import IPv6Address
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from server.core.addresses import Address, Network, normalise_origin, parse_address

if TYPE_CHECKING:
    from cryptography import x509

HOST = r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\])"
# RFC 7064 and RFC 7065: without "//".
_STUN_URL = re.compile(rf"stuns?:{HOST}(?::(?P<port>\d{{1,5}}))?", re.ASCII)
_TURN_URL = re.compile(
    rf"turns?:{HOST}(?::(?P<port>\d{{1,5}}))?(?:\?transport=(?:udp|tcp))?", re.ASCII
)
_BASE_URL = re.compile(rf"https?://{HOST}(:\d{{1,5}})?(/[^\s?#@]*)?", re.ASCII)


def unquote(text: str) -> str:
    """Strip whitespace and one pair of quotation marks, which container runtimes leave in place."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1].strip()
    return text


def parse_network(text: str) -> Network:
    return ipaddress.ip_network(text, strict=False)


def parse_public_address(text: str) -> Address:
    """Parse an IP address to which clients can send."""
    address = ipaddress.ip_address(text)
    if (
        address.is_unspecified
        or address.is_multicast
        or (address.version == 6 and address.is_link_local)
    ):
        raise ValueError(f"{text} is not an address to which clients can send")
    return address


def host_name(text: str) -> str:
    """Parse a host name (returned in lower case) or an IP address."""
    if re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", text, re.ASCII):
        return text.lower()
    return str(IPv6Address(text))


def get_server_address(url: str) -> str:
    """Return the host and port of an http URL; the host is localhost for all spellings of loopback."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    address = parse_address(host)
    if (address and (address.is_loopback or address.is_unspecified)) or host.endswith(".localhost"):
        host = "localhost"
    return f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def get_other_machine(url: str, machines: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return the name of the other machine behind a URL; "" for this machine.

    `machines`: names given by the operator, by host and port. If a host has none, only loopback is this machine
    (RFC 6761 section 6.3, RFC 6890), because DNS can change the address of any other name.
    """
    at = get_server_address(url)
    host = at.rpartition(":")[0]
    return machines.get(at, "" if host == "localhost" else host)


def parse_engine_machine(text: str) -> tuple[str, str]:
    """Parse `HOST:PORT=MACHINE`; the machine is "" for `here`."""
    address, equals, machine = text.partition("=")
    url = f"http://{address}"
    if not equals or _BASE_URL.fullmatch(url) is None or not address.rpartition(":")[2].isdecimal():
        raise ValueError(f"{quote(text[:80])} does not have this form")
    return get_server_address(url), "" if machine == "here" else host_name(machine)


def parse_allowed_host(text: str) -> str:
    """Parse a host as `host_name` does, with an optional `*.` before it."""
    star = "*." if text.startswith("*.") else ""
    return star + host_name(text.removeprefix("*."))


def get_origin(text: str) -> str:
    found = normalise_origin(text.removesuffix("/"))
    if found is None:
        raise ValueError(f"{text[:80]!r} is not an origin")
    return found


def check_stun_url(text: str) -> str:
    """Check a STUN URL (RFC 7064)."""
    return _check_ice_url(_STUN_URL, text)


def turn_url(text: str) -> str:
    """Check a TURN URL (RFC 7065)."""
    return _check_ice_url(_TURN_URL, text)


def _check_ice_url(form: re.Pattern[str], text: str) -> str:
    """Check a URL strictly, because browsers refuse the whole connection for one malformed URL."""
    if (match := form.fullmatch(text)) is None:
        raise ValueError(f"{quote(text[:80])} does not have this form")
    if not 1 <= int(match["port"] or 1) <= 65535:
        raise ValueError(f"{text[:80]!r} has a port outside 1 to 65535")
    if text.startswith("turns:") and text.endswith("=udp"):
        raise ValueError(
            f"{text[:80]!r} needs TLS over UDP, which browsers do not support; remove ?transport"
        )
    return text


def check_base_url(text: str) -> str:
    """Check an http or https URL without user, query and fragment; remove a final slash."""
    if _BASE_URL.fullmatch(text) is None:
        raise ValueError("it does not have this form")
    try:
        port = urlsplit(text).port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError("its port is not between 1 and 65535")
    return text.rstrip("/")


def check_base_urls(text: str) -> list[str]:
    """Check one or several URLs, separated by commas or spaces, as `check_base_url` does."""
    found = [check_base_url(part) for part in text.replace(",", " ").split()]
    if not found:
        raise ValueError("it contains no address")
    return found


def parse_port_range(text: str) -> tuple[int, int] | None:
    """Parse "first-last"; None for an empty text."""
    if not text:
        return None
    if (match := re.fullmatch(r"(\d{1,5})\s*-\s*(\d{1,5})", text, re.ASCII)) is None:
        raise ValueError("it does not have this form")
    low, high = int(match[1]), int(match[2])
    if not 1024 <= low <= high <= 65535:
        raise ValueError("the first port must be at least 1024 and not above the second")
    return low, high


def quote(value: object) -> str:
    """Quote a value for an error: shortened, and without the text before an "@", a possible password."""
    text = re.sub(r"[^\s,]*@", "(hidden)@", str(value))
    return repr(text if len(text) <= 120 else f"{text[:120]}...")


# The certificate, key and secret files named by settings

MIN_SECRET_CHARS = 32


def find_certificate_errors(certificate: Path | None, key: Path | None) -> list[str]:
    """Return a sentence for each reason why SSL_CERT_PATH and SSL_KEY_PATH cannot be used for HTTPS."""
    problems = []
    for name, path in (("SSL_CERT_PATH", certificate), ("SSL_KEY_PATH", key)):
        if path is None:
            problems.append(f"{name} is empty. With HTTPS_ENABLED=true it must name a PEM file.")
        advice = "With HTTPS_ENABLED=true it must name a readable PEM file."
        problems += find_file_errors(name, path, Path.read_bytes, advice)
    if problems or certificate is None:
        return problems
    try:
        # Without a password OpenSSL would prompt on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError):
        return [
            f"SSL_CERT_PATH is {quote(certificate)} and SSL_KEY_PATH is {quote(key)}: they are not a"
            " PEM certificate and its unencrypted key."
        ]
    return []


def _read_certificate(path: Path) -> x509.Certificate:
    """Read the first certificate of a PEM file. Raises OSError, or ValueError with a relative clause for the error."""
    # Imported here, because all commands read the settings, but few read a certificate.
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError:
        raise ValueError("which has no certificate") from None


def read_certificate_der(path: Path) -> bytes:
    """Return the first certificate of a PEM file as DER. Raises the errors of `_read_certificate`."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return _read_certificate(path).public_bytes(Encoding.DER)


def read_certificate_names(path: Path) -> set[str]:
    """Return the DNS names in the first certificate of a PEM file. Raises the errors of `_read_certificate`."""
    from cryptography import x509

    try:
        names = _read_certificate(path).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
    except x509.ExtensionNotFound:
        return set()
    return set(names.value.get_values_for_type(x509.DNSName))


def find_file_errors(
    name: str, path: Path | None, read: Callable[[Path], object], advice: str
) -> list[str]:
    """Return an error with advice if `read` cannot read the file of the setting `name`.

    `read` raises OSError, or ValueError with a relative clause.
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
    return [f"{name} is {quote(path)}, {reason}. {advice}"]
