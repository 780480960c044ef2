"""The requests of a session's watches: one at a time, and again when one was stopped."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from server.attention.watch import Order
from server.attention.watch_answers import BEFORE, SCHEMA, Answer, question, second_question
from server.attention.watches import Ask, Look
from server.camera.camera import Camera
from server.core.errors import Busy, Draining, EngineError, NotConfirmed, QwenCameraError
from server.core.frames import Detail, Kind, Region
from server.engines.base import Capabilities, EarlierPicture
from server.queue.job import Result
from server.session.request.builder import RequestBuilder
from server.session.request.parts import Extras, View
from server.session.request.session_tools import SessionTools
from server.session.watches.watch_frames import WatchFrames
from server.session.watches.watch_request import WatchSink, answer_tokens, crop_region, detail_for

# A request that was stopped, or failed in a way that may pass, is made again after this long, so often.
_AGAIN_SECONDS = 0.5
_MOST_ATTEMPTS = 3
_PASSING = (Busy, EngineError)


class WatchQueue:
    """Makes the requests, second looks before the next common one. Belongs to the event loop.

    Each request ends in `on_answer`, or in `on_error` with False; after either, `go_on` is due.

    Bounds of requests of its watches: one at a time; a stopped or failed one is made three times,
    then a newer change is waited for.
    """

    def __init__(
        self,
        *,
        camera: Camera,
        requests: RequestBuilder,
        tools: SessionTools,
        frames: WatchFrames,
        order: Callable[[str], Order | None],
        on_text: Callable[[Ask, WatchSink], None],
        on_answer: Callable[[Ask, WatchSink, Mapping[str, Answer], Result], None],
        on_error: Callable[[Ask, QwenCameraError | None, bool], None],
    ) -> None:
        """`order` finds the order of a watch; `on_error` gets True when the request is made again.

        The error is None for a request that was stopped, or cannot be made.
        """
        self._camera = camera
        self._requests = requests
        self._tools = tools
        self._frames = frames
        self._order = order
        self._on_text = on_text
        self._on_answer = on_answer
        self._on_error = on_error
        # Requests in the order in which they run
        self._asks: deque[Ask] = deque()
        self._running: Ask | None = None
        self._attempts = 0
        self._again: asyncio.TimerHandle | None = None
        self._numbers = 0

    def __len__(self) -> int:
        """Return how many wait or run."""
        return len(self._asks) + (self._running is not None)

    def put(self, asks: Sequence[Ask]) -> None:
        """Queue requests, second looks first, and begin one if none runs."""
        seconds = [ask for ask in asks if ask.look is Look.SECOND]
        self._asks.extendleft(reversed(seconds))
        self._asks.extend(ask for ask in asks if ask.look is not Look.SECOND)
        if self._running is None and self._asks:
            self._running = self._asks.popleft()
            self._attempts = 0
            self._submit(self._running)

    def go_on(self, asks: Sequence[Ask]) -> None:
        """End the request that ran, and queue those that follow from it."""
        self._running = None
        self.put(asks)

    def forget(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None
        self._asks.clear()
        self._running = None

    def _submit(self, ask: Ask) -> None:
        """Make the request; a failure is taken like an answer."""
        self._attempts += 1
        frame = self._frames.get(ask.frame_id)
        orders = {name: order for name in ask.watch_ids if (order := self._order(name))}
        if frame is None or not orders:
            self._failed(ask, None)
            return
        region = crop_region(ask.crop, frame) if ask.look is Look.SECOND else None
        conditions = {name: order.condition for name, order in orders.items()}
        detail = Detail.HIGH if ask.look is Look.SECOND else detail_for(conditions)
        before = self._frames.before(ask.before)
        capabilities = self._tools.current_engine().status.capabilities
        if capabilities.max_pictures == 1 or capabilities.wants_pixels:
            before = None
        if ask.look is Look.SECOND:
            (name,) = conditions
            text = second_question(name, conditions[name], with_before=before is not None)
        else:
            text = question(conditions)

        async def earlier(needs: Capabilities) -> list[EarlierPicture]:
            picture = await self._frames.crop(before, frame, needs, region) if before else None
            return [EarlierPicture(picture, BEFORE)] if picture is not None else []

        self._numbers += 1
        sink = WatchSink(
            f"w{self._numbers}",
            tuple(conditions),
            region or Region(0, 0, frame.width, frame.height),
            on_text=lambda sink: self._heard_of(ask, sink),
            on_answer=lambda sink, answers, result: self._on_answer(ask, sink, answers, result),
            on_error=lambda sink, error: self._failed(ask, error),
        )
        try:
            self._requests.submit(
                text,
                Kind.WATCH,
                View(frame, detail, self._camera.scene, region=region),
                sink,
                extras=Extras(
                    earlier if before is not None else None,
                    SCHEMA,
                    answer_tokens(len(conditions)),
                    scene_sound=True,
                ),
            )
        except (Draining, NotConfirmed) as error:
            self._failed(ask, error)

    def _heard_of(self, ask: Ask, sink: WatchSink) -> None:
        if self._running is ask:
            self._on_text(ask, sink)

    def _failed(self, ask: Ask, error: QwenCameraError | None) -> None:
        """Take a request without an answer. `error`: None when it was stopped, or cannot be made."""
        if self._running is not ask:
            return
        passing = error is None or isinstance(error, _PASSING)
        if passing and self._attempts < _MOST_ATTEMPTS and self._frames.get(ask.frame_id):
            loop = asyncio.get_running_loop()
            self._again = loop.call_later(_AGAIN_SECONDS, self._retry, ask)
            self._on_error(ask, error, True)
        else:
            self._on_error(ask, error, False)

    def _retry(self, ask: Ask) -> None:
        self._again = None
        if self._running is ask:
            self._submit(ask)
