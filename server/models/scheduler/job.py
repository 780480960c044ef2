"""The run of one job: from its slot over an engine's stream to its end, which its sink gets once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from dataclasses import dataclass, field, fields, replace
from typing import Literal, Protocol

from server.core.errors import (
    EngineError,
    EngineFailed,
    EngineLoading,
    EngineTimeout,
    EngineUnavailable,
    Internal,
    QwenCameraError,
)
from server.core.frames import Kind, Role
from server.core.messages.to_client import SecondLook
from server.core.metrics import Metrics
from server.media.sound.pcm import VoiceChunk
from server.models.base import (
    Chunk,
    Delta,
    Engine,
    EngineRequest,
    Finished,
    Thought,
)

# Answer a job with the current engine, and once more with the one that takes over from it.

# Errors of the engine rather than the request: another engine may succeed.
_ENGINE_FAULTS = (EngineUnavailable, EngineLoading, EngineTimeout, EngineFailed)


class Engines(Protocol):
    """The choice of engines."""

    def of(self, role: Role) -> Engine:
        """Return the engine that does a role's work now."""
        ...

    def report_failure(self, engine: Engine) -> None:
        """Note that this engine did not answer, so that it is probed again."""
        ...

    async def settle(self) -> None:
        """Wait until a reported failure has been probed and `of` is up to date."""
        ...


class Failover:
    """Runs jobs; all errors of a job end in its sink."""

    def __init__(
        self, engines: Engines, settle_seconds: float, moved: Callable[[JobRun, Engine], None]
    ) -> None:
        """`settle_seconds`: time that the choice of another engine may take after a failure; `moved`
        is told before that one is asked.
        """
        self._engines = engines
        self._settle_seconds = settle_seconds
        self._moved = moved

    async def work(self, run: JobRun) -> None:
        """Answer a job to its end."""
        try:
            await self._answer(run)
        except asyncio.CancelledError:
            # Without effect when it was stopped already; otherwise the event loop is ending.
            run.stop("draining")
            raise
        except QwenCameraError as error:
            run.fail(error)
        except Exception as exc:  # noqa: BLE001
            # An error of one job or sink must not end others. Without its text, which may contain
            # what people said.
            log.error("job failed", extra={"kind": str(run.job.kind), "error": type(exc).__name__})
            run.fail(Internal("Something went wrong with this answer on the server. Ask again."))

    async def _answer(self, run: JobRun) -> None:
        engine, spare = self._engines.of(run.job.role), True
        while True:
            try:
                await run.attempt(engine)
                return
            except EngineError as error:
                log.warning(
                    "engine failed",
                    extra={
                        "request": run.id,
                        "engine": engine.name,
                        "code": error.code,
                        "reason": error.message,
                    },
                )
                if not isinstance(error, _ENGINE_FAULTS):
                    raise
                self._engines.report_failure(engine)
                # Never continue with another engine: once text was sent, the error ends the answer.
                if not spare or run.first_at is not None or run.ended:
                    raise
                other = await self._other(engine, run.job.role)
                if other is None:
                    raise
            self._moved(run, other)
            engine, spare = other, False

    async def _other(self, failed: Engine, role: Role) -> Engine | None:
        """Wait for the engine that takes over from a failed one; None when none does in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settle_seconds):
                await self._engines.settle()
        other = self._engines.of(role)
        return other if other is not failed and other.status.ready else None


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


@dataclass(eq=False, slots=True)
class JobRun:
    """An accepted job; reports its end to the sink once, by whichever call comes first.

    Bounds of an answer's text, its thoughts: 16 characters per token of its limit; beyond, it
    ends with `length`; 16,000 characters of thoughts, and the rest is not sent.
    """

    job: Job
    metrics: Metrics
    clock: Callable[[], float]
    # Called once at the end, before the sink.
    on_end: Callable[[JobRun], None]
    submitted: float
    # Its id in our log and at model servers
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    # Time at which it got its slot; None while it waits.
    slot_at: float | None = None
    # Time of the request; None before.
    asked_at: float | None = None
    first_at: float | None = None
    engine: Engine | None = None
    # Visual tokens that the engine got before, with an earlier question
    known_tokens: int = 0
    # Prompt tokens that the engine did not compute, by its own figures; None without any
    cached_tokens: int | None = None
    # Jobs without words yet when it got its slot
    before: int = 0
    # Requests with equal values take about as long to their first token; None before the request
    cost_class: Hashable = None
    pieces: list[str] = field(default_factory=list)
    thoughts: str = ""
    # Some sound of the answer has come.
    spoken: bool = False
    # Characters that the answer may still have
    chars_left: int = 0
    ended: bool = False
    # The time of the first words or thoughts: the engine has computed the prompt. None before.
    begun_at: float | None = None
    # Called once at that time
    on_begun: Callable[[JobRun], None] = lambda _: None
    # Its end: ok, length, cancelled, replaced, error or dropped; None before.
    result: str | None = None

    @property
    def queue_seconds(self) -> float:
        until = self.slot_at if self.slot_at is not None else self.clock()
        return max(0.0, until - self.submitted)

    def begin(self) -> None:
        """Note that it got its slot."""
        self.slot_at = self.clock()
        self.metrics.queue_wait.labels(self.job.kind).observe(self.queue_seconds)

    async def attempt(self, engine: Engine) -> None:
        """Ask one engine. Its text goes directly from this task to the sink.

        Returns when the answer has ended or was stopped by a callback. Raises QwenCameraError, and
        the errors of `make_request` and the sink; when `first_at` is set, the error came within the
        answer.
        """
        if self.ended:
            return
        request = replace(await self.job.make_request(engine), id=self.id)
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
                    self.spoken = True
                    self.job.on_speech(chunk)
                else:
                    self._finish(chunk)
        finally:
            await _close(stream, engine)

    def _asking(self, engine: Engine, request: EngineRequest) -> None:
        self.engine = engine
        self.asked_at = now = self.clock()
        # Another engine may have begun, and failed: its words are no time of this one.
        self.begun_at = None
        picture = request.picture
        self.chars_left = CHARS_A_TOKEN * request.max_tokens
        self.thoughts, self.spoken = "", False
        if not picture.held:
            # A held frame's age is only the user's typing time.
            self.metrics.frame_age.observe(max(0.0, now - picture.captured))
        self.metrics.visual_tokens.inc(request.visual_tokens)
        reused = picture.unchanged_since is not None
        self.known_tokens = picture.visual_tokens if reused else 0
        words = len(request.question) + sum(len(t.question) + len(t.answer) for t in request.turns)
        size = request.visual_tokens // 256, words // 1000
        self.cost_class = (engine.name, engine.status.model, *size, reused)
        self.job.sink.started(engine, request, self.queue_seconds)

    def _begin_words(self) -> None:
        if self.begun_at is None:
            self.begun_at = self.clock()
            self.on_begun(self)

    def _delta(self, text: str) -> None:
        self._begin_words()
        if self.first_at is None and self.asked_at is not None:
            self.first_at = self.clock()
            if self.job.kind is not Kind.PREFILL:
                self.metrics.first_token.labels(self.job.role).observe(
                    self.first_at - self.asked_at
                )
        self.pieces.append(text)
        self.chars_left -= len(text)
        self.job.sink.delta(text)
        if self.chars_left <= 0:
            # The engine ignores max_tokens.
            self._finish(Finished("length"))

    def _thought(self, text: str) -> None:
        self._begin_words()
        text = text[: THOUGHT_CHARS - len(self.thoughts)]
        if text:
            self.thoughts += text
            self.job.sink.thought(text)

    def _finish(self, end: Finished) -> None:
        usage = end.usage
        self.cached_tokens = usage.cached_tokens
        if not self._end("length" if end.finish_reason == "length" else "ok"):
            return
        for direction, count in (
            ("prompt", usage.prompt_tokens),
            ("completion", usage.completion_tokens),
        ):
            if count is not None:
                self.metrics.tokens.labels(direction).inc(count)
        cached = usage.cached_tokens
        saved = self.known_tokens if cached is None else min(self.known_tokens, cached)
        self.metrics.visual_tokens_saved.inc(saved)
        result = self._result(end, None)
        self.metrics.inference.labels(self.job.kind).observe(result.inference_seconds)
        log.info(
            "answered",
            extra={
                "session": self.job.session_id,
                "request": self.id,
                "kind": str(self.job.kind),
                "engine": result.engine,
                "seconds": round(result.inference_seconds, 3),
            },
        )
        self._report(result)

    def stop(self, reason: str) -> None:
        """Stop it; the result has the text so far."""
        finish_reason = "replaced" if reason == "replaced" else "cancelled"
        if self._end(finish_reason):
            label = reason if reason in CANCEL_REASONS else "other"
            self.metrics.cancellations.labels(label).inc()
            self._report(self._result(Finished(finish_reason), reason))

    def replace(self) -> None:
        """End it, because a newer background job replaced it in the queue."""
        if self._end("replaced"):
            self.metrics.frames_replaced.inc()
            self._report(self._result(Finished("replaced"), "replaced"))

    def fail(self, error: QwenCameraError, *, dropped: bool = False) -> None:
        """End it with an error. `dropped`: the queue evicted it before its turn."""
        if self._end("dropped" if dropped else "error"):
            log.info(
                "not answered",
                extra={
                    "session": self.job.session_id,
                    "request": self.id,
                    "kind": str(self.job.kind),
                    "code": error.code,
                },
            )
            self._report(error)

    def _end(self, result: str) -> bool:
        if self.ended:
            return False
        self.ended, self.result = True, result
        self.metrics.inferences.labels(self.job.kind, result).inc()
        self.on_end(self)
        return True

    def _result(self, end: Finished, cancel_reason: str | None) -> Result:
        asked = self.asked_at
        return Result(
            **{one.name: getattr(end, one.name) for one in fields(Finished)},
            text="".join(self.pieces),
            engine=self.engine.name if self.engine is not None else "",
            model=self.engine.status.model_name if self.engine is not None else "",
            queue_seconds=self.queue_seconds,
            first_token_seconds=(
                self.first_at - asked if self.first_at is not None and asked is not None else None
            ),
            inference_seconds=self.clock() - asked if asked is not None else 0.0,
            cancel_reason=cancel_reason,
            thoughts=self.thoughts,
            spoken=self.spoken and cancel_reason is None,
        )

    def _report(self, end: Result | QwenCameraError) -> None:
        try:
            if isinstance(end, Result):
                self.job.sink.finished(end)
            else:
                self.job.sink.failed(end)
        except Exception as exc:  # noqa: BLE001
            # An error in a sink must not affect other jobs.
            log.error("sink failed at the end of a job", extra={"error": type(exc).__name__})
        finally:
            self.job.let_go()


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


# An inference job: its request, the sink that gets its progress, and its result.


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

    def started(self, engine: Engine, request: EngineRequest, queue_seconds: float) -> None:
        return

    def delta(self, text: str) -> None:
        return

    def thought(self, text: str) -> None:
        """Receive a piece of the model's reasoning before its answer."""
        return

    def finished(self, result: Result) -> None:
        """Receive the result; of a stopped job the text so far, before the stopping call returns."""
        return

    def failed(self, error: QwenCameraError) -> None:
        return


@dataclass(eq=False, slots=True)
class Job:
    """One question about one picture, for one session. Compared by identity; submitted once.

    Bounds of the frame and the request of a question: dropped at its end: a cycle of references
    would keep them until Python's collector runs, which does not count a decoder's memory.
    """

    session_id: str
    kind: Kind
    # Builds the request for an engine, within the slot. Called again when another engine takes
    # over. Raises CameraError when there is no picture; may be cancelled.
    make_request: Callable[[Engine], Awaitable[EngineRequest]]
    sink: JobObserver
    id: str
    # Plays the answer's sound, from an engine that speaks itself
    on_speech: Callable[[VoiceChunk], None] = lambda _: None
    # Whose engine is asked
    role: Role = Role.ANSWERS

    @property
    def background(self) -> bool:
        return self.kind is not Kind.CHAT

    def let_go(self) -> None:
        """Drop its request and its sink, which both hold a camera's frame."""
        self.make_request, self.sink, self.on_speech = _ended, _Silent(), _unheard


class _Silent(JobObserver):
    """The sink of a job that has ended."""


async def _ended(engine: Engine) -> EngineRequest:
    raise Internal("This question has ended on the server.")


def _unheard(chunk: VoiceChunk) -> None: ...
