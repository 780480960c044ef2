"""WHIP client's connection and its ICE restarts (RFC 8445 section 9), which aiortc 1.16.0 does not support.

A restart runs below the DTLS connection. A second `aioice.Connection` runs beside the first. Both put received datagrams
into the same queue, so that DTLS and SRTP continue to read it; sending moves to the new connection once that has a pair.
This uses private names of aioice and of aiortc's RTCIceTransport: `tests/project/test_dependencies.py` fails when they
change.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import Any

import aioice

from server.core.aio import TaskSet, cancel_and_wait
from server.core.errors import Conflict
from server.features.cameras.fragment import make_fragment
from server.media.sdp import Offer
from server.webrtc_server import PeerConnection

log = logging.getLogger(__name__)


class WhipSession:
    """Connection of a WHIP client, with its current ICE session."""

    def __init__(self, connection: PeerConnection) -> None:
        self.connection = connection
        # Entity tag of the ICE session (RFC 9725)
        self.ice_tag = secrets.token_urlsafe(9)
        # The client's ICE user names: first that of the camera's transport, then unused ones
        self.remote_ufrags = list_user_names(connection.offer)
        self._restart = IceRestart(
            connection.ice, connection.connect_seconds, connection.gathering.attach
        )
        connection.on_closed.append(self.close)

    async def restart_ice(self, ufrag: str, pwd: str) -> str:
        """Restart ICE with the client's new credentials. Return the server's SDP fragment.

        Raises Conflict before the connection is up, PortsExhausted.
        """
        if not self.connection.is_up:
            raise Conflict(
                "This connection is not up, so its ICE cannot be restarted. Wait, or end it and send a new offer."
            )
        ours = await self._restart.begin(ufrag, pwd)
        self.ice_tag = secrets.token_urlsafe(9)
        self.remote_ufrags = (ufrag,)
        self.connection.candidates = 0
        offer = self.connection.offer
        section = offer.sections[offer.transport]
        candidates = (candidate.to_sdp() for candidate in ours.local_candidates)
        user, password = ours.local_username, ours.local_password
        return make_fragment(section.kind, section.mid, user, password, candidates)

    async def close(self) -> None:
        await self._restart.close()


def list_user_names(offer: Offer) -> tuple[str, ...]:
    """Return the ICE user names of all sections, the camera's transport first; ("",) if there are none."""
    lines = [*offer.sdp.splitlines(), *(line for one in offer.sections for line in one.lines)]
    names = [line[12:] for line in lines if line.startswith("a=ice-ufrag:")]
    return tuple(dict.fromkeys(names)) or ("",)


class IceRestart:
    """ICE restarts of one RTCIceTransport. A new restart replaces a running one; two begin in turn."""

    def __init__(
        self,
        transport: Any,
        seconds: float,
        prepare: Callable[[aioice.Connection], None] = lambda connection: None,
    ) -> None:
        """`seconds`: time for a restart before the old path is restored.

        `prepare`: called with each new connection before it gathers.
        """
        self._transport = transport
        self._prepare = prepare
        self._seconds = seconds
        self._tasks = TaskSet("ice-restart")
        self._task: asyncio.Task[None] | None = None
        # Held while a restart begins: a concurrent one would leave its connection open.
        self._beginning = asyncio.Lock()
        self._closed = False
        # Old and new connection while a restart is undecided
        self._beside: tuple[aioice.Connection, aioice.Connection] | None = None

    async def begin(self, ufrag: str, pwd: str) -> aioice.Connection:
        """Start a restart with the peer's new credentials. Return the new connection.

        Checks begin at once. Later candidates of the transport belong to the new session.

        Raises Conflict if the transport was closed meanwhile.
        """
        async with self._beginning:
            return await self._begin(ufrag, pwd)

    async def _begin(self, ufrag: str, pwd: str) -> aioice.Connection:
        await self._give_up()
        transport = self._transport
        old: aioice.Connection = transport._connection
        # Without STUN and TURN servers, like the old one: `Gathering` uses the one STUN server.
        new = aioice.Connection(ice_controlling=old.ice_controlling)
        new.remote_is_lite = old.remote_is_lite
        new.remote_username = ufrag
        new.remote_password = pwd
        new._queue = old._queue
        self._prepare(new)
        try:
            if not self._closed:
                await new.gather_candidates()
            if self._closed:
                raise Conflict("This connection has ended. Send a new offer.")
        except BaseException:
            await _close_alone(new)
            raise
        _replace_connection(transport, old, new)
        transport.iceGatherer._remote_candidates_end = False
        # The old path may be dead: its missing consent must not close the connection.
        if old._query_consent_task is not None:
            old._query_consent_task.cancel()
        self._beside = old, new
        self._task = self._tasks.spawn(self._connect(old, new), name="ice-restart")
        return new

    async def _connect(self, old: aioice.Connection, new: aioice.Connection) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await new.connect()
        except (TimeoutError, ConnectionError) as exc:
            log.info("ice restart failed", extra={"error": type(exc).__name__})
            await self._undo()
            return
        self._beside = None
        self._transport._send, self._transport._recv = new.send, new.recv
        await _close_alone(old)

    async def _undo(self) -> None:
        """Restore the old connection; close both if the transport is closed."""
        if self._beside is None:
            return
        (old, new), self._beside = self._beside, None
        if self._transport.state == "closed":
            # The transport closed one of them; closing twice is harmless.
            await _close_alone(old)
            await _close_alone(new)
            return
        _replace_connection(self._transport, new, old)
        await _close_alone(new)
        if not old._closed:
            old._query_consent_task = asyncio.create_task(old.query_consent())

    async def _give_up(self) -> None:
        """Cancel a running restart, if any."""
        if self._task is not None:
            await cancel_and_wait([self._task])
        await self._undo()

    async def close(self) -> None:
        """Cancel a running restart and its tasks. Call it after stopping the transport."""
        self._closed = True
        await self._give_up()
        await self._tasks.close()


def _replace_connection(transport: Any, old: aioice.Connection, new: aioice.Connection) -> None:
    """Make `new` the transport's connection, and move the transport's event waiter to it."""
    transport._connection = transport.iceGatherer._connection = new
    new._event_waiter, old._event_waiter = old._event_waiter, None


async def _close_alone(connection: aioice.Connection) -> None:
    """Close one connection without ending the queue shared with the other."""
    connection._queue = asyncio.Queue()
    await connection.close()
