"""One session of a simulated page, which keeps its socket and its camera's connection up as client/live/
does: each is opened again until the server says that the session has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from dataclasses import dataclass, field

from aiortc import RTCPeerConnection
from websockets.asyncio.client import ClientConnection
from websockets.protocol import State

from scripts.bench.camera_peer import CameraPeer
from scripts.bench.chat_client import Answer, Arrived, Message
from scripts.bench.http_json import HttpError, json_request
from scripts.bench.live_encoder import LiveEncoder
from scripts.bench.open_loop import LOST
from scripts.bench.processes import BEFORE_SECONDS, longest_pause

# aiortc's close may wait for ever: each end of a peer has its own limit (seconds).
END_SECONDS = 3.0
# The page's times for a socket to open and for a camera to connect (client/core/live/socket.js, peer.js)
OPEN_SECONDS, CONNECT_SECONDS = 5.0, 15.0
# A page asks a server that has become silent, and soon looks for its session (client/core/live/outage.js
# and socket.js; seconds).
PULSE_SECONDS, PONG_SECONDS = 1.0, 1.0
# Seconds between two looks at the camera's state
LOOK_SECONDS = 0.02
# Time after connecting after which a question is sent without a live camera (client/core/live/asking.js)
PATIENCE = 4.0
# The server says with it that a session has ended or is not there (server/core/errors.py).
NO_SESSION = 4404
# Close codes after which the page waits for so many seconds more (client/core/live/socket.js)
LEAST = {1013: 1.5, 4429: 30.0}


class Backoff:
    """The page's waiting times (client/core/live/api.js), in seconds."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._attempt = 0
        self._since: float | None = None

    def next(self, least: float = 0.0) -> float:
        """Return the seconds to wait; `least`: those that the server asks for."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        most = 2.0 if now - self._since < 90 else 15.0
        full: float = min(most, 0.4 * 2**self._attempt)
        self._attempt = min(self._attempt + 1, 16)
        return least + full / 2 + self._rng.random() * full / 2

    def reset(self) -> None:
        self._attempt, self._since = 0, None


@dataclass(eq=False, slots=True)
class Outage:
    """A time without a picture. Times are monotonic seconds."""

    began: float
    # "moved" by the gateway, "lost" with it, or "camera": its connection alone
    why: str
    live: float | None = None
    # The chat was there before, and after
    before: int = 0
    after: int = 0

    @property
    def seconds(self) -> float:
        return float("inf") if self.live is None else self.live - self.began


@dataclass(slots=True)
class RememberedChat:
    """The chat that its session remembers, as the page knows it."""

    handover: str = ""
    token: str = ""
    turns: int = 0


class FleetPeer(CameraPeer):
    """One session of a visitor. It has a token before `keep`, which opens the rest."""

    def __init__(self, visitor: FleetVisitor, waits: Backoff) -> None:
        """Prepare a session; `waits`: delays between attempts of its sockets."""
        super().__init__(visitor.url, visitor.encoder)
        self.said = said = visitor.said
        self.moved = asyncio.Event()
        # The session has ended: only another one helps.
        self.gone = asyncio.Event()
        # While the socket is not open, and while the camera is not connected
        self.shut, self.dark = asyncio.Event(), asyncio.Event()
        self.shut.set()
        self.dark.set()
        # When the socket closed; None while it is open
        self.shut_at: float | None = None
        # When the camera's connection was lost; None while there is a picture, and before the first
        self.dark_at: float | None = None
        # The last word of a server that was cut off; None while it is there
        self.silent_since: float | None = None
        # Turns of the chat that this session took over
        self.turns_taken = 0
        self._visitor, self._waits = visitor, waits
        # The chat that it gets, until it has taken or refused it
        self.brings = RememberedChat(said.handover, said.token) if said.handover else None
        # Infinite while the camera is not connected
        self.connected_at = math.inf

    @property
    def gateway(self) -> str:
        return self.session_id.partition("-")[0]

    @property
    def live(self) -> bool:
        return self.status.get("camera") == "live"

    @property
    def lost_since(self) -> float:
        """The time since which something is lost; now, when nothing is."""
        times = (self.silent_since, self.shut_at, self.dark_at)
        return min((at for at in times if at is not None), default=time.monotonic())

    @property
    def answerable(self) -> bool:
        """True when the page would send a question now (client/core/live/asking.js)."""
        if self.gone.is_set() or self.shut.is_set():
            return False
        if self._socket is None or self._socket.state is not State.OPEN:
            return False
        if self.live:
            return True
        # The server explains these, and what to do.
        explained = self.status.get("camera") in ("stalled", "frozen")
        return math.isfinite(self.connected_at) and (explained or self._patient)

    @property
    def _patient(self) -> bool:
        """True when the camera has been connected for so long that its picture is overdue."""
        return time.monotonic() - self.connected_at > PATIENCE

    async def keep(self, *, pulse: bool) -> None:
        """Keep socket and camera open until the session ends. `pulse`: look for a silent server."""
        tasks = [
            asyncio.create_task(self._keep_socket(), name="fleet-socket"),
            asyncio.create_task(self._keep_camera(), name="fleet-camera"),
            asyncio.create_task(self.gone.wait(), name="fleet-gone"),
        ]
        if pulse:
            tasks.append(asyncio.create_task(self._watch(), name="fleet-watch"))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=1)

    async def _keep_socket(self) -> None:
        while True:
            first = self.shut_at is None
            while self.shut.is_set():
                if not first:
                    await asyncio.sleep(self._waits.next(LEAST.get(self.close_code or 0, 0.0)))
                first = False
                try:
                    began, lost_at = self.ready.get("began_at"), self.shut_at
                    await self.open_socket(timeout=OPEN_SECONDS)
                    restarted = began not in (None, self.ready.get("began_at"))
                    await self._opened(restarted=restarted, lost_at=lost_at or 0.0)
                except LOST:
                    if self.close_code == NO_SESSION:
                        self.gone.set()
                        return
            await self.shut.wait()
            if self.close_code == NO_SESSION:
                self.gone.set()
            if self.gone.is_set():
                return

    async def open_socket(self, *, timeout: float = OPEN_SECONDS) -> None:
        """Open it in place of the one that was lost."""
        if self._socket is not None:
            # A close would wait for a server that may be gone.
            self._socket.transport.abort()
        async with asyncio.timeout(timeout):
            await super().open_socket(timeout=timeout)
        # It may have closed again already.
        if self.close_code is None:
            self.shut.clear()
            self.shut_at = None
            self._waits.reset()

    async def _opened(self, *, restarted: bool, lost_at: float) -> None:
        """Send what the page sends first. `lost_at`: when the socket before this one was lost."""
        if restarted:
            # A restarted server takes the old token for a new session. It has no camera yet, unless that
            # was offered again before the socket was open.
            self.brings = (
                RememberedChat(self.said.handover, self.said.token) if self.said.handover else None
            )
            self.status = {}
            if self.connected_at < lost_at:
                self.dark.set()
        if self.brings is not None:
            brought = {"handover": self.brings.handover, "token": self.brings.token}
            await self.send({"type": "resume", **brought})
        await self.send({"type": "settings", "handover": True})

    async def _keep_camera(self) -> None:
        waits = Backoff(self._visitor.rng)
        away: Outage | None = None
        try:
            while not self.gone.is_set():
                await self.dark.wait()
                if math.isfinite(self.connected_at):
                    self.connected_at = math.inf
                    if away is None:
                        self.dark_at = time.monotonic()
                        away = Outage(self.dark_at, "camera")
                        self._visitor.aways.append(away)
                    await asyncio.sleep(waits.next())
                if not await self._offered():
                    await asyncio.sleep(waits.next())
                    continue
                waits.reset()
                while away is not None and not self.dark.is_set():
                    if self.live:
                        away.live = time.monotonic()
                        away = self.dark_at = None
                    else:
                        await asyncio.sleep(LOOK_SECONDS)
        finally:
            # The session ended before its camera was back: its own absence has this one in it.
            if away is not None:
                self._visitor.aways.remove(away)

    async def _offered(self) -> bool:
        """Offer the camera; False when that fails."""
        self.dark.clear()
        try:
            await self.connect(timeout=CONNECT_SECONDS)
        except LOST as lost:
            self.dark.set()
            if isinstance(lost, HttpError) and lost.reply.status in (401, 404):
                self.gone.set()
            return False
        self.connected_at = time.monotonic()
        return True

    async def drop_camera(self) -> None:
        """See CameraPeer; within END_SECONDS."""
        task = asyncio.create_task(super().drop_camera(), name="fleet-drop")
        await asyncio.wait({task}, timeout=END_SECONDS)

    def add_media(self, pc: RTCPeerConnection) -> None:
        @pc.on("connectionstatechange")
        def changed() -> None:
            if pc is self._pc and pc.connectionState in ("failed", "closed"):
                self.dark.set()

    async def _watch(self) -> None:
        """Notice a server that is cut off, which closes no socket; then end the socket."""
        heard = time.monotonic()
        while True:
            await asyncio.sleep(PULSE_SECONDS)
            if self.shut.is_set():
                continue
            since = self.seen
            try:
                async with asyncio.timeout(PONG_SECONDS):
                    await self.send({"type": "ping"})
                    await self.wait_for(lambda m: m["type"] == "pong", since=since)
            except LOST:
                if not self.shut.is_set() and not await self._stands():
                    self.silent_since = heard
                    if self._socket is not None:
                        self._socket.transport.abort()
                    continue
            self.silent_since = None
            heard = time.monotonic()

    async def _stands(self) -> bool:
        """Return whether the session's gateway is reached."""
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
        message = arrived.message
        match message["type"]:
            case "handover":
                # One of a session that has not taken the older chat yet would lose it.
                if self.brings is None:
                    self.said.handover, self.said.token = str(message["handover"]), self.token
            case "resumed":
                self.turns_taken, self.brings = int(message.get("turns", 0)), None
            case "error" if message.get("code") == "handover_refused":
                self.brings, self.said.handover = None, ""
            case "status":
                # The server has closed its end, which this side would notice only seconds later.
                if message.get("camera") in (None, "", "ended") and self._patient:
                    self.dark.set()
            case "moved":
                self.moved.set()
                self.gone.set()

    async def _read(self, socket: ClientConnection) -> None:
        try:
            await super()._read(socket)
        finally:
            if self.shut_at is None:
                self.shut_at = time.monotonic()
            self.shut.set()


# Seconds until a page without a session that can answer gives a question up, and for its answer
LIVE_SECONDS = 30.0
ANSWER_SECONDS = 30.0


@dataclass(slots=True)
class QuestionRecord:
    """A question and its end. Times are monotonic seconds."""

    at: float
    first: float | None = None
    # ok, or an error's code; "mid-answer": it had a word and never got its whole answer
    end: str = ""
    again: bool = False
    # The time from which a live camera was there for it, and the gateway that got it last
    live: float | None = None
    gateway: str = ""
    # The text of its error
    why: str = ""
    # Of a lost one: the longest time without a new picture of its encoder (seconds), shortly before its end; None without
    # a camera
    unmade: float | None = None
    # The session that it was sent in last, and what came there
    sent: tuple[FleetPeer, Answer] | None = None

    def heard(self, answer: Answer) -> None:
        """Note when its first word came."""
        if self.first is None and answer.first_delta_at is not None:
            self.first = time.monotonic() - (time.time() - answer.first_delta_at)


@dataclass(eq=False, slots=True)
class FleetVisitor:
    """A person with the page open, who goes where the gateway sends it, and comes back when that has gone.

    It keeps the signed chat, asks a lost question without a token once more, and offers its camera
    anew with each session. `stay` holds the sessions together until cancelled.
    """

    url: str
    encoder: LiveEncoder
    rng: random.Random
    said: RememberedChat = field(default_factory=RememberedChat)
    aways: list[Outage] = field(default_factory=list)
    asked: list[QuestionRecord] = field(default_factory=list)
    peer: FleetPeer | None = None
    # Look whether the server is still there, as hosts of their own may be cut off
    pulse: bool = False
    # Set from a session's first picture to its end
    live: asyncio.Event = field(default_factory=asyncio.Event)
    # Ends of old connections, which nobody waits for
    ends: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def seen(self) -> bool:
        """True while the server has this person's picture."""
        return self.live.is_set() and self.peer is not None and self.peer.live

    async def stay(self) -> None:
        """Be there: after each end of a session begin another one."""
        away: Outage | None = None
        waits = Backoff(self.rng)
        while True:
            peer = FleetPeer(self, waits)
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
                # Wait for its first picture, with the chat that it gets, or for its end.
                while not (peer.live and peer.brings is None) and not keeping.done():
                    await asyncio.sleep(LOOK_SECONDS)
                if not keeping.done():
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
                away = Outage(lost_since, why, before=self.said.turns)
                self.aways.append(away)
            # It is closed beside everything else.
            task = asyncio.create_task(end(peer), name="fleet-end")
            self.ends.add(task)
            task.add_done_callback(self.ends.discard)

    async def ask(self, text: str) -> None:
        """Ask, and once more when the session or its socket goes before the whole answer."""
        asked = QuestionRecord(time.monotonic())
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

    def _look_back(self, asked: QuestionRecord) -> None:
        """Note whether the camera of a lost question got its time in this process."""
        peer, now = self.peer, time.monotonic()
        if peer is None or peer.track is None or peer.connected_at > now:
            return
        since = max(now - BEFORE_SECONDS, peer.connected_at)
        asked.unmade = longest_pause(list(self.encoder.times), since, now)

    async def _ready(self) -> FleetPeer:
        """Wait until the page would send a question."""
        while self.peer is None or not (self.live.is_set() and self.peer.answerable):
            await asyncio.sleep(LOOK_SECONDS)
        return self.peer

    async def _one(self, peer: FleetPeer, text: str, asked: QuestionRecord) -> str:
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
        return "ok"

    async def leave(self) -> None:
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
