"""Send the engine a question's picture ahead of it, and the same picture again while the scene shows the same."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from server.core.aio import TaskSet, in_pool
from server.core.errors import QwenCameraError
from server.core.frames import CameraState, Detail, Frame, JobKind, Role
from server.core.metrics import Metrics
from server.features.prefill.likeness import SAMPLES, FrameSample, Likeness
from server.media.picture.planes import BufferPool
from server.models.base import Capabilities, EngineRequest
from server.models.scheduler.job import Job, JobObserver, Result
from server.session.part import SessionContext, SessionPart
from server.session.request.parts import Draft, Prepared, View

# Seconds between looks: the noise of neighbouring frames is much the same.
SAMPLE_SECONDS = 0.1
# Seconds for which looks go on after a key or a word, and after a question
EXPECTED_SECONDS = 3.0
ASKED_SECONDS = 30.0
# An idle camera needs this long after its first key or word to send good pictures.
AWAKE_SECONDS = 0.8
# Seconds between two tries to send a picture ahead, and those of a frame that is known
AHEAD_SECONDS = 1.0
KNOWN_SECONDS = 0.4


def counter(metrics: Metrics) -> Any:
    """Return the counter of pictures ahead."""
    return metrics.counter(
        "pictures_ahead_total", "Pictures that went to the engine before their question"
    )


@dataclass(slots=True)
class _Sent:
    """The last picture that an engine got with a question, or ahead of one."""

    # The id of its frame, and its capture time, monotonic seconds
    frame: str
    since: float
    prepared: Prepared
    # Its frame; None for a held one
    look: FrameSample | None
    # What the scene showed around it; None before that is known
    likeness: Likeness | None = None
    # Tries to know it that are left, and the number of looks before the next one
    tries: int = 3
    after: int = 0


class Prefill(SessionPart):
    """One session's last picture. It is sent again, byte for byte, while each new frame shows the same in every detail.

    Only for engines with a prefix cache: others gain nothing. The frame of each question is still captured after it; with
    the looks before it, it is compared with those around the picture that was sent. Small print is always looked at anew.

    Bounds of the last picture sent with a question, or ahead of one: one JPEG, its means of 2 MB, and 8 looks of
    430 kB, which go 30 s after the last question; at most one picture goes ahead in a second.
    """

    def __init__(self, context: SessionContext) -> None:
        self._context = context
        self._camera, self._services = context.camera, context.services
        self._counted = counter(context.services.metrics)
        self._tasks = TaskSet("prefill")
        self._numbers = itertools.count(1)
        # By the ids of their frames, the newest last
        self._samples: dict[str, FrameSample] = {}
        # The number of all of them
        self._sample_count = 0
        self._sampling = asyncio.Lock()
        self._sent: _Sent | None = None
        # The newest one that was prepared and waits for its turn; None when it was sent
        self._waiting: _Sent | None = None
        # The newest one that went ahead; None before
        self._ahead_request: _AheadObserver | None = None
        # The frame of the expected question; None while it is not known
        self._frame: Frame | None = None
        # Monotonic times: the first key or word of the expected question, until when it is expected and looks go on, and the
        # last try to send a picture ahead
        self._woken = self._expected = self._until = 0.0
        self._tried = -AHEAD_SECONDS
        # None while no looks are wanted
        self._sampling_task: asyncio.Task[None] | None = None

    def question_expected(self, frame: Frame | None) -> None:
        now = time.monotonic()
        if now >= self._expected:
            self._woken = now
        self._frame, self._expected = frame, now + EXPECTED_SECONDS
        self._extend_sampling(EXPECTED_SECONDS)

    async def picture_for(self, view: View, needs: Capabilities) -> Prepared | None:
        """Return the last picture when nothing has changed since, and wait until the engine has it; else stop what goes ahead."""
        fits = view.region is None and view.detail is not Detail.HIGH
        if not fits or not needs.prefix_cache or needs.wants_pixels:
            self._cancel()
            return None
        self._frame = None
        self._extend_sampling(ASKED_SECONDS)
        looks = [] if view.held else await self._sample(view.frame)
        if await self._can_reuse(view, needs, looks):
            if self._ahead_request is not None:
                await self._ahead_request.ended.wait()
            # It may have failed meanwhile.
            if self._sent is not None:
                return _with_frame(self._sent, view)
        self._cancel()
        self._waiting = sent = await self._prepare(view, needs, looks)
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

    # Looks

    def _extend_sampling(self, seconds: float) -> None:
        self._until = max(self._until, time.monotonic() + seconds)
        if self._sampling_task is None:
            self._sampling_task = self._tasks.spawn(self._run_sampling(), name="looks")

    async def _run_sampling(self) -> None:
        """Look at new frames, and send one ahead while a question is expected."""
        try:
            while time.monotonic() < self._until and self._engine_has_cache():
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
        """Add a frame to the newest looks, and return these."""
        async with self._sampling:
            look = self._samples.pop(frame.id, None)
            if look is None:
                look = await self._in_pool(FrameSample, frame.image)
                self._sample_count += 1
            self._samples[frame.id] = look
            for id in list(self._samples)[:-SAMPLES]:
                del self._samples[id]
            return list(self._samples.values())

    async def _learn_likeness(self) -> None:
        """Learn what the scene around the last picture shows, once there are enough looks at one that stands still."""
        sent, looks = self._sent, list(self._samples.values())
        if sent is None or sent.look is None or sent.likeness is not None or not sent.tries:
            return
        if self._sample_count >= sent.after and len(looks) == SAMPLES:
            sent.tries, sent.after = sent.tries - 1, self._sample_count + SAMPLES
            likeness = await self._in_pool(_stable_likeness, looks)
            if likeness is not None and await self._in_pool(likeness.matches, [sent.look]):
                sent.likeness = likeness

    async def _can_reuse(self, view: View, needs: Capabilities, looks: list[FrameSample]) -> bool:
        """Return True when the last picture was made as this one would be, of the same scene."""
        sent, wanted = self._sent, self._context.requests.preferences.thumbnails
        if sent is None or sent.prepared.needs != needs:
            return False
        if wanted != (sent.prepared.picture.thumbnail is not None):
            return False
        if sent.frame == view.frame.id:
            return True
        if sent.likeness is None or len(looks) < SAMPLES:
            return False
        return await self._in_pool(sent.likeness.matches, looks) and sent is self._sent

    async def _in_pool(self, call: Any, about: Any) -> Any:
        services = self._services
        return await in_pool(services.prepare_pool, partial(call, about, services.scratch))

    # Ahead of a question

    def _engine_has_cache(self) -> bool:
        able = self._services.current_engine().status.capabilities
        return able.prefix_cache and not able.wants_pixels

    def _idle(self) -> bool:
        """Return True while the engine has nothing to do, and may get this session's pictures."""
        engine, inference = self._services.current_engine(), self._services.inference
        requests = self._context.requests
        return (
            engine.status.ready
            and self._engine_has_cache()
            and requests.consent.given_to(engine)
            and requests.allowance.left(time.monotonic())
            and inference.free(Role.ANSWERS)
            and not inference.draining
            and not self._context.asking
        )

    async def _send_ahead(self) -> None:
        """Send a picture that the engine does not have: of the question's frame, or of a scene that stands still."""
        now, looks = time.monotonic(), list(self._samples.values())
        held = self._context.held
        known = held or self._frame
        frame = known or self._camera.newest
        pause = AHEAD_SECONDS if known is None else KNOWN_SECONDS
        if frame is None or now < self._tried + pause or not self._idle():
            return
        if known is None and (now < self._woken + AWAKE_SECONDS or len(looks) < SAMPLES):
            return
        self._tried = now
        view = View(frame, Detail.LOW, self._camera.scene, held is not None)
        needs = self._services.current_engine().status.capabilities
        try:
            if known is not None and held is None:
                looks = await self._sample(known)
            if await self._can_reuse(view, needs, looks):
                return
            likeness = None
            if known is None and (likeness := await self._in_pool(_stable_likeness, looks)) is None:
                return
            sent = await self._prepare(view, needs, looks)
            sent.likeness = likeness
            # Again, because preparing takes a moment.
            if self._idle():
                ahead = _AheadObserver(f"p{next(self._numbers)}", self, sent)
                draft = Draft(
                    question="",
                    view=view,
                    kind=JobKind.PREFILL,
                    prepared=sent.prepared,
                    # The engine computes the prompt and writes one token, which nobody gets: none cannot be asked for.
                    max_tokens=1,
                    # A prompt begins with the question's tools.
                    tools=True,
                )
                ahead.job = self._context.requests.submit(draft, ahead)
                if not ahead.ended.is_set():
                    self._sent, self._ahead_request = sent, ahead
        except QwenCameraError:
            # The question itself reports what is wrong.
            return

    async def _prepare(self, view: View, needs: Capabilities, looks: list[FrameSample]) -> _Sent:
        picture = await self._context.requests.prepare(view, needs)
        prepared = Prepared(picture, needs, sent_at_turn=self._context.history.added)
        look = looks[-1] if looks and not view.held else None
        return _Sent(view.frame.id, view.frame.captured, prepared, look)

    def _cancel(self) -> None:
        """Stop the picture that goes ahead: its question does not follow."""
        if self._ahead_request is not None and self._ahead_request.job is not None:
            self._services.inference.cancel(self._ahead_request.job, "replaced")

    def on_ahead_end(self, sent: _Sent, reason: str | None) -> None:
        """Note the end of a picture ahead, with the reason for which it was stopped."""
        if reason is None:
            self._counted.inc()
        elif self._sent is sent:
            self._sent = None


class _AheadObserver(JobObserver):
    """A picture that goes ahead; nobody gets the answer."""

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


def _stable_likeness(looks: list[FrameSample], scratch: BufferPool) -> Likeness | None:
    """Return what looks show; None when the scene changed between them."""
    half = len(looks) // 2
    if not Likeness(looks[:half], scratch).matches(looks[half:], scratch):
        return None
    return Likeness(looks, scratch)


def _with_frame(sent: _Sent, view: View) -> Prepared:
    """Return the sent picture with the times of the frame that shows the same."""
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
