"""Read a text from several pictures, in one answer that grows with each of them."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import replace

from server.core.aio import run_in_pool
from server.core.errors import CameraError, QwenCameraError
from server.core.frames import Detail, Frame, QuestionMode, Role, Scene
from server.features.reading.messages import ReadingState
from server.features.reading.text import (
    ReadPace,
    ReadText,
    join_lines,
    make_reading_question,
    parse_lines,
)
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

# Seconds between two comparisons with the last picture read
_EVERY_SECONDS = 0.25
# Seconds between two searches for a hint, and between two requests for more pictures
_ADVICE_SECONDS = 0.8
_WAKE_SECONDS = 1.0
# Seconds without a sharp picture after which a blurred one is read
_BLURRED_SECONDS = 2.5
# Characters of the last lines read that an engine gets with the next picture
_TAIL_CHARS = 1200
# Successive failed requests after which the reading fails
_MOST_FAILURES = 2


class NoText(CameraError):
    """No text came into view."""

    code = "no_text"


class ReadingPart(SessionPart):
    """One session's route `read` for questions, and the model's tool for reading."""

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
    """The reading of one text. `run` is the task of its question; `stop` ends the reading from outside."""

    def __init__(
        self, answer: AnswerPublisher, context: SessionContext, looker: TextLooker | None
    ) -> None:
        """`answer` gets the lines as they are read. While their speech has not caught up, the person is not
        expected to move on. `looker` finds text for hints; None if there is none.
        """
        self._answer = answer
        self._context = context
        self._camera = context.camera
        self._looker = looker
        self._began = time.monotonic()
        self._pace = ReadPace(self._began)
        self._attention = Attention()
        self._text = ReadText()
        # The text sent to the client so far
        self._said: list[str] = []
        # The request that waits or runs; None between two requests
        self._job: Job | None = None
        # The result of the last request; None before the first
        self._last: Result | None = None
        self._looked_at = self._advised_at = self._woke_at = -math.inf
        # True after a request that failed or reached its token limit: the same picture is read again.
        self._more = False
        self._failures = 0
        self._finished = False

    async def run(self, frame: Frame) -> None:
        """Read from this frame on until no new lines come. Errors, including NoText, end the answer."""
        try:
            while not self._is_over():
                await self._process_frame(frame)
                await asyncio.sleep(_EVERY_SECONDS)
                frame = await self._wait_for_frame()
            if self._text.empty:
                raise NoText(
                    "No text came into view. Hold the text flat, close to the camera and in good light, then ask again."
                )
        except QwenCameraError as error:
            if not self._finished:
                self._finished = True
                self._answer.on_failure(error)
            return
        self._context.outbox.put(ReadingState(id=self._answer.id, ended=True))
        self._finish("stop")

    def stop(self, reason: str) -> None:
        """End the answer with the lines read so far."""
        if self._finished:
            return
        if self._job is not None:
            self._context.services.inference.cancel(self._job, reason)
        # For other reasons the client asks again, from the beginning.
        self._finish("stop" if reason in ("user", "replaced") else "cancelled")

    def _is_over(self) -> bool:
        now = time.monotonic()
        if self._context.is_playing_back:
            self._pace.note_speaking(now)
        return self._text.full or self._pace.is_complete(now)

    async def _wait_for_frame(self) -> Frame:
        now = time.monotonic()
        if now - self._woke_at >= _WAKE_SECONDS:
            self._woke_at = now
            self._camera.wake()
        return await self._camera.wait_for_frame(QuestionTime.now())

    async def _process_frame(self, frame: Frame) -> None:
        """Compare a frame with the last one read; read it if it differs, and send a hint if one is due."""
        change = self._attention.look(frame)
        if change is None:
            return
        scene = self._camera.get_scene(frame, self._attention.small)
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
        if now - self._advised_at >= _ADVICE_SECONDS and not self._context.is_playing_back:
            self._advised_at = now
            hint = self._pace.choose_hint(await self._find_hint(frame, scene), time.monotonic())
            if hint is not None:
                self._context.outbox.put(ReadingState(id=self._answer.id, hint=hint))

    def _is_readable(self, scene: Scene, now: float) -> bool:
        """Return True if a picture is light and sharp enough, or light enough and no sharp one has come for a while."""
        if scene.black or scene.dark:
            return False
        return not scene.blurred or now - max(self._looked_at, self._began) >= _BLURRED_SECONDS

    async def _read(self, view: View) -> bool:
        """Ask the engine to read a picture, and send its new lines. Return True if there were any.

        Raise the error of a request that fails, if it is the second in a row or no text was read yet.
        """
        look = _ReadingObserver(self._answer)
        question = make_reading_question(self._text.get_tail(_TAIL_CHARS))
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
        # Merging a page of small text takes 0.1 s: do not do it on the event loop.
        pool = self._context.services.prepare_pool
        lines = await run_in_pool(pool, self._text.add, parse_lines(result.text))
        self._more = bool(lines) and result.finish_reason == "length"
        if not lines:
            return False
        text = join_lines(lines)
        self._said.append(text)
        self._answer.on_delta(text)
        return True

    async def _find_hint(self, frame: Frame, scene: Scene | None) -> Hint | None:
        """Return a hint on how to move the camera, or None if there is none."""
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
    """Waits for the result of one request, and passes its start on to the answer."""

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
