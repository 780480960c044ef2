"""A session's running description: asks when the scene changes, and sends the news to the client."""

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
    is_unchanged,
    make_describe_question,
    make_notable_question,
    may_be_unchanged,
)
from server.models.scheduler.job import Result
from server.session.part import BackgroundPart, SessionContext
from server.session.request.answers import AnswerListener, AnswerPublisher
from server.session.request.outbox import Outbox
from server.session.request.parts import Draft, View
from server.shared.attention.attention import Attention, Change, Why, make_scene_change
from server.shared.notices import NoticeContext

# Pause in seconds before the next question about what matters: after news, and after an answer without news
NEWS_SECONDS, LOOK_SECONDS = 5.0, 1.0
# Seconds after which a notice may be repeated
_SAID_SECONDS = 60.0
_MOST_SAID = 8


class Notices:
    """One session's notices since a stream began. `now` is in monotonic seconds.

    Bounds of notices about what matters: the last 8 texts of one minute; a new stream, camera or socket drops them.
    """

    def __init__(self, *, first: bool) -> None:
        """`first`: True if no notice has been sent since the person switched the description on."""
        self.first = first
        self._until: float | None = None
        self._next = -math.inf
        self._said: deque[tuple[float, str]] = deque(maxlen=_MOST_SAID)

    def copy_for_new_stream(self) -> Notices:
        """Return empty notices for a new stream, with the pause of this one."""
        found = Notices(first=self.first)
        found._next = self._next
        return found

    def is_due(self, now: float) -> bool:
        """Return True if the pause is over, so that a question may be asked."""
        return now >= self._next

    def make_context(self, now: float) -> NoticeContext:
        """Return the context for the model: the notices that the person got recently."""
        recent = tuple(text for at, text in self._said if now - at < _SAID_SECONDS)
        return NoticeContext(self.first, self._until, recent)

    def record_answer(self, now: float, captured: float, text: str) -> None:
        """Record an answer about a frame with this capture time. `text`: the news; "" if there is none."""
        self.first = False
        self._until = captured
        self._next = now + (NEWS_SECONDS if text else LOOK_SECONDS)
        if text:
            self._said.append((now, text))


# Number of characters by which an answer without news may be longer than the last description
_LONGER = 64
# Changes after which the last description no longer applies, so the whole scene is described again
_ANEW = (Why.FIRST, Why.VIEW, Why.SCENE)


def get_looks_counter(metrics: Metrics) -> Any:
    """Return the counter of compared frames, by result."""
    # why: same, first, view, scene, object, slight, color, print
    return metrics.counter("looks_total", "Frames compared with that of the last answer", "why")


def get_counter(metrics: Metrics) -> Any:
    """Return the counter of descriptions that were not sent because they had no news."""
    return metrics.counter(
        "descriptions_unchanged_total", "Descriptions that said nothing new, and were not sent"
    )


class LiveDescription(BackgroundPart):
    """One session's running description, a background part.

    At most one description waits or runs. A newer frame replaces one that waits; while one runs,
    frames are only compared. Each request after the first asks for what has changed since.

    Bounds of the last description: one; the next one replaces it; a new camera or socket drops it.
    """

    def __init__(self, context: SessionContext) -> None:
        self._context = context
        self._attention = Attention(sensitivity=context.limits.sensitivity)
        self._camera = context.camera
        self._outbox = context.outbox
        self._requests = context.requests
        self._metrics = context.services.metrics
        self._unchanged = get_counter(self._metrics)
        # The person's settings
        self.on = False
        self._prompt = ""
        self._length = Length.SHORT
        self._changes = False
        self._about: About = "scene"
        # Used only where the description is about what matters (`notable`)
        self._notices = Notices(first=True)
        self.handlers = {DescribeSettings: self._set}
        self.commands = {
            VoiceCommand.NOTABLE: lambda _: True,
            VoiceCommand.STOP: lambda _: self.on,
            VoiceCommand.DESCRIBE_OFF: lambda _: self.on,
        }
        self._numbers = itertools.count(1)
        # The code of the last error, which is not sent again; None after a success
        self._last_error: str | None = None
        # True for a fixed camera, whose description continues while no socket is open
        self._fixed = False
        # The description that waits or runs; None if there is none
        self._sink: _DescriptionPublisher | None = None
        # The capture time of its frame, and the notices to which its answer belongs
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
        """Start or stop the description. Do nothing if nothing changes."""
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
        # The first description should be about a current frame.
        self._camera.wake()

    def _cancel(self) -> None:
        self._context.services.inference.cancel_session(self._context.id, "user", questions=False)

    def set_connected(self, connected: bool) -> None:
        """Describe the whole scene to a new socket, whose client may not have the last description."""
        if connected:
            self.new_stream()

    def new_stream(self) -> None:
        """Forget the last description, so that the next one is about the whole scene."""
        self._attention.forget()
        self._last = self._last_id = ""
        self._notices = self._notices.copy_for_new_stream()

    # Another engine may describe the scene differently; a session keeps nothing after its end.
    retry = stop = new_stream

    def frame(self, frame: Frame) -> None:
        """Compare a sampled frame with the last one described; ask about it if it differs and a request is due."""
        now = time.monotonic()
        if self._about == "notable" and not (self._notices.is_due(now) and self.is_quiet()):
            # Skip the comparison, too: the gate would learn motion during the pause as the scene's usual motion.
            return
        change = self._attention.look(frame)
        if change is None:
            return
        self._camera.measure(frame, self._attention.small)
        running = self._sink is not None and self._sink.running
        due = (
            not running and self._attention.due(change, now) and self._requests.allowance.left(now)
        )
        # Measure this frame: the camera's last scene may be a second old.
        scene = self._camera.get_scene(frame, self._attention.small) if due else None
        asks = due and not (scene is not None and scene.black)
        get_looks_counter(self._metrics).labels(change.why).inc()
        if self._changes:
            self._outbox.put(make_scene_change(change, "description", asks=asks))
        if asks:
            self._attention.request_sent(change, now)
            self._ask(frame, change, scene)

    def _ask(self, frame: Frame, change: Change, scene: Scene | None) -> None:
        """Queue a request about a frame, in place of a waiting one."""
        id = f"d{next(self._numbers)}"
        if self._about == "notable":
            context = self._notices.make_context(time.monotonic())
            said, question = context.said, make_notable_question(context.said)
        else:
            last = "" if change.why in _ANEW else self._last
            context, question = None, make_describe_question(self._prompt, self._length, last)
            said = (last,) if last else ()
        sink = _DescriptionPublisher(id, said, self, self._outbox, discreet=context is not None)
        # Keep the scene with the request: the camera may show another scene when the request starts.
        view = View(frame, Detail.LOW, scene)
        self._sink, self._asked = sink, (frame.captured, self._notices)
        try:
            self._requests.submit(self._make_draft(question, view, context), sink)
        except (Draining, NotConfirmed) as error:
            # The description continues automatically after the confirmation.
            self.on_description_error(error, None)
            sink.error = True
            self.on_description_end(sink, "", whole=False)

    def _make_draft(self, question: str, view: View, context: NoticeContext | None) -> Draft:
        """Return the request; it is answered in the page's language if the person has not written a prompt."""
        preferences = self._requests.preferences
        worded = preferences.language or (context is None and self._prompt.strip())
        own = None if worded else preferences.page_language or None
        return Draft(
            question=question,
            view=view,
            kind=JobKind.DESCRIBE,
            role=Role.WATCHES,
            own_language=own,
            extras=(context,) if context is not None else (),
        )

    def is_quiet(self) -> bool:
        """Return True if nobody talks and no answer is being generated or spoken."""
        microphone = self._requests.audio_in
        talks = microphone is not None and microphone.talking
        return not (talks or self._context.has_running_question or self._context.is_playing_back)

    def on_description_end(
        self, sink: _DescriptionPublisher, text: str, *, whole: bool, same: bool = False
    ) -> None:
        """Handle the end of a description.

        `whole`: True if it is complete; `same`: True if it had no news and was not sent.
        """
        if sink is not self._sink:
            return  # a newer frame has replaced it
        self._sink = None
        now = time.monotonic()
        if not whole:
            if sink.error:
                self._attention.request_failed(now)
            return
        self._last_error = None
        if self._about == "notable":
            # Do not slow down if there is no news: something that matters may come at any time.
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
        # Descriptions for a connected client keep its session alive, as its messages do.
        self._context.touch()

    def on_description_error(self, error: QwenCameraError, id: str | None) -> None:
        """Send an error to the client, once for several of the same code in a row."""
        if error.code != self._last_error:
            self._last_error = error.code
            self._context.send_error(error, id)


class _DescriptionPublisher(AnswerPublisher, AnswerListener):
    """Publishes a description as soon as it is clear that it has news.

    `said`: the texts that the client has. `discreet`: hold the description back to its end, and drop it if somebody
    talks then.
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
        # The text held back while the answer may turn out to have no news; None afterwards
        self._held: str | None = None
        # True once an engine has the request
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
                len(self._held) <= len(one) + _LONGER and may_be_unchanged(self._held, one)
                for one in self._said
            ):
                return
            text = self._release()
        super().on_delta(text)

    def on_result(self, result: Result) -> None:
        whole = result.finish_reason in ("stop", "length")
        same = whole and any(is_unchanged(result.text, one) for one in self._said)
        lost = self._discreet and not (whole and self._description.is_quiet())
        if self._held is not None and (same or lost or not result.text):
            self._description.on_description_end(self, "", whole=same, same=same)
            return
        if self._held:
            super().on_delta(self._release())
        super().on_result(result)

    def _release(self) -> str:
        """Send the `started` message that was held back, and return the text held back so far."""
        held, self._held = self._held or "", None
        if self.frame is not None:
            super().put_started(self.frame)
        return held

    def on_end(self, text: str, whole: bool) -> None:
        self._description.on_description_end(self, text, whole=whole)

    def on_error(self, error: QwenCameraError) -> None:
        self.error = True
        self._description.on_description_error(error, self.id)
