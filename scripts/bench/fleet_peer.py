"""One session of a simulated page, which keeps its socket and its camera's connection open as client/live/
does: it reopens each of them until the server reports that the session has ended.
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
from scripts.bench.chat_client import Answer, Message, TimedMessage
from scripts.bench.http_json import HttpError, request_json
from scripts.bench.live_encoder import LiveEncoder
from scripts.bench.open_loop import LOST
from scripts.bench.processes import BEFORE_SECONDS, find_longest_pause

# aiortc's close may wait for ever: each end of a peer has its own limit (seconds).
END_SECONDS = 3.0
# The page's time limits for opening a socket and connecting a camera (client/core/live/socket.js, peer.js)
OPEN_SECONDS, CONNECT_SECONDS = 5.0, 15.0
# Seconds after which a page probes a silent server, and after which it checks its session
# (client/core/live/outage.js and socket.js)
PULSE_SECONDS, PONG_SECONDS = 1.0, 1.0
# Seconds between two checks of the camera's state
LOOK_SECONDS = 0.02
# Time after connecting after which a question is sent without a live camera (client/core/live/asking.js)
PATIENCE = 4.0
# The close code of a session that has ended or does not exist (server/core/errors.py)
NO_SESSION = 4404
# Additional seconds that the page waits after these close codes (client/core/live/socket.js)
LEAST = {1013: 1.5, 4429: 30.0}


class Backoff:
    """The page's waiting times (client/core/live/api.js), in seconds."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._attempt = 0
        self._since: float | None = None

    def get_next(self, least: float = 0.0) -> float:
        """Return the seconds to wait. `least`: the seconds requested by the server."""
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
    # "moved" by the gateway, "lost" with the gateway, or "camera": only the camera's connection was lost
    why: str
    live: float | None = None
    # Whether there was a chat before the outage, and after it
    before: int = 0
    after: int = 0

    @property
    def seconds(self) -> float:
        return float("inf") if self.live is None else self.live - self.began


@dataclass(slots=True)
class RememberedChat:
    """The page's copy of the chat stored by its session."""

    handover: str = ""
    token: str = ""
    turns: int = 0


class FleetPeer(CameraPeer):
    """One session of a visitor. It needs a token before `keep` opens the socket and the camera."""

    def __init__(self, visitor: FleetVisitor, waits: Backoff) -> None:
        """Prepare a session; `waits`: delays between attempts of its sockets."""
        super().__init__(visitor.url, visitor.encoder)
        self.said = said = visitor.said
        self.moved = asyncio.Event()
        # The session has ended: a new one is needed.
        self.gone = asyncio.Event()
        # While the socket is not open, and while the camera is not connected
        self.shut, self.dark = asyncio.Event(), asyncio.Event()
        self.shut.set()
        self.dark.set()
        # Time at which the socket closed; None while it is open
        self.shut_at: float | None = None
        # Time at which the camera's connection was lost; None while there is a picture, and before the first one
        self.dark_at: float | None = None
        # Time of the last message from a disconnected server; None while it is connected
        self.silent_since: float | None = None
        # Turns of the chat that this session took over
        self.turns_taken = 0
        self._visitor, self._waits = visitor, waits
        # The chat to take over, until the session has accepted or refused it
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
        """The time since which the socket or the camera is lost; now if neither is."""
        times = (self.silent_since, self.shut_at, self.dark_at)
        return min((at for at in times if at is not None), default=time.monotonic())

    @property
    def answerable(self) -> bool:
        """True if the page would send a question now (client/core/live/asking.js)."""
        if self.gone.is_set() or self.shut.is_set():
            return False
        if self._socket is None or self._socket.state is not State.OPEN:
            return False
        if self.live:
            return True
        # The server's message explains these states, and what to do.
        explained = self.status.get("camera") in ("stalled", "frozen")
        return math.isfinite(self.connected_at) and (explained or self._patient)

    @property
    def _patient(self) -> bool:
        """True if the camera has been connected for so long that its picture is overdue."""
        return time.monotonic() - self.connected_at > PATIENCE

    async def keep(self, *, pulse: bool) -> None:
        """Keep socket and camera open until the session ends. `pulse`: detect a silent server."""
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
                    await asyncio.sleep(self._waits.get_next(LEAST.get(self.close_code or 0, 0.0)))
                first = False
                try:
                    began, lost_at = self.ready.get("began_at"), self.shut_at
                    await self.open_socket(timeout=OPEN_SECONDS)
                    restarted = began not in (None, self.ready.get("began_at"))
                    await self._send_first_messages(restarted=restarted, lost_at=lost_at or 0.0)
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
        """Open a socket in place of the lost one."""
        if self._socket is not None:
            # Closing would wait for a server that may have ended.
            self._socket.transport.abort()
        async with asyncio.timeout(timeout):
            await super().open_socket(timeout=timeout)
        # The socket may have closed again already.
        if self.close_code is None:
            self.shut.clear()
            self.shut_at = None
            self._waits.reset()

    async def _send_first_messages(self, *, restarted: bool, lost_at: float) -> None:
        """Send the messages that the page sends first. `lost_at`: time at which the previous socket was lost."""
        if restarted:
            # A restarted server accepts the old token for a new session, which has no camera yet, unless the
            # camera was offered again before the socket opened.
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
                    await asyncio.sleep(waits.get_next())
                if not await self._offer_camera():
                    await asyncio.sleep(waits.get_next())
                    continue
                waits.reset()
                while away is not None and not self.dark.is_set():
                    if self.live:
                        away.live = time.monotonic()
                        away = self.dark_at = None
                    else:
                        await asyncio.sleep(LOOK_SECONDS)
        finally:
            # The session ended before its camera was back: the outage of the session includes this one.
            if away is not None:
                self._visitor.aways.remove(away)

    async def _offer_camera(self) -> bool:
        """Offer the camera. Return False if that fails."""
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
        """Close the camera's connection as `CameraPeer.drop_camera` does, within END_SECONDS."""
        task = asyncio.create_task(super().drop_camera(), name="fleet-drop")
        await asyncio.wait({task}, timeout=END_SECONDS)

    def add_media(self, pc: RTCPeerConnection) -> None:
        @pc.on("connectionstatechange")
        def on_state_change() -> None:
            if pc is self._pc and pc.connectionState in ("failed", "closed"):
                self.dark.set()

    async def _watch(self) -> None:
        """Detect a disconnected server, which closes no socket; then close the socket."""
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
                if not self.shut.is_set() and not await self._is_gateway_reachable():
                    self.silent_since = heard
                    if self._socket is not None:
                        self._socket.transport.abort()
                    continue
            self.silent_since = None
            heard = time.monotonic()

    async def _is_gateway_reachable(self) -> bool:
        """Return True if the session's gateway can be reached."""
        url = f"{self.base_url}/api/webrtc/offer?session={self.session_id}"
        try:
            body: Message = {"candidates": []}
            await request_json("PATCH", url, body, token=self.token, timeout=OPEN_SECONDS)
        except HttpError as error:
            # 404: another gateway responded in its place.
            return error.reply.status < 500 and error.reply.status != 404
        except LOST:
            return False
        return True

    def take(self, arrived: TimedMessage) -> None:
        super().take(arrived)
        message = arrived.message
        match message["type"]:
            case "handover":
                # A session that has not taken over the older chat yet would lose it.
                if self.brings is None:
                    self.said.handover, self.said.token = str(message["handover"]), self.token
            case "resumed":
                self.turns_taken, self.brings = int(message.get("turns", 0)), None
            case "error" if message.get("code") == "handover_refused":
                self.brings, self.said.handover = None, ""
            case "status":
                # The server has closed the connection, which this side would detect only seconds later.
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


# Seconds until a page without a session that can answer gives up a question, and time limit of an answer
LIVE_SECONDS = 30.0
ANSWER_SECONDS = 30.0


@dataclass(slots=True)
class QuestionRecord:
    """A question and its end. Times are monotonic seconds."""

    at: float
    first: float | None = None
    # "ok", or an error's code; "mid-answer": the first word arrived, but not the whole answer
    end: str = ""
    again: bool = False
    # Time since which a live camera was available for the question, and the last gateway that received it
    live: float | None = None
    gateway: str = ""
    # Text of the error
    why: str = ""
    # For a lost question: the longest time without a new picture of the encoder shortly before the end, seconds; None
    # without a camera
    unmade: float | None = None
    # The session in which it was last sent, and the messages received there
    sent: tuple[FleetPeer, Answer] | None = None

    def note_first_word(self, answer: Answer) -> None:
        """Record the arrival of the first word."""
        if self.first is None and answer.first_delta_at is not None:
            self.first = time.monotonic() - (time.time() - answer.first_delta_at)


@dataclass(eq=False, slots=True)
class FleetVisitor:
    """A simulated visitor with the page open, who follows redirects, and reconnects when the session has ended.

    It keeps the signed chat, repeats a question once if it was lost before the first token, and offers its
    camera again with each session. `stay_connected` opens one session after another until cancelled.
    """

    url: str
    encoder: LiveEncoder
    rng: random.Random
    said: RememberedChat = field(default_factory=RememberedChat)
    aways: list[Outage] = field(default_factory=list)
    asked: list[QuestionRecord] = field(default_factory=list)
    peer: FleetPeer | None = None
    # Check whether the server still responds, because separate hosts may be disconnected
    pulse: bool = False
    # Set from a session's first picture until its end
    live: asyncio.Event = field(default_factory=asyncio.Event)
    # Tasks that close old connections; no caller waits for them
    ends: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def seen(self) -> bool:
        """True while the server has this visitor's picture."""
        return self.live.is_set() and self.peer is not None and self.peer.live

    async def stay_connected(self) -> None:
        """Stay connected: begin another session after each end of one."""
        away: Outage | None = None
        waits = Backoff(self.rng)
        while True:
            peer = FleetPeer(self, waits)
            if away is not None and away.why == "lost":
                # As after any close, the page waits before it reconnects.
                await asyncio.sleep(waits.get_next())
            try:
                await peer.get_token()
            except LOST:
                await asyncio.sleep(waits.get_next())
                continue
            self.peer = peer
            keeping = asyncio.create_task(peer.keep(pulse=self.pulse), name="fleet-keep")
            try:
                # Wait for the session's first picture, with the chat that it takes over, or for its end.
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
            # It is closed in the background.
            task = asyncio.create_task(end(peer), name="fleet-end")
            self.ends.add(task)
            task.add_done_callback(self.ends.discard)

    async def ask(self, text: str) -> None:
        """Ask, and ask once more if the session or its socket is lost before the whole answer."""
        asked = QuestionRecord(time.monotonic())
        self.asked.append(asked)
        while True:
            try:
                async with asyncio.timeout(LIVE_SECONDS):
                    peer = await self._wait_ready()
            except TimeoutError:
                asked.end = "no gateway"
                break
            asked.live, asked.gateway = time.monotonic(), peer.gateway
            asked.again = asked.sent is not None
            asked.end = await self._ask_in_session(peer, text, asked)
            if asked.end == "draining":
                # The page keeps the question for its next session.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(peer.gone.wait(), OPEN_SECONDS)
            if asked.end == "ok":
                self.said.turns = min(self.said.turns + 1, 16)
                return
            if asked.end not in ("lost", "draining", "unsent") or asked.again:
                break
        self._look_back(asked)
        if asked.first is not None:
            # Its engine or gateway ended during the answer.
            asked.end = "mid-answer"

    def _look_back(self, asked: QuestionRecord) -> None:
        """Record whether this process had processor time for the camera of a lost question."""
        peer, now = self.peer, time.monotonic()
        if peer is None or peer.track is None or peer.connected_at > now:
            return
        since = max(now - BEFORE_SECONDS, peer.connected_at)
        asked.unmade = find_longest_pause(list(self.encoder.times), since, now)

    async def _wait_ready(self) -> FleetPeer:
        """Wait until the page would send a question."""
        while self.peer is None or not (self.live.is_set() and self.peer.answerable):
            await asyncio.sleep(LOOK_SECONDS)
        return self.peer

    async def _ask_in_session(self, peer: FleetPeer, text: str, asked: QuestionRecord) -> str:
        """Ask in one session. Return "ok", or the reason why there is no answer."""
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
            asked.note_first_word(answer)
            return "timeout" if isinstance(lost, TimeoutError) else "lost"
        asked.note_first_word(answer)
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
    """Close a peer within END_SECONDS; a connection that does not close ends with the process."""
    task = asyncio.create_task(_close(peer), name="fleet-close")
    await asyncio.wait({task}, timeout=END_SECONDS)


async def _close(peer: CameraPeer) -> None:
    with contextlib.suppress(*LOST):
        await peer.close_socket()
    with contextlib.suppress(*LOST):
        await peer.drop_camera()
