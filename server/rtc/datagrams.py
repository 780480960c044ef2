"""Two corrections to aioice 0.13.0: whose datagrams count, and that a closed connection ends.

`tests/test_datagrams.py` fails when what is wrapped here changes underneath.
"""

from __future__ import annotations

from typing import Any, Protocol

import aioice.ice

_SUCCEEDED = aioice.ice.CandidatePair.State.SUCCEEDED


class _Handler(Protocol):
    def __call__(self, protocol: Any, data: Any, addr: tuple[Any, ...], /) -> None: ...


def checked(stock: _Handler) -> _Handler:
    """aioice hands every datagram that is not STUN to DTLS, whoever sent it; a stranger can end a session so.

    Only those from an address that proved itself go on (OWASP ASVS 5, 17.2.6): our check of it has succeeded, or
    it has sent an authenticated check that nominates the pair, which may be a moment earlier. The side that
    nominates stops checking once a pair will do, while the other may already send on another one of its candidates.
    """

    def datagram_received(self: Any, data: Any, addr: tuple[Any, ...]) -> None:
        # An empty datagram would break DTLS's look at the first byte. STUN begins with 0 to 3 (RFC 7983).
        if not data:
            return
        if data[0] > 3:
            remote = (addr[0], addr[1])
            if not any(
                pair.protocol is self
                and pair.remote_addr == remote
                and (
                    pair.state is _SUCCEEDED
                    or pair.remote_nominated
                    or self.receiver.ice_controlling
                )
                for pair in self.receiver._check_list
            ):
                return
        stock(self, data, addr)

    return datagram_received


# Kept for the guard test, which has to see aioice's own after `install`.
STOCK: _Handler = aioice.ice.StunProtocol.datagram_received
_CHECKED = checked(STOCK)
STOCK_CONSENT = aioice.ice.Connection.query_consent


async def _query_consent(self: aioice.ice.Connection) -> None:
    """A connection that is closed while its checks succeed would ask for consent for half a minute more."""
    if not self._closing:
        await STOCK_CONSENT(self)


def install() -> None:
    """Put both in place. Safe to call again."""
    aioice.ice.StunProtocol.datagram_received = _CHECKED  # type: ignore[method-assign,assignment]
    aioice.ice.Connection.query_consent = _query_consent  # type: ignore[method-assign]
