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

from websockets.asyncio.client import ClientConnection

from scripts.bench.camera_peer import CameraPeer
from scripts.bench.chat_client import Arrived, Message
from scripts.bench.http_json import HttpError, json_request
from scripts.bench.live_encoder import LiveEncoder
from scripts.bench.open_loop import LOST

# aiortc's close may wait for ever: each end of a peer has its own limit (seconds).
END_SECONDS = 3.0
# The page's own waits before it comes back (client/live/backoff.js), and for a socket to open.
FIRST_WAIT, MOST_WAIT = 0.4, 2.0
OPEN_SECONDS = 5.0
# Seconds between two looks at the camera's state, and until it has to be live
LOOK_SECONDS, LIVE_SECONDS = 0.02, 30.0
ANSWER_SECONDS = 30.0
# A page asks a server that has become silent, and soon looks for its session (client/live/pulse.js,
# outage.js and socket.js; seconds).
PULSE_SECONDS, PONG_SECONDS = 1.0, 1.0


@dataclass(slots=True)
class Away:
    """A change of gateways. Times are monotonic seconds."""

    began: float
    # "moved" by the gateway, or "lost" with it
    why: str
    gateway: str
    live: float | None = None
    # The chat was there before, and after
    before: int = 0
    after: int = 0

    @property
    def seconds(self) -> float:
        return float("inf") if self.live is None else self.live - self.began


@dataclass(slots=True)
class Asked:
    """A question and its end. Times are monotonic seconds."""

    at: float
    first: float | None = None
    # ok, or an error's code; "mid-answer": it had a token when its gateway was killed
    end: str = ""
    again: bool = False
    # When a live camera was there for it, and where it was asked last
    live: float | None = None
    gateway: str = ""
    # What its error said; the times of its answer as the server has them
    why: str = ""
    timings: Message = field(default_factory=dict)


@dataclass(slots=True)
class Said:
    """The chat that its session remembers, as the page knows it."""

    handover: str = ""
    token: str = ""
    turns: int = 0


class FleetPeer(CameraPeer):
    """One session of the page, with the messages that lead to the next one."""

    def __init__(self, base_url: str, encoder: LiveEncoder, said: Said) -> None:
        super().__init__(base_url, encoder)
        self.said = said
        self.moved = asyncio.Event()
        self.gone = asyncio.Event()
        # The last word of a server that was cut off; None while it is there
        self.silent_since: float | None = None

    async def watch(self) -> None:
        """Notice a server that is cut off, which closes no socket; then end the socket."""
        heard = time.monotonic()
        while not self.gone.is_set():
            await asyncio.sleep(PULSE_SECONDS)
            since = self.seen
            try:
                async with asyncio.timeout(PONG_SECONDS):
                    await self.send({"type": "ping"})
                    await self.wait_for(lambda m: m["type"] == "pong", since=since)
            except LOST:
                if not self.gone.is_set() and not await self._stands():
                    self.silent_since = heard
                    if self._socket is not None:
                        self._socket.transport.abort()
                    return
            heard = time.monotonic()

    async def _stands(self) -> bool:
        """Find whether the session's gateway is reached."""
        url = f"{self.base_url}/api/webrtc/offer?session={self.session_id}"
        try:
            body: Message = {"candidates": []}
            await json_request("PATCH", url, body, token=self.token, timeout=OPEN_SECONDS)
        except HttpError as error:
            # 404: another gateway answers in its place.
            return error.reply.status < 500 and error.reply.status != 404
        except LOST:
            return False
        return True

    def take(self, arrived: Arrived) -> None:
        super().take(arrived)
        match arrived.message["type"]:
            case "handover":
                self.said.handover = str(arrived.message["handover"])
                self.said.token = self.token
            case "moved":
                self.moved.set()
                self.gone.set()

    async def _read(self, socket: ClientConnection) -> None:
        try:
            await super()._read(socket)
        finally:
            self.gone.set()


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
    # Set while the camera is live at the present gateway
    live: asyncio.Event = field(default_factory=asyncio.Event)
    # Ends of old connections, which nobody waits for
    ends: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def gateway(self) -> str:
        return self.peer.session_id.partition("-")[0] if self.peer is not None else ""

    async def stay(self) -> None:
        """Be there: connect, and after each end of a session begin another one."""
        away: Away | None = None
        while True:
            peer = await self._arrive(away)
            if away is not None:
                away.live = time.monotonic()
            self.live.set()
            await self._gone(peer)
            self.live.clear()
            began = peer.silent_since or time.monotonic()
            away = Away(began, "moved" if peer.moved.is_set() else "lost", self.gateway)
            away.before = self.said.turns
            self.aways.append(away)
            self._drop(peer)

    async def _gone(self, peer: FleetPeer) -> None:
        """Wait for the end of a session."""
        watch = asyncio.create_task(peer.watch(), name="fleet-watch") if self.pulse else None
        try:
            await peer.gone.wait()
        finally:
            if watch is not None:
                watch.cancel()

    async def _arrive(self, away: Away | None) -> FleetPeer:
        """Begin a session with a live camera, however often that takes."""
        wait = FIRST_WAIT
        if away is not None and away.why == "lost":
            # As after any close, the page waits before it comes back.
            await asyncio.sleep(wait / 2 + self.rng.random() * wait / 2)
        while True:
            peer = self.peer = FleetPeer(self.url, self.encoder, self.said)
            try:
                async with asyncio.timeout(LIVE_SECONDS):
                    await peer.get_token()
                    await asyncio.gather(self._open(peer, away), peer.connect(timeout=15))
                    while peer.status.get("camera") != "live":
                        if peer.gone.is_set():
                            raise ConnectionError("the session ended before its camera was live")
                        await asyncio.sleep(LOOK_SECONDS)
                return peer
            except LOST:
                self._drop(peer)
            wait = min(MOST_WAIT, wait * 2)
            await asyncio.sleep(wait / 2 + self.rng.random() * wait / 2)

    async def _open(self, peer: FleetPeer, away: Away | None) -> None:
        brought = Said(self.said.handover, self.said.token)
        await peer.open_socket(timeout=OPEN_SECONDS)
        if brought.handover:
            since = peer.seen
            await peer.send(
                {"type": "resume", "handover": brought.handover, "token": brought.token}
            )
            came = await peer.wait_for(
                lambda m: m["type"] == "resumed" or m.get("code") == "handover_refused",
                since=since,
                timeout=OPEN_SECONDS,
            )
            if away is not None:
                away.after = int(came.message.get("turns", 0))
        await peer.send({"type": "settings", "handover": True})

    def _drop(self, peer: FleetPeer) -> None:
        """Close a session that is left, beside everything else and within its time."""
        task = asyncio.create_task(end(peer), name="fleet-end")
        self.ends.add(task)
        task.add_done_callback(self.ends.discard)

    async def ask(self, text: str) -> None:
        """Ask, and once more when the session ends before the first word."""
        asked = Asked(time.monotonic())
        self.asked.append(asked)
        for attempt in range(2):
            asked.again = attempt > 0
            try:
                async with asyncio.timeout(LIVE_SECONDS):
                    await self.live.wait()
            except TimeoutError:
                asked.end = "no gateway"
                return
            peer = self.peer
            assert peer is not None
            asked.live, asked.gateway = time.monotonic(), self.gateway
            error = await self._one(peer, text, asked)
            if not error:
                asked.end = "ok"
                self.said.turns = min(self.said.turns + 1, 16)
                return
            asked.end = error
            if error == "mid-answer" or error not in ("lost", "draining"):
                return
            # The page waits for its next session with it.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(peer.gone.wait(), OPEN_SECONDS)
            await asyncio.sleep(0)

    async def _one(self, peer: FleetPeer, text: str, asked: Asked) -> str:
        """Ask in one session; "" or why there is no answer."""
        answer = None
        try:
            answer = await peer.start(text)
            await peer.finish(answer, timeout=ANSWER_SECONDS)
        except LOST as lost:
            first = answer.first_delta_at if answer is not None else None
            if first is not None:
                return "mid-answer"
            return "timeout" if isinstance(lost, TimeoutError) else "lost"
        if answer.first_delta_at is not None:
            asked.first = time.monotonic() - (time.time() - answer.first_delta_at)
        error: Message | None = answer.error
        if error is None:
            asked.timings = (answer.response or {}).get("timings") or {}
            return ""
        asked.why = str(error.get("message", ""))
        # Its engine or gateway went while it spoke.
        return "mid-answer" if answer.first_delta_at is not None else str(error["code"])

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
