"""Four corrections to aioice 0.13.0: whose datagrams count, which STUN is looked at, checks that cross, and that a
closed connection ends.

`tests/project/test_dependencies.py` fails when what is wrapped here changes underneath.
"""

from __future__ import annotations

import struct
from collections import Counter
from typing import Any, Protocol

import aioice.ice
import aioice.stun

from server.rtc.offer import MAX_CANDIDATES

_SUCCEEDED = aioice.ice.CandidatePair.State.SUCCEEDED

# No path carries more in one piece, and neither libsrtp's buffer in pylibsrtp nor aiortc's reading of DTLS takes more.
MAX_DATAGRAM = 1500
# Datagrams that wait for DTLS to read them; in a connection that works hardly ever more than one.
MAX_WAITING = 2048
# Addresses of one peer: those that it names, and as many again that show by themselves. RFC 8445 section 19.5.1
# tells what a server is good for that goes on checking whatever address an authenticated peer writes as its own.
MAX_ADDRESSES = 2 * MAX_CANDIDATES
# Checks that aioice keeps until the answer is made. It would drop the oldest of more, and nobody would know.
MAX_EARLY_CHECKS = 100
# Times that a peer may say that both sides have the same role. Once is what happens.
MAX_ROLE_CONFLICTS = 4

# Times that one check of ours is sent again because one of theirs came in.
MAX_SENT_AGAIN = 3

# STUN message types, RFC 8489 section 5: a Binding request, its response and its error response.
_REQUEST, _RESPONSE, _ERROR = 0x0001, 0x0101, 0x0111
_COOKIE = aioice.stun.COOKIE.to_bytes(4, "big")

# Datagrams that went no further, by reason.
refused: Counter[str] = Counter(stranger=0, stun=0, addresses=0, size=0, waiting=0)


class _Handler(Protocol):
    def __call__(self, protocol: Any, data: Any, addr: tuple[Any, ...], /) -> None: ...


def checked(stock: _Handler) -> _Handler:
    """aioice hands every datagram that is not STUN to DTLS, whoever sent it; a stranger can end a session so.

    Only those from an address that proved itself go on (OWASP ASVS 5, 17.2.6): our check of it has succeeded, or
    it has sent an authenticated check that nominates the pair, which may be a moment earlier. The side that
    nominates stops checking once a pair will do, while the other may already send on another one of its candidates.

    STUN goes on when it is whole, a request to this very connection or a response to one of its own; the rest gets
    no answer (aioice's would go to whatever address the sender wrote), no line in the log and no place in a queue.
    """

    def datagram_received(self: Any, data: Any, addr: tuple[Any, ...]) -> None:
        # An empty datagram would break DTLS's look at the first byte. STUN begins with 0 to 3 (RFC 7983).
        if not data:
            return
        remote = (addr[0], addr[1])
        if len(data) > MAX_DATAGRAM:
            reason = "size"
        elif data[0] <= 3:
            reason = _stun_problem(self, data, remote)
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


def _stun_problem(protocol: Any, data: bytes, remote: tuple[Any, ...]) -> str:
    """Why a STUN message is not looked at any further; empty when it is. What is cheap to see comes first."""
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
        # aioice asks again in the other role, each time one call deeper.
        conflicts = getattr(receiver, "role_conflicts", 0) + 1
        receiver.role_conflicts = conflicts
        return "stun" if conflicts > MAX_ROLE_CONFLICTS else ""
    if kind == _REQUEST:
        if not receiver._valid_username(message.attributes.get("USERNAME", "")):
            return "stun"
        known = any((c._network_host, c.port) == remote for c in receiver._remote_candidates)
        # aioice reads the priority of a request from an address that is new to it, whether or not there is one.
        if not known and "PRIORITY" not in message.attributes:
            return "stun"
        if len(receiver._early_checks) >= MAX_EARLY_CHECKS or (
            not known and len(receiver._remote_candidates) >= MAX_ADDRESSES
        ):
            return "addresses"
    return ""


# aioice's own, also after `install`
STOCK: _Handler = aioice.ice.StunProtocol.datagram_received
_CHECKED = checked(STOCK)
STOCK_CONSENT = aioice.ice.Connection.query_consent
STOCK_INCOMING = aioice.ice.Connection.check_incoming


async def _query_consent(self: aioice.ice.Connection) -> None:
    """A connection that is closed while its checks succeed would ask for consent for half a minute more."""
    if not self._closing:
        await STOCK_CONSENT(self)


def _check_incoming(
    self: aioice.ice.Connection,
    message: aioice.stun.Message,
    addr: tuple[str, int],
    protocol: aioice.ice.StunProtocol,
) -> None:
    """A check that comes in while ours of the same pair is unanswered: ours goes out again at once (RFC 8445, 7.3.1.4).

    It was sent before the way was open (NAT, a relay's permission), and aioice alone would wait out its half a second.
    Only authenticated checks come here, and a peer that writes others' addresses as its own gains little.
    """
    STOCK_INCOMING(self, message, addr, protocol)
    transactions: tuple[Any, ...] = tuple(protocol.transactions.values())
    for transaction in transactions:
        again = getattr(transaction, "sent_again", 0)
        if transaction._Transaction__addr == addr and again < MAX_SENT_AGAIN:
            transaction.sent_again = again + 1
            protocol.send_stun(transaction._Transaction__request, addr)


def install() -> None:
    """Put all in place. Safe to call again."""
    aioice.ice.Connection.check_incoming = _check_incoming  # type: ignore[method-assign]
    aioice.ice.StunProtocol.datagram_received = _CHECKED  # type: ignore[method-assign,assignment]
    aioice.ice.Connection.query_consent = _query_consent  # type: ignore[method-assign]
