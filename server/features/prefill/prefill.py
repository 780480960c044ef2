"""Send a picture to the engine ahead of its question, and reuse it while the scene is unchanged."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass, replace
from typing import Any

from server.core.aio import TaskSet, run_in_pool
from server.core.errors import QwenCameraError
from server.core.frames import CameraState, Detail, Frame, JobKind, Role
from server.core.metrics import Metrics
from server.features.prefill.likeness import SAMPLES, FrameSample, Likeness
from server.models.base import Capabilities, EngineRequest
from server.models.scheduler.job import Job, JobObserver, Result
from server.session.part import SessionContext, SessionPart
from server.session.request.parts import Draft, Prepared, View
from server.shared.attention.planes import SCRATCH, BufferPool

# Seconds between samples: the noise of adjacent frames is correlated.
SAMPLE_SECONDS = 0.1
# Seconds for which sampling continues after a key press or a word, and after a question
EXPECTED_SECONDS = 3.0
ASKED_SECONDS = 30.0
# Seconds that an idle camera needs after the first key press or word until its pictures are good
AWAKE_SECONDS = 0.8
# Least seconds between two attempts to send a picture ahead: of any frame, and of the frame of the coming question
AHEAD_SECONDS = 1.0
KNOWN_SECONDS = 0.4


def get_counter(metrics: Metrics) -> Any:
    """Return the counter of pictures that were sent ahead."""
    return metrics.counter(
        "pictures_ahead_total", "Pictures that went to the engine before their question"
    )


@dataclass(slots=True)
class _Sent:
    """The last picture sent to an engine with a question, or ahead of one."""

    # The id of its frame, and its capture time, monotonic seconds
    frame: str
    since: float
    prepared: Prepared
    # The sample of its frame; None for a held frame
    sample: FrameSample | None
    # The scene around it; None before it is known
    likeness: Likeness | None = None
    # Attempts left to learn the scene, and the sample count at which the next one is due
    tries: int = 3
    after: int = 0


class Prefill(SessionPart):
    """One session's last picture, sent again byte for byte while new frames show the same scene in every detail.

    It is only for engines with a prefix cache: others gain nothing. The frame of a question is still captured after the
    question; it and the samples before it are compared with the samples around the picture that was sent. Pictures of
    high detail are never reused.

    Bounds of the last picture sent with a question, or ahead of one: one JPEG, its means of 2 MB, and 8 samples of
    430 kB, dropped 30 s after the last question; at most one picture goes ahead in a second.
    """

    def __init__(self, context: SessionContext) -> None:
        self._context = context
        self._camera, self._services = context.camera, context.services
        self._counted = get_counter(context.services.metrics)
        self._tasks = TaskSet("prefill")
        self._numbers = itertools.count(1)
        # The newest samples by the ids of their frames, oldest first
        self._samples: dict[str, FrameSample] = {}
        # Number of samples taken so far
        self._sample_count = 0
        self._sampling = asyncio.Lock()
        self._sent: _Sent | None = None
        # The newest prepared picture that waits to be sent; None once it was sent
        self._waiting: _Sent | None = None
        # The newest request sent ahead; None before the first
        self._ahead_request: _AheadObserver | None = None
        # The frame of the expected question; None while unknown
        self._frame: Frame | None = None
        # Monotonic times: first key press or word of the expected question; end of the time in which it is expected;
        # end of sampling; last attempt to send a picture ahead
        self._woken = self._expected = self._until = 0.0
        self._tried = -AHEAD_SECONDS
        # None while no samples are needed
        self._sampling_task: asyncio.Task[None] | None = None

    def question_expected(self, frame: Frame | None) -> None:
        now = time.monotonic()
        if now >= self._expected:
            self._woken = now
        self._frame, self._expected = frame, now + EXPECTED_SECONDS
        self._extend_sampling(EXPECTED_SECONDS)

    async def get_picture(self, view: View, needs: Capabilities) -> Prepared | None:
        """Return the last picture, once the engine has it, if the scene is unchanged; else a new picture.

        For a new picture, cancel the request ahead. Return None for a region, for high detail, and for engines without
        a prefix cache.
        """
        fits = view.region is None and view.detail is not Detail.HIGH
        if not fits or not needs.prefix_cache or needs.wants_pixels:
            self._cancel()
            return None
        self._frame = None
        self._extend_sampling(ASKED_SECONDS)
        samples = [] if view.held else await self._sample(view.frame)
        if await self._can_reuse(view, needs, samples):
            if self._ahead_request is not None:
                await self._ahead_request.ended.wait()
            # The request ahead may have failed meanwhile.
            if self._sent is not None:
                return _replace_frame(self._sent, view)
        self._cancel()
        self._waiting = sent = await self._prepare(view, needs, samples)
        return sent.prepared

    def question_sent(self, request: EngineRequest) -> None:
        waiting = self._waiting
        if waiting is not None and request.picture is waiting.prepared.picture:
            self._sent, self._waiting = waiting, None

    def prompt_lost(self) -> None:
        self._sent = self._waiting = None

    def stop(self) -> None:
        self.prompt_lost()
        self._until = 0.0

    async def close(self) -> None:
        await self._tasks.close()

    # Sampling

    def _extend_sampling(self, seconds: float) -> None:
        self._until = max(self._until, time.monotonic() + seconds)
        if self._sampling_task is None:
            self._sampling_task = self._tasks.spawn(self._run_sampling(), name="samples")

    async def _run_sampling(self) -> None:
        """Sample new frames until the sampling time is over, and send pictures ahead while a question is expected."""
        try:
            while time.monotonic() < self._until and self._has_engine_cache():
                frame = self._camera.newest
                if frame is not None and self._camera.state() is CameraState.LIVE:
                    await self._sample(frame)
                    await self._learn_likeness()
                if time.monotonic() < self._expected:
                    await self._send_ahead()
                await asyncio.sleep(SAMPLE_SECONDS)
        finally:
            self._samples.clear()
            self._frame = self._sampling_task = None

    async def _sample(self, frame: Frame) -> list[FrameSample]:
        """Add a frame to the newest samples, and return the samples."""
        async with self._sampling:
            sample = self._samples.pop(frame.id, None)
            if sample is None:
                sample = await self._run_in_pool(FrameSample, frame.image)
                self._sample_count += 1
            self._samples[frame.id] = sample
            for id in list(self._samples)[:-SAMPLES]:
                del self._samples[id]
            return list(self._samples.values())

    async def _learn_likeness(self) -> None:
        """Learn the scene around the last picture, once there are enough samples of a still scene."""
        sent, samples = self._sent, list(self._samples.values())
        if sent is None or sent.sample is None or sent.likeness is not None or not sent.tries:
            return
        if self._sample_count >= sent.after and len(samples) == SAMPLES:
            sent.tries, sent.after = sent.tries - 1, self._sample_count + SAMPLES
            likeness = await self._run_in_pool(_make_stable_likeness, samples)
            if likeness is not None and await self._run_in_pool(likeness.is_match, [sent.sample]):
                sent.likeness = likeness

    async def _can_reuse(self, view: View, needs: Capabilities, samples: list[FrameSample]) -> bool:
        """Return True if the last picture has the format that a new one would have, and shows the same scene."""
        sent, wanted = self._sent, self._context.requests.preferences.thumbnails
        if sent is None or sent.prepared.needs != needs:
            return False
        if wanted != (sent.prepared.picture.thumbnail is not None):
            return False
        if sent.frame == view.frame.id:
            return True
        if sent.likeness is None or len(samples) < SAMPLES:
            return False
        return await self._run_in_pool(sent.likeness.is_match, samples) and sent is self._sent

    async def _run_in_pool(self, call: Any, about: Any) -> Any:
        return await run_in_pool(self._services.prepare_pool, call, about, SCRATCH)

    # Ahead of a question

    def _has_engine_cache(self) -> bool:
        able = self._services.current_engine().status.capabilities
        return able.prefix_cache and not able.wants_pixels

    def _is_idle(self) -> bool:
        """Return True if the engine is idle, has a prefix cache and may get this session's pictures."""
        engine, inference = self._services.current_engine(), self._services.inference
        requests = self._context.requests
        return (
            engine.status.ready
            and self._has_engine_cache()
            and requests.consent.given_to(engine)
            and requests.allowance.left(time.monotonic())
            and inference.free(Role.ANSWERS)
            and not inference.draining
            and not self._context.has_running_question
        )

    async def _send_ahead(self) -> None:
        """Send a picture of the question's frame or of a still scene ahead, unless the engine has it."""
        now, samples = time.monotonic(), list(self._samples.values())
        held = self._context.held_frame
        known = held or self._frame
        frame = known or self._camera.newest
        pause = AHEAD_SECONDS if known is None else KNOWN_SECONDS
        if frame is None or now < self._tried + pause or not self._is_idle():
            return
        if known is None and (now < self._woken + AWAKE_SECONDS or len(samples) < SAMPLES):
            return
        self._tried = now
        view = View(frame, Detail.LOW, self._camera.scene, held is not None)
        needs = self._services.current_engine().status.capabilities
        try:
            if known is not None and held is None:
                samples = await self._sample(known)
            if await self._can_reuse(view, needs, samples):
                return
            likeness = None
            if (
                known is None
                and (likeness := await self._run_in_pool(_make_stable_likeness, samples)) is None
            ):
                return
            sent = await self._prepare(view, needs, samples)
            sent.likeness = likeness
            # Check again, since preparing takes a moment.
            if self._is_idle():
                ahead = _AheadObserver(f"p{next(self._numbers)}", self, sent)
                draft = Draft(
                    question="",
                    view=view,
                    kind=JobKind.PREFILL,
                    prepared=sent.prepared,
                    # The engine processes the prompt; it has to generate at least one token, which is dropped.
                    max_tokens=1,
                    # The tools are part of the prompt's beginning, so they have to be the same as in the question's
                    # request.
                    tools=True,
                )
                ahead.job = self._context.requests.submit(draft, ahead)
                if not ahead.ended.is_set():
                    self._sent, self._ahead_request = sent, ahead
        except QwenCameraError:
            # The question itself will report the error.
            return

    async def _prepare(self, view: View, needs: Capabilities, samples: list[FrameSample]) -> _Sent:
        picture = await self._context.requests.prepare(view, needs)
        prepared = Prepared(picture, needs, sent_at_turn=self._context.history.added)
        sample = samples[-1] if samples and not view.held else None
        return _Sent(view.frame.id, view.frame.captured, prepared, sample)

    def _cancel(self) -> None:
        """Cancel the request ahead, because its question does not follow."""
        if self._ahead_request is not None and self._ahead_request.job is not None:
            self._services.inference.cancel(self._ahead_request.job, "replaced")

    def on_ahead_end(self, sent: _Sent, reason: str | None) -> None:
        """Handle the end of a request ahead. `reason`: why it was stopped or failed; None if it succeeded."""
        if reason is None:
            self._counted.inc()
        elif self._sent is sent:
            self._sent = None


class _AheadObserver(JobObserver):
    """Observes a request ahead, whose answer is dropped."""

    def __init__(self, id: str, part: Prefill, sent: _Sent) -> None:
        self.id = id
        self._part = part
        self._sent = sent
        self.job: Job | None = None
        self.ended = asyncio.Event()

    def on_result(self, result: Result) -> None:
        self._end(result.cancel_reason)

    def on_failure(self, error: QwenCameraError) -> None:
        self._end(error.code)

    def _end(self, reason: str | None) -> None:
        self.ended.set()
        self._part.on_ahead_end(self._sent, reason)


def _make_stable_likeness(samples: list[FrameSample], scratch: BufferPool) -> Likeness | None:
    """Return the likeness of samples; None if the scene changed between them."""
    half = len(samples) // 2
    if not Likeness(samples[:half], scratch).is_match(samples[half:], scratch):
        return None
    return Likeness(samples, scratch)


def _replace_frame(sent: _Sent, view: View) -> Prepared:
    """Return the picture that was sent, with the times of the view's frame, which shows the same scene."""
    frame, picture = view.frame, sent.prepared.picture
    same = replace(
        picture,
        captured=frame.captured,
        captured_sender=frame.captured_sender,
        held=view.held,
        unchanged_since=sent.since,
        scene=view.scene or picture.scene,
    )
    return replace(sent.prepared, picture=same)
