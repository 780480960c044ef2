"""Checks of a page's connections: access, WebSocket, direct connection, STUN and each relay."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import aioice.stun
from websockets.exceptions import InvalidHandshake, WebSocketException

from scripts.bench.camera_peer import CameraPeer
from scripts.bench.http_json import HttpError
from scripts.checks.finding import Finding, State
from server.shared.turn_check import RelayProblem, check_relay

CONNECT_SECONDS = 10.0
FRAME_SECONDS = 10.0
STUN_SECONDS = 3.0

_CLOSED = {
    4401: (
        "It does not accept its own token.",
        "Check whether several servers with different JWT_SECRET_KEYs are behind one address.",
    ),
    4403: ("It refuses this address as an origin.", "See ALLOWED_ORIGINS."),
    4429: (
        "It asks for a pause: too many sockets or sessions.",
        "Wait a minute; see MAX_SESSIONS.",
    ),
    1013: ("It is about to stop.", "Wait until it is back."),
}


async def check_access(peer: CameraPeer) -> Finding:
    """Request a token for the session of the other checks."""
    finding = partial(Finding, "access", "Access")
    try:
        await peer.get_token()
    except HttpError as error:
        status = error.reply.status
        try:
            said = str(error.reply.parse_json()["error"]["message"])
        except (ValueError, KeyError, TypeError):
            said = "A proxy between this machine and the server responded."
        todo = {
            401: "Set ACCESS_CODE in the environment, or type it: --access-code asks for it.",
            403: "See ALLOWED_ORIGINS.",
            429: "Wait a minute; see RATE_LIMIT_PER_MINUTE.",
        }.get(status, "See the server's log.")
        return finding(State.FAILED, f"No token ({status}).", said, todo)
    except (OSError, EOFError, ValueError, KeyError) as error:
        return finding(
            State.FAILED,
            f"No token ({type(error).__name__}).",
            "The server does not respond.",
            "See Server.",
        )
    return finding(State.OK, "The server issued a token.")


async def check_socket(peer: CameraPeer) -> Finding:
    """Check that the session's socket opens and gets `ready`; it stays open for the next checks."""
    finding = partial(Finding, "socket", "WebSocket")

    problem = partial(finding, State.FAILED)
    try:
        await peer.open_socket(timeout=CONNECT_SECONDS)
    except InvalidHandshake as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        return problem(
            f"It does not open ({f'status {status}' if status else type(error).__name__}).",
            "A proxy in between does not forward WebSockets.",
            "Configure the proxy to forward the headers Upgrade and Connection, with HTTP/1.1.",
        )
    except (WebSocketException, OSError, EOFError) as error:
        if peer.close_code in _CLOSED:
            return problem(f"The server closed it ({peer.close_code}).", *_CLOSED[peer.close_code])
        return problem(
            f"It sends no `ready` message ({peer.close_code or type(error).__name__}).",
            "A proxy in between delays it, or the server failed.",
            "Check the proxy's configuration and the server's log.",
        )
    return finding(State.OK, "It opens, and the server sends `ready`.")


async def check_picture(peer: CameraPeer, *, watched: bool, relays: bool) -> Finding:
    """Send a camera's video without relays until the server has a frame. `watched`: the socket is open."""
    finding = partial(Finding, "direct", "Picture (UDP)")
    since = peer.seen
    try:
        await peer.connect(timeout=CONNECT_SECONDS)
    except HttpError as error:
        text = f"The server did not take the offer ({error.reply.status})."
        todo = "See MAX_SESSIONS, UDP_PORT_RANGE and the server's log."
        return finding(State.FAILED, text, "It refused the offer, or is full.", todo)
    except (OSError, EOFError):  # TimeoutError and ConnectionError are OSErrors
        return finding(
            State.WARN if relays else State.FAILED,
            f"No packet arrives within {CONNECT_SECONDS:g} s.",
            "UDP to the server is blocked, or the server announces unreachable addresses.",
            "Open its UDP ports (UDP_PORT_RANGE) in the firewall, and set PUBLIC_ADDRESSES"
            + (
                "; relays are used meanwhile, see below."
                if relays
                else ", or set TURN_URLS and TURN_SECRET."
            ),
        )
    if not watched:
        text = "Connected; without the WebSocket it is unknown whether frames arrive."
        return finding(State.WARN, text, "See WebSocket.")
    try:
        live = await peer.wait_live(since=since, timeout=FRAME_SECONDS)
    except (TimeoutError, ConnectionError):
        return finding(
            State.FAILED,
            f"Connected, but no picture within {FRAME_SECONDS:g} s.",
            "Large packets are lost (the MTU of a tunnel), or the server cannot decode the video.",
            "Try without the VPN or tunnel; see the server's log.",
        )
    text = f"The server had the first frame {live.at - peer.offered_at:.2f} s after the offer."
    return finding(State.OK, text)


async def check_stun(url: str, announced: Sequence[str]) -> Finding:
    """Compare this machine's address as seen by a STUN server with PUBLIC_ADDRESSES (`get_announced_addresses`)."""
    finding = partial(Finding, "stun", "STUN")
    host, _, port = url.partition(":")[2].rpartition(":")
    if not host or not port.isdecimal():
        host, port = url.partition(":")[2], "3478"
    seen = await _query_mapped_address(host.strip("[]"), int(port))
    if seen is None:
        return finding(
            State.FAILED,
            f"{url} does not respond within {STUN_SECONDS:g} s.",
            "UDP to it is blocked, or it is down.",
            "Allow outgoing UDP to that port, or set STUN_URLS to another server.",
        )
    same = [a for a in announced if ipaddress.ip_address(a).version == 4]
    if same and seen not in same:
        return finding(
            State.WARN,
            f"It sees this machine as {seen}, which is not in PUBLIC_ADDRESSES.",
            "The provider changed the address, or PUBLIC_ADDRESSES has a mistake.",
            "Add that address to PUBLIC_ADDRESSES, if clients connect from outside.",
        )
    return finding(State.OK, f"It sees this machine as {seen}.")


async def _query_mapped_address(host: str, port: int) -> str | None:
    """Send a binding request (RFC 8489) every 0.5 s. Return the mapped address; None without a response."""
    ask = aioice.stun.Message(
        message_method=aioice.stun.Method.BINDING, message_class=aioice.stun.Class.REQUEST
    )
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    class Ear(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            if not heard.done():
                heard.set_result(data)

    try:
        async with asyncio.timeout(STUN_SECONDS):
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                Ear, remote_addr=(host, port)
            )
            try:
                while not heard.done():
                    transport.sendto(bytes(ask))
                    await asyncio.wait([heard], timeout=0.5)
            finally:
                transport.close()
        answer = aioice.stun.parse_message(heard.result())
        return str(answer.attributes["XOR-MAPPED-ADDRESS"][0])
    except (OSError, ValueError, KeyError):
        return None


async def try_relay(
    number: int,
    url: str,
    server: dict[str, Any],
    *,
    reported: dict[str, Any] | None,
    local: bool,
    announced: Sequence[str],
) -> Finding:
    """Check one TURN URL with the token's credentials. `reported`: the server's own check of it."""
    way = "TLS" if url.startswith("turns:") else "TCP" if url.endswith("=tcp") else "UDP"
    finding = partial(Finding, f"relay_{number}", f"Relay over {way}")
    begin = time.monotonic()
    result = await check_relay(
        url,
        str(server.get("username", "")),
        str(server.get("credential", "")),
        addresses=announced if local else (),
        reflexive=local and not announced,
    )
    took = f"{(time.monotonic() - begin) * 1000:.0f} ms"
    # From another machine an allocation is enough; the server checks that the relay reaches it.
    taken_in = result.ok or (
        not local and result.problem in (RelayProblem.DENIED_PEER, RelayProblem.NO_WAY_BACK)
    )
    if not taken_in:
        cause = result.why
        if reported and reported.get("ok"):
            cause += " The server can use it, so the path from this machine is the problem."
        todo = "Compare TURN_SECRET with the relay's static-auth-secret; open its ports; see deploy/turnserver.conf."
        return finding(State.FAILED, f"{url} does not relay.", cause, todo)
    if reported and reported.get("ok") is False:
        return finding(
            State.WARN,
            f"{url} allocates a relay ({took}), but the server reports that it does not work.",
            str(reported.get("why", "")),
            "See the server's log and deploy/turnserver.conf.",
        )
    return finding(State.OK, f"{url} relays ({took}).")
