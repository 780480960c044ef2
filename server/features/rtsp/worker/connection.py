"""A connection to the host of the settings: looked up, connected, encrypted, read within bounds."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import ssl
import time
from collections.abc import Callable, Sequence

from server.features.rtsp.worker.rtsp import MAX_HEAD_BYTES
from server.features.rtsp.worker.trouble import SourceFailed, Trouble

# Seconds for a connection and for each answer
CONNECT_SECONDS = 10.0
# Seconds without a byte after which a camera counts as gone
SILENT_SECONDS = 10.0
# Addresses of a name that are tried
MAX_ADDRESSES = 4
_READ_BYTES = 64 * 1024
# Room for what a camera may send in one burst
_RECEIVE_BYTES = 1 << 20


class Connection:
    """Bytes of one camera. Every method may raise SourceFailed.

    It speaks to `host` and to nobody else: nothing that the camera says leads to another address.
    """

    def __init__(self, host: str, port: int, *, tls: bool, ca: str = "") -> None:
        """`ca`: a PEM file with the authority of the camera's certificate; "" for the system's."""
        self._held = bytearray()
        self._socket = _connect(host, port)
        if tls:
            self._socket = _encrypt(self._socket, host, ca)
        self._socket.settimeout(SILENT_SECONDS)

    def send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except TimeoutError:
            raise SourceFailed(Trouble.SILENT) from None
        except OSError:
            raise SourceFailed(Trouble.ENDED) from None

    def head(self) -> bytes:
        """Return the next message up to its empty line, which is left out."""
        end = time.monotonic() + CONNECT_SECONDS
        while True:
            for mark in (b"\r\n\r\n", b"\n\n"):
                at = self._held.find(mark)
                if 0 <= at <= MAX_HEAD_BYTES:
                    data = bytes(self._held[:at])
                    del self._held[: at + len(mark)]
                    return data
            if len(self._held) > MAX_HEAD_BYTES:
                raise SourceFailed(Trouble.MALFORMED)
            if time.monotonic() > end:
                raise SourceFailed(Trouble.SILENT)
            self._fill()

    def exactly(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        end = time.monotonic() + CONNECT_SECONDS
        while len(self._held) < count:
            if time.monotonic() > end:
                raise SourceFailed(Trouble.SILENT)
            self._fill()
        data = bytes(self._held[:count])
        del self._held[:count]
        return data

    def peek(self) -> int:
        """Return the next byte, which stays there."""
        while not self._held:
            self._fill()
        return self._held[0]

    def some(self) -> bytes:
        """Return what is there, a byte at least."""
        if not self._held:
            self._fill()
        data = bytes(self._held)
        self._held.clear()
        return data

    def _fill(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except TimeoutError:
            raise SourceFailed(Trouble.SILENT) from None
        except OSError:
            raise SourceFailed(Trouble.ENDED) from None
        if not data:
            raise SourceFailed(Trouble.ENDED)
        self._held += data

    def close(self) -> None:
        self._socket.close()


def _connect(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise SourceFailed(Trouble.UNREACHABLE) from None
    for family, kind, protocol, _, address in found[:MAX_ADDRESSES]:
        one = socket.socket(family, kind, protocol)
        one.settimeout(CONNECT_SECONDS)
        try:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            one.connect(address)
        except OSError:
            one.close()
            continue
        return one
    raise SourceFailed(Trouble.UNREACHABLE)


def _encrypt(plain: socket.socket, host: str, ca: str) -> ssl.SSLSocket:
    try:
        context = ssl.create_default_context(cafile=ca or None)
        return context.wrap_socket(plain, server_hostname=host)
    except ssl.SSLCertVerificationError:
        plain.close()
        raise SourceFailed(Trouble.CERTIFICATE) from None
    except (OSError, ValueError):
        plain.close()
        raise SourceFailed(Trouble.UNREACHABLE) from None


# The answer to a camera that asks for a password: HTTP's Digest (RFC 7616) and Basic. Pure.

_PART = re.compile(r'([A-Za-z-]{1,32})\s*=\s*(?:"((?:[^"\\]|\\.){0,1024})"|([^\s,"]{1,256}))')
# The better one first. A camera that names none means MD5.
_HASHES: dict[str, Callable[[bytes], str]] = {
    "SHA-256": lambda data: hashlib.sha256(data).hexdigest(),
    "MD5": lambda data: hashlib.md5(data, usedforsecurity=False).hexdigest(),
}


class Credentials:
    """Answers the challenges of one connection.

    `clear`: the password may go as it is (Basic), because the connection is encrypted or the
    operator said so.
    """

    def __init__(self, user: str, password: str, *, clear: bool) -> None:
        self._user = user
        self._password = password
        self._clear = clear
        # The accepted challenge; None before the first
        self._challenge: dict[str, str] | None = None
        self._count = 0

    def challenged(self, headers: Sequence[str]) -> None:
        """Choose among the `WWW-Authenticate` headers of a 401, the best one first.

        Raises SourceFailed when the camera was answered before (so that user or password are
        wrong), when there is no password to give, and when it would have to go in clear text.
        """
        stale = self._challenge is not None and any("stale=true" in h.lower() for h in headers)
        if not self._user or (self._challenge is not None and not (stale and self._count < 8)):
            raise SourceFailed(Trouble.CREDENTIALS)
        digests = [_parts(one) for one in headers if one.lower().startswith("digest ")]
        for name in _HASHES:
            for parts in digests:
                if parts.get("algorithm", "MD5").upper() == name and parts.get("nonce"):
                    self._challenge = {**parts, "algorithm": name}
                    return
        if any(one.lower().startswith("basic") for one in headers):
            if not self._clear:
                raise SourceFailed(Trouble.CLEAR_PASSWORD)
            self._challenge = {}
            return
        raise SourceFailed(Trouble.CREDENTIALS)

    def header(self, method: str, address: str) -> str:
        """Return the value of `Authorization` for a request; "" before a challenge."""
        if self._challenge is None:
            return ""
        self._count += 1
        if not self._challenge:
            pair = f"{self._user}:{self._password}".encode()
            return f"Basic {base64.b64encode(pair).decode()}"
        return self._digest(self._challenge, method, address)

    def _digest(self, given: dict[str, str], method: str, address: str) -> str:
        hashed = _HASHES[given["algorithm"]]
        realm, nonce = given.get("realm", ""), given["nonce"]
        first = hashed(f"{self._user}:{_plain(realm)}:{self._password}".encode())
        second = hashed(f"{method}:{address}".encode())
        fields = [
            f'username="{_escaped(self._user)}"',
            f'realm="{realm}"',
            f'nonce="{nonce}"',
            f'uri="{address}"',
        ]
        if "auth" in re.split(r"[,\s]+", given.get("qop", "")):
            count, own = f"{self._count:08x}", hashed(f"{nonce}:{self._count}".encode())[:16]
            answer = hashed(f"{first}:{nonce}:{count}:{own}:auth:{second}".encode())
            fields += ["qop=auth", f"nc={count}", f'cnonce="{own}"']
        else:
            answer = hashed(f"{first}:{nonce}:{second}".encode())
        fields.append(f'response="{answer}"')
        if "opaque" in given:
            fields.append(f'opaque="{given["opaque"]}"')
        if given["algorithm"] != "MD5":
            fields.append(f"algorithm={given['algorithm']}")
        return "Digest " + ", ".join(fields)


def _parts(header: str) -> dict[str, str]:
    """Read the fields of a challenge, quoted ones as they stand."""
    return {
        name.lower(): quoted or bare
        for name, quoted, bare in _PART.findall(header.partition(" ")[2])
    }


def _plain(quoted: str) -> str:
    return re.sub(r"\\(.)", r"\1", quoted)


def _escaped(text: str) -> str:
    return re.sub(r'(["\\])', r"\\\1", text)
