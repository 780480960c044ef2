"""The running description: asks when the scene changes, and sends what is new to the client."""

from __future__ import annotations

import itertools
import math
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from server.core import messages as wire
from server.core.errors import Draining, NotConfirmed, QwenCameraError
from server.core.frames import Detail, Frame, JobKind, Role, Scene, VoiceCommand
from server.core.metrics import Metrics
from server.features.describe.messages import About, DescribeSettings, Length, Unchanged
from server.features.describe.words import (
    begins_unchanged,
    describe_question,
    is_unchanged,
    notable_question,
)
from server.models.scheduler.job import Result
from server.session.part import BackgroundPart, SessionContext
from server.session.request.answers import AnswerListener, AnswerPublisher
from server.session.request.outbox import Outbox
from server.session.request.parts import Draft, View
from server.shared.attention.attention import Attention, Change, Why, scene_change
from server.shared.notices import NoticeContext

# Least seconds after something was said, and after a look that found nothing new: in these the scene is not asked about
NEWS_SECONDS, LOOK_SECONDS = 5.0, 1.0
# What was said so long ago may be said again.
_SAID_SECONDS = 60.0
_MOST_SAID = 8


class Notices:
    """One session's notices since a stream began. `now` is in monotonic seconds.

    Bounds of what was said of what matters: the last 8 texts, of one minute; another stream, camera or socket drops
    them.
    """

    def __init__(self, *, first: bool) -> None:
        """`first`: nothing was told since the person has switched it on."""
        self.first = first
        self._until: float | None = None
        self._next = -math.inf
        self._said: deque[tuple[float, str]] = deque(maxlen=_MOST_SAID)

    def for_new_stream(self) -> Notices:
        """Return those of another stream: nothing of this one is known there, and the pause goes on."""
        found = Notices(first=self.first)
        found._next = self._next
        return found

    def due(self, now: float) -> bool:
        """Return whether the scene may be asked about."""
        return now >= self._next

    def context(self, now: float) -> NoticeContext:
        """Return what the person knows."""
        recent = tuple(text for at, text in self._said if now - at < _SAID_SECONDS)
        return NoticeContext(self.first, self._until, recent)

    def record_answer(self, now: float, captured: float, text: str) -> None:
        """Note an answer that counts, about a frame of this capture time. `text`: "" where it had nothing new."""
        self.first = False
        self._until = captured
        self._next = now + (NEWS_SECONDS if text else LOOK_SECONDS)
        if text:
            self._said.append((now, text))


# Characters beyond the last description's that an answer with the same meaning may have
_LONGER = 64
# After these changes nothing of the last description holds, so the scene is described again.
_ANEW = (Why.FIRST, Why.VIEW, Why.SCENE)


def looks_counter(metrics: Metrics) -> Any:
    """Return the counter of compared frames by the result."""
    # why: same, first, view, scene, object, slight, color, print
    return metrics.counter("looks_total", "Frames compared with that of the last answer", "why")


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
        self._attention = Attention(
            context.services.scratch, sensitivity=context.limits.sensitivity
        )
        self._camera = context.camera
        self._outbox = context.outbox
        self._requests = context.requests
        self._metrics = context.services.metrics
        self._unchanged = counter(self._metrics)
        # The person's settings
        self.on = False
        self._prompt = ""
        self._length = Length.SHORT
        self._changes = False
        self._about: About = "scene"
        # What the person was told of what matters; of no use to a description of the scene
        self._notices = Notices(first=True)
        self.handlers = {DescribeSettings: self._set}
        self.orders = {
            VoiceCommand.NOTABLE: lambda _: True,
            VoiceCommand.STOP: lambda _: self.on,
            VoiceCommand.DESCRIBE_OFF: lambda _: self.on,
        }
        self._numbers = itertools.count(1)
        # The code of the last error, so that it is sent once; None after a success
        self._last_error: str | None = None
        # True: it goes on while no socket is open
        self._fixed = False
        # The description that waits or runs; None without one
        self._sink: _DescriptionPublisher | None = None
        # The capture time of its frame, and where its answer counts
        self._asked = 0.0, self._notices
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

    def become_fixed(self) -> bool:
        self._fixed = True
        return True

    def ready(self) -> dict[str, Any]:
        return {"on": self.on, "length": self._length, "about": self._about}

    def _set(self, message: DescribeSettings) -> None:
        if message.prompt is not None:
            self._prompt = message.prompt
        if message.length is not None:
            self._length = message.length
        if message.changes is not None:
            self._changes = message.changes
        if message.sensitivity is not None:
            self._attention.set_sensitivity(message.sensitivity)
        if message.about is not None and message.about != self._about:
            self._about = message.about
            if self.on:
                self._cancel()
                self._begin()
        if message.describe is not None:
            self.switch(message.describe)

    def switch(self, on: bool) -> None:
        """Begin or end it."""
        if on == self.on:
            return
        self.on = on
        self._context.wants_changed()
        if on:
            self._begin()
        else:
            self._cancel()
        self._context.report()

    def _begin(self) -> None:
        self._last_error = None
        self._sink = None
        self._notices = Notices(first=True)
        self.new_stream()
        # The first description is about the present view.
        self._camera.wake()

    def _cancel(self) -> None:
        self._context.services.inference.cancel_session(self._context.id, "user", questions=False)

    def set_connected(self, connected: bool) -> None:
        """Start again with the next socket, whose client may know nothing of the last description."""
        if connected:
            self.new_stream()

    def new_stream(self) -> None:
        """Describe the next frame as a whole."""
        self._attention.forget()
        self._last = self._last_id = ""
        self._notices = self._notices.for_new_stream()

    # Another engine may see something else in it; nothing outlives the session.
    retry = stop = new_stream

    def frame(self, frame: Frame) -> None:
        """Compare a sampled frame with the one last described, and ask about it when it differs."""
        now = time.monotonic()
        if self._about == "notable" and not (self._notices.due(now) and self.quiet()):
            # Nor is it compared: the gate would take all that moves meanwhile for what always moves.
            return
        change = self._attention.look(frame)
        if change is None:
            return
        self._camera.measure(frame, self._attention.small)
        running = self._sink is not None and self._sink.running
        due = (
            not running and self._attention.due(change, now) and self._requests.allowance.left(now)
        )
        # Its own scene: the camera's last one may be of a second ago.
        scene = self._camera.scene_of(frame, self._attention.small) if due else None
        asks = due and not (scene is not None and scene.black)
        looks_counter(self._metrics).labels(change.why).inc()
        if self._changes:
            self._outbox.put(scene_change(change, "description", asks=asks))
        if asks:
            self._attention.request_sent(change, now)
            self._ask(frame, change, scene)

    def _ask(self, frame: Frame, change: Change, scene: Scene | None) -> None:
        """Queue a frame with its scene, in place of one that still waits."""
        id = f"d{next(self._numbers)}"
        if self._about == "notable":
            told = self._notices.context(time.monotonic())
            said, question = told.said, notable_question(told.said)
        else:
            last = "" if change.why in _ANEW else self._last
            told, question = None, describe_question(self._prompt, self._length, last)
            said = (last,) if last else ()
        sink = _DescriptionPublisher(id, said, self, self._outbox, discreet=told is not None)
        # With the request: the camera may show another scene when it starts.
        view = View(frame, Detail.LOW, scene)
        self._sink, self._asked = sink, (frame.captured, self._notices)
        try:
            self._requests.submit(self._draft(question, view, told), sink)
        except (Draining, NotConfirmed) as error:
            # It goes on by itself after the confirmation.
            self.on_description_error(error, None)
            sink.error = True
            self.on_description_end(sink, "", whole=False)

    def _draft(self, question: str, view: View, told: NoticeContext | None) -> Draft:
        """Have a description that nobody worded in the page's language."""
        wishes = self._requests.preferences
        worded = wishes.language or (told is None and self._prompt.strip())
        own = None if worded else wishes.page_language or None
        return Draft(
            question=question,
            view=view,
            kind=JobKind.DESCRIBE,
            role=Role.WATCHES,
            own_language=own,
            extras=(told,) if told is not None else (),
        )

    def quiet(self) -> bool:
        """Return whether nobody talks, and no answer is made or spoken."""
        microphone = self._requests.audio_in
        talks = microphone is not None and microphone.talking
        return not (talks or self._context.asking or self._context.behind)

    def on_description_end(
        self, sink: _DescriptionPublisher, text: str, *, whole: bool, same: bool = False
    ) -> None:
        """Take the end of a description. `same`: it said nothing new, and was not sent."""
        if sink is not self._sink:
            return  # a newer frame took its turn
        self._sink = None
        now = time.monotonic()
        if not whole:
            if sink.error:
                self._attention.request_failed(now)
            return
        self._last_error = None
        if self._about == "notable":
            # Nothing new is no reason to look less often: what matters may come at any time.
            self._attention.answer_received(now, same=False)
            captured, notices = self._asked
            notices.record_answer(now, captured, text)
        else:
            self._attention.answer_received(now, same=same)
        if same:
            self._unchanged.inc()
            if self._last_id:
                self._outbox.put(Unchanged(id=self._last_id, looked_at=round(time.time() * 1000)))
        else:
            self._last, self._last_id = text, sink.id
        # Work for a client that listens keeps its session alive, as its own messages do.
        self._context.touch()

    def on_description_error(self, error: QwenCameraError, id: str | None) -> None:
        """Tell the client of an error, once for several of one kind in a row."""
        if error.code != self._last_error:
            self._last_error = error.code
            self._context.send_error(error, id)


class _DescriptionPublisher(AnswerPublisher, AnswerListener):
    """Holds a description back until it is clear that it says something new.

    `said`: what the client knows. `discreet`: it is held back to its end, and nobody gets one that ends while
    somebody talks.
    """

    def __init__(
        self,
        id: str,
        said: Sequence[str],
        description: LiveDescription,
        outbox: Outbox,
        *,
        discreet: bool,
    ) -> None:
        super().__init__(id, JobKind.DESCRIBE, outbox, self, at=time.monotonic())
        self._said = said or ("",)
        self._description = description
        self._discreet = discreet
        # The beginning of the answer while it may still say that nothing changed; None afterwards
        self._held: str | None = None
        # An engine has the request.
        self.running = False
        self.error = False

    def put_started(self, frame: wire.FrameInfo) -> None:
        self.running = True
        if any(self._said) or self._discreet:
            self._held = ""
        else:
            super().put_started(frame)

    def on_delta(self, text: str) -> None:
        if self._held is not None:
            self._held += text
            if self._discreet or any(
                len(self._held) <= len(one) + _LONGER and begins_unchanged(self._held, one)
                for one in self._said
            ):
                return
            text = self._release()
        super().on_delta(text)

    def on_result(self, result: Result) -> None:
        whole = result.finish_reason in ("stop", "length")
        same = whole and any(is_unchanged(result.text, one) for one in self._said)
        lost = self._discreet and not (whole and self._description.quiet())
        if self._held is not None and (same or lost or not result.text):
            self._description.on_description_end(self, "", whole=same, same=same)
            return
        if self._held:
            super().on_delta(self._release())
        super().on_result(result)

    def _release(self) -> str:
        """Send the held beginning of the description; return the text held so far."""
        held, self._held = self._held or "", None
        if self.frame is not None:
            super().put_started(self.frame)
        return held

    def on_end(self, text: str, whole: bool) -> None:
        self._description.on_description_end(self, text, whole=whole)

    def on_error(self, error: QwenCameraError) -> None:
        self.error = True
        self._description.on_description_error(error, self.id)
