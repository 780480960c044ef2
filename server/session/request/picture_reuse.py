"""Gives the engine the same picture again while nothing changes, and sends it ahead of a question that somebody types or says."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from server.core.aio import TaskSet, in_pool
from server.core.errors import QwenCameraError
from server.core.frames import CameraState, Detail, Frame, Kind, Picture, Role
from server.media.camera import Camera
from server.media.picture.likeness import Likeness
from server.models.base import Capabilities, Engine, EngineRequest
from server.models.scheduler.job import Job, JobObserver, Result
from server.session.request.builder import RequestBuilder
from server.session.request.parts import History, Prepared, RequestOptions, SessionServices, View

# Least time between two pictures that are sent ahead, seconds
AHEAD_SECONDS = 2.0
# The same after the pauses of somebody who speaks
SAID_SECONDS = 0.4
# The engine computes the prompt and writes one token, which nobody gets: none cannot be asked for.
# With the question's tools: a prompt begins with them.
_ONE_TOKEN = RequestOptions(max_tokens=1, tools=True)


@dataclass(frozen=True, slots=True)
class _Sent:
    """The last picture that an engine got with a question, or ahead of one."""

    frame: str
    likeness: Likeness
    detail: Detail
    prepared: Prepared
    # Capture time of its frame, monotonic seconds
    since: float


class PictureReuse:
    """One session's last picture. It is sent again, byte for byte, while each new frame shows the same in every detail.

    Only for engines with a prefix cache: others gain nothing. The frame of each question is still captured after it; it is
    compared with the one that was sent.

    Bounds of the last picture sent with a question, or ahead of one: one JPEG, 340 kB of small
    planes (1.1 MB in detail); the next one replaces it; at most one goes ahead in 2 s.
    """

    def __init__(
        self,
        *,
        camera: Camera,
        requests: RequestBuilder,
        history: History,
        services: SessionServices,
    ) -> None:
        self._camera = camera
        self._requests = requests
        self._history = history
        self._services = services
        self._tasks = TaskSet("ahead")
        self._numbers = itertools.count(1)
        self._sent: _Sent | None = None
        # The newest one that was prepared and waits for its turn; None when it was sent
        self._waiting: _Sent | None = None
        # The time of the last picture ahead
        self._ahead_at = -AHEAD_SECONDS
        # The picture that is made to go ahead; None without one
        self._task: asyncio.Task[None] | None = None
        # The newest one that went, and its JPEG; None before, and once it is stopped
        self._job: Job | None = None
        self._ahead: bytes | None = None

    @property
    def busy(self) -> bool:
        """True while a picture is made to go ahead."""
        return self._task is not None

    async def prepare_question(self, view: View, needs: Capabilities) -> Prepared:
        """Prepare as below; stop another picture that goes ahead, which would make the answer slower. Raises FrameWithheld."""
        prepared = await self.prepare(view, needs)
        if self._ahead is not prepared.picture.jpeg:
            self.cancel_ahead()
        return prepared

    async def prepare(self, view: View, needs: Capabilities) -> Prepared:
        """Return the picture of a view, or the last one when nothing has changed since; of a region always a new one.

        Raises FrameWithheld.
        """
        if not needs.prefix_cache or needs.wants_pixels or view.region is not None:
            return Prepared(await self._requests.prepare(view, needs), needs)
        pool, scratch = self._services.prepare_pool, self._services.scratch
        detail = view.detail is Detail.HIGH
        planes = partial(Likeness, view.frame.image, scratch, detail=detail)
        likeness = await in_pool(pool, planes)
        sent = self._sent
        if sent is not None and self._fits(sent, view, needs):
            same = sent.frame == view.frame.id
            if same or await in_pool(pool, sent.likeness.alike, likeness, scratch):
                return _with_frame(sent, view)
        prepared = Prepared(
            await self._requests.prepare(view, needs), needs, sent_at_turn=self._history.added
        )
        self._waiting = _Sent(view.frame.id, likeness, view.detail, prepared, view.frame.captured)
        return prepared

    def started(self, request: EngineRequest) -> None:
        """Note that an engine gets a request: its picture, if it is a new one, is the last that was sent."""
        waiting = self._waiting
        if waiting is not None and request.picture is waiting.prepared.picture:
            self._sent, self._waiting = waiting, None

    def _fits(self, sent: _Sent, view: View, needs: Capabilities) -> bool:
        """Return True when the last picture was made as this one would be."""
        picture = sent.prepared.picture
        wants_thumbnail = self._requests.preferences.thumbnails
        return (
            sent.prepared.needs == needs
            and sent.detail is view.detail
            and wants_thumbnail == (picture.thumbnail is not None)
        )

    def ahead(self, held: Frame | None) -> None:
        """Send the newest picture, or the held one, ahead of a question, while nobody waits for an answer."""
        frame = held or self._camera.newest
        if frame is None or (held is None and self._camera.state() is not CameraState.LIVE):
            return
        self._send(frame, held is not None, AHEAD_SECONDS)

    def said(self, frame: Frame, held: Frame | None) -> None:
        """Send the frame of a spoken question, or the held one, while its words are on their way."""
        self._send(held or frame, held is not None, SAID_SECONDS)

    def cancel_ahead(self) -> None:
        """Stop the picture that goes ahead: its question does not follow."""
        task, job = self._task, self._job
        self._task = self._job = self._ahead = None
        if task is not None:
            task.cancel()
        if job is not None:
            self._services.inference.cancel(job, "replaced")

    def _send(self, frame: Frame, held: bool, apart: float) -> None:
        now = time.monotonic()
        if self.busy or now - self._ahead_at < apart or not self._idle():
            return
        self._ahead_at = now
        view = View(frame, Detail.LOW, self._camera.scene, held)
        self._task = self._tasks.spawn(self._send_ahead(view), name="ahead")

    def forget(self) -> None:
        """Forget the picture: the session ends, its history does, or an answer failed and it may not
        have arrived.
        """
        self._sent = self._waiting = None

    async def close(self) -> None:
        self.forget()
        await self._tasks.close()

    def _idle(self) -> bool:
        """Return True while the engine has nothing to do, may get this session's pictures, and gains by it."""
        engine, inference = self._services.current_engine(), self._services.inference
        return (
            engine.status.ready
            and engine.status.capabilities.prefix_cache
            and self._requests.consent.given(engine)
            and self._requests.allowance.left(time.monotonic())
            and inference.free(Role.ANSWERS)
            and not inference.draining
        )

    async def _send_ahead(self, view: View) -> None:
        try:
            needs = self._services.current_engine().status.capabilities
            prepared = await self.prepare(view, needs)
            sent_before = prepared.picture.unchanged_since is not None
            # Again, because preparing takes a moment.
            if sent_before or not self._idle():
                return
            sink = _PrefillObserver(f"p{next(self._numbers)}", self._services, self)
            self._ahead = prepared.picture.jpeg
            self._job = self._requests.submit("", Kind.PREFILL, view, sink, prepared, _ONE_TOKEN)
        except QwenCameraError:
            # The question itself reports what is wrong.
            return
        finally:
            # Not where it was cancelled: the next one may be at work by now.
            if self._task is asyncio.current_task():
                self._task = None


class _PrefillObserver(JobObserver):
    """Counts pictures that went ahead; nobody gets the answer."""

    def __init__(self, id: str, services: SessionServices, reuse: PictureReuse) -> None:
        self.id = id
        self._services = services
        self._reuse = reuse

    def started(self, engine: Engine, request: EngineRequest, queue_seconds: float) -> None:
        self._reuse.started(request)

    def finished(self, result: Result) -> None:
        if result.cancel_reason is None:
            self._services.metrics.pictures_ahead.inc()

    def failed(self, error: QwenCameraError) -> None:
        # The question itself reports what is wrong.
        self._reuse.forget()


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


# The newest pictures that engines got with one session's questions, in memory only. Pure.

# Bounds of one session: pictures, and their bytes. Pixels of engines that want no JPEG count, too.
MOST_PICTURES = 12

MOST_BYTES = 6 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SentPicture:
    """A picture as an engine got it: a JPEG, or BGR pixels. Exactly one is set."""

    answer: str
    jpeg: bytes | None
    bgr: NDArray[np.uint8] | None

    @property
    def size(self) -> int:
        """Bytes in memory."""
        if self.jpeg is not None:
            return len(self.jpeg)
        return self.bgr.nbytes if self.bgr is not None else 0


class SentPictures:
    """Keeps pictures by a random id until newer ones take their room, or somebody drops them.

    `count(what, number)` counts them: "kept", "dropped" by a person, "full" (newer ones took their
    room), "large" (larger than all may be).

    Bounds of pictures that engines got with answers: 12 and 6 MiB; the oldest go for newer ones,
    and an answer's when it is deleted.
    """

    def __init__(self, count: Callable[[str, int], None]) -> None:
        self._count = count
        # Oldest first
        self._pictures: OrderedDict[str, SentPicture] = OrderedDict()
        self.size = 0

    def __len__(self) -> int:
        return len(self._pictures)

    def keep(self, answer: str, picture: Picture) -> str | None:
        """Keep the picture of an answer; return its id, None for one that is larger than all may be.

        An id comes only once, also in another session or after a restart.
        """
        sent = SentPicture(answer, picture.jpeg, picture.bgr)
        if sent.size > MOST_BYTES:
            self._count("large", 1)
            return None
        self._count("kept", 1)
        id = secrets.token_hex(8)
        self._pictures[id] = sent
        self.size += sent.size
        full = 0
        while len(self._pictures) > MOST_PICTURES or self.size > MOST_BYTES:
            self.size -= self._pictures.popitem(last=False)[1].size
            full += 1
        if full:
            self._count("full", full)
        return id

    def get(self, id: str) -> SentPicture | None:
        return self._pictures.get(id)

    def drop(self, answer: str) -> None:
        """Forget the pictures of one answer."""
        own = [id for id, sent in self._pictures.items() if sent.answer == answer]
        for id in own:
            self.size -= self._pictures.pop(id).size
        if own:
            self._count("dropped", len(own))

    def clear(self) -> None:
        """Forget all."""
        if self._pictures:
            self._count("dropped", len(self._pictures))
        self._pictures.clear()
        self.size = 0
