"""Protect aiortc 1.16.0's DTLS transport from an authenticated peer: bound its streams, survive
malformed packets.

Such a peer has valid keys, so neither ICE nor SRTP stops it. `tests/project/test_dependencies.py`
fails when the wrapped methods change.
"""

from __future__ import annotations

import functools
import logging
from collections import Counter
from typing import Any

import pylibsrtp

log = logging.getLogger(__name__)

# Streams (SSRCs) of a connection over its whole life. A camera has one, and one for
# retransmissions; each costs memory in libsrtp and in aiortc's table, and time per packet.
MAX_STREAMS = 128

# Refused packets by reason.
refused: Counter[str] = Counter(malformed=0, streams=0)


class BoundedSession:
    """An SRTP session that accepts at most `MAX_STREAMS` streams; packets of others raise like
    unauthentic ones.

    Bounds of streams (SSRCs) of a connection, addresses of its peer: 128 each; more are refused.
    """

    def __init__(self, session: Any) -> None:
        self._session = session
        # SSRCs of authentic packets.
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
    """A DTLS connection that reads and discards all application data, which has no use here.

    aiortc reads only one record of each datagram; the others would accumulate inside OpenSSL.
    """

    def __init__(self, ssl: Any, transport: Any) -> None:
        self._ssl = ssl
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ssl, name)

    def recv(self, size: int) -> bytes:
        """Read until nothing is left.

        Raises SSL.Error: WantReadError then, ZeroReturnError when the peer closed.
        """
        while True:
            data: bytes = self._ssl.recv(size)
            if self._transport._data_receiver is not None:
                return data


def install(transport_class: Any) -> None:
    """Wrap the methods of RTCDtlsTransport. Safe to call again."""
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

    # aiortc catches only ValueError; any other error (struct.error) would end the connection.
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
    # The counter has the number; at this level a flood of packets writes no log.
    log.debug("malformed packet", extra={"error": type(exc).__name__})
