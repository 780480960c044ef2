"""A simulated page that goes where its gateway sends it, and comes back when that has gone.

It does what client/live/ does: it keeps the signed chat, asks a lost question without a token once
more, and offers its camera anew with each session.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from dataclasses import dataclass, field

from scripts.bench.camera_peer import CameraPeer
from scripts.bench.chat_client import Answer, Message
from scripts.bench.fleet_machine import BEFORE_SECONDS, longest_pause
from scripts.bench.fleet_peer import (
    END_SECONDS,
    LOOK_SECONDS,
    OPEN_SECONDS,
    Away,
    Backoff,
    FleetPeer,
    Said,
)
from scripts.bench.live_encoder import LiveEncoder
from scripts.bench.open_loop import LOST

# Seconds until a page without a session that can answer gives a question up, and for its answer
LIVE_SECONDS = 30.0
ANSWER_SECONDS = 30.0


@dataclass(slots=True)
class Asked:
    """A question and its end. Times are monotonic seconds."""

    at: float
    first: float | None = None
    # ok, or an error's code; "mid-answer": it had a word and never got its whole answer
    end: str = ""
    again: bool = False
    # The time from which a live camera was there for it, and the gateway that got it last
    live: float | None = None
    gateway: str = ""
    # The text of its error; the times of its answer as the server has them
    why: str = ""
    # Of a lost one: the longest times without a new picture of its encoder, and without one that its
    # camera sent (seconds), shortly before its end; None without a camera
    unmade: float | None = None
    unsent: float | None = None
    timings: Message = field(default_factory=dict)
    # The session that it was sent in last, and what came there
    sent: tuple[FleetPeer, Answer] | None = None

    def heard(self, answer: Answer) -> None:
        """Note when its first word came."""
        if self.first is None and answer.first_delta_at is not None:
            self.first = time.monotonic() - (time.time() - answer.first_delta_at)


@dataclass(eq=False, slots=True)
class FleetVisitor:
    """A person with the page open. `stay` holds their sessions together until cancelled."""

    url: str
    encoder: LiveEncoder
    rng: random.Random
    said: Said = field(default_factory=Said)
    aways: list[Away] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    peer: FleetPeer | None = None
    # Look whether the server is still there, as hosts of their own may be cut off
    pulse: bool = False
    # Set from a session's first picture to its end
    live: asyncio.Event = field(default_factory=asyncio.Event)
    # Ends of old connections, which nobody waits for
    ends: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def gateway(self) -> str:
        return self.peer.gateway if self.peer is not None else ""

    @property
    def seen(self) -> bool:
        """True while the server has this person's picture."""
        return self.live.is_set() and self.peer is not None and self.peer.live

    async def stay(self) -> None:
        """Be there: after each end of a session begin another one."""
        away: Away | None = None
        waits = Backoff(self.rng)
        while True:
            peer = FleetPeer(
                self.url,
                self.encoder,
                said=self.said,
                rng=self.rng,
                waits=waits,
                aways=self.aways,
            )
            if away is not None and away.why == "lost":
                # As after any close, the page waits before it comes back.
                await asyncio.sleep(waits.next())
            try:
                await peer.get_token()
            except LOST:
                await asyncio.sleep(waits.next())
                continue
            self.peer = peer
            keeping = asyncio.create_task(peer.keep(pulse=self.pulse), name="fleet-keep")
            try:
                if await self._seen(peer, keeping):
                    if away is not None:
                        away.live, away.after = time.monotonic(), peer.turns_taken
                    away = None
                    self.live.set()
                await keeping
                lost_since = peer.lost_since
            finally:
                self.live.clear()
                keeping.cancel()
            if away is None:
                why = "moved" if peer.moved.is_set() else "lost"
                away = Away(lost_since, why, peer.gateway)
                away.before = self.said.turns
                self.aways.append(away)
            self._drop(peer)

    async def _seen(self, peer: FleetPeer, keeping: asyncio.Task[None]) -> bool:
        """Wait for a session's first picture; False when it ends before."""
        while not (peer.live and peer.took_over) and not keeping.done():
            await asyncio.sleep(LOOK_SECONDS)
        return not keeping.done()

    def _drop(self, peer: FleetPeer) -> None:
        """Close a session that is left, beside everything else and within its time."""
        task = asyncio.create_task(end(peer), name="fleet-end")
        self.ends.add(task)
        task.add_done_callback(self.ends.discard)

    async def ask(self, text: str) -> None:
        """Ask, and once more when the session or its socket goes before the whole answer."""
        asked = Asked(time.monotonic())
        self.asked.append(asked)
        while True:
            try:
                async with asyncio.timeout(LIVE_SECONDS):
                    peer = await self._ready()
            except TimeoutError:
                asked.end = "no gateway"
                break
            asked.live, asked.gateway = time.monotonic(), peer.gateway
            asked.again = asked.sent is not None
            asked.end = await self._one(peer, text, asked)
            if asked.end == "draining":
                # The page waits for its next session with it.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(peer.gone.wait(), OPEN_SECONDS)
            if asked.end == "ok":
                self.said.turns = min(self.said.turns + 1, 16)
                return
            if asked.end not in ("lost", "draining", "unsent") or asked.again:
                break
        self._look_back(asked)
        if asked.first is not None:
            # Its engine or gateway went while it spoke.
            asked.end = "mid-answer"

    def _look_back(self, asked: Asked) -> None:
        """Note whether the camera of a lost question got its time in this process."""
        peer, now = self.peer, time.monotonic()
        if peer is None or peer.track is None or peer.connected_at > now:
            return
        since = max(now - BEFORE_SECONDS, peer.connected_at)
        asked.unmade = longest_pause(list(self.encoder.times), since, now)
        asked.unsent = longest_pause(list(peer.track.times), since, now)

    async def _ready(self) -> FleetPeer:
        """Wait until the page would send a question."""
        while self.peer is None or not (self.live.is_set() and self.peer.answerable):
            await asyncio.sleep(LOOK_SECONDS)
        return self.peer

    async def _one(self, peer: FleetPeer, text: str, asked: Asked) -> str:
        """Ask in one session; "ok" or why there is no answer."""
        try:
            if asked.sent is not None and asked.sent[0] is peer:
                answer = asked.sent[1]
                # The same message, so that the server recognises it
                same = {"content": text, "id": answer.id, "sent_at": answer.asked * 1000}
                await peer.send({"type": "chat", **same})
            else:
                at = True if asked.sent is None else asked.sent[1].asked * 1000
                answer = await peer.start(text, sent_at=at)
                asked.sent = peer, answer
        except LOST:
            return "unsent"
        try:
            await peer.finish(answer, timeout=ANSWER_SECONDS)
        except LOST as lost:
            asked.heard(answer)
            return "timeout" if isinstance(lost, TimeoutError) else "lost"
        asked.heard(answer)
        error: Message | None = answer.error
        if error is not None:
            asked.why = str(error.get("message", ""))
            return str(error["code"])
        asked.timings = (answer.response or {}).get("timings") or {}
        return "ok"

    async def leave(self) -> None:
        """Close the page."""
        self.live.clear()
        if self.peer is not None:
            await end(self.peer)
            self.peer = None
        if self.ends:
            await asyncio.wait(self.ends, timeout=END_SECONDS)


async def end(peer: CameraPeer) -> None:
    """Close a peer within END_SECONDS; what does not end is left to the end of the process."""
    task = asyncio.create_task(_close(peer), name="fleet-close")
    await asyncio.wait({task}, timeout=END_SECONDS)


async def _close(peer: CameraPeer) -> None:
    with contextlib.suppress(*LOST):
        await peer.close_socket()
    with contextlib.suppress(*LOST):
        await peer.drop_camera()
