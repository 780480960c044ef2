"""A narrow, slow or broken link between one camera and the server, made in user space.

It stands between the two by rewriting candidates: the offer loses its own, so that the server calls
nobody, and the answer's are replaced by the relay's address. A `Link` decides what becomes of a
packet in each direction.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any, Self, cast

from benchmarks.link import Link

Address = tuple[str, int]


class _Side(asyncio.DatagramProtocol):
    """One socket of the relay; what it gets goes out of the other side."""

    def __init__(self, relay: LinkRelay, link: Link) -> None:
        self._relay = relay
        self._link = link
        self.transport: asyncio.DatagramTransport | None = None
        self.other: _Side | None = None
        # The peer that gets the other side's packets; None before its first packet or the answer
        self.peer: Address | None = None
        self.learn = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        if self.learn:
            self.peer = addr[:2]
        loop = asyncio.get_running_loop()
        at = self._link.due(loop.time(), len(data), self._relay.rng)
        if at is not None:
            loop.call_at(at, self._pass_on, data)

    def _pass_on(self, data: bytes) -> None:
        other = self.other
        if other and other.peer and other.transport and not other.transport.is_closing():
            other.transport.sendto(data, other.peer)

    @property
    def address(self) -> Address:
        assert self.transport is not None
        address: Address = self.transport.get_extra_info("sockname")[:2]
        return address


class LinkRelay:
    """A context manager.

    `up` leads from the camera to the server, `down` back; each media section needs one relay.
    """

    def __init__(self, *, up: Link | None = None, down: Link | None = None, seed: int = 0) -> None:
        self.up = up or Link()
        self.down = down or Link()
        self.rng = random.Random(seed)
        self._camera = _Side(self, self.up)
        self._server = _Side(self, self.down)
        self._camera.other, self._server.other = self._server, self._camera
        self._camera.learn = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        for side in (self._camera, self._server):
            if side.transport is not None:
                side.transport.close()
                side.transport = None

    @staticmethod
    def rewrite_offer(sdp: str) -> str:
        """The offer without candidates: the server learns the relay's address from the first
        packet.
        """
        return _without_candidates(sdp)

    @property
    def cut(self) -> bool:
        """True: nothing passes in either direction; may be set."""
        return self.up.cut and self.down.cut

    @cut.setter
    def cut(self, value: bool) -> None:
        self.up.cut = self.down.cut = value

    async def move(self) -> None:
        """The camera has another address from now on, as after a change from Wi-Fi to mobile or of
        a NAT's binding.

        Packets to the old one are lost.
        """
        old = self._server
        assert old.transport is not None
        new = self._server = _Side(self, self.down)
        new.other, new.peer = self._camera, old.peer
        self._camera.other = new
        host = old.address[0]
        old.transport.close()
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: new, local_addr=(host, 0))

    async def rewrite_answer(self, sdp: str) -> str:
        """The answer with the relay's address as its only candidate.

        Starts (or starts anew) the relay.

        Raises ValueError when the answer has no IPv4 candidate over UDP.
        """
        candidates = [line.split() for line in sdp.splitlines() if line.startswith("a=candidate:")]
        server = next((c for c in candidates if c[2].lower() == "udp" and "." in c[4]), None)
        if server is None:
            raise ValueError("the answer has no IPv4 candidate over UDP")
        self._close()
        loop = asyncio.get_running_loop()
        for side in (self._camera, self._server):
            await loop.create_datagram_endpoint(lambda s=side: s, local_addr=(server[4], 0))  # type: ignore[misc]
        self._camera.peer = None
        self._server.peer = (server[4], int(server[5]))
        host, port = self._camera.address
        lines: list[str] = []
        for line in _without_candidates(sdp).splitlines():
            lines.append(line)
            if line.startswith("a=mid:"):
                lines.append(f"a=candidate:relay 1 udp 2130706431 {host} {port} typ host")
                lines.append("a=end-of-candidates")
        return "\r\n".join(lines) + "\r\n"


def _without_candidates(sdp: str) -> str:
    drop = ("a=candidate:", "a=end-of-candidates")
    return "\r\n".join(line for line in sdp.splitlines() if not line.startswith(drop)) + "\r\n"
