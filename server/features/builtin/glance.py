"""Glances: regular detection of what is in front of the camera, so that the page can suggest questions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar

from server.core.aio import TaskSet, run_in_pool
from server.core.frames import CodeUse, Detail, Frame, Picture, Scene
from server.core.messages import Settings
from server.core.metrics import Metrics
from server.features.builtin.codes import find_code_uses
from server.features.builtin.detector import PERSON, DetectedThing, ThingFinder
from server.features.builtin.engine import get_pixels, make_rows
from server.features.builtin.facts import find_expiry, has_piece_price
from server.features.builtin.messages import Glance
from server.features.builtin.reader import TextReader
from server.features.builtin.thing_words import get_words_for_tag
from server.media.picture.encode import Bgr
from server.media.picture.grounding import Box
from server.models.base import Engine
from server.session.part import BackgroundPart, SessionContext
from server.shared.attention.attention import Attention

T = TypeVar("T")

# Minimum seconds of capture time between two inspections of a session
_PAUSE = 2.0
# Age of a frame, in seconds, from which its result is dropped: the camera may show another scene
_LATE = 3.0
# Seconds between two checks whether an inspection is still wanted
_CHECK = 0.05
# Maximum number of prices on a tag; a menu has more.
_TAG = 3
# Maximum number of boxes of persons, and of other objects; each takes 7 ms
_PERSONS, _THINGS = 3, 2
# Minimum confidence of an object that only one model names: unrequested guesses would annoy.
_SURE = 0.8


def get_counter(metrics: Metrics) -> Any:
    """Return the counter of inspections by result."""
    # result: done, dropped, failed
    return metrics.counter(
        "glances_total", "Frames looked at for what is in front of the camera", "result"
    )


class LookCancelled(Exception):
    """Raised if an inspection yields to urgent work. Not a QwenCameraError, because it never leaves this file."""


class Glancer:
    """Detection for all sessions, in one frame at a time.

    It runs in stages of the worker pool, so that an answer waits for one stage at most.
    """

    def __init__(
        self,
        engine: Engine,
        heavy: ThreadPoolExecutor,
        reader: TextReader,
        finder: ThingFinder | None,
    ) -> None:
        """Store the components. `engine`: inspections run only while it answers. `finder`: None to name no objects."""
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
        self, picture: Callable[[], Picture], language: str, is_wanted: Callable[[], bool]
    ) -> AsyncGenerator[Glance, None]:
        """Yield the glance of a picture, and a second one if text or codes add to it.

        `language`: a BCP 47 tag for the names of objects. Raises LookCancelled if `is_wanted` returns False. Errors of
        `picture` and of the libraries are passed on.
        """

        async def run_stage(work: Callable[..., T], *args: Any) -> T:
            if not is_wanted():
                raise LookCancelled
            running = asyncio.ensure_future(run_in_pool(self._heavy, work, *args))
            try:
                while not (await asyncio.wait({running}, timeout=_CHECK))[0]:
                    if not is_wanted():
                        # The text reader stops after its present line.
                        raise LookCancelled
                return running.result()
            finally:
                running.cancel()

        reader, finder = self._reader, self._finder
        async with self._lock:
            bgr = await run_stage(lambda: get_pixels(picture()))
            boxes = await run_stage(reader.find_code_boxes, bgr)
            text = await run_stage(reader.has_text, bgr, boxes)
            people, things = 0, list[str]()
            if finder is not None:
                first = _select_boxes(await run_stage(finder.find_boxes, bgr))
                found = await run_stage(finder.name_boxes, bgr, first)
                people = sum(one.name == PERSON for one in found)
                things = await run_stage(_format_names, found, language)
            glance = Glance(text=text, code=bool(boxes), people=people, things=things)
            yield glance
            uses = find_code_uses(await run_stage(reader.read_codes, bgr)) if boxes else ()
            rows = await run_stage(self._read_rows, bgr) if text else []
            more = {
                "link": any(one.use is CodeUse.OPEN for one in uses),
                "date": find_expiry(rows) is not None,
                "price": 0 < sum(map(has_piece_price, rows)) <= _TAG,
            }
            if any(more.values()):
                yield glance.model_copy(update=more)

    def _read_rows(self, bgr: Bgr) -> list[str]:
        """Read the text. Called in a thread."""
        return [row.text for row in make_rows(self._reader.read_text(bgr))[0]]


def _select_boxes(boxes: Sequence[Box]) -> list[Box]:
    """Return the best boxes of persons and of other objects."""
    persons = [box for box in boxes if box.label == PERSON][:_PERSONS]
    return persons + [box for box in boxes if box.label != PERSON][:_THINGS]


def _format_names(found: Collection[DetectedThing], language: str) -> list[str]:
    """Return the words for the surest objects, without persons."""
    words = get_words_for_tag(language)
    things = [one for one in found if one.name != PERSON and (one.sure or one.confidence >= _SURE)]
    things.sort(key=lambda one: (one.sure, one.confidence), reverse=True)
    return list(dict.fromkeys(words.get_singular(one.name) for one in things))


class GlancePart(BackgroundPart):
    """One session's glances, a background part.

    It examines a frame if the scene has changed since the last inspection, and there is neither a question nor
    a held frame. While another session's inspection runs, it waits for the next sampled frame.
    """

    def __init__(self, context: SessionContext, glancer: Glancer) -> None:
        self._context = context
        self._glancer = glancer
        self._counter = get_counter(context.services.metrics)
        self.handlers = {Settings: self._set}
        # State of the last inspected frame
        self._attention = Attention()
        # Capture time before which no frame is examined
        self._due = 0.0
        # The last glance sent; None before the first
        self._sent: Glance | None = None
        self._tasks = TaskSet("glance")

    def ready(self) -> dict[str, Any]:
        return {"things": self._glancer.names_things}

    @property
    def wanted(self) -> bool:
        return self._context.services.current_engine() is self._glancer.engine

    def frame(self, frame: Frame) -> None:
        """Examine a sampled frame if an inspection is due."""
        if frame.captured < self._due or self._glancer.busy or not self._is_free():
            return
        change = self._attention.look(frame)
        if change is None or not change.changed:
            return
        self._due = frame.captured + _PAUSE
        self._attention.request_sent(change, time.monotonic())
        self._tasks.spawn(self._look(frame, self._attention), name="look")

    async def _look(self, frame: Frame, attention: Attention) -> None:
        context = self._context
        picture = partial(self._make_picture, frame, context.camera.scene)

        def is_wanted() -> bool:
            """Return False once the frame is late, a question has come, or scene, socket or language has changed."""
            late = time.monotonic() > frame.captured + _LATE
            return attention is self._attention and self._is_free() and not late

        language, result = context.requests.preferences.page_language, "done"
        try:
            async with aclosing(self._glancer.look(picture, language, is_wanted)) as looks:
                async for glance in looks:
                    if not is_wanted():
                        raise LookCancelled
                    attention.answer_received(time.monotonic(), same=False)
                    if glance != self._sent:
                        self._sent = glance
                        context.outbox.put(glance)
        except LookCancelled:
            result = "dropped"
        except Exception:  # noqa: BLE001
            # A question about such a frame reports the reason.
            result = "failed"
            attention.answer_received(time.monotonic(), same=False)
        self._counter.labels(result).inc()

    def _make_picture(self, frame: Frame, scene: Scene | None) -> Picture:
        """Make the picture that the engine would get. Called in a thread."""
        needs = self._glancer.engine.status.capabilities
        return self._context.services.preparer.make(frame, needs, Detail.LOW, scene=scene)

    def _is_free(self) -> bool:
        """Return True if an inspection is useful and delays nobody."""
        context = self._context
        return (
            self.wanted
            and context.held_frame is None
            and not context.has_running_question
            and not context.services.inference.has_questions
        )

    def set_connected(self, connected: bool) -> None:
        """Start again for the next socket, whose client has no glance."""
        self._forget()

    def retry(self) -> None:
        """Start or stop with the engine."""
        self._forget()
        self._context.wants_changed()

    def new_stream(self) -> None:
        """Examine the next frame."""
        self._attention = Attention()

    def _set(self, message: Settings) -> None:
        if message.page_language is not None:
            # The names of objects change with the language.
            self.new_stream()

    def _forget(self) -> None:
        self.new_stream()
        self._sent = None
        self._context.outbox.discard(Glance)

    def stop(self) -> None:
        self._forget()

    async def close(self) -> None:
        await self._tasks.close()
