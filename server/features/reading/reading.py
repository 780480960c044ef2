"""Read a text to a person over as many pictures as it takes: one answer that grows with each look."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import replace

from server.core.aio import in_pool
from server.core.errors import CameraError, QwenCameraError
from server.core.frames import Detail, Frame, QuestionMode, Role, Scene
from server.features.reading.messages import ReadingState
from server.features.reading.text import ReadPace, ReadText, join_lines, lines_of, reading_question
from server.media.camera import QuestionTime
from server.models.base import Engine, EngineRequest, Usage
from server.models.scheduler.job import Job, JobObserver, Result
from server.session.part import SessionContext, SessionPart
from server.session.request.answers import AnswerPublisher, Tool
from server.session.request.asking import Asking
from server.session.request.parts import Draft, View
from server.shared.aim import Hint, advise_reading
from server.shared.attention.attention import Attention
from server.shared.services import TextLooker

# Seconds between two comparisons of the picture with the one read last
_EVERY_SECONDS = 0.25
# Seconds between two looks for what would help, and between two requests for more pictures
_ADVICE_SECONDS = 0.8
_WAKE_SECONDS = 1.0
# A blurred picture is read all the same after so many seconds without a sharp one.
_BLURRED_SECONDS = 2.5
# Characters of what was read that an engine gets with the next picture
_TAIL_CHARS = 1200
# Looks in a row that may fail
_MOST_FAILURES = 2


class NoText(CameraError):
    """Nothing came into view that could be read on."""

    code = "no_text"


class ReadingPart(SessionPart):
    """The way of a question whose text is read over several pictures."""

    prepares = False
    tools = (
        Tool(
            "read",
            "Read a long text out to its end while the person moves the camera over it.",
            again=lambda question, call: replace(question, route=QuestionMode.READ),
        ),
    )

    def __init__(self, context: SessionContext, looker: TextLooker | None) -> None:
        self._context = context
        self._looker = looker
        self.routes = {QuestionMode.READ: self}

    async def run(self, asking: Asking, draft: Draft) -> None:
        assert asking.publisher is not None
        reading = Reading(asking.publisher, self._context, self._looker)
        asking.take_looks(reading)
        await reading.run(draft.view.frame)


class Reading:
    """One text that is read. `run` is the task of its question; `stop` ends it from outside."""

    def __init__(
        self, answer: AnswerPublisher, context: SessionContext, looker: TextLooker | None
    ) -> None:
        """`answer` gets the lines as they are read. While some of them are still to be heard, nobody
        is expected to move on. `looker`: None where nothing finds text.
        """
        self._answer = answer
        self._context = context
        self._camera = context.camera
        self._looker = looker
        self._began = time.monotonic()
        self._pace = ReadPace(self._began)
        self._attention = Attention(context.services.scratch)
        self._text = ReadText()
        # All that the client got
        self._said: list[str] = []
        # The look that waits or runs; None between two
        self._job: Job | None = None
        # The end of the last look; None before the first
        self._last: Result | None = None
        self._looked_at = self._advised_at = self._woke_at = -math.inf
        # The last look failed, or broke off at its length: the same picture has more.
        self._more = False
        self._failures = 0
        self._finished = False

    async def run(self, frame: Frame) -> None:
        """Read, from this frame on, until nothing new comes."""
        try:
            while not self._is_over():
                await self._step(frame)
                await asyncio.sleep(_EVERY_SECONDS)
                frame = await self._next_frame()
            if self._text.empty:
                raise NoText(
                    "No text came into view. Hold it closer, flat and in good light, and ask again."
                )
        except QwenCameraError as error:
            if not self._finished:
                self._finished = True
                self._answer.on_failure(error)
            return
        self._context.outbox.put(ReadingState(id=self._answer.id, ended=True))
        self._finish("stop")

    def stop(self, reason: str) -> None:
        """End it with what was read so far."""
        if self._finished:
            return
        if self._job is not None:
            self._context.services.inference.cancel(self._job, reason)
        # A client that was cut off asks for it again, from the beginning.
        self._finish("stop" if reason in ("user", "replaced") else "cancelled")

    def _is_over(self) -> bool:
        now = time.monotonic()
        if self._context.behind:
            self._pace.note_speaking(now)
        return self._text.full or self._pace.is_complete(now)

    async def _next_frame(self) -> Frame:
        now = time.monotonic()
        if now - self._woke_at >= _WAKE_SECONDS:
            self._woke_at = now
            self._camera.wake()
        return await self._camera.frame_after(QuestionTime.now())

    async def _step(self, frame: Frame) -> None:
        """Compare a frame with the one read last; read it, or find what would help."""
        change = self._attention.look(frame)
        if change is None:
            return
        scene = self._camera.scene_of(frame, self._attention.small)
        now = time.monotonic()
        if (change.changed or self._more) and self._is_readable(scene, now):
            self._looked_at = now
            self._attention.request_sent(change, now)
            news = await self._read(View(frame, Detail.HIGH, scene))
            now = time.monotonic()
            self._attention.answer_received(now, same=False)
            if news:
                self._pace.note_new_line(now)
                self._context.touch()
        if now - self._advised_at >= _ADVICE_SECONDS and not self._context.behind:
            self._advised_at = now
            hint = self._pace.hint_for(await self._advice(frame, scene), time.monotonic())
            if hint is not None:
                self._context.outbox.put(ReadingState(id=self._answer.id, hint=hint))

    def _is_readable(self, scene: Scene, now: float) -> bool:
        """Return whether a picture is worth reading."""
        if scene.black or scene.dark:
            return False
        return not scene.blurred or now - max(self._looked_at, self._began) >= _BLURRED_SECONDS

    async def _read(self, view: View) -> bool:
        """Have a picture read, and send its new lines. Returns True when there were any.

        Raises the error of the second look in a row that fails.
        """
        look = _ReadingObserver(self._answer)
        question = reading_question(self._text.tail(_TAIL_CHARS))
        draft = Draft(
            question=question,
            view=view,
            role=Role.READS,
            history=False,
            extras=(QuestionMode.READ,),
        )
        try:
            self._job = self._context.requests.submit(draft, look)
            self._last = result = await look.result
        except QwenCameraError:
            self._failures += 1
            self._more = True
            if self._failures >= _MOST_FAILURES or self._text.empty:
                raise
            return False
        finally:
            self._job = None
        self._failures = 0
        # A page of small print takes 0.1 s, which nobody else waits for.
        pool = self._context.services.prepare_pool
        lines = await in_pool(pool, self._text.add, lines_of(result.text))
        self._more = bool(lines) and result.finish_reason == "length"
        if not lines:
            return False
        text = join_lines(lines)
        self._said.append(text)
        self._answer.on_delta(text)
        return True

    async def _advice(self, frame: Frame, scene: Scene | None) -> Hint | None:
        """Return what would help to read on; None when nobody can tell."""
        looker = self._looker
        if looker is None or looker.busy:
            if scene is None:
                return None
            return Hint.DARK if scene.dark else Hint.BLURRED if scene.blurred else None
        found = await looker.look(frame)
        if found is None:
            return None
        return advise_reading(found, scene, begun=not self._text.empty)

    def _finish(self, reason: str) -> None:
        self._finished = True
        last = self._last
        engine = self._context.services.current_engine(Role.READS)
        self._answer.on_result(
            Result(
                text="".join(self._said).rstrip("\n"),
                finish_reason=reason,
                usage=Usage(),
                engine=last.engine if last is not None else engine.name,
                model=last.model if last is not None else engine.status.model_name,
                queue_seconds=last.queue_seconds if last is not None else 0.0,
                first_token_seconds=last.first_token_seconds if last is not None else None,
                inference_seconds=last.inference_seconds if last is not None else 0.0,
                cancel_reason="user",
            )
        )


class _ReadingObserver(JobObserver):
    """Takes the result of one look of an answer."""

    def __init__(self, answer: AnswerPublisher) -> None:
        self.id = answer.id
        self.result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._answer = answer

    def on_request(self, engine: Engine, request: EngineRequest, queue_seconds: float) -> None:
        if self._answer.frame is None or self._answer.between:
            self._answer.on_request(engine, request, queue_seconds)
        else:
            self._answer.note_other_picture(request)

    def on_result(self, result: Result) -> None:
        if not self.result.done():
            self.result.set_result(result)

    def on_failure(self, error: QwenCameraError) -> None:
        if not self.result.done():
            self.result.set_exception(error)
