"""A server whose own address nobody reaches: 1:1 NAT by nftables, as clouds and containers'
published ports have it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from scripts.bench.camera_peer import CameraPeer
from tests.net.rooms import BEHIND, CLIENT, PUBLIC, RELAY, encoder, first_frame, server_process
from tests.support.namespaces import Namespace, Network, require
from tests.support.turn_server import configuration, make_certificate, turn_server

pytestmark = pytest.mark.slow

PORTS = "50000-50009"
PUBLIC_6, BEHIND_6 = "2001:db8:77::10", "fd00:77::2"

# Packets to the public address are forwarded to the server's own: the page's port and the media
# ports alone pass.
# The client has a firewall, as most have: what it did not ask for does not come in.
NAT = f"""
table ip nat {{
  chain in {{
    type nat hook prerouting priority dstnat
    ip daddr {PUBLIC} tcp dport 8000 dnat to {BEHIND}
    ip daddr {PUBLIC} udp dport {PORTS} dnat to {BEHIND}
  }}
  chain out {{
    type nat hook postrouting priority srcnat
    ip saddr {BEHIND} snat to {PUBLIC}
  }}
}}
table inet filter {{
  chain to_client {{
    type filter hook forward priority filter
    iifname eth1 udp dport != 3478 ct state new drop
  }}
}}
table ip6 nat {{
  chain in {{
    type nat hook prerouting priority dstnat
    ip6 daddr {PUBLIC_6} udp dport {PORTS} dnat to {BEHIND_6}
  }}
  chain out {{
    type nat hook postrouting priority srcnat
    ip6 saddr {BEHIND_6} snat to {PUBLIC_6}
  }}
}}
"""


@asynccontextmanager
async def nat_room(folder: Path, **settings: str) -> AsyncIterator[Namespace]:
    """The client, which has a route to the public addresses alone; the server is behind them."""
    require("nft")
    async with AsyncExitStack() as stack:
        net = stack.enter_context(Network())
        client, nat, server = (net.namespace(name) for name in ("client", "nat", "server"))
        net.cable(client, (f"{CLIENT}/24", "fd99:1::2/64"), nat, (f"{RELAY}/24", "fd99:1::1/64"))
        net.cable(
            nat, ("192.168.77.1/24", "fd00:77::1/64"), server, (f"{BEHIND}/24", f"{BEHIND_6}/64")
        )
        client.route(f"{PUBLIC}/32", via=RELAY)
        client.route(f"{PUBLIC_6}/128", via="fd99:1::1")
        server.route("default", via="192.168.77.1")
        server.route("default", via="fd00:77::1")
        nat.forward()
        nat.nftables(NAT)
        if settings.get("STUN_URLS"):
            # Somewhere on the client's side of the NAT
            text = configuration(CLIENT, make_certificate(folder, CLIENT))
            await stack.enter_async_context(turn_server(client, CLIENT, folder, text))
        await stack.enter_async_context(server_process(server, BEHIND, folder, settings))
        yield client


async def visit() -> str:
    """Connect, have a frame and an answer; the offer's answer."""
    async with encoder() as camera, CameraPeer(f"http://{PUBLIC}:8000", camera) as peer:
        assert await first_frame(peer) > 0
        assert (await peer.ask("What do you see?")).text
        return str(peer.answer["sdp"])


def candidates(sdp: str) -> list[tuple[str, int, str]]:
    found = re.findall(r"a=candidate:\S+ 1 udp \d+ (\S+) (\d+) typ (\w+)", sdp)
    return [(host, int(port), kind) for host, port, kind in found]


async def test_announced_addresses_and_ports_connect(tmp_path: Path) -> None:
    """With PUBLIC_ADDRESSES and UDP_PORT_RANGE the answer names these alone, IPv4 and IPv6, and a
    camera connects and is answered.
    """
    settings = {"PUBLIC_ADDRESSES": f"{PUBLIC},{PUBLIC_6}", "UDP_PORT_RANGE": PORTS}
    async with nat_room(tmp_path, **settings) as client:
        found = candidates(await client.inside(visit))
    assert [(host, kind) for host, _, kind in found] == [(PUBLIC, "host"), (PUBLIC_6, "host")]
    assert all(50000 <= port <= 50009 for _, port, _ in found)


async def test_without_them_nothing_connects(tmp_path: Path) -> None:
    """The server's own address is of no use to this client; that is what the settings are for."""
    async with nat_room(tmp_path) as client:

        async def fails() -> None:
            async with encoder() as camera:
                peer = CameraPeer(f"http://{PUBLIC}:8000", camera)
                try:
                    await peer.connect(timeout=1.5)
                finally:
                    await peer.close()

        with pytest.raises((TimeoutError, ConnectionError)):
            await client.inside(fails)


async def test_a_stun_server_finds_the_address(tmp_path: Path) -> None:
    """A camera connects by the public address that a STUN server (coturn) reports."""
    settings = {"STUN_URLS": f"stun:{CLIENT}:3478", "UDP_PORT_RANGE": PORTS}
    async with nat_room(tmp_path, **settings) as client:
        found = candidates(await client.inside(visit))
    assert (PUBLIC, "srflx") in [(host, kind) for host, _, kind in found]
