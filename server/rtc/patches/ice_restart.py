"""An ICE restart (RFC 8445 section 9) below a running DTLS connection, which aiortc 1.16.0 has no way to ask for.

A second `aioice.Connection` is put beside the first one. Both hand what they receive to the same queue, so that
DTLS and SRTP go on reading where they were; sending moves over once the new one has a pair. Relied on are private
names of aioice and of aiortc's RTCIceTransport: `tests/project/test_dependencies.py` fails when they change underneath.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aioice

from server.core.aio import TaskSet, cancel_and_wait

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class IceParameters:
    """Our side of a new ICE session. `candidates` are SDP values without "candidate:"."""

    ufrag: str
    pwd: str
    candidates: tuple[str, ...]


class IceRestart:
    """Restarts one RTCIceTransport, one restart at a time: a newer one takes the place of one that goes on."""

    def __init__(
        self,
        transport: Any,
        seconds: float,
        prepare: Callable[[aioice.Connection], None] = lambda connection: None,
    ) -> None:
        """`seconds`: how long a restart may take before the old path counts again. `prepare` is called with each
        new connection before it gathers."""
        self._transport = transport
        self._prepare = prepare
        self._seconds = seconds
        self._tasks = TaskSet("ice-restart")
        self._task: asyncio.Task[None] | None = None
        # The old connection and the new one, as long as it is open which of them stays.
        self._beside: tuple[aioice.Connection, aioice.Connection] | None = None

    async def begin(self, ufrag: str, pwd: str) -> IceParameters:
        """Our new credentials and candidates for the peer's new ones; checks begin at once.

        Candidates that are added to the transport from now on belong to the new session.
        """
        await self._give_up()
        transport = self._transport
        old: aioice.Connection = transport._connection
        new = aioice.Connection(
            ice_controlling=old.ice_controlling,
            stun_server=old.stun_server,
            turn_server=old.turn_server,
            turn_username=old.turn_username,
            turn_password=old.turn_password,
            turn_ssl=old.turn_ssl,
            turn_transport=old.turn_transport,
            use_ipv4=old._use_ipv4,
            use_ipv6=old._use_ipv6,
            transport_policy=old._transport_policy,
        )
        new.remote_is_lite = old.remote_is_lite
        new.remote_username = ufrag
        new.remote_password = pwd
        new._queue = old._queue
        self._prepare(new)
        try:
            await new.gather_candidates()
        except BaseException:
            await _close_alone(new)
            raise
        _swap(transport, old, new)
        transport.iceGatherer._remote_candidates_end = False
        # The old path may be gone already, which is why the peer restarts: its silence must not end everything.
        if old._query_consent_task is not None:
            old._query_consent_task.cancel()
        self._beside = old, new
        self._task = self._tasks.spawn(self._connect(old, new), name="ice-restart")
        return IceParameters(
            new.local_username,
            new.local_password,
            tuple(candidate.to_sdp() for candidate in new.local_candidates),
        )

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
        """Of two connections the old one counts again, or neither where the transport has ended."""
        if self._beside is None:
            return
        (old, new), self._beside = self._beside, None
        if self._transport.state == "closed":
            await _close_alone(old)
            return
        _swap(self._transport, new, old)
        await _close_alone(new)
        if not old._closed:
            old._query_consent_task = asyncio.create_task(old.query_consent())

    async def _give_up(self) -> None:
        """End a restart that goes on, if there is one."""
        if self._task is not None:
            await cancel_and_wait([self._task])
        await self._undo()

    async def close(self) -> None:
        """Leave nothing of a restart that goes on; call it after the transport was stopped."""
        await self._give_up()
        await self._tasks.close()


def _swap(transport: Any, old: aioice.Connection, new: aioice.Connection) -> None:
    """The transport's connection is `new`, and its end is the one that the transport hears of."""
    transport._connection = transport.iceGatherer._connection = new
    new._event_waiter, old._event_waiter = old._event_waiter, None


async def _close_alone(connection: aioice.Connection) -> None:
    """Close it without a word to those who read from the other one."""
    connection._queue = asyncio.Queue()
    await connection.close()
