"""One question of a program: through the person's own machinery, beside the person's chat."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from server.core import messages as wire
from server.core.errors import (
    BadRequest,
    Busy,
    Conflict,
    NotFound,
    QwenCameraError,
    TooLong,
)
from server.core.frames import Detail, Frame, JobKind, QuestionMode
from server.core.messages import MAX_QUESTION_CHARS
from server.features.grants.grants import Grant, ended
from server.media.camera import QuestionTime
from server.media.picture.planes import refuse_black
from server.models.base import Engine, EngineRequest, Message, ProgramFields
from server.models.routing import choose
from server.models.scheduler.job import Result
from server.session.part import PROGRAMS, QuestionRoute, SessionContext
from server.session.request.answers import AnswerListener, AnswerPublisher
from server.session.request.asking import Asking
from server.session.request.parts import Draft, MakeEarlier, Prepared, View, Wording
from server.session.request.question import Question

if TYPE_CHECKING:
    from server.features.pointing.pointing import Pointing
    from server.features.recall.recalling import RecallPart
    from server.features.watches.alerts import KeptAlert
    from server.features.watches.messages import WatchInfo
    from server.features.watches.watching import Watching

# Times that a question is queued: a person's question may take its place at the engine.
TRIES = 3
# Seconds in which its answer has to be there
ANSWER_SECONDS = 80.0
# Makes the pictures before the last one, whose view and prepared picture it gets.
EarlierBeside = Callable[[View, Prepared], MakeEarlier]


@dataclass(frozen=True, slots=True)
class ChatForm:
    """The parts of a question that is a whole conversation of the program's."""

    messages: tuple[Message, ...]
    fields: ProgramFields
    # Makes the pictures before the last one; None: that is the only one
    earlier: EarlierBeside | None
    # Raises for an engine that cannot follow it
    check: Wording
    # Gets the end of the answer, with the calls of tools
    on_result: Callable[[Result], None]
    # The last picture is the held one.
    held: bool


@dataclass(frozen=True, slots=True)
class ProgramQuestion:
    words: str
    # look | find | recall | snapshot | chat: what the page says of it
    tool: str = "look"
    # None: the words decide
    route: QuestionMode | None = None
    detail: Detail = Detail.AUTO
    # Tokens of the answer, within the server's own limit; None for that limit
    max_tokens: int | None = None
    # About this frame; None: the first one after the question
    frame: Frame | None = None
    # Pictures of the past from this time on, monotonic seconds: it sees none of before its access
    since: float = 0.0
    # None: `words` are the whole question
    chat: ChatForm | None = None

    @property
    def held(self) -> bool:
        return self.chat.held if self.chat is not None else self.frame is not None

    def check(self) -> None:
        """Raise BadRequest for an empty question, and TooLong."""
        if not self.words.strip():
            raise BadRequest("The question is empty. Say what you want to know.")
        if len(self.words) > MAX_QUESTION_CHARS:
            raise TooLong(
                f"The question has {len(self.words)} characters; at most {MAX_QUESTION_CHARS} are allowed. Shorten it."
            )


class AnswerCollector(AnswerListener):
    """Takes the messages about one answer in place of a client's outbox."""

    def __init__(self, on_text: Callable[[str], None], chat: ChatForm | None) -> None:
        self._on_text = on_text
        self._chat = chat
        # A piece of text has come.
        self.begun = False
        self.ended: asyncio.Future[wire.Response] = asyncio.get_running_loop().create_future()
        # An error that nobody waits for any more is none.
        self.ended.add_done_callback(lambda ended: ended.cancelled() or ended.exception())

    def put(self, message: wire.ServerMessage) -> None:
        if isinstance(message, wire.DeltaMessage):
            self.begun = True
            self._on_text(message.text)
        elif isinstance(message, wire.Response) and not self.ended.done():
            self.ended.set_result(message)

    def on_error(self, error: QwenCameraError) -> None:
        if not self.ended.done():
            self.ended.set_exception(error)

    def on_counted(self, engine: Engine, request: EngineRequest, result: Result) -> None:
        if self._chat is not None:
            self._chat.on_result(result)


class ProgramQuestions:
    """Takes the questions of all programs of one session to the queue. No question knows of another one."""

    def __init__(self, context: SessionContext) -> None:
        self._camera = context.camera
        self._requests = context.requests
        # None where nothing is kept, or nothing is pointed at
        self._recalling: RecallPart | None = context.part("recall")
        self._pointing: Pointing | None = context.part("pointing")
        self._services = context.services

    async def frame(self) -> Frame:
        """Wait for the camera's next frame. Raises CameraError."""
        self._camera.wake()
        return await self._camera.frame_after(QuestionTime.now())

    async def answer(
        self,
        id: str,
        program: str,
        question: ProgramQuestion,
        on_text: Callable[[str], None],
    ) -> wire.Response:
        """Ask, and return the whole answer; cancelling stops the engine. `program`: its grant's id.

        `on_text` gets the answer's pieces.

        Raises QwenCameraError: no frame, a black one, one that is withheld, no consent, a full queue.
        """
        asked = QuestionTime.now()
        route, detail = choose(question.words, question.detail, question.route)
        if route in (QuestionMode.READ, QuestionMode.TWICE):
            # One picture: a program reads on, and looks again, by itself.
            route = QuestionMode.DETAIL
        if route is QuestionMode.PAST and (self._recalling is None or not self._recalling.wanted):
            if question.route is QuestionMode.PAST:
                raise Conflict(
                    "No pictures of the recent past are kept. The person can switch that on in the page's settings."
                )
            route = QuestionMode.NOW
        if route is QuestionMode.WHERE and self._pointing is None:
            route = QuestionMode.NOW
        # Before anything is made of the picture
        self._requests.consent.check(self._services.current_engine())
        frame = question.frame or await self.frame()
        waited = time.monotonic() - asked.at
        view = View(frame, detail, self._camera.scene, held=question.held)
        needs = self._services.current_engine().status.capabilities
        picture = await self._requests.prepare(view, needs, shown=True)
        if not needs.wants_pixels:
            refuse_black(picture.scene, frame)
        prepared = Prepared(picture, needs)
        draft = Draft(
            question=question.words,
            view=view,
            prepared=prepared,
            program=program,
            max_tokens=question.max_tokens,
        )
        if (chat := question.chat) is not None:
            draft = replace(
                draft,
                messages=chat.messages,
                extras=(chat.fields,),
                earlier=chat.earlier(view, prepared) if chat.earlier is not None else None,
                wording=chat.check,
            )
        asks = Question(id, question.words, asked, route, detail, since=question.since)
        for left in reversed(range(TRIES)):
            response = await self._ask(asks, draft, waited, AnswerCollector(on_text, chat))
            if response is not None:
                return response
            if left:
                await asyncio.sleep(0.5)
        raise Busy("The person's own questions come first. Ask again in a moment.", retry_after=5)

    async def _ask(
        self, question: Question, draft: Draft, waited: float, into: AnswerCollector
    ) -> wire.Response | None:
        """Return the answer; None when a person's question took its place before it had a word."""
        publisher = AnswerPublisher(
            question.id, JobKind.CHAT, into, into, at=question.asked.at, question=question
        )
        publisher.waited = waited
        asking = Asking(question, publisher=publisher)
        ways: dict[QuestionMode, QuestionRoute | None] = {
            QuestionMode.PAST: self._recalling,
            QuestionMode.WHERE: self._pointing,
        }
        if (way := ways.get(question.route)) is not None:
            await way.run(asking, draft)
        else:
            asking.on_submitted(self._requests.submit(draft, publisher))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                response = await into.ended
        except TimeoutError:
            raise Busy("The answer took too long. Ask again in a moment.", retry_after=5) from None
        finally:
            if asking.job is not None:
                self._services.inference.cancel(asking.job, "user")
            begun = into.begun
            # They keep the error that this call raises, which keeps the view.
            del asking, publisher, into, draft
        if response.finish_reason == "cancelled":
            if not begun:
                return None
            raise Busy(
                "The person's own question came first. Ask again in a moment.", retry_after=2
            )
        return response


# The watches that programs begin in a session, and the alerts that they may hear of.

# Watches of one program; the session has room for eight of all.
MAX_WATCHES = 3
# Seconds for which a program may wait for an alert
MOST_WAIT = 25.0


class ProgramWatches:
    """Each program sees and ends its own watches alone. Those of a program without access end."""

    def __init__(self, watching: Watching | None) -> None:
        """`watching`: None where watches are off."""
        self._found = watching
        self._numbers = itertools.count(1)

    @property
    def _watching(self) -> Watching:
        if self._found is None:
            raise Conflict("This server has no watches. Look again from time to time.")
        return self._found

    def add(self, grant: Grant, condition: str, *, repeat: bool = False) -> str:
        """Begin a watch, and return its id. Raises BadRequest, TooLong and Conflict."""
        if len(self._active_ids(grant)) >= MAX_WATCHES:
            raise Conflict(
                f"This program has {MAX_WATCHES} watches, which is the most. Remove one, then add this one."
            )
        id = f"{PROGRAMS}{grant.id}:{next(self._numbers)}"
        self._watching.watch_for(id, condition, repeat=repeat)
        grant.watches.append(id)
        return id

    def list_own(self, grant: Grant) -> list[WatchInfo]:
        """Return the program's own watches, oldest first."""
        watching, own = self._watching, self._active_ids(grant)
        return [one for one in watching.watches() if one.id in own]

    def remove(self, grant: Grant, id: str) -> None:
        """End a watch. Raises NotFound for one that is not the program's own."""
        if id not in self._active_ids(grant):
            raise NotFound("There is no watch of this program with this id. watch_list has them.")
        self._watching.remove(id)

    def forget(self, grant: Grant) -> None:
        """End all watches of a program, and its waits."""
        for wait in grant.waits:
            wait.cancel()
        for id in self._active_ids(grant):
            self._watching.remove(id)

    async def alerts(self, grant: Grant, after: int, wait: float) -> list[KeptAlert]:
        """Return the kept alerts with a higher number, from since the program has access, oldest first.

        Without any it waits for the next one, for `wait` seconds at most. Raises Unauthorized when the access ends
        meanwhile, and Conflict without watches.
        """
        kept = self._watching.alerts
        deadline = asyncio.get_running_loop().time() + min(max(0.0, wait), MOST_WAIT)

        async def next_ones() -> list[KeptAlert]:
            while True:
                all_of_them, since = kept.all(), grant.made_at * 1000
                found = [one for one in all_of_them if one.number > after and one.at >= since]
                if found or not await kept.next(deadline):
                    return found

        task = asyncio.create_task(next_ones(), name="program/events")
        grant.waits.add(task)
        try:
            await asyncio.wait((task,))
        finally:
            # Here it is done, unless the program itself has left.
            task.cancel()
            grant.waits.discard(task)
        if task.cancelled():
            raise ended()
        return task.result()

    def _active_ids(self, grant: Grant) -> list[str]:
        """Return the watches of a program that are still there: a person may have ended some."""
        there = {one.id for one in self._found.watches()} if self._found is not None else ()
        grant.watches = [id for id in grant.watches if id in there]
        return grant.watches
