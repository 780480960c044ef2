"""An inference job: its request, the sink that gets its progress, its run, and its result."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field, fields, replace
from typing import Literal, Protocol

from server.core.errors import EngineFailed, Internal, QwenCameraError
from server.core.frames import JobKind, Role
from server.core.messages.to_client import SecondLook
from server.core.metrics import Metrics
from server.core.sound import VoiceChunk
from server.models.base import Chunk, Delta, Engine, EngineRequest, Finished, Thought

log = logging.getLogger(__name__)
# Labels of `cancellations_total`; any other reason counts as "other".
CANCEL_REASONS = frozenset(
    ("user", "replaced", "preempted", "socket_closed", "session_ended", "draining")
)
# Upper bound of the mean characters per token; a longer answer is cut.
CHARS_A_TOKEN = 16
# Characters of a model's reasoning that are sent and kept; the model may continue to think.
THOUGHT_CHARS = 16_000
# Seconds for an engine to close a stream.
CLOSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result(Finished):
    """The end of an answer without an error.

    `finish_reason` may also be cancelled and replaced; a sink passes `boxes` on in pixels of the frame.
    """

    # The whole answer, or the text until it was stopped.
    text: str
    # Name and model of the engine; empty when none was asked.
    engine: str
    model: str
    # From submission to the slot
    queue_seconds: float
    # From the request to the first text; None without text.
    first_token_seconds: float | None
    # From the request to the end; 0 without a request.
    inference_seconds: float
    # Reason for stopping it; None when it was not stopped.
    cancel_reason: str | None
    # The model's reasoning, as far as the sink got it.
    thoughts: str = ""
    # The engine spoke the answer itself.
    spoken: bool = False
    # Who found the boxes, where it was not the engine; see `Response.boxes_by`.
    boxes_by: Literal["detector"] | None = None
    # See `Response.second_look`.
    second_look: SecondLook | None = None


class JobObserver(Protocol):
    """Receives a job's progress, or leaves it alone where a class of it says no more: `started`, then `thought`s and `delta`s, then one of `finished`
    and `failed`.

    All are called on the event loop between two pieces of the answer, and must not block. When
    another engine takes over, `started` is called again (never after a `delta`). A job that ends
    while it waits gets only its end. An exception in `started` or `delta` ends only this job, with
    `failed(Internal)`.
    """

    def on_request(self, engine: Engine, request: EngineRequest, queue_seconds: float) -> None:
        return

    def on_delta(self, text: str) -> None:
        return

    def on_thought(self, text: str) -> None:
        """Receive a piece of the model's reasoning before its answer."""
        return

    def on_result(self, result: Result) -> None:
        """Receive the result; of a stopped job the text so far, before the stopping call returns."""
        return

    def on_failure(self, error: QwenCameraError) -> None:
        return


class Scheduler(Protocol):
    """Runs jobs."""

    metrics: Metrics
    clock: Callable[[], float]

    def on_begun(self, job: Job) -> None:
        """Note, once, that the engine has computed its prompt."""

    def on_ended(self, job: Job) -> None:
        """Note its end, once, before its sink does."""


@dataclass(slots=True)
class JobRun:
    """The state of a job's answer, from its slot on. Times are the scheduler's clock; None before."""

    # The job's id in our log and at model servers
    request_id: str = field(default_factory=lambda: secrets.token_hex(16))
    engine: Engine | None = None
    # Time of the request
    asked_at: float | None = None
    # The time of the first words or thoughts: the engine has computed the prompt.
    begun_at: float | None = None
    # The time of the first words
    first_at: float | None = None
    # Visual tokens that the engine got before, with an earlier question
    known_tokens: int = 0
    pieces: list[str] = field(default_factory=list)
    thoughts: str = ""
    # Some sound of the answer has come.
    spoken: bool = False
    # Characters that the answer may still have
    chars_left: int = 0


@dataclass(eq=False, slots=True)
class Job:
    """One question about one picture, for one session. Compared by identity; submitted once.

    Once accepted it reports its end to the sink once, by whichever call comes first.

    Bounds of an answer's text, its thoughts: 16 characters per token of its limit; beyond, it
    ends with `length`; 16,000 characters of thoughts, and the rest is not sent.

    Bounds of the frame and the request of a question: dropped at its end: a cycle of references
    would keep them until Python's collector runs, which does not count a decoder's memory.
    """

    session_id: str
    kind: JobKind
    # Builds the request for an engine, within the slot. Called again when another engine takes
    # over. Raises CameraError when there is no picture; may be cancelled.
    make_request: Callable[[Engine], Awaitable[EngineRequest]]
    sink: JobObserver
    # Plays the answer's sound, from an engine that speaks itself; None: nobody hears it
    on_speech: Callable[[VoiceChunk], None] | None = None
    # Whose engine is asked
    role: Role = Role.ANSWERS

    # Set when it is submitted, with the time; None before
    scheduler: Scheduler | None = None
    submitted: float = 0.0
    # Time at which it got its slot; None while it waits.
    slot_at: float | None = None
    run: JobRun = field(default_factory=JobRun)
    # Its end: ok, length, cancelled, replaced, error or dropped; None before.
    result: str | None = None

    @property
    def background(self) -> bool:
        return self.kind is not JobKind.CHAT

    @property
    def ended(self) -> bool:
        return self.result is not None

    @property
    def accepted(self) -> Scheduler:
        """The scheduler that has accepted it. Raises RuntimeError before."""
        if self.scheduler is None:
            raise RuntimeError("this job was not submitted")
        return self.scheduler

    @property
    def queue_seconds(self) -> float:
        until = self.slot_at if self.slot_at is not None else self.accepted.clock()
        return max(0.0, until - self.submitted)

    def begin(self) -> None:
        """Note that it got its slot."""
        self.slot_at = self.accepted.clock()
        self.accepted.metrics.queue_wait.labels(self.kind).observe(self.queue_seconds)

    async def attempt(self, engine: Engine) -> None:
        """Ask one engine. Its text goes directly from this task to the sink.

        Returns when the answer has ended or was stopped by a callback. Raises QwenCameraError, and
        the errors of `make_request` and the sink; when `first_at` is set, the error came within the
        answer.
        """
        if self.ended:
            return
        request = replace(await self.make_request(engine), id=self.run.request_id)
        if self.ended:
            return
        self._asking(engine, request)
        stream = engine.answer(request)
        try:
            while not self.ended:
                chunk = await _next(stream, engine)
                if isinstance(chunk, Delta):
                    self._delta(chunk.text)
                elif isinstance(chunk, Thought):
                    self._thought(chunk.text)
                elif isinstance(chunk, VoiceChunk):
                    self._begin_words()
                    self.run.spoken = True
                    if self.on_speech is not None:
                        self.on_speech(chunk)
                else:
                    self._finish(chunk)
        finally:
            await _close(stream, engine)

    def _asking(self, engine: Engine, request: EngineRequest) -> None:
        self.run.engine = engine
        self.run.asked_at = now = self.accepted.clock()
        # Another engine may have begun, and failed: its words are no time of this one.
        self.run.begun_at = None
        picture = request.picture
        self.run.chars_left = CHARS_A_TOKEN * request.max_tokens
        self.run.thoughts, self.run.spoken = "", False
        if not picture.held:
            # A held frame's age is only the user's typing time.
            self.accepted.metrics.frame_age.observe(max(0.0, now - picture.captured))
        self.accepted.metrics.visual_tokens.inc(request.visual_tokens)
        reused = picture.unchanged_since is not None
        self.run.known_tokens = picture.visual_tokens if reused else 0
        self.sink.on_request(engine, request, self.queue_seconds)

    def _begin_words(self) -> None:
        if self.run.begun_at is None:
            self.run.begun_at = self.accepted.clock()
            self.accepted.on_begun(self)

    def _delta(self, text: str) -> None:
        self._begin_words()
        if self.run.first_at is None and self.run.asked_at is not None:
            self.run.first_at = self.accepted.clock()
            if self.kind is not JobKind.PREFILL:
                self.accepted.metrics.first_token.labels(self.role).observe(
                    self.run.first_at - self.run.asked_at
                )
        self.run.pieces.append(text)
        self.run.chars_left -= len(text)
        self.sink.on_delta(text)
        if self.run.chars_left <= 0:
            # The engine ignores max_tokens.
            self._finish(Finished("length"))

    def _thought(self, text: str) -> None:
        self._begin_words()
        text = text[: THOUGHT_CHARS - len(self.run.thoughts)]
        if text:
            self.run.thoughts += text
            self.sink.on_thought(text)

    def _finish(self, end: Finished) -> None:
        usage = end.usage
        if not self._end("length" if end.finish_reason == "length" else "ok"):
            return
        for direction, count in (
            ("prompt", usage.prompt_tokens),
            ("completion", usage.completion_tokens),
        ):
            if count is not None:
                self.accepted.metrics.tokens.labels(direction).inc(count)
        cached = usage.cached_tokens
        saved = self.run.known_tokens if cached is None else min(self.run.known_tokens, cached)
        self.accepted.metrics.visual_tokens_saved.inc(saved)
        result = self._result(end, None)
        self.accepted.metrics.inference.labels(self.kind).observe(result.inference_seconds)
        seconds = round(result.inference_seconds, 3)
        log.info(
            "answered",
            extra={
                "session": self.session_id,
                "request": self.run.request_id,
                "kind": str(self.kind),
                "engine": result.engine,
                "seconds": seconds,
            },
        )
        self._report(result)

    def stop(self, reason: str) -> None:
        """Stop it; the result has the text so far."""
        finish_reason = "replaced" if reason == "replaced" else "cancelled"
        if self._end(finish_reason):
            label = reason if reason in CANCEL_REASONS else "other"
            self.accepted.metrics.cancellations.labels(label).inc()
            self._report(self._result(Finished(finish_reason), reason))

    def replace(self) -> None:
        """End it, because a newer background job replaced it in the queue."""
        if self._end("replaced"):
            self.accepted.metrics.frames_replaced.inc()
            self._report(self._result(Finished("replaced"), "replaced"))

    def fail(self, error: QwenCameraError, *, dropped: bool = False) -> None:
        """End it with an error. `dropped`: the queue evicted it before its turn."""
        if self._end("dropped" if dropped else "error"):
            log.info(
                "not answered",
                extra={
                    "session": self.session_id,
                    "request": self.run.request_id,
                    "kind": str(self.kind),
                    "code": error.code,
                },
            )
            self._report(error)

    def _end(self, result: str) -> bool:
        if self.ended:
            return False
        self.result = result
        self.accepted.metrics.inferences.labels(self.kind, result).inc()
        self.accepted.on_ended(self)
        return True

    def _result(self, end: Finished, cancel_reason: str | None) -> Result:
        asked = self.run.asked_at
        return Result(
            **{one.name: getattr(end, one.name) for one in fields(Finished)},
            text="".join(self.run.pieces),
            engine=self.run.engine.name if self.run.engine is not None else "",
            model=self.run.engine.status.model_name if self.run.engine is not None else "",
            queue_seconds=self.queue_seconds,
            first_token_seconds=(
                self.run.first_at - asked
                if self.run.first_at is not None and asked is not None
                else None
            ),
            inference_seconds=self.accepted.clock() - asked if asked is not None else 0.0,
            cancel_reason=cancel_reason,
            thoughts=self.run.thoughts,
            spoken=self.run.spoken and cancel_reason is None,
        )

    def _report(self, end: Result | QwenCameraError) -> None:
        try:
            if isinstance(end, Result):
                self.sink.on_result(end)
            else:
                self.sink.on_failure(end)
        except Exception as exc:  # noqa: BLE001
            # An error in a sink must not affect other jobs.
            log.error("sink failed at the end of a job", extra={"error": type(exc).__name__})
        finally:
            # They hold a camera's frame.
            self.make_request, self.sink, self.on_speech = _ended, _Silent(), None


async def _next(stream: AsyncGenerator[Chunk, None], engine: Engine) -> Chunk:
    """Read the next chunk. Raises only QwenCameraError."""
    try:
        return await anext(stream)
    except QwenCameraError:
        raise
    except StopAsyncIteration:
        raise EngineFailed(
            "The model's answer broke off before its end. Ask again.", public=True
        ) from None
    except Exception as exc:  # noqa: BLE001
        # Any error of an engine. Without its text, which may contain what people said.
        log.error("engine broke", extra={"engine": engine.name, "error": type(exc).__name__})
        raise EngineFailed(
            "The model's answer failed on the server. Ask again.", public=True
        ) from None


async def _close(stream: AsyncGenerator[Chunk, None], engine: Engine) -> None:
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await stream.aclose()
    except Exception as exc:  # noqa: BLE001
        # The answer has its end already; an error while closing does not change it.
        log.error("stream closed badly", extra={"engine": engine.name, "error": type(exc).__name__})


class _Silent(JobObserver):
    """The sink of a job that has ended."""


async def _ended(engine: Engine) -> EngineRequest:
    raise Internal("This question has ended on the server.")
