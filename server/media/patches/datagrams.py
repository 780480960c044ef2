"""Fix four defects of aioice 0.13.0: accept datagrams from verified peers only, check STUN messages
before processing them, repeat a check that crosses the peer's, and stop the consent queries of a
closed connection.

`tests/project/test_dependencies.py` fails if the wrapped functions change.
"""

from __future__ import annotations

import functools
import logging
import struct
from collections import Counter
from collections.abc import Callable
from typing import Any

import aioice.ice
import aioice.stun
import pylibsrtp

from server.media.sdp import MAX_CANDIDATES

_SUCCEEDED = aioice.ice.CandidatePair.State.SUCCEEDED
# Maximum bytes of a datagram: the usual path MTU, and the limit of pylibsrtp and aiortc's DTLS.
MAX_DATAGRAM = 1500
# Maximum datagrams waiting for DTLS; a working connection rarely has more than one.
MAX_WAITING = 2048
# Maximum addresses of a peer: its candidates, and as many peer-reflexive ones. Without a bound an
# authenticated peer could make this server send checks to any address (RFC 8445 section 19.5.1).
MAX_ADDRESSES = 2 * MAX_CANDIDATES
# Checks that aioice keeps until the answer is created; beyond this it silently drops the oldest.
MAX_EARLY_CHECKS = 100
# Maximum role conflicts reported by a peer; one is normal.
MAX_ROLE_CONFLICTS = 4
# Maximum repetitions of a check because a check of the peer arrived
MAX_SENT_AGAIN = 3
# STUN message types, RFC 8489 section 5: a Binding request, its response and its error response.
_REQUEST, _RESPONSE, _ERROR = 0x0001, 0x0101, 0x0111
_COOKIE = aioice.stun.COOKIE.to_bytes(4, "big")
# Refused datagrams by reason
refused: Counter[str] = Counter(stranger=0, stun=0, addresses=0, size=0, waiting=0)


# (protocol, data, address of the sender)
_Handler = Callable[[Any, Any, tuple[Any, ...]], None]


def check_datagrams(stock: _Handler) -> _Handler:
    """Wrap aioice's `datagram_received` to refuse malformed STUN, and datagrams of unverified peers.

    aioice passes every datagram that is not STUN to DTLS, so that an attacker could end a session.
    Here a datagram passes only from a verified address (OWASP ASVS 5, 17.2.6): our check of it has
    succeeded, or it has sent an authenticated check that nominates the pair, which may be a moment
    earlier. The nominating side stops checking once a pair works, while the other side may already
    send from another of its candidates.

    A STUN message passes if it is complete and either a request to this connection or a response to one
    of its requests. All other messages get no answer (aioice would send it to an address chosen by the
    sender), no log line and no queue entry.
    """

    def datagram_received(self: Any, data: Any, addr: tuple[Any, ...]) -> None:
        # DTLS reads the first byte, so an empty datagram would raise. The first byte of STUN is 0 to 3
        # (RFC 7983).
        if not data:
            return
        remote = (addr[0], addr[1])
        if len(data) > MAX_DATAGRAM:
            reason = "size"
        elif data[0] <= 3:
            reason = _find_stun_problem(self, data, remote)
        elif not any(
            pair.protocol is self
            and pair.remote_addr == remote
            and (pair.state is _SUCCEEDED or pair.remote_nominated or self.receiver.ice_controlling)
            for pair in self.receiver._check_list
        ):
            reason = "stranger"
        elif self.receiver._queue.qsize() >= MAX_WAITING:
            reason = "waiting"
        else:
            reason = ""
        if reason:
            refused[reason] += 1
        else:
            stock(self, data, addr)

    return datagram_received


def _find_stun_problem(protocol: Any, data: bytes, remote: tuple[Any, ...]) -> str:
    """Return the reason to refuse a STUN message; "" to accept it. Cheap checks come first."""
    if len(data) < 20 or data[4:8] != _COOKIE:
        return "stun"
    kind = data[0] << 8 | data[1]
    if kind not in (_REQUEST, _RESPONSE, _ERROR) or (
        kind != _REQUEST and data[8:20] not in protocol.transactions
    ):
        return "stun"
    try:
        message = aioice.stun.parse_message(data)
    except (ValueError, struct.error):
        return "stun"
    receiver = protocol.receiver
    if kind == _ERROR and message.error_code == 487:
        # aioice retries in the other role, recursively.
        conflicts = getattr(receiver, "role_conflicts", 0) + 1
        receiver.role_conflicts = conflicts
        return "stun" if conflicts > MAX_ROLE_CONFLICTS else ""
    if kind == _REQUEST:
        if not receiver._valid_username(message.attributes.get("USERNAME", "")):
            return "stun"
        known = any((c._network_host, c.port) == remote for c in receiver._remote_candidates)
        # aioice reads the priority of a request from a new address, even if it is missing.
        if not known and "PRIORITY" not in message.attributes:
            return "stun"
        if len(receiver._early_checks) >= MAX_EARLY_CHECKS or (
            not known and len(receiver._remote_candidates) >= MAX_ADDRESSES
        ):
            return "addresses"
    return ""


# The original function of aioice, also after `install`
STOCK: _Handler = aioice.ice.StunProtocol.datagram_received
_CHECKED = check_datagrams(STOCK)
STOCK_CONSENT = aioice.ice.Connection.query_consent
STOCK_INCOMING = aioice.ice.Connection.check_incoming


async def _query_consent(self: aioice.ice.Connection) -> None:
    """Query consent unless the connection is closing; aioice would continue for 30 s."""
    if not self._closing:
        await STOCK_CONSENT(self)


def _check_incoming(
    self: aioice.ice.Connection,
    message: aioice.stun.Message,
    addr: tuple[str, int],
    protocol: aioice.ice.StunProtocol,
) -> None:
    """Repeat an unanswered check of a pair when the peer's check of the same pair arrives (RFC 8445, 7.3.1.4).

    The check was sent before the path was open (NAT, permission of a relay); aioice would wait
    0.5 s. Only authenticated checks get here, and `MAX_SENT_AGAIN` limits a peer that claims
    foreign addresses.
    """
    STOCK_INCOMING(self, message, addr, protocol)
    transactions: tuple[Any, ...] = tuple(protocol.transactions.values())
    for transaction in transactions:
        again = getattr(transaction, "sent_again", 0)
        if transaction._Transaction__addr == addr and again < MAX_SENT_AGAIN:
            transaction.sent_again = again + 1
            protocol.send_stun(transaction._Transaction__request, addr)


def install() -> None:
    """Install the replacements in aioice. Safe to call again."""
    aioice.ice.Connection.check_incoming = _check_incoming  # type: ignore[method-assign]
    aioice.ice.StunProtocol.datagram_received = _CHECKED  # type: ignore[method-assign,assignment]
    aioice.ice.Connection.query_consent = _query_consent  # type: ignore[method-assign]


# Protect aiortc 1.16.0's DTLS transport from an authenticated peer: limit its streams, survive
# malformed packets. Such a peer has valid keys, so neither ICE nor SRTP stops it.
# `tests/project/test_dependencies.py` fails if the wrapped methods change.

log = logging.getLogger(__name__)
# Maximum streams (SSRCs) of a connection over its lifetime. A camera has one, and one for
# retransmissions; each costs memory in libsrtp and in aiortc's table, and time per packet.
MAX_STREAMS = 128
# Refused packets by reason
peers_refused: Counter[str] = Counter(malformed=0, streams=0)


class BoundedSession:
    """An SRTP session of at most `MAX_STREAMS` streams; packets of others raise as unauthentic ones do.

    Bounds of streams (SSRCs) of a connection, addresses of its peer: 128 each; more are refused.
    """

    def __init__(self, session: Any) -> None:
        self._session = session
        # SSRCs of authentic packets
        self._ssrcs: set[bytes] = set()

    def unprotect(self, packet: bytes) -> bytes:
        """Return a decrypted RTP packet. Raises pylibsrtp.Error."""
        return self._take(packet, packet[8:12], self._session.unprotect)

    def unprotect_rtcp(self, packet: bytes) -> bytes:
        """Return a decrypted RTCP packet. Raises pylibsrtp.Error."""
        return self._take(packet, packet[4:8], self._session.unprotect_rtcp)

    def _take(self, packet: bytes, ssrc: bytes, unprotect: Any) -> bytes:
        known = ssrc in self._ssrcs
        if not known and len(self._ssrcs) >= MAX_STREAMS:
            peers_refused["streams"] += 1
            raise pylibsrtp.Error("too many streams")
        plain: bytes = unprotect(packet)
        if not known:
            self._ssrcs.add(ssrc)
        return plain


class DrainedTls:
    """A DTLS connection that reads and discards all application data, which is not used.

    aiortc reads only one record of each datagram; the others would accumulate in OpenSSL.
    """

    def __init__(self, ssl: Any, transport: Any) -> None:
        self._ssl = ssl
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ssl, name)

    def recv(self, size: int) -> bytes:
        """Read until nothing is left. Raises WantReadError then, ZeroReturnError if the peer closed."""
        while True:
            data: bytes = self._ssl.recv(size)
            if self._transport._data_receiver is not None:
                return data


def guard_transport(transport_class: Any) -> None:
    """Wrap the methods of RTCDtlsTransport. It may be called again."""
    if "guarded" in vars(transport_class):
        return
    transport_class.guarded = True
    setup_srtp = transport_class._setup_srtp

    @functools.wraps(setup_srtp)
    def bounded_setup(self: Any) -> None:
        setup_srtp(self)
        if self._rx_srtp is not None:
            self._rx_srtp = BoundedSession(self._rx_srtp)
        self._ssl = DrainedTls(self._ssl, self)

    def guarded(handle: Any) -> Any:
        # aiortc catches only ValueError; any other error, such as struct.error, would end the connection.
        @functools.wraps(handle)
        async def handle_guarded(self: Any, *received: Any, **more: Any) -> None:
            try:
                await handle(self, *received, **more)
            except ConnectionError:
                raise
            except Exception as exc:  # noqa: BLE001
                peers_refused["malformed"] += 1
                # The counter has the number. At this level a flood of packets does not fill the log.
                log.debug("malformed packet", extra={"error": type(exc).__name__})

        return handle_guarded

    transport_class._setup_srtp = bounded_setup
    transport_class._handle_rtp_data = guarded(transport_class._handle_rtp_data)
    transport_class._handle_rtcp_data = guarded(transport_class._handle_rtcp_data)
