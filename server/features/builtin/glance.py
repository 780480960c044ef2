"""Glances: what is in front of the camera, now and then, so that the page can offer fitting questions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar

from server.core.aio import TaskSet, in_pool
from server.core.frames import CodeUse, Detail, Frame, Picture, Scene
from server.core.messages import Settings
from server.core.metrics import Metrics
from server.features.builtin.codes import offered
from server.features.builtin.detector import PERSON, Thing, ThingFinder
from server.features.builtin.engine import pixels_of, rows_of
from server.features.builtin.facts import expiry, has_piece_price
from server.features.builtin.messages import Glance
from server.features.builtin.reader import Reader
from server.features.builtin.thing_words import words_of
from server.media.picture.encode import Bgr
from server.media.picture.grounding import Box
from server.models.base import Engine
from server.session.part import BackgroundPart, SessionContext
from server.shared.attention.attention import Attention

T = TypeVar("T")

# Least seconds of capture time between two looks of a session
_PAUSE = 2.0
# A frame that is older than this once it was looked at may show another scene than the camera, in seconds
_LATE = 3.0
# Seconds after which a look that is no longer wanted ends
_CHECK = 0.05
# Prices of a tag at most: a menu's are none of one thing.
_TAG = 3
# Boxes of persons, and of other things, each of which takes 7 ms
_PERSONS, _THINGS = 3, 2
# Least confidence of a thing on which the two models do not agree: nobody has asked for a guess.
_SURE = 0.8


def counter(metrics: Metrics) -> Any:
    """Return the counter of looks by result."""
    # result: done, dropped, failed
    return metrics.counter(
        "glances_total", "Frames looked at for what is in front of the camera", "result"
    )


class GivenUp(Exception):
    """A look that something more urgent came between; outside the tree of errors: it stays in this file."""


class Glancer:
    """Looks at one frame at a time of all sessions, in stages of the worker pool: an answer waits for one at most."""

    def __init__(
        self, engine: Engine, heavy: ThreadPoolExecutor, reader: Reader, finder: ThingFinder | None
    ) -> None:
        """`engine`: it looks while this one answers. `finder`: None: nothing is named."""
        self.engine = engine
        self._heavy = heavy
        self._reader = reader
        self._finder = finder
        self._lock = asyncio.Lock()

    @property
    def busy(self) -> bool:
        return self._lock.locked()

    @property
    def names_things(self) -> bool:
        return self._finder is not None

    async def look(
        self, picture: Callable[[], Picture], language: str, wanted: Callable[[], bool]
    ) -> AsyncGenerator[Glance, None]:
        """Yield what is in front, and once more with what its print and codes have. `language`: a BCP 47 tag, for the names of things.

        Raises GivenUp where `wanted` turns False before a stage, and what `picture` and the libraries raise.
        """

        async def stage(work: Callable[..., T], *args: Any) -> T:
            if not wanted():
                raise GivenUp
            running = asyncio.ensure_future(in_pool(self._heavy, work, *args))
            try:
                while not (await asyncio.wait({running}, timeout=_CHECK))[0]:
                    if not wanted():
                        # A reader stops after the line that it reads.
                        raise GivenUp
                return running.result()
            finally:
                running.cancel()

        reader, finder = self._reader, self._finder
        async with self._lock:
            bgr = await stage(lambda: pixels_of(picture()))
            boxes = await stage(reader.code_boxes, bgr)
            text = await stage(reader.any_text, bgr, boxes)
            people, things = 0, list[str]()
            if finder is not None:
                first = _first(await stage(finder.boxes, bgr))
                found = await stage(finder.named, bgr, first)
                people = sum(one.name == PERSON for one in found)
                things = await stage(_names, found, language)
            glance = Glance(text=text, code=bool(boxes), people=people, things=things)
            yield glance
            uses = offered(await stage(reader.codes, bgr)) if boxes else ()
            rows = await stage(self._rows, bgr) if text else []
            more = {
                "link": any(one.use is CodeUse.OPEN for one in uses),
                "date": expiry(rows) is not None,
                "price": 0 < sum(map(has_piece_price, rows)) <= _TAG,
            }
            if any(more.values()):
                yield glance.model_copy(update=more)

    def _rows(self, bgr: Bgr) -> list[str]:
        """Read the print. In a thread."""
        return [row.text for row in rows_of(self._reader.text(bgr))[0]]


def _first(boxes: Sequence[Box]) -> list[Box]:
    """Return the best boxes of persons and of other things."""
    persons = [box for box in boxes if box.label == PERSON][:_PERSONS]
    return persons + [box for box in boxes if box.label != PERSON][:_THINGS]


def _names(found: Collection[Thing], language: str) -> list[str]:
    """Return the words for the surest things, no persons among them."""
    words = words_of(language)
    things = [one for one in found if one.name != PERSON and (one.sure or one.confidence >= _SURE)]
    things.sort(key=lambda one: (one.sure, one.confidence), reverse=True)
    return list(dict.fromkeys(words.one(one.name) for one in things))


class Glancing(BackgroundPart):
    """One session's glances, a background part.

    A frame is looked at when the scene has changed since the last look, and neither a question nor a
    held frame is there. One that meets a look of another session waits for the next sampled frame.
    """

    def __init__(self, context: SessionContext, glancer: Glancer) -> None:
        self._context = context
        self._glancer = glancer
        self._counter = counter(context.services.metrics)
        self.handlers = {Settings: self._set}
        # Of the frame of the last look
        self._attention = Attention(context.services.scratch)
        # Capture time before which nothing is looked at
        self._due = 0.0
        # What the client knows; None: nothing yet
        self._sent: Glance | None = None
        self._tasks = TaskSet("glance")

    def ready(self) -> dict[str, Any]:
        return {"things": self._glancer.names_things}

    @property
    def wanted(self) -> bool:
        return self._context.services.current_engine() is self._glancer.engine

    def frame(self, frame: Frame) -> None:
        """Look at a sampled frame, when a look is due."""
        if frame.captured < self._due or self._glancer.busy or not self._free():
            return
        change = self._attention.look(frame)
        if change is None or not change.changed:
            return
        self._due = frame.captured + _PAUSE
        self._attention.request_sent(change, time.monotonic())
        self._tasks.spawn(self._look(frame, self._attention), name="look")

    async def _look(self, frame: Frame, attention: Attention) -> None:
        context = self._context
        picture = partial(self._picture, frame, context.camera.scene)

        def wanted() -> bool:
            """Return whether another scene, socket or language, or a question has come meanwhile."""
            late = time.monotonic() > frame.captured + _LATE
            return attention is self._attention and self._free() and not late

        language, result = context.requests.preferences.page_language, "done"
        try:
            async with aclosing(self._glancer.look(picture, language, wanted)) as looks:
                async for glance in looks:
                    if not wanted():
                        raise GivenUp
                    attention.answer_received(time.monotonic(), same=False)
                    if glance != self._sent:
                        self._sent = glance
                        context.outbox.put(glance)
        except GivenUp:
            result = "dropped"
        except Exception:  # noqa: BLE001
            # The answer to a question about such a frame has the reason.
            result = "failed"
            attention.answer_received(time.monotonic(), same=False)
        self._counter.labels(result).inc()

    def _picture(self, frame: Frame, scene: Scene | None) -> Picture:
        """Make the picture that the engine would get. In a thread."""
        needs = self._glancer.engine.status.capabilities
        return self._context.services.preparer.make(frame, needs, Detail.LOW, scene=scene)

    def _free(self) -> bool:
        """Return whether a look keeps nobody waiting, and is of use."""
        context = self._context
        return (
            self.wanted
            and context.held is None
            and not context.asking
            and not context.services.inference.has_questions
        )

    def set_connected(self, connected: bool) -> None:
        """Look anew for the next socket, whose client knows nothing."""
        self._forget()

    def retry(self) -> None:
        """Begin or end with the engine."""
        self._forget()
        self._context.wants_changed()

    def new_stream(self) -> None:
        """Look at the next frame."""
        self._attention = Attention(self._context.services.scratch)

    def _set(self, message: Settings) -> None:
        if message.page_language is not None:
            # Things have other names.
            self.new_stream()

    def _forget(self) -> None:
        self.new_stream()
        self._sent = None
        self._context.outbox.discard(Glance)

    def stop(self) -> None:
        self._forget()

    async def close(self) -> None:
        await self._tasks.close()
