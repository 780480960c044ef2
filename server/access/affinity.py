"""Which of several processes a session lives on, by the rule of the nginx in front of them. Pure.

nginx's `hash $key consistent` (ngx_http_upstream_hash_module.c) is ketama as Cache::Memcached::Fast has it: 160 points a
server on a ring of 32 bits, each the CRC-32 of host, a zero byte, port and the point before; a key belongs to the
first point at or after its own CRC-32. deploy/nginx.conf sends the list of its servers with every request, so that a
process gives out ids of sessions that come back to it, and tells that one belongs to another process.
"""

from __future__ import annotations

import re
import zlib
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from server.core.addresses import Network, is_trusted

# What nginx.conf sends the list in: addresses as its `server` lines have them, with spaces between.
HEADER = "x-balanced-over"
MAX_PEERS = 16
POINTS = 160
# What somebody is told whose session's process is not there.
GONE = "This session ended with the part of the server that it was on. Get a new token from /api/token and start again."
# More draws than this are never needed: the chance to be drawn is about one in MAX_PEERS.
_DRAWS = 1000
_PEER = re.compile(
    r"(?:[A-Za-z0-9._-]{1,60}|\[[0-9A-Fa-f:.]{2,45}\]):(?P<port>[0-9]{1,5})", re.ASCII
)


class Ring:
    """The servers of an `upstream` block, all of weight 1."""

    def __init__(self, peers: Sequence[str]) -> None:
        """`peers`: "host:port" each, as in nginx.conf; their order is of no matter."""
        points: dict[int, str] = {}
        for peer in peers:
            host, _, port = peer.rpartition(":")
            base = zlib.crc32(f"{host}\0{port}".encode())
            point = 0
            for _ in range(POINTS):
                point = zlib.crc32(point.to_bytes(4, "little"), base)
                points.setdefault(point, peer)
        self.peers = tuple(peers)
        self._points = sorted(points)
        self._owners = [points[point] for point in self._points]

    def home(self, key: str) -> str:
        """The server that a key belongs to while all of them are there."""
        at = bisect_left(self._points, zlib.crc32(key.encode("utf-8", "surrogatepass")))
        return self._owners[at % len(self._owners)]


@dataclass(frozen=True, slots=True)
class HomeProcess:
    """One process on the ring."""

    ring: Ring
    # As nginx.conf has it
    own: str

    def is_home(self, session_id: str) -> bool:
        return self.ring.home(session_id) == self.own

    def draw(self, new_session_id: Callable[[], str]) -> str:
        """An id of a session whose home is here."""
        drawn = new_session_id()
        for _ in range(_DRAWS):
            if self.is_home(drawn):
                break
            drawn = new_session_id()
        return drawn


def home_process(
    listed: str | None,
    server: tuple[str, int | None] | None,
    peer: str | None,
    trusted: Sequence[Network],
) -> HomeProcess | None:
    """Where the process that was asked under the address `server` stands in the list of HEADER, which `peer` sent.

    None when there is no list from a proxy of ours, or it cannot be read, or does not name this process: then nothing is
    known of homes, and every session is taken as it comes.
    """
    if (
        not listed
        or len(listed) > MAX_PEERS * 80
        or server is None
        or not is_trusted(peer, trusted)
    ):
        return None
    ring = _ring(listed)
    host, port = server
    own = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return HomeProcess(ring, own) if ring is not None and own in ring.peers else None


# Few, since there is one list at a time; a client of a proxy that lets the header through can make others.
@lru_cache(maxsize=8)
def _ring(listed: str) -> Ring | None:
    peers = tuple(dict.fromkeys(listed.split()))
    if not 1 <= len(peers) <= MAX_PEERS or not all(_PEER.fullmatch(peer) for peer in peers):
        return None
    return Ring(peers)
