"""What an authenticated peer can do to aiortc 1.16.0's DTLS transport: bounded, and nothing that it sends ends it.

Such a peer holds good keys, so that neither ICE nor SRTP keeps anything of this out. `tests/project/test_dependencies.py`
fails when what is wrapped here changes underneath.
"""

from __future__ import annotations

import functools
import logging
from collections import Counter
from typing import Any

import pylibsrtp

log = logging.getLogger(__name__)

# Streams (SSRCs) of a connection, over its whole life. A camera has one and one more for what it sends again; every
# one costs memory in libsrtp and in aiortc's table, and time at each packet.
MAX_STREAMS = 128

# Packets that went no further, by reason.
refused: Counter[str] = Counter(malformed=0, streams=0)


class BoundedSession:
    """An SRTP session that takes packets of at most `MAX_STREAMS` streams; those of more are refused as unauthentic."""

    def __init__(self, session: Any) -> None:
        self._session = session
        # Only of packets that were authentic.
        self._ssrcs: set[bytes] = set()

    def unprotect(self, packet: bytes) -> bytes:
        """Raises pylibsrtp.Error."""
        return self._take(packet, packet[8:12], self._session.unprotect)

    def unprotect_rtcp(self, packet: bytes) -> bytes:
        """Raises pylibsrtp.Error."""
        return self._take(packet, packet[4:8], self._session.unprotect_rtcp)

    def _take(self, packet: bytes, ssrc: bytes, unprotect: Any) -> bytes:
        known = ssrc in self._ssrcs
        if not known and len(self._ssrcs) >= MAX_STREAMS:
            refused["streams"] += 1
            raise pylibsrtp.Error("too many streams")
        plain: bytes = unprotect(packet)
        if not known:
            self._ssrcs.add(ssrc)
        return plain


class DrainedTls:
    """A DTLS connection whose application data, which has no use here, is read to its end and forgotten.

    aiortc reads one record of a datagram; what else was in it would wait inside OpenSSL, more with each datagram.
    """

    def __init__(self, ssl: Any, transport: Any) -> None:
        self._ssl = ssl
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ssl, name)

    def recv(self, size: int) -> bytes:
        """Raises SSL.Error: WantReadError once there is nothing left, ZeroReturnError at the peer's goodbye."""
        while True:
            data: bytes = self._ssl.recv(size)
            if self._transport._data_receiver is not None:
                return data


def install(transport_class: Any) -> None:
    """Put it around RTCDtlsTransport. Safe to call again."""
    if "guarded" in vars(transport_class):
        return
    transport_class.guarded = True
    setup_srtp = transport_class._setup_srtp
    handle_rtp = transport_class._handle_rtp_data
    handle_rtcp = transport_class._handle_rtcp_data

    @functools.wraps(setup_srtp)
    def bounded_setup(self: Any) -> None:
        setup_srtp(self)
        if self._rx_srtp is not None:
            self._rx_srtp = BoundedSession(self._rx_srtp)
        self._ssl = DrainedTls(self._ssl, self)

    # struct.error and whatever else: aiortc takes ValueError alone, and the connection would end of the rest.
    @functools.wraps(handle_rtp)
    async def guarded_rtp(self: Any, data: bytes, arrival_time_ms: int) -> None:
        try:
            await handle_rtp(self, data, arrival_time_ms)
        except ConnectionError:
            raise
        except Exception as exc:  # noqa: BLE001
            _malformed(exc)

    @functools.wraps(handle_rtcp)
    async def guarded_rtcp(self: Any, data: bytes) -> None:
        try:
            await handle_rtcp(self, data)
        except ConnectionError:
            raise
        except Exception as exc:  # noqa: BLE001
            _malformed(exc)

    transport_class._setup_srtp = bounded_setup
    transport_class._handle_rtp_data = guarded_rtp
    transport_class._handle_rtcp_data = guarded_rtcp


def _malformed(exc: Exception) -> None:
    refused["malformed"] += 1
    # Only the type: one a second would still be a flood, so the counter tells how many.
    log.debug("malformed packet", extra={"error": type(exc).__name__})
