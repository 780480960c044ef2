"""Whole stand-ins for the parts around the one under test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from server.core.errors import EngineError, QwenCameraError
from server.core.frames import JobKind, Picture, QuestionMode, Role
from server.core.sound import VoiceChunk
from server.models.base import (
    AnswerPreferences,
    Capabilities,
    Chunk,
    Delta,
    Engine,
    EngineRequest,
    EngineState,
    EngineStatus,
    Finished,
    PointedAt,
    ShownPicture,
    Usage,
)
from server.models.prompts import (
    add_language,
    make_question_messages,
    make_system_text,
    with_history,
)
from server.models.scheduler.job import Job, Result


async def until(check: Callable[[], bool], seconds: float = 5.0) -> None:
    """Let the loop run until `check()` holds; fails when it does not in time."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0)


def make_picture(
    *, captured: float | None = None, jpeg: bytes = b"\xff\xd8\xff\xd9", visual_tokens: int = 64
) -> Picture:
    return Picture(
        frame_id="f1",
        captured=time.monotonic() if captured is None else captured,
        captured_sender=None,
        source_width=1280,
        source_height=720,
        width=224,
        height=224,
        visual_tokens=visual_tokens,
        jpeg=jpeg,
        bgr=None,
        thumbnail=None,
        prepare_seconds=0.001,
    )


_ROUTES = {"where": QuestionMode.WHERE, "past": QuestionMode.PAST, "reading": QuestionMode.READ}


def make_request(
    question: str = "What is it?", picture: Picture | None = None, **given: Any
) -> EngineRequest:
    """Compose a request as a session does.

    `given`: fields of EngineRequest and of AnswerPreferences, `where`, `past`, `reading`, `part` and `told` for extras, `caption`
    and `camera` of the picture, and the `earlier` ones, `video`, `turns`, `turns_after`, `apart`, `own_language`, `spoken`.
    """

    def taken(*names: str) -> dict[str, Any]:
        return {name: given.pop(name) for name in names if name in given}

    own = given.pop("own_language", None)
    preferences = AnswerPreferences(**taken("language", "page_language", "time_zone", "verbosity"))
    extras: list[object] = [route for name, route in _ROUTES.items() if given.pop(name, False)]
    if (part := given.pop("part", None)) is not None:
        extras.append(PointedAt(part))
    if (told := given.pop("told", None)) is not None:
        extras.append(told)
    shown = ShownPicture(picture or make_picture(), **taken("caption", "camera"))
    system = make_system_text(preferences.language, preferences.verbosity)
    form = taken("video", "spoken") | {"sound": given.get("sound") is not None}
    messages = make_question_messages(add_language(question, own), system, **form)
    turns, after = given.pop("turns", ()), given.pop("turns_after", 0)
    usual: dict[str, Any] = {
        "session_id": "s",
        "kind": JobKind.CHAT,
        "pictures": (*given.pop("earlier", ()), shown),
        "messages": with_history(messages, turns, after, apart=given.pop("apart", False)),
        "extras": (*extras, replace(preferences, language=preferences.language or own or "")),
    }
    return EngineRequest(question=question, **usual | given)


class FakeEngine:
    """An engine with a script: its chunks, its pauses in seconds, and where it fails.

    `hold()` makes every answer wait before chunk number `at` until `release()`; `fail_at` counts
    chunks too, so 0 is before the first one and `len(chunks)` in place of `Finished`.
    """

    def __init__(
        self,
        name: str = "fake",
        *,
        chunks: Sequence[str] | Callable[[EngineRequest], Sequence[str]] = ("A ", "red ", "cup."),
        voiced: Sequence[VoiceChunk] = (),
        first_token: float = 0.0,
        between: float = 0.0,
        fail_at: int | None = None,
        fail_with: Exception | None = None,
        finish_reason: str = "stop",
        usage: Usage | None = None,
        capabilities: Capabilities | None = None,
        ready: bool = True,
        model: str = "fake-1",
        elsewhere: str = "",
    ) -> None:
        self.name = name
        self.chunks = chunks
        # Sound after its text, counted as chunks
        self.voiced = voiced
        self.first_token = first_token
        self.between = between
        self.fail_at = fail_at
        self.fail_with = fail_with
        self.finish_reason = finish_reason
        self.usage = usage if usage is not None else Usage(10, 3, None)
        self.capabilities = capabilities if capabilities is not None else Capabilities()
        self.ready = ready
        # Another state than ready and unreachable
        self.state: EngineState | None = None
        self.model = model
        self.elsewhere = elsewhere
        # Requests in the order they came, answers begun and not let go of, the most of them at a
        # time.
        self.requests: list[EngineRequest] = []
        self.open = 0
        self.most_open = 0
        # Answers that were closed or cancelled before their end.
        self.aborted = 0
        self.closed = False
        self._hold_at: int | None = None
        self._released = asyncio.Event()
        # Set: letting go of an answer waits for it.
        self.slow_close: asyncio.Event | None = None

    @property
    def status(self) -> EngineStatus:
        state = self.state or (EngineState.READY if self.ready else EngineState.UNREACHABLE)
        return EngineStatus(state, "", self.model, self.capabilities, self.elsewhere)

    async def probe(self) -> EngineStatus:
        return self.status

    def hold(self, at: int = 0) -> None:
        self._hold_at = at
        self._released.clear()

    def release(self) -> None:
        self._hold_at = None
        self._released.set()

    def questions(self) -> list[str]:
        return [request.question for request in self.requests]

    async def answer(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        self.requests.append(request)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        whole = False
        try:
            chunks = self.chunks(request) if callable(self.chunks) else self.chunks
            await asyncio.sleep(self.first_token)
            script = [*map(Delta, chunks), *self.voiced, None]
            for number, chunk in enumerate(script):
                if number:
                    await asyncio.sleep(self.between)
                if self._hold_at == number:
                    await self._released.wait()
                if self.fail_at == number and self.fail_with is not None:
                    whole = True
                    raise self.fail_with
                if chunk is not None:
                    yield chunk
            whole = True
            yield Finished(self.finish_reason, self.usage)
        finally:
            self.aborted += not whole
            if self.slow_close is not None:
                await self.slow_close.wait()
            self.open -= 1

    async def close(self) -> None:
        self.closed = True


class FakeEngines:
    """A selector under a test's control: `wait_probed` after a failure moves on to the next of `spares`, if there is
    one.
    """

    def __init__(self, current: Engine, *spares: Engine) -> None:
        self.current = current
        self.spares = list(spares)
        # Those of other roles than answers
        self.roles: dict[Role, Engine] = {}
        self.reported: list[Engine] = []
        # Set: looking into a failure never ends.
        self.stuck = False

    def of(self, role: Role) -> Engine:
        return self.roles.get(role, self.current)

    def report_failure(self, engine: Engine) -> None:
        self.reported.append(engine)

    async def wait_probed(self, engine: Engine) -> None:
        if self.stuck:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        if self.spares:
            self.current = self.spares.pop(0)


@dataclass
class RecordingSink:
    """Keeps all calls, in order, and checks that order.

    `raise_in` names the call that raises.
    """

    raise_in: str | None = None
    on_started: Callable[[], None] | None = None
    on_piece: Callable[[str], None] | None = None
    on_finished: Callable[[Result], None] | None = None
    calls: list[str] = field(default_factory=list)
    text: str = ""
    thoughts: str = ""
    engines: list[str] = field(default_factory=list)
    # The task that each delta came from
    tasks: list[asyncio.Task[object] | None] = field(default_factory=list)
    result: Result | None = None
    error: QwenCameraError | None = None

    @property
    def ended(self) -> bool:
        return self.result is not None or self.error is not None

    def _called(self, name: str) -> None:
        self.calls.append(f"{name} after the end" if self.ended else name)
        if self.raise_in == name:
            raise ZeroDivisionError("the sink's own fault")

    def on_request(self, engine: Engine, request: EngineRequest, queue_seconds: float) -> None:
        assert not self.text, "started after a delta"
        assert queue_seconds >= 0
        self._called("started")
        self.engines.append(engine.name)
        if self.on_started is not None:
            self.on_started()

    def on_thought(self, text: str) -> None:
        self.thoughts += text

    def on_delta(self, text: str) -> None:
        assert "started" in self.calls
        assert text
        self._called("delta")
        self.text += text
        self.tasks.append(asyncio.current_task())
        if self.on_piece is not None:
            self.on_piece(text)

    def on_result(self, result: Result) -> None:
        self._called("finished")
        self.result = result
        if self.on_finished is not None:
            self.on_finished(result)

    def on_failure(self, error: QwenCameraError) -> None:
        self._called("failed")
        self.error = error


def make_job(
    session_id: str = "s",
    kind: JobKind = JobKind.CHAT,
    *,
    question: str | None = None,
    sink: RecordingSink | None = None,
) -> tuple[Job, RecordingSink]:
    """A job whose request is ready at once, and its sink."""
    sink = sink if sink is not None else RecordingSink()
    asked = question if question is not None else f"{session_id}/{kind}"

    async def request(engine: Engine) -> EngineRequest:
        return make_request(asked, session_id=session_id, kind=kind)

    return Job(session_id=session_id, kind=kind, make_request=request, sink=sink), sink


def engine_error(kind: type[EngineError]) -> EngineError:
    return kind("The engine did not answer.")
