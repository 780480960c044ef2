"""All fixed cameras: a session and a reader for each, and the operator's routes."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fastapi import Response

from server.app.api import Api
from server.core import messages as wire
from server.core.aio import log_failure, run_in_pool
from server.core.errors import BadRequest, Busy, Conflict, EngineTimeout, NotFound, QwenCameraError
from server.core.messages import MAX_QUESTION_CHARS
from server.core.metrics import Metrics
from server.features.rtsp.reader import AWAKE_FPS, SENTENCES, FixedCameraReader, FixedCameraState
from server.features.rtsp.settings import FixedCamera
from server.media.camera import QuestionTime
from server.session.part import Alert
from server.session.request.outbox import OutboxClosed, OutboxOverflowed
from server.session.session import Session
from server.session_manager import SessionManager
from server.shared.services import CameraReport

if TYPE_CHECKING:
    from server.features.describe.live_description import LiveDescription
    from server.features.watches.watching import Watching

# Pictures per second while a socket is open
WATCHED_FPS = 2.0
# Seconds for which an operator's or a program's access keeps the camera decoding
LOOK_SECONDS = 5.0


@dataclass(slots=True)
class _CameraEntry:
    """A fixed camera with its session and reader."""

    camera: FixedCamera
    session: Session
    reader: FixedCameraReader
    # End of the time for which pictures are requested, monotonic seconds
    awake: float = 0.0
    # Watches of the list that are not running: number to reason
    unwatched: dict[int, str] = field(default_factory=dict)


class FixedCameras:
    """Owner of the fixed cameras. `start` begins their sessions, `close` stops their processes."""

    def __init__(
        self,
        cameras: Sequence[FixedCamera],
        sessions: SessionManager,
        metrics: Metrics,
        new_id: Callable[[], str],
        *,
        on_alert: Callable[[Alert], None],
    ) -> None:
        """`new_id`: returns a session id. `on_alert`: called with each alert of the cameras' watches."""
        self._on_alert = on_alert
        self._cameras = tuple(cameras)
        self._sessions = sessions
        # reason: see worker/rtsp.py
        self._failures = metrics.counter(
            "standing_failures_total",
            "Connections to fixed cameras that failed or ended",
            "reason",
        )
        self._new_id = new_id
        self._ones: dict[str, _CameraEntry] = {}
        metrics.gauge(
            "standing_cameras",
            "Fixed cameras by state",
            lambda: {
                state.value: sum(one.reader.life.state is state for one in self._ones.values())
                for state in FixedCameraState
            },
            "state",
        )

    def start(self) -> None:
        for camera in self._cameras:
            self._ones[camera.name] = one = self._make(camera)
            one.reader.start()

    def _make(self, camera: FixedCamera) -> _CameraEntry:
        session = self._sessions.begin_fixed(self._new_id())
        session.become_fixed(camera.engines, self._on_alert, camera.name)
        reader = FixedCameraReader(
            camera, session.camera, self._failures, lambda: self._get_wanted_rate(one)
        )
        one = _CameraEntry(camera, session, reader)

        def on_sender(wake_ms: int | None) -> None:
            if wake_ms is not None:
                one.awake = max(one.awake, time.monotonic() + wake_ms / 1000)
            reader.update_rate()

        session.camera.on_sender.append(on_sender)
        session.camera.measures_scenes = bool(camera.watches)
        one.unwatched = dict.fromkeys(range(len(camera.watches)), "")
        self._watch(one)
        describing = session.part("describe")
        if camera.describe and describing is not None:
            describing.switch(True)
        return one

    def _watch(self, one: _CameraEntry) -> None:
        """Start the watches that the current engine supports; note the reason for the others."""
        for number in list(one.unwatched):
            reason = ""
            watching: Watching | None = one.session.part("watches")
            if watching is None:
                reason = "Watches are off on this server."
            else:
                try:
                    condition = one.camera.watches[number]
                    watching.watch_for(_watch_id(number), condition, repeat=True)
                except QwenCameraError as error:
                    reason = error.message
            if reason:
                one.unwatched[number] = reason
            else:
                del one.unwatched[number]

    def on_engine_changed(self) -> None:
        """Start the watches that the previous engine did not support."""
        for one in self._ones.values():
            self._watch(one)

    def _get_wanted_rate(self, one: _CameraEntry) -> float:
        """Return the pictures per second needed from a camera now; 0 if none are needed."""
        camera = one.session.camera
        rate = 0.0
        if time.monotonic() < one.awake:
            rate = AWAKE_FPS
        if camera.on_sample:
            rate = max(rate, float(camera.sender().idle.max_framerate))
        if self._sessions.has_socket(one.session.id):
            rate = max(rate, WATCHED_FPS)
        return rate

    def reports(self, names: Sequence[str]) -> list[CameraReport]:
        """Return the state of the named cameras for integrations; unknown names are skipped."""
        found = []
        for one in (self._ones[name] for name in names if name in self._ones):
            watching: Watching | None = one.session.part("watches")
            known = {info.id: info for info in watching.watches()} if watching is not None else {}
            holds = {
                condition: watch.holds if (watch := known.get(_watch_id(number))) else None
                for number, condition in enumerate(one.camera.watches)
            }
            live = one.reader.life.state is FixedCameraState.LIVE
            found.append(CameraReport(one.camera, live, _get_description(one.session), holds))
        return found

    def find(self, name: str) -> Session:
        """Return the session of a camera, and decode pictures for `LOOK_SECONDS`. Raises NotFound."""
        one = self._find(name)
        one.awake = time.monotonic() + LOOK_SECONDS
        one.reader.update_rate()
        return one.session

    def session(self, name: str) -> Session:
        """Return the session of a camera without waking it. Raises NotFound."""
        return self._find(name).session

    def _find(self, name: str) -> _CameraEntry:
        one = self._ones.get(name)
        if one is None:
            raise NotFound(
                "Camera not found. GET /api/operator/cameras lists the fixed cameras; add one in the file of STANDING_CAMERAS."
            )
        return one

    def retry_now(self, name: str) -> None:
        """Try to connect to a camera now. Raises NotFound."""
        self._find(name).reader.retry_now()

    def describe_all(self) -> list[dict[str, object]]:
        """Return the state of all cameras for operators, in the order of the list, without credentials."""
        now = time.monotonic()
        return [self._describe(one, now) for one in self._ones.values()]

    def _describe(self, one: _CameraEntry, now: float) -> dict[str, object]:
        grants = one.session.part("grants")
        programs = grants.make_program_list().programs if grants is not None else ()
        life, facts, frame = one.reader.life, one.reader.facts, one.session.camera.newest
        trouble = life.trouble
        return {
            "name": one.camera.name,
            "where": one.camera.where,
            "state": life.state.value,
            "trouble": trouble.value if trouble is not None else "",
            "detail": SENTENCES[trouble] if trouble is not None else "",
            "sends": life.detail,
            "since_seconds": max(0, round(now - life.since)),
            "retry_seconds": (
                max(0, round(life.due - now)) if life.state is FixedCameraState.WAITING else None
            ),
            "codec": facts.codec,
            "fps": facts.fps,
            "width": frame.width if frame is not None else None,
            "height": frame.height if frame is not None else None,
            "failures": facts.failures,
            "watches": len(one.camera.watches) - len(one.unwatched),
            "unwatched": [
                {"condition": one.camera.watches[number], "reason": reason}
                for number, reason in one.unwatched.items()
            ],
            "described": _get_description(one.session),
            "programs": [info.model_dump() for info in programs],
        }

    async def close(self) -> None:
        """Stop all readers, and log those that fail to stop."""
        ends = await asyncio.gather(
            *(one.reader.close() for one in self._ones.values()), return_exceptions=True
        )
        for end in ends:
            if isinstance(end, Exception):
                log_failure("standing", end, "fixed camera reader not stopped")


def _watch_id(number: int) -> str:
    """Return the id of the watch at this position of the list, from 0."""
    return f"list-{number + 1}"


def _get_description(session: Session) -> str:
    """Return the last running description; "" before the first."""
    describing: LiveDescription | None = session.part("describe")
    return describing.text if describing is not None else ""


PREFIX = "/api/operator/cameras"
# Pictures prepared at a time, of all cameras
_AT_ONCE = 2


def add_routes(api: Api, cameras: FixedCameras) -> None:
    router, services = api.make_operator_router(PREFIX), api.services
    making = asyncio.Semaphore(_AT_ONCE)

    @router.get("")
    async def list_cameras() -> dict[str, Any]:
        """Return the fixed cameras.

        `cameras`: a list of `name`, `where`, `state` (`connecting`, `live`, `waiting`), `trouble`
        (a word; empty for none), `detail` (a sentence), `sends` (an unsupported codec or size),
        `since_seconds`, `retry_seconds` (or `null`), `codec`, `fps`, `width`, `height`, `failures`,
        `watches` (the number of running ones), `unwatched` (a list of `condition` and `reason`:
        watches that the current engine does not support), `described` (the last description),
        `programs` (those with access, as in `GET /api/grants`).
        """
        return {"cameras": cameras.describe_all()}

    @router.get("/{name}/picture")
    async def picture(name: str) -> Response:
        """Return a filtered JPEG of the next frame, at most 640 px."""
        camera = cameras.find(name).camera
        frame = await camera.wait_for_frame(
            QuestionTime(at=time.monotonic(), wall=time.time(), sent=None)
        )
        async with making:
            jpeg = await run_in_pool(api.pools.prepare, api.preparer.make_still, frame)
        return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "no-store"})

    @router.post("/{name}/ask")
    async def answer(name: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask the question in `content`. Returns the `response` or `error` message that ends it. 409
        while a socket of the camera is open.
        """
        question = body.get("content")
        if not isinstance(question, str) or not 0 < len(question.strip()) <= MAX_QUESTION_CHARS:
            raise BadRequest(
                f'"content" must be a question of 1 to {MAX_QUESTION_CHARS} characters.'
            )
        session = cameras.find(name)
        return await ask(session, question, attended=services.sessions.has_socket(session.id))

    @router.post("/{name}/retry", status_code=202)
    async def retry(name: str) -> dict[str, Any]:
        """Try to connect now. Returns 202 and the list."""
        cameras.retry_now(name)
        return {"cameras": cameras.describe_all()}

    @router.post("/{name}/token")
    async def token(name: str) -> dict[str, Any]:
        """Return a token for a socket of the camera's session: `token`, `session_id`, `expires_in`."""
        session = cameras.find(name)
        issued = services.access.tokens.issue(session.id)
        return {
            "token": issued.token,
            "session_id": session.id,
            "expires_in": issued.expires_in,
        }


# Time limit for an answer, seconds
ANSWER_SECONDS = 80.0


async def ask(session: Session, question: str, *, attended: bool) -> dict[str, Any]:
    """Ask about the camera's next frame. Return the `response` or `error` message that ends it.

    `attended`: a socket of the session is open, which receives the answers.

    Raises Conflict if `attended`, Busy while another question runs, EngineTimeout.
    """
    if attended:
        raise Conflict(
            "A WebSocket is open for this camera and receives its answers. Ask over that WebSocket, or close it first."
        )
    if session.answering:
        raise Busy(
            "Another question about this camera is being answered. Wait for its answer, then ask again.",
            retry_after=2,
        )
    id = f"ask-{secrets.token_hex(8)}"
    reader = session.outbox.attach()
    session.handle(wire.Chat(type="chat", content=question, id=id))
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            while True:
                message = json.loads(await reader.get())
                if message.get("id") == id and message["type"] in ("response", "error"):
                    return dict(message)
    except TimeoutError:
        raise EngineTimeout(
            "The engine did not answer in time. Ask again, or ask a shorter question.", public=True
        ) from None
    except OutboxOverflowed:
        raise Busy(
            "The session sent too many messages at once. Ask again.", retry_after=1
        ) from None
    except OutboxClosed:
        raise Conflict(
            "A WebSocket was opened for this camera meanwhile and receives the answer. Ask over that WebSocket."
        ) from None
    finally:
        session.handle(wire.Cancel(type="cancel", id=id))
        reader.detach()
