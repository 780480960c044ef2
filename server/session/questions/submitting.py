"""A question's way to the queue: its frame, its answer's sink, and the kind of look that it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from server.camera.camera import Camera
from server.core import messages as wire
from server.core.errors import PictureBlack, QwenCameraError
from server.core.frames import Detail, Frame, Kind, Route
from server.engines.base import EngineRequest
from server.session.background.recalling import Recalling
from server.session.cameras.cameras import Cameras
from server.session.questions import around, pointing
from server.session.questions.hold import Hold
from server.session.questions.reading import Reading
from server.session.request.answers import AnswerSink, Asking, Shot
from server.session.request.builder import RequestBuilder
from server.session.request.outbox import Outbox
from server.session.request.parts import NO_EXTRAS, Extras, Prepared, View
from server.session.request.picture_reuse import PictureReuse
from server.session.request.sent_pictures import SentPictures
from server.session.request.session_tools import SessionTools
from server.session.speech.speaking import Speaking
from server.vision.hindrance import WORDS, Hindrance, is_black

# The routes that only the session's own camera has, and those that other cameras have in their place
_OWN_ROUTES = {Route.PAST: Route.NOW, Route.WHERE: Route.NOW, Route.READ: Route.DETAIL}


class Submitting:
    """Takes one session's questions from their frames to the queue.

    Of a question it writes `sink`, `job`, `reading`, and for a spoken one its frame.
    """

    def __init__(
        self,
        *,
        camera: Camera,
        outbox: Outbox,
        requests: RequestBuilder,
        recalling: Recalling,
        reuse: PictureReuse,
        tools: SessionTools,
        cameras: Cameras,
        hold: Hold,
        speaking: Speaking,
        pictures: SentPictures,
        touch: Callable[[], None],
        on_started: Callable[[Asking], None],
        on_end: Callable[[Asking, str, bool], None],
        on_error: Callable[[Asking, QwenCameraError], None],
    ) -> None:
        """`on_started(asking)`: an engine has it; `on_end` and `on_error` are those of its sink."""
        self._camera = camera
        self._outbox = outbox
        self._requests = requests
        self._recalling = recalling
        self._reuse = reuse
        self._tools = tools
        self._cameras = cameras
        self._hold = hold
        self._speaking = speaking
        self._pictures = pictures
        self._touch = touch
        self._on_started = on_started
        self._on_end = on_end
        self._on_error = on_error

    async def submit(self, asking: Asking, detail: Detail) -> None:
        """Wait for the question's frame, and queue it; with `Route.READ`, read the text to its end.

        Raises QwenCameraError: no frame, a black one, one that is withheld, or a full queue.
        """
        if self._cameras.around or asking.shots is not None:
            await self._submit_around(asking, detail)
            return
        frame, held = await self._frame_for(asking)
        if asking.route is Route.READ and (held or asking.corrected):
            # There is one picture of it.
            asking.route = Route.DETAIL
        if asking.spoken is not None:
            asking.frame, asking.held = frame, held
        waited = time.monotonic() - asking.asked.at
        self._tools.metrics.frame_wait.observe(waited)
        view = View(frame, detail, self._camera.scene, held)
        needs = self._tools.current_engine().status.capabilities
        reads = asking.route is Route.READ
        prepared = None if reads else await self._reuse.prepare(view, needs)
        if (
            prepared is not None
            and not needs.wants_pixels
            and is_black(prepared.picture.scene, frame)
        ):
            raise PictureBlack(f"{WORDS[Hindrance.BLACK]} Then ask again. No model was asked.")
        asking.sink = self._sink(asking, waited)
        if asking.route is Route.WHERE:
            assert prepared is not None
            asking.job = pointing.submit(self._requests, asking, view, prepared)
            return
        if asking.route is Route.READ:
            asking.reading = reading = Reading(
                asking.sink,
                camera=self._camera,
                outbox=self._outbox,
                requests=self._requests,
                tools=self._tools,
                behind=lambda: self._speaking.behind,
                touch=self._touch,
            )
            await reading.run(frame)
            return
        asking.job = self._requests.submit(
            asking.question, Kind.CHAT, view, asking.sink, prepared, self._extras(asking, view)
        )

    async def _submit_around(self, asking: Asking, detail: Detail) -> None:
        """Ask about the chosen cameras. Boxes, the past and reading on are of the own camera alone."""
        if asking.route in _OWN_ROUTES:
            asking.route = _OWN_ROUTES[asking.route]
        needs = self._tools.current_engine().status.capabilities
        taken = await around.shots(
            self._cameras, asking, needs, self._frame_for, lambda: self._waits(asking)
        )
        if asking.spoken is not None:
            # Its words may be corrected.
            asking.shots = taken
        waited = time.monotonic() - asking.asked.at
        self._tools.metrics.frame_wait.observe(waited)
        view = around.view_of(taken[-1], detail)
        prepared = Prepared(await self._requests.prepare(view, needs), needs)
        asking.sink = self._sink(asking, waited, taken)
        extras = around.with_others(self._extras(asking, view), taken, detail, self._requests)
        asking.job = self._requests.submit(
            asking.question, Kind.CHAT, view, asking.sink, prepared, extras
        )

    def _waits(self, asking: Asking) -> None:
        self._outbox.put(wire.Waiting(id=asking.id))

    def _sink(self, asking: Asking, waited: float, shots: Sequence[Shot] = ()) -> AnswerSink:
        reads = asking.route is Route.READ
        return AnswerSink(
            id=asking.id,
            kind=Kind.CHAT,
            outbox=self._outbox,
            began=asking.asked.at,
            wait_seconds=waited,
            route=asking.route,
            word=asking.spoken.word if asking.spoken is not None else None,
            on_end=lambda text, whole: self._on_end(asking, text, whole),
            on_error=lambda error: self._broke(asking, error),
            on_sent=(lambda _: None) if reads else lambda request: self._sent(asking, request),
            on_counted=self._requests.learn,
            on_started=lambda: self._on_started(asking),
            on_text=lambda text: self._speaking.write(asking.id, text),
            keep=self._pictures.keep,
            shots=shots,
        )

    def _extras(self, asking: Asking, view: View) -> Extras:
        extras = NO_EXTRAS
        if asking.route is Route.PAST:
            earlier = self._recalling.earlier(view, asking.question)
            extras = Extras(earlier=earlier, past=True, scene_sound=True)
        if (spoken := asking.spoken) is not None and not asking.corrected:
            extras = replace(extras, spoken=True, sound=spoken.sound)
        if self._speaking.can_play:
            extras = replace(
                extras, on_speech=lambda chunk: self._speaking.sounded(asking.id, chunk)
            )
        return extras

    async def _frame_for(self, asking: Asking) -> tuple[Frame, bool]:
        """Return the frame for a question, and True when it is a held one."""
        asked = asking.asked
        if asking.frame is not None:
            # Its words were corrected: they are about the frame that it had.
            return asking.frame, asking.held

        def waits() -> None:
            self._waits(asking)

        if await self._hold.chosen(waits):
            # A hold came before the question.
            asked = replace(asked, at=time.monotonic())
        if self._hold.frame is not None:
            return self._hold.frame, True
        if asking.spoken is not None and asking.spoken.frame is not None:
            return asking.spoken.frame, False
        return await self._camera.frame_after(asked, waits), False

    def _sent(self, asking: Asking, request: EngineRequest) -> None:
        self._reuse.started(request)
        asking.by_engine = request.speak

    def _broke(self, asking: Asking, error: QwenCameraError) -> None:
        # The engine may not have got its picture.
        self._reuse.forget()
        self._on_error(asking, error)
