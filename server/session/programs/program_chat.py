"""A program's whole conversation as a question: its pictures taken, its messages with them, the end with calls of tools."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from server.completions.request import ChatRequest
from server.core import messages as wire
from server.core.frames import Frame, Route
from server.core.messages.base import MAX_QUESTION_CHARS
from server.engines import prompts
from server.engines.base import Capabilities
from server.engines.conversation import ToolCall
from server.queue.job import Result
from server.session.background.recalling import Recalling
from server.session.programs.chat_pictures import ChatPictures, ChosenPicture, check
from server.session.programs.program_question import ChatForm, ProgramQuestion, ProgramQuestions
from server.session.request.builder import RequestBuilder
from server.session.request.session_tools import SessionTools


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


class ProgramChats:
    """Answers the chats of all programs of one session, each by a question of its own."""

    def __init__(
        self,
        *,
        questions: ProgramQuestions,
        held: Callable[[], Frame | None],
        requests: RequestBuilder,
        recalling: Recalling,
        tools: SessionTools,
    ) -> None:
        """`held` returns the frame that the person holds."""
        self._questions = questions
        self._requests = requests
        self._tools = tools
        self._pictures = ChatPictures(
            frame=questions.frame, held=held, requests=requests, recalling=recalling
        )

    async def answer(
        self,
        id: str,
        program: str,
        request: ChatRequest,
        since: float,
        on_text: Callable[[str], None],
    ) -> ChatEnd:
        """Take the pictures, ask, and return the end. See `ProgramQuestions.answer`; `since` as in `ChatPictures.take`.

        Raises WrongModel, too, for what the present model cannot do.
        """
        engine = self._tools.current_engine()
        check(request, engine.status.capabilities, 1)
        # Before anything is made of a picture
        self._requests.consent.check(engine)
        taken = await self._pictures.take(request, since)
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
                earlier=self._pictures.earlier(taken.shots),
                check=wording,
                on_result=results.append,
                held=last.held,
            ),
        )
        response = await self._questions.answer(id, program, question, on_text)
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
