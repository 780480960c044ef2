"""The running description: asks when the scene changes, and sends what is new to the client."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

from server.core import messages as wire
from server.core.errors import Draining, NotConfirmed, QwenCameraError
from server.core.frames import Detail, Frame, Kind, Length, Role, Scene
from server.core.metrics import Metrics
from server.features.describe.messages import DescribeSettings, Unchanged
from server.media.picture.luma import Hindrance, hindrance
from server.models.prompts import begins_unchanged, describing, is_unchanged
from server.models.scheduler.job import Result
from server.session.part import BackgroundPart, SessionContext
from server.session.request.answers import AnswerListener, AnswerPublisher, Beginning
from server.session.request.outbox import Outbox
from server.session.request.parts import RequestOptions, View
from server.shared.attention.attention import Attention
from server.shared.attention.gate import Change, Why, scene_change

# Characters beyond the last description's that an answer with the same meaning may have
_LONGER = 64
# After these changes nothing of the last description holds, so the scene is described again.
_ANEW = (Why.FIRST, Why.VIEW, Why.SCENE)


def counter(metrics: Metrics) -> Any:
    """Return the counter of descriptions that nobody gets."""
    return metrics.counter(
        "descriptions_unchanged_total", "Descriptions that said nothing new, and were not sent"
    )


class LiveDescription(BackgroundPart):
    """One session's running description, a background part.

    At most one description waits or runs. A newer frame replaces one that waits; while one runs,
    frames are only compared. The next request asks for what has changed since the last description.

    Bounds of the last description: one; the next one replaces it, another camera or socket drops
    it.
    """

    def __init__(self, context: SessionContext) -> None:
        self._context = context
        self._attention = Attention(context.tools.scratch, sensitivity=context.limits.sensitivity)
        self._camera = context.camera
        self._outbox = context.outbox
        self._requests = context.requests
        self._metrics = context.tools.metrics
        self._unchanged = counter(self._metrics)
        # The person's settings
        self.on = False
        self._prompt = ""
        self._length = Length.SHORT
        self._changes = False
        self.handlers = {DescribeSettings: self._set}
        self._numbers = itertools.count(1)
        # The code of the last error, so that it is sent once; None after a success
        self._last_error: str | None = None
        # True: it goes on while no socket is open
        self._fixed = False
        # The description that waits or runs; None without one
        self._sink: _DescriptionPublisher | None = None
        # The last description and the id of its message; "" before the first
        self._last, self._last_id = "", ""

    @property
    def wanted(self) -> bool:
        return self.on

    @property
    def working(self) -> bool:
        return True

    @property
    def unattended(self) -> bool:
        return self._fixed

    @property
    def text(self) -> str:
        """The last description; "" before the first."""
        return self._last

    def fixed(self) -> bool:
        self._fixed = True
        return True

    def ready(self) -> dict[str, Any]:
        return {"on": self.on, "length": self._length}

    def _set(self, message: DescribeSettings) -> None:
        if message.prompt is not None:
            self._prompt = message.prompt
        if message.length is not None:
            self._length = message.length
        if message.changes is not None:
            self._changes = message.changes
        if message.sensitivity is not None:
            self._attention.sensitive(message.sensitivity)
        if message.describe is not None:
            self.switch(message.describe)

    def switch(self, on: bool) -> None:
        """Begin or end it."""
        if on == self.on:
            return
        self.on = on
        self._context.wants_changed()
        if on:
            self._last_error = None
            self.new_stream()
            # The first description is about the present view.
            self._camera.wake()
        else:
            self._context.tools.inference.cancel_background(self._context.id, "user")
        self._context.report()

    def set_connected(self, connected: bool) -> None:
        """Start again with the next socket, whose client may know nothing of the last description."""
        if connected:
            self.new_stream()

    def new_stream(self) -> None:
        """Describe the next frame as a whole."""
        self._attention.forget()
        self._last = self._last_id = ""

    def retry(self) -> None:
        """Describe the next frame as a whole: another engine may see something else in it."""
        self.new_stream()

    def stop(self) -> None:
        self.new_stream()

    def frame(self, frame: Frame) -> None:
        """Compare a sampled frame with the one last described, and ask about it when it differs."""
        change = self._attention.look(frame)
        if change is None:
            return
        self._camera.measure(frame, self._attention.small)
        now = time.monotonic()
        running = self._sink is not None and self._sink.running
        due = (
            not running and self._attention.due(change, now) and self._requests.allowance.left(now)
        )
        # Its own scene: the camera's last one may be of a second ago.
        scene = self._camera.scene_of(frame, self._attention.small) if due else None
        asks = due and hindrance(scene) is not Hindrance.BLACK
        self._metrics.looks.labels(change.why).inc()
        if self._changes:
            self._outbox.put(scene_change(change, "description", asks=asks))
        if asks:
            self._attention.asked(change, now)
            self._ask(frame, change, scene)

    def _ask(self, frame: Frame, change: Change, scene: Scene | None) -> None:
        """Queue a frame with its scene, in place of one that still waits."""
        id = f"d{next(self._numbers)}"
        last = "" if change.why in _ANEW else self._last
        question = describing(self._prompt, self._length, last)
        # With the request: the camera may show another scene when it starts.
        view = View(frame, Detail.LOW, scene)
        sink = _DescriptionPublisher(id, last, self._outbox, self._ended, self._failed)
        self._sink = sink
        try:
            self._requests.submit(question, Kind.DESCRIBE, view, sink, options=self._options())
        except (Draining, NotConfirmed) as error:
            # It goes on by itself after the confirmation.
            self._failed(error, None)
            sink.error = True
            self._ended(sink, "", whole=False, same=False)

    def _options(self) -> RequestOptions:
        """Have a description that nobody worded in the page's language."""
        wishes = self._requests.preferences
        worded = wishes.language or self._prompt.strip()
        own = None if worded else wishes.page_language or None
        return RequestOptions(own_language=own, role=Role.WATCHES)

    def _ended(self, sink: _DescriptionPublisher, text: str, *, whole: bool, same: bool) -> None:
        if sink is not self._sink:
            return  # a newer frame took its turn
        self._sink = None
        now = time.monotonic()
        if not whole:
            if sink.error:
                self._attention.failed(now)
            return
        self._last_error = None
        self._attention.answered(now, same=same)
        if same:
            self._unchanged.inc()
            self._outbox.put(Unchanged(id=self._last_id, looked_at=round(time.time() * 1000)))
        else:
            self._last, self._last_id = text, sink.id
        # Work for a client that listens keeps its session alive, as its own messages do.
        self._context.touch()

    def _failed(self, error: QwenCameraError, id: str | None) -> None:
        if error.code != self._last_error:
            self._last_error = error.code
            self._context.send_error(error, id)


class _DescriptionPublisher(AnswerPublisher, AnswerListener):
    """Holds a description back until it is clear that it says something new."""

    def __init__(
        self,
        id: str,
        last: str,
        outbox: Outbox,
        on_end: Callable[..., None],
        on_error: Callable[[QwenCameraError, str | None], None],
    ) -> None:
        """`last`: the last description, "" without one. `on_end(sink, text, whole=…, same=…)`."""
        super().__init__(id, Kind.DESCRIBE, outbox, Beginning(at=time.monotonic()), self)
        self._last = last
        self._report_end = on_end
        self._report_error = on_error
        # The beginning of the answer while it may still say that nothing changed; None afterwards
        self._held: str | None = None
        # An engine has the request.
        self.running = False
        self.error = False

    def put_started(self, frame: wire.FrameInfo) -> None:
        self.running = True
        if self._last:
            self._held = ""
        else:
            super().put_started(frame)

    def delta(self, text: str) -> None:
        if self._held is not None:
            self._held += text
            most = len(self._last) + _LONGER
            if len(self._held) <= most and begins_unchanged(self._held, self._last):
                return
            text = self._release()
        super().delta(text)

    def finished(self, result: Result) -> None:
        whole = result.finish_reason in ("stop", "length")
        same = whole and is_unchanged(result.text, self._last)
        if self._held is not None and (same or not result.text):
            self._report_end(self, "", whole=same, same=same)
            return
        if self._held:
            super().delta(self._release())
        super().finished(result)

    def _release(self) -> str:
        """Send the held beginning of the description; return the text held so far."""
        held, self._held = self._held or "", None
        if self.frame is not None:
            super().put_started(self.frame)
        return held

    def on_end(self, text: str, whole: bool) -> None:
        self._report_end(self, text, whole=whole, same=False)

    def on_error(self, error: QwenCameraError) -> None:
        self.error = True
        self._report_error(error, self.id)
