"""A connection to the host of the settings: looked up, connected, encrypted, read within bounds."""

from __future__ import annotations

import socket
import ssl
import time

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
