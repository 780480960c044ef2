"""A program's whole conversation as one question: takes the pictures, asks, and returns the answer with tool calls."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from server.core import messages as wire
from server.core.errors import Conflict, WrongModel
from server.core.frames import Detail, Frame, Picture, QuestionMode
from server.core.messages import MAX_QUESTION_CHARS
from server.features.grants.grants import Grant
from server.features.grants.messages import ProgramLook
from server.features.grants.program_question import (
    ChatForm,
    EarlierBeside,
    ProgramQuestion,
    ProgramQuestions,
)
from server.features.grants.programs import LookResult, SessionPrograms
from server.features.openai_api.request import ChatRequest, PictureChoice
from server.models import prompts
from server.models.base import Capabilities, ShownPicture, ToolCall
from server.models.routing import wants_detail
from server.models.scheduler.job import Result
from server.session.part import SessionContext, SessionPart
from server.session.request.parts import MakeEarlier, Prepared, View

if TYPE_CHECKING:
    from server.features.recall.recalling import Past, RecallPart


@dataclass(frozen=True, slots=True)
class ChatEnd:
    """The answer to a program's chat."""

    response: wire.Response
    calls: tuple[ToolCall, ...] = ()
    # The pictures that the model got, oldest first: capture time (ms since the epoch), and True for a held picture
    frames: tuple[tuple[float, bool], ...] = ()

    @property
    def shown(self) -> str:
        """The answer as shown on the page: the text, then each tool call with its arguments."""
        calls = [f"{call.name} {call.arguments}" for call in self.calls]
        return "\n".join([*([self.response.text] if self.response.text else []), *calls])


# The answer to a task about the chat itself, for which no model is asked; JSON, as such tasks expect
_TASK_END = ChatEnd(
    wire.Response(
        text='{"note": "This task is about the chat, so no picture was used. Name camera://now to ask about the picture."}',
        inference_time=0,
        id="",
        kind="chat",
        engine="",
        model="",
        timings=wire.Timings(wait_frame_ms=0, prepare_ms=0, queue_ms=0, total_ms=0),
        usage=wire.UsageInfo(),
        finish_reason="stop",
    )
)


class ProgramChats(SessionPart):
    """Answers the chats of one session's programs, each as a separate question."""

    def __init__(self, context: SessionContext) -> None:
        self._context = context

    def become_fixed(self) -> bool:
        return True

    async def chat(
        self,
        programs: SessionPrograms,
        grant: Grant,
        request: ChatRequest,
        on_text: Callable[[str], None],
    ) -> ChatEnd:
        """Answer a program's whole conversation. Cancelling stops the engine.

        `programs`: those of the session; `on_text`: called with each piece of the answer. Raise what
        `SessionPrograms.ask` raises, and WrongModel if the model does not support the request.
        """
        if request.task:
            return _TASK_END
        programs.admit(grant)

        async def work(look: ProgramLook) -> LookResult[ChatEnd]:
            end = await self._answer(programs.questions, look.id, grant, request, on_text)
            frame = end.response.frame
            return end, end.shown, frame.thumbnail if frame is not None else None

        words = request.question[:MAX_QUESTION_CHARS]
        return await programs.run_look(grant, "chat", words, work)

    @property
    def takes_tools(self) -> bool:
        """True if the current model supports tools and response formats."""
        return self._context.services.current_engine().status.capabilities.tools

    async def _answer(
        self,
        questions: ProgramQuestions,
        id: str,
        grant: Grant,
        request: ChatRequest,
        on_text: Callable[[str], None],
    ) -> ChatEnd:
        """Take the pictures, ask, and return the answer.

        Raise WrongModel if the current model does not support the request.
        """
        engine = self._context.services.current_engine()
        check(request, engine.status.capabilities, 1)
        # Check consent before any picture is taken.
        self._context.requests.consent.check(engine)
        taken = await self._take(request, grant.since, questions.wait_frame)
        # The last picture is always a frame, never one of the past.
        shots = [shot for look in taken for shot in look]
        check(request, engine.status.capabilities, len(shots))
        results: list[Result] = []

        def wording(question: str, needs: Capabilities) -> str:
            # Check again, since another engine may have taken over meanwhile.
            check(request, needs, len(shots))
            return question

        words = request.question[:MAX_QUESTION_CHARS].strip() or prompts.DESCRIBE
        last = shots[-1]
        question = ProgramQuestion(
            words,
            tool="chat",
            route=QuestionMode.NOW,
            detail=last.detail,
            max_tokens=request.max_tokens,
            frame=last.frame,
            chat=ChatForm(
                messages=request.messages([len(look) for look in taken]),
                fields=request.fields,
                earlier=self._get_earlier(shots),
                check=wording,
                on_result=results.append,
                held=last.held,
            ),
        )
        response = await questions.answer(id, grant.id, question, on_text)
        calls = results[-1].calls if results else ()
        return ChatEnd(response, calls, _list_frames(response, shots))

    # Pictures: the current one, the held one, and those of the recent past. None of them is kept.

    @property
    def _recalling(self) -> RecallPart | None:
        """The session's memory of the recent past; None if that feature is off."""
        found: RecallPart | None = self._context.part("recall")
        return found

    async def _take(
        self, request: ChatRequest, since: float, next_frame: Callable[[], Awaitable[Frame]]
    ) -> list[list[ChosenPicture]]:
        """Return the pictures of each choice; past pictures only from `since` (monotonic seconds) on.

        Raise CameraError if no frame comes, and Conflict if no picture is held or no past picture is kept.
        """
        held, recalling = self._context.held_frame, self._recalling
        for look in request.looks:
            if look.what == "held" and held is None:
                raise Conflict(_NOT_HELD)
            if look.what == "past" and (recalling is None or not recalling.wanted):
                raise Conflict(_NOT_KEPT)
        now = None
        if any(look.what != "held" for look in request.looks):
            # Use one frame for all choices of the current picture.
            now = await next_frame()
        return [
            await self._choose_pictures(
                look, _choose_detail(look, request.question), now, held, since
            )
            for look in request.looks
        ]

    async def _choose_pictures(
        self,
        look: PictureChoice,
        detail: Detail,
        now: Frame | None,
        held: Frame | None,
        since: float,
    ) -> list[ChosenPicture]:
        if look.what == "held":
            return [ChosenPicture(detail, held, held=True)]
        if look.what == "now":
            return [ChosenPicture(detail, now)]
        assert self._recalling is not None
        past = await self._recalling.during(look.seconds, look.frames - 1, since)
        earlier = [ChosenPicture(detail, past=past, at=at) for at in range(len(past.pictures))]
        return [*earlier, ChosenPicture(detail, now)]

    def _get_earlier(self, shots: Sequence[ChosenPicture]) -> EarlierBeside | None:
        """Return the function that makes the pictures before the last one; None if there are none.

        A frame that occurs several times in the same detail is prepared only once, the last picture included.
        """
        if len(shots) < 2:
            return None

        def beside(view: View, last: Prepared) -> MakeEarlier:
            async def make(needs: Capabilities) -> list[ShownPicture]:
                made: dict[_Key, Picture] = {}
                if last.needs == needs:
                    made[_make_key(view)] = replace(last.picture, thumbnail=None)
                return [await self._make_picture(shot, needs, made) for shot in shots[:-1]]

            return make

        return beside

    async def _make_picture(
        self, shot: ChosenPicture, needs: Capabilities, made: dict[_Key, Picture]
    ) -> ShownPicture:
        if shot.past is not None:
            assert self._recalling is not None
            picture = await self._recalling.small(shot.past, shot.at, needs)
            age = max(0, round(time.monotonic() - picture.captured))
            return ShownPicture(picture, f"The camera {age} s ago:")
        assert shot.frame is not None
        view = View(shot.frame, shot.detail, None, shot.held)
        key = _make_key(view)
        if key not in made:
            made[key] = await self._context.requests.prepare(view, needs, unseen=True)
        return ShownPicture(made[key], "The held frame:" if shot.held else "The camera now:")


def _list_frames(
    response: wire.Response, shots: Sequence[ChosenPicture]
) -> tuple[tuple[float, bool], ...]:
    if response.frame is None:
        return ()
    earlier = response.frames or []
    # The oldest pictures may have been left out to fit the context.
    held = [shot.held for shot in shots[len(shots) - 1 - len(earlier) :]]
    times = [*(one.captured_at for one in earlier), response.frame.captured_at]
    return tuple(zip(times, held, strict=True))


_NOT_HELD = "No picture is held. Ask the person to hold one on the page, or name camera://now for the camera's next picture."
_NOT_KEPT = (
    "No pictures of the recent past are kept. Ask the person to turn that on in the page's settings, or name camera://now"
    " for the camera's next picture."
)
# A frame's id, the detail, and True for the held picture
_Key = tuple[str, Detail, bool]


@dataclass(frozen=True, slots=True)
class ChosenPicture:
    """One picture of a request: a frame, or the picture at index `at` of `past`."""

    detail: Detail
    frame: Frame | None = None
    held: bool = False
    past: Past | None = None
    at: int = 0


def check(request: ChatRequest, needs: Capabilities, pictures: int) -> None:
    """Raise WrongModel for a request that an engine with these capabilities cannot answer. `pictures`: their number."""
    request.check_fields(needs.tools)
    if pictures > 1 and (needs.wants_pixels or pictures > (needs.max_pictures or pictures)):
        most = 1 if needs.wants_pixels else needs.max_pictures
        raise WrongModel(
            f"The request has {pictures} pictures; the present model accepts {most}. Send fewer, such as camera://now alone."
        )


def _make_key(view: View) -> _Key:
    return view.frame.id, view.detail, view.held


def _choose_detail(look: PictureChoice, question: str) -> Detail:
    if look.detail != "auto":
        return Detail(look.detail)
    return Detail.HIGH if wants_detail(question) else Detail.LOW
