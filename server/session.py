"""One visitor: joins the camera, the questions, the running description and the messages back.

Everything here is called on the event loop. Questions and holds run as tasks of the session; what the
session remembers (history, a held frame) lives in RAM and goes with it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from server import messages as wire
from server.aio import TaskSet, in_pool
from server.answers import AnswerSink, Asking
from server.camera import Asked, Camera
from server.engines.base import Capabilities, Engine, EngineRequest, EngineStatus
from server.errors import CameraError, Draining, FrameWithheld, Internal, QwenCameraError
from server.frames import Detail, Frame, Kind, Picture
from server.history import History
from server.inference import Inference, Job
from server.metrics import Metrics
from server.outbox import Outbox
from server.prompts import DESCRIBE, prompt_tokens, wants_detail
from server.vision.prepare import PictureMaker

log = logging.getLogger(__name__)

# An answer gets at least this many tokens, however long the question is.
_LEAST_ANSWER_TOKENS = 16


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What the settings say about every session."""

    sample_rate: float
    max_tokens: int
    # Tokens of prompt and answer together, when the engine does not say.
    context_length: int
    # Seconds without activity after which a session ends
    timeout: int


@dataclass(frozen=True, slots=True)
class SessionTools:
    """What all sessions share."""

    inference: Inference
    current_engine: Callable[[], Engine]
    maker: PictureMaker
    prepare_pool: ThreadPoolExecutor
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class Preferences:
    """What the client has set; see `messages.Settings`."""

    describe: bool = False
    prompt: str = ""
    sample_rate: float | None = None
    max_tokens: int | None = None
    language: str = ""
    thumbnails: bool = False


class Session:
    """`touch` keeps it alive; `close` gives everything back."""

    def __init__(self, id: str, limits: SessionLimits, tools: SessionTools) -> None:
        self.id = id
        self.camera = Camera(sample_rate=limits.sample_rate, metrics=tools.metrics)
        self.outbox = Outbox()
        self.last_activity = time.monotonic()
        self._limits = limits
        self._tools = tools
        self._history = History()
        self._preferences = Preferences()
        self._held: Frame | None = None
        self._tasks = TaskSet("session")
        # Looks for a sharp frame; None when nobody asked for one.
        self._holding: asyncio.Task[None] | None = None
        # The question that is being answered; None when there is none.
        self._asking: Asking | None = None
        self._numbers = itertools.count(1)
        # The last error a running description told, so that it is told once; None while it goes well.
        self._describe_error: str | None = None
        self.camera.on_status = self._status_changed
        self.camera.on_sender = self._send_sender

    def touch(self) -> None:
        self.last_activity = time.monotonic()

    @property
    def describing(self) -> bool:
        return self._preferences.describe

    # Messages in

    def handle(self, message: wire.AnyClientMessage) -> None:
        """Act on a client's message; errors go back as messages and lose nothing."""
        self.touch()
        try:
            match message:
                case wire.Chat():
                    self._chat(message)
                case wire.Cancel():
                    self._cancel(message.id, "user")
                case wire.Hold():
                    self._stop_holding()
                    self._holding = self._tasks.spawn(self._hold(), name="hold")
                case wire.Release():
                    self._stop_holding()
                    self._held = None
                    self._status_changed()
                case wire.Settings():
                    self._set(message)
                case wire.Typing():
                    self.camera.wake()
                case wire.Ping():
                    self.outbox.put(wire.Pong(at=time.time() * 1000))
                case wire.Auth():
                    pass  # already done, nothing to add
        except QwenCameraError as error:
            self.tell(error)

    def tell(self, error: QwenCameraError, id: str | None = None) -> None:
        """Tell the client of an error."""
        self._tools.metrics.errors.labels(error.code).inc()
        self.outbox.put(wire.Error.of(error, id))

    # Questions

    def _chat(self, message: wire.Chat) -> None:
        asked = Asked(
            at=time.monotonic(),
            wall=time.time(),
            sent=message.sent_at / 1000 if message.sent_at is not None else None,
        )
        id = message.id or f"a{next(self._numbers)}"
        if self._tools.inference.draining:
            # Before the running answer is replaced: that one may still finish.
            self.tell(
                Draining("The server is about to stop and takes no new questions. Ask again soon."),
                id,
            )
            return
        self._cancel(None, "replaced")
        asking = Asking(id=id, question=message.content, asked=asked)
        self._asking = asking
        asking.task = self._tasks.spawn(self._ask(asking, message.detail), name="question")

    async def _ask(self, asking: Asking, detail: Detail) -> None:
        """From a question to its place in the queue; the answer goes on without this task."""
        try:
            frame, held = await self._frame_for(asking.asked)
            asking.wait_seconds = time.monotonic() - asking.asked.at
            self._tools.metrics.frame_wait.observe(asking.wait_seconds)
            if detail is Detail.AUTO:
                detail = Detail.HIGH if wants_detail(asking.question) else Detail.LOW
            made_for = self._tools.current_engine().status.capabilities
            picture = await self._prepare(frame, made_for, detail, held=held)

            async def make_request(engine: Engine) -> EngineRequest:
                shown, needs = picture, engine.status.capabilities
                if needs != made_for:
                    # Another engine took over while the question waited.
                    shown = await self._prepare(frame, needs, detail, held=held)
                return self._request(asking.question, Kind.CHAT, engine, shown, detail)

            sink = AnswerSink(
                id=asking.id,
                kind=Kind.CHAT,
                outbox=self.outbox,
                metrics=self._tools.metrics,
                wait_seconds=asking.wait_seconds,
                on_end=lambda text, whole: self._answered(asking, text, whole),
            )
            asking.job = Job(
                session_id=self.id,
                kind=Kind.CHAT,
                make_request=make_request,
                sink=sink,
                id=asking.id,
            )
            self._tools.inference.submit(asking.job)
        except QwenCameraError as error:
            self._not_asked(asking, error)
        except Exception as exc:  # noqa: BLE001
            # A bug must not leave a question without an end. Not its text: it may hold what people said.
            log.error("question failed", extra={"error": type(exc).__name__})
            self._not_asked(
                asking,
                Internal("Something went wrong with this question on the server. Ask again."),
            )

    def _not_asked(self, asking: Asking, error: QwenCameraError) -> None:
        if self._asking is asking:
            self._asking = None
        self.tell(error, asking.id)

    async def _frame_for(self, asked: Asked) -> tuple[Frame, bool]:
        if self._held is not None:
            return self._held, True
        return await self.camera.frame_after(asked), False

    async def _prepare(
        self, frame: Frame, needs: Capabilities, detail: Detail, *, held: bool
    ) -> Picture:
        """Raises FrameWithheld."""
        make = partial(
            self._tools.maker.make,
            frame,
            needs,
            detail,
            thumbnail=self._preferences.thumbnails,
            held=held,
            motion=self.camera.scene.motion if self.camera.scene is not None else None,
        )
        try:
            picture = await in_pool(self._tools.prepare_pool, make)
        except FrameWithheld:
            self._tools.metrics.frames_skipped.labels("withheld").inc()
            raise
        self._tools.metrics.frame_prepare.observe(picture.prepare_seconds)
        return picture

    def _request(
        self, question: str, kind: Kind, engine: Engine, picture: Picture, detail: Detail
    ) -> EngineRequest:
        context = engine.status.capabilities.context_length or self._limits.context_length
        language = self._preferences.language or None
        room = context - picture.visual_tokens - prompt_tokens(question, language)
        wanted = min(self._preferences.max_tokens or self._limits.max_tokens, context // 2)
        max_tokens = min(wanted, max(_LEAST_ANSWER_TOKENS, room))
        return EngineRequest(
            session_id=self.id,
            kind=kind,
            question=question,
            picture=picture,
            turns=self._history.turns(max(0, room - max_tokens)) if kind is Kind.CHAT else (),
            max_tokens=max_tokens,
            language=language,
            detail=detail,
        )

    def _answered(self, asking: Asking, text: str, whole: bool) -> None:
        self.touch()
        if whole and text:
            self._history.add(asking.question, text)
        if self._asking is asking:
            self._asking = None

    def _cancel(self, id: str | None, reason: str) -> None:
        asking = self._asking
        if asking is None or (id is not None and id != asking.id):
            return
        self._asking = None
        if asking.job is not None:
            self._tools.inference.cancel(asking.job, reason)
            return
        # It still waits for its frame: nothing was asked upstream yet.
        if asking.task is not None:
            asking.task.cancel()
        self._tools.metrics.cancellations.labels(reason).inc()
        self.outbox.put(asking.cancelled(self._tools.current_engine(), reason))

    # Hold

    def _stop_holding(self) -> None:
        if self._holding is not None:
            self._holding.cancel()
            self._holding = None

    async def _hold(self) -> None:
        try:
            self.camera.wake()
            self._held = await self.camera.sharpest()
        except CameraError as error:
            self.tell(error)
        self._status_changed()

    # Settings and the running description

    def _set(self, message: wire.Settings) -> None:
        given = message.model_dump(exclude={"type"}, exclude_none=True)
        was = self._preferences
        self._preferences = now = replace(was, **given)
        self.camera.set_sample_rate(
            now.sample_rate or self._limits.sample_rate, working=now.describe
        )
        self.camera.on_sample = self._sampled if now.describe else None
        if was.describe != now.describe:
            self._describe_error = None
            if not now.describe:
                self._tools.inference.cancel_background(self.id, "user")
            self._status_changed()

    def _sampled(self, frame: Frame) -> None:
        """A sampled frame goes into the queue; one that still waits there makes room for it."""
        id = f"d{next(self._numbers)}"
        question = self._preferences.prompt.strip() or DESCRIBE

        async def make_request(engine: Engine) -> EngineRequest:
            needs = engine.status.capabilities
            picture = await self._prepare(frame, needs, Detail.LOW, held=False)
            return self._request(question, Kind.DESCRIBE, engine, picture, Detail.LOW)

        sink = AnswerSink(
            id=id,
            kind=Kind.DESCRIBE,
            outbox=self.outbox,
            metrics=self._tools.metrics,
            wait_seconds=0.0,
            on_end=lambda text, whole: self._described(whole),
            on_error=lambda error: self._describe_failed(error, id),
        )
        job = Job(
            session_id=self.id, kind=Kind.DESCRIBE, make_request=make_request, sink=sink, id=id
        )
        try:
            self._tools.inference.submit(job)
        except Draining as error:
            self._describe_failed(error, None)

    def _described(self, whole: bool) -> None:
        if whole:
            self._describe_error = None

    def _describe_failed(self, error: QwenCameraError, id: str | None) -> None:
        if error.code != self._describe_error:
            self._describe_error = error.code
            self.tell(error, id)

    # Messages out

    def greet(self) -> None:
        """What a socket hears first, and again whenever the engine changes."""
        engine = self._tools.current_engine()
        status = engine.status
        capabilities = status.capabilities
        context = capabilities.context_length or self._limits.context_length
        self.outbox.put(
            wire.Ready(
                session_id=self.id,
                engine=engine.name,
                model=status.model,
                engine_state=status.state,
                engine_detail=status.detail,
                capabilities=wire.EngineCapabilities(
                    images=capabilities.images,
                    video=capabilities.video,
                    audio_in=capabilities.audio_in,
                    speech_out=capabilities.speech_out,
                    grounding=capabilities.grounding,
                    json_schema=capabilities.json_schema,
                    streaming=capabilities.streaming,
                ),
                limits=wire.Limits(
                    max_tokens=min(self._limits.max_tokens, context // 2),
                    context_length=capabilities.context_length,
                    visual_tokens=self._tools.maker.budget(capabilities, Detail.LOW),
                    visual_tokens_high=self._tools.maker.budget(capabilities, Detail.HIGH),
                    session_timeout=self._limits.timeout,
                ),
                describe=self._preferences.describe,
                held=self._held is not None,
            )
        )
        self._send_sender(None)
        self._status_changed()

    def _status_changed(self) -> None:
        camera = self.camera
        frame, scene, state = camera.newest, camera.scene, camera.state()
        engine = self._tools.current_engine()
        status: EngineStatus = engine.status
        self.outbox.put(
            wire.Status(
                camera=state,
                dark=scene.dark if scene is not None else None,
                blurred=scene.blurred if scene is not None else None,
                width=frame.width if frame is not None else None,
                height=frame.height if frame is not None else None,
                fps=round(camera.fps(), 1) if frame is not None else None,
                held=self._held is not None,
                queue_depth=sum(self._tools.inference.depth().values()),
                engine=engine.name,
                engine_state=status.state,
                engine_detail=status.detail,
            )
        )

    def _send_sender(self, wake_ms: int | None) -> None:
        self.outbox.put(self.camera.sender(wake_ms))

    # End

    def socket_closed(self) -> None:
        """Nobody listens any more: what runs for this session stops, its history and settings stay."""
        self._cancel(None, "socket_closed")
        self._tools.inference.cancel_session(self.id, "socket_closed")
        self.camera.on_sample = None

    def socket_opened(self) -> None:
        self.touch()
        if self._preferences.describe:
            self.camera.on_sample = self._sampled

    async def close(self, reason: str) -> None:
        """Stop everything and forget everything. Safe to call more than once."""
        self._cancel(None, reason)
        self._tools.inference.cancel_session(self.id, reason)
        self.camera.close()
        self._held = None
        self._history.clear()
        await self._tasks.close()
        await asyncio.sleep(0)
        self.outbox.close()
