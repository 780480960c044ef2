"""An inference job: its request, observer, run and result."""

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
# Labels of `cancellations_total`; other reasons have the label "other"
CANCEL_REASONS = frozenset(
    ("user", "replaced", "preempted", "socket_closed", "session_ended", "draining")
)
# Maximum mean number of characters per token; a longer answer is truncated.
CHARS_A_TOKEN = 16
# Maximum number of characters of a model's reasoning that are kept; the reasoning may continue
THOUGHT_CHARS = 16_000
# Time limit for an engine to close a stream, seconds
CLOSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result(Finished):
    """The end of an answer that did not fail.

    `finish_reason` may also be "cancelled" or "replaced". `boxes`: in pixels of the frame.
    """

    # The complete answer, or its text until it was stopped
    text: str
    # Name and model of the engine; empty if no request was sent
    engine: str
    model: str
    # Seconds from submission to start
    queue_seconds: float
    # Seconds from the request to the first text; None if there was no text
    first_token_seconds: float | None
    # Seconds from the request to the end; 0 if no request was sent
    inference_seconds: float
    # Reason of the cancellation; None if it was not cancelled
    cancel_reason: str | None
    # The model's reasoning, up to THOUGHT_CHARS
    thoughts: str = ""
    # The engine spoke the answer itself
    spoken: bool = False
    # Source of the boxes, if not the engine; see `Response.boxes_by`
    boxes_by: Literal["detector"] | None = None
    # See `Response.second_look`
    second_look: SecondLook | None = None


class JobObserver(Protocol):
    """Observer of a job's progress: `on_request`, then `on_thought` and `on_delta`, then `on_result` or `on_failure`.

    All methods are called on the event loop between two pieces of the answer, and must not block. If
    another engine takes over, `on_request` is called again (never after `on_delta`). If a job ends while
    it waits, only the method for its end is called. An exception in `on_request` or `on_delta` ends only
    this job, with `on_failure(Internal)`.
    """

    def on_request(self, engine: Engine, request: EngineRequest, queue_seconds: float) -> None:
        return

    def on_delta(self, text: str) -> None:
        return

    def on_thought(self, text: str) -> None:
        """Handle a piece of the model's reasoning, which precedes the answer."""
        return

    def on_result(self, result: Result) -> None:
        """Handle the result. For a stopped job, it has the text so far, and the stopping call returns afterwards."""
        return

    def on_failure(self, error: QwenCameraError) -> None:
        return


class Scheduler(Protocol):
    """The runner of jobs."""

    metrics: Metrics
    clock: Callable[[], float]

    def on_begun(self, job: Job) -> None:
        """Handle the first output, which follows the processing of the prompt; called once."""

    def on_ended(self, job: Job) -> None:
        """Handle the end of a job before its observer does; called once."""


@dataclass(slots=True)
class JobRun:
    """The state of a running job. Times are of the scheduler's clock; None before the event."""

    # The job's id in our log and on model servers
    request_id: str = field(default_factory=lambda: secrets.token_hex(16))
    engine: Engine | None = None
    # Time of the request to the engine
    asked_at: float | None = None
    # Time of the first text or thought: the engine has processed the prompt
    begun_at: float | None = None
    # Time of the first text
    first_at: float | None = None
    # Visual tokens that the engine has already processed for an earlier question
    known_tokens: int = 0
    pieces: list[str] = field(default_factory=list)
    thoughts: str = ""
    # True after the first sound of the answer
    spoken: bool = False
    # Remaining characters of the answer
    chars_left: int = 0


@dataclass(eq=False, slots=True)
class Job:
    """One question about one picture, for one session. Compared by identity; submitted once.

    The observer of an accepted job is notified of its end exactly once.

    Bounds of an answer's text, its thoughts: 16 characters per token of the answer's limit; beyond, the
    answer ends with `length`; 16,000 characters of thoughts, and the rest is not sent.

    Bounds of the frame and the request of a question: released at its end, because a reference cycle
    would keep them until Python's garbage collector runs, which does not consider a decoder's memory.
    """

    session_id: str
    kind: JobKind
    # Builds the request for an engine when the job runs, and again if another engine takes
    # over. Raises CameraError if there is no picture; may be cancelled.
    make_request: Callable[[Engine], Awaitable[EngineRequest]]
    sink: JobObserver
    # Plays the answer's sound from an engine that speaks; None if nobody listens
    on_speech: Callable[[VoiceChunk], None] | None = None
    # The role whose engine is used
    role: Role = Role.ANSWERS

    # Set at submission, with the time; None before
    scheduler: Scheduler | None = None
    submitted: float = 0.0
    # Time of the start; None while the job waits
    slot_at: float | None = None
    run: JobRun = field(default_factory=JobRun)
    # ok, length, cancelled, replaced, error or dropped; None before the end
    result: str | None = None

    @property
    def background(self) -> bool:
        return self.kind is not JobKind.CHAT

    @property
    def ended(self) -> bool:
        return self.result is not None

    @property
    def accepted(self) -> Scheduler:
        """The scheduler that accepted it. Raises RuntimeError before submission."""
        if self.scheduler is None:
            raise RuntimeError("this job was not submitted")
        return self.scheduler

    @property
    def queue_seconds(self) -> float:
        until = self.slot_at if self.slot_at is not None else self.accepted.clock()
        return max(0.0, until - self.submitted)

    def begin(self) -> None:
        """Record the start."""
        self.slot_at = self.accepted.clock()
        self.accepted.metrics.queue_wait.labels(self.kind).observe(self.queue_seconds)

    async def attempt(self, engine: Engine) -> None:
        """Send the request to an engine, and pass its text to the observer from this task.

        Returns when the answer has ended or was stopped by a callback. Raises QwenCameraError, and
        the errors of `make_request` and the observer; if `first_at` is set, the error occurred during the
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
                chunk = await _get_next_chunk(stream, engine)
                if isinstance(chunk, Delta):
                    self._on_delta(chunk.text)
                elif isinstance(chunk, Thought):
                    self._on_thought(chunk.text)
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
        # Reset after another engine that began and failed
        self.run.begun_at = None
        picture = request.picture
        self.run.chars_left = CHARS_A_TOKEN * request.max_tokens
        self.run.thoughts, self.run.spoken = "", False
        if not picture.held:
            # The age of a held frame would only measure how long the user typed.
            self.accepted.metrics.frame_age.observe(max(0.0, now - picture.captured))
        self.accepted.metrics.visual_tokens.inc(request.visual_tokens)
        reused = picture.unchanged_since is not None
        self.run.known_tokens = picture.visual_tokens if reused else 0
        self.sink.on_request(engine, request, self.queue_seconds)

    def _begin_words(self) -> None:
        if self.run.begun_at is None:
            self.run.begun_at = self.accepted.clock()
            self.accepted.on_begun(self)

    def _on_delta(self, text: str) -> None:
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
            # Reached if the engine ignores max_tokens
            self._finish(Finished("length"))

    def _on_thought(self, text: str) -> None:
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
        result = self._make_result(end, None)
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
        """Stop the job; the result has the text so far."""
        finish_reason = "replaced" if reason == "replaced" else "cancelled"
        if self._end(finish_reason):
            label = reason if reason in CANCEL_REASONS else "other"
            self.accepted.metrics.cancellations.labels(label).inc()
            self._report(self._make_result(Finished(finish_reason), reason))

    def replace(self) -> None:
        """End the job, because a newer background job replaced it in the queue."""
        if self._end("replaced"):
            self.accepted.metrics.frames_replaced.inc()
            self._report(self._make_result(Finished("replaced"), "replaced"))

    def fail(self, error: QwenCameraError, *, dropped: bool = False) -> None:
        """End the job with an error. `dropped`: the queue evicted it before its start."""
        if self._end("dropped" if dropped else "error"):
            log.info(
                "answer failed",
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

    def _make_result(self, end: Finished, cancel_reason: str | None) -> Result:
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
            # An error in an observer must not affect other jobs.
            log.error("observer failed at the end of a job", extra={"error": type(exc).__name__})
        finally:
            # These reference a camera's frame.
            self.make_request, self.sink, self.on_speech = _raise_ended, _Silent(), None


async def _get_next_chunk(stream: AsyncGenerator[Chunk, None], engine: Engine) -> Chunk:
    """Return the next chunk. Raises only QwenCameraError."""
    try:
        return await anext(stream)
    except QwenCameraError:
        raise
    except StopAsyncIteration:
        raise EngineFailed(
            "The model's answer broke off before its end. Ask again.", public=True
        ) from None
    except Exception as exc:  # noqa: BLE001
        # Any error of an engine. Its text is not logged, because it may contain what people said.
        log.error(
            "engine raised an unexpected error",
            extra={"engine": engine.name, "error": type(exc).__name__},
        )
        raise EngineFailed(
            "The model's answer failed on the server. Ask again.", public=True
        ) from None


async def _close(stream: AsyncGenerator[Chunk, None], engine: Engine) -> None:
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await stream.aclose()
    except Exception as exc:  # noqa: BLE001
        # Ignore what closing raises: the answer has already ended.
        log.error(
            "closing an engine's stream failed",
            extra={"engine": engine.name, "error": type(exc).__name__},
        )


class _Silent(JobObserver):
    """The observer of a job that has ended."""


async def _raise_ended(engine: Engine) -> EngineRequest:
    raise Internal("This question has ended on the server.")
