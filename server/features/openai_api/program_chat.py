"""A program's whole conversation as a question: its pictures taken, its messages with them, the end with calls of tools."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from server.core import messages as wire
from server.core.frames import Route
from server.core.messages.base import MAX_QUESTION_CHARS
from server.engines import prompts
from server.engines.base import Capabilities
from server.engines.conversation import ToolCall
from server.features.grants.grants import Grant
from server.features.grants.messages import ProgramLook
from server.features.grants.program_question import ChatForm, ProgramQuestion, ProgramQuestions
from server.features.grants.programs import Programs
from server.features.openai_api.chat_pictures import ChatPictures, ChosenPicture, check
from server.features.openai_api.request import ChatRequest
from server.queue.job import Result
from server.session.part import SessionContext, SessionPart


@dataclass(frozen=True, slots=True)
class ChatEnd:
    """The end of a program's chat."""

    response: wire.Response
    calls: tuple[ToolCall, ...] = ()
    # The pictures that the model got, oldest first: milliseconds since the epoch, and True for a held one
    frames: tuple[tuple[float, bool], ...] = ()

    @property
    def shown(self) -> str:
        """The answer as the person reads it: a call of a tool has no words of its own."""
        calls = [f"{call.name} {call.arguments}" for call in self.calls]
        return "\n".join([*([self.response.text] if self.response.text else []), *calls])


class ProgramChats(SessionPart):
    """Answers the chats of all programs of one session, each by a question of its own."""

    def __init__(self, context: SessionContext) -> None:
        self._requests = context.requests
        self._tools = context.tools
        self._context = context

    def fixed(self) -> bool:
        return True

    async def chat(
        self,
        programs: Programs,
        grant: Grant,
        request: ChatRequest,
        on_text: Callable[[str], None],
    ) -> ChatEnd:
        """Answer a whole conversation of a program's, one of the session's `programs`. Cancelling stops the engine.

        Raises as `Programs.ask` does, and for what the model cannot do.
        """
        programs.admit(grant)

        async def work(look: ProgramLook) -> tuple[ChatEnd, str | None]:
            end = await self._answer(programs.questions, look.id, grant, request, on_text)
            frame = end.response.frame
            return end, frame.thumbnail if frame is not None else None

        words = request.question[:MAX_QUESTION_CHARS]
        return await programs.look(grant, "chat", words, work, lambda end: end.shown)

    @property
    def takes_tools(self) -> bool:
        """True when the model that answers now calls tools and keeps to a form."""
        return self._tools.current_engine().status.capabilities.tools

    async def _answer(
        self,
        questions: ProgramQuestions,
        id: str,
        grant: Grant,
        request: ChatRequest,
        on_text: Callable[[str], None],
    ) -> ChatEnd:
        """Take the pictures, ask, and return the end. Raises WrongModel, too, for what the present model cannot do."""
        pictures = ChatPictures(self._context, questions.frame)
        engine = self._tools.current_engine()
        check(request, engine.status.capabilities, 1)
        # Before anything is made of a picture
        self._requests.consent.check(engine)
        taken = await pictures.take(request, grant.since)
        check(request, engine.status.capabilities, len(taken.shots))
        results: list[Result] = []

        def wording(question: str, needs: Capabilities) -> str:
            # Once more: another engine may have taken over.
            check(request, needs, len(taken.shots))
            return question

        words = request.question[:MAX_QUESTION_CHARS].strip() or prompts.DESCRIBE
        last = taken.shots[-1]
        question = ProgramQuestion(
            words,
            tool="chat",
            route=Route.NOW,
            detail=last.detail,
            max_tokens=request.max_tokens,
            frame=last.frame,
            chat=ChatForm(
                conversation=request.conversation(taken.counts),
                earlier=pictures.earlier(taken.shots),
                check=wording,
                on_result=results.append,
                held=last.held,
            ),
        )
        response = await questions.answer(id, grant.id, question, on_text)
        calls = results[-1].calls if results else ()
        return ChatEnd(response, calls, _frames(response, taken.shots))


def _frames(
    response: wire.Response, shots: Sequence[ChosenPicture]
) -> tuple[tuple[float, bool], ...]:
    if response.frame is None:
        return ()
    earlier = response.frames or []
    # The oldest ones may not have fitted.
    held = [shot.held for shot in shots[len(shots) - 1 - len(earlier) :]]
    times = [*(one.captured_at for one in earlier), response.frame.captured_at]
    return tuple(zip(times, held, strict=True))
