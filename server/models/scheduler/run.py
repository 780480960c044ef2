"""The run of one job: from its slot over an engine's stream to its end, which its sink gets once."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Callable, Hashable
from dataclasses import dataclass, field, replace

from server.core.errors import EngineFailed, QwenCameraError
from server.core.frames import Kind
from server.core.metrics import Metrics
from server.media.sound.pcm import VoiceChunk
from server.models.base import Chunk, Delta, Engine, EngineRequest, Finished, Thought, Usage
from server.models.scheduler.job import Job, Result

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
    # Jobs without words yet when it got its slot
    before: int = 0
    # Requests with equal values take about as long to their first token; None before the request
    likes: Hashable = None
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
        self.likes = (engine.name, engine.status.model, *size, reused)
        self.job.sink.started(engine, request, self.queue_seconds)

    def _begin_words(self) -> None:
        if self.begun_at is None:
            self.begun_at = self.clock()
            self.on_begun(self)

    def _delta(self, text: str) -> None:
        self._begin_words()
        if self.first_at is None and self.asked_at is not None:
            self.first_at = self.clock()
            if self.job.kind is not Kind.AHEAD:
                self.metrics.first_token.observe(self.first_at - self.asked_at)
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
        result = replace(
            self._result(end.finish_reason, usage, None),
            left_out=end.left_out,
            pictures_left_out=end.pictures_left_out,
            video_refused=end.video_refused,
            sound_refused=end.sound_refused,
            spoken=self.spoken,
            speech_refused=end.speech_refused,
            boxes=end.boxes,
            calls=end.calls,
        )
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
            self._report(self._result(finish_reason, Usage(), reason))

    def replace(self) -> None:
        """End it, because a newer background job replaced it in the queue."""
        if self._end("replaced"):
            self.metrics.frames_replaced.inc()
            self._report(self._result("replaced", Usage(), "replaced"))

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

    def _result(self, finish_reason: str, usage: Usage, cancel_reason: str | None) -> Result:
        asked = self.asked_at
        return Result(
            text="".join(self.pieces),
            finish_reason=finish_reason,
            usage=usage,
            engine=self.engine.name if self.engine is not None else "",
            model=self.engine.status.model_name if self.engine is not None else "",
            queue_seconds=self.queue_seconds,
            first_token_seconds=(
                self.first_at - asked if self.first_at is not None and asked is not None else None
            ),
            inference_seconds=self.clock() - asked if asked is not None else 0.0,
            cancel_reason=cancel_reason,
            thoughts=self.thoughts,
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
