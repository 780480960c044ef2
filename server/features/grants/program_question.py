"""Questions and watches from programs. A question takes the same path as a person's, outside the person's chat."""

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
from server.features.grants.grants import Grant, make_access_ended_error
from server.media.camera import QuestionTime
from server.media.picture.planes import refuse_black
from server.models.base import Message, ProgramFields
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

# Times that a question is queued, since a person's question may displace it
TRIES = 3
# Time limit of an answer in seconds
ANSWER_SECONDS = 80.0
# Makes the pictures before the last one; the arguments are the view of the last one and its prepared picture.
EarlierBeside = Callable[[View, Prepared], MakeEarlier]


@dataclass(frozen=True, slots=True)
class ChatForm:
    """The parts of a question that is a whole conversation of a program."""

    messages: tuple[Message, ...]
    fields: ProgramFields
    # Makes the pictures before the last one; None if there are none
    earlier: EarlierBeside | None
    # Raises WrongModel for an engine that cannot answer the question
    check: Wording
    # Called with the result, which contains the tool calls
    on_result: Callable[[Result], None]
    # True if the last picture is the held one
    held: bool


@dataclass(frozen=True, slots=True)
class ProgramQuestion:
    """One question of a program."""

    words: str
    # look | find | recall | snapshot | chat: shown on the page
    tool: str = "look"
    # None: chosen by the wording of the question
    route: QuestionMode | None = None
    detail: Detail = Detail.AUTO
    # Most tokens of the answer, within the server's limit; None for the server's limit
    max_tokens: int | None = None
    # The frame to ask about; None: the first frame after the question
    frame: Frame | None = None
    # Time of the earliest past pictures to use, monotonic seconds: the start of the program's access
    since: float = 0.0
    # The conversation; None if `words` are the whole question
    chat: ChatForm | None = None

    @property
    def held(self) -> bool:
        """True if the question is about a held picture or a given frame."""
        return self.chat.held if self.chat is not None else self.frame is not None

    def check(self) -> None:
        """Raise BadRequest if the question is empty, and TooLong if it is too long."""
        if not self.words.strip():
            raise BadRequest(
                "The question is empty. Write what you want to know about the picture."
            )
        if len(self.words) > MAX_QUESTION_CHARS:
            raise TooLong(
                f"The question has {len(self.words)} characters; at most {MAX_QUESTION_CHARS} are allowed. Shorten it."
            )


class AnswerCollector(AnswerListener):
    """Collects the messages of one answer, in place of a client's outbox."""

    def __init__(self, on_text: Callable[[str], None], chat: ChatForm | None) -> None:
        self._on_text = on_text
        self._chat = chat
        # True after the first piece of text
        self.begun = False
        self.ended: asyncio.Future[wire.Response] = asyncio.get_running_loop().create_future()
        # Mark the error as retrieved, since nobody may wait for it.
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

    def on_counted(self, result: Result) -> None:
        if self._chat is not None:
            self._chat.on_result(result)


class ProgramQuestions:
    """Submits the questions of one session's programs, independently of each other."""

    def __init__(self, context: SessionContext) -> None:
        self._camera = context.camera
        self._requests = context.requests
        # None if the feature is off
        self._recalling: RecallPart | None = context.part("recall")
        self._pointing: Pointing | None = context.part("pointing")
        self._services = context.services

    async def wait_frame(self) -> Frame:
        """Wait for the camera's next frame, and return it. Raise CameraError if none comes."""
        self._camera.wake()
        return await self._camera.wait_for_frame(QuestionTime.now())

    async def answer(
        self,
        id: str,
        program: str,
        question: ProgramQuestion,
        on_text: Callable[[str], None],
    ) -> wire.Response:
        """Ask a question and return the complete answer. Cancelling stops the engine.

        `id`: of the look; `program`: the id of its grant; `on_text`: called with each piece of the answer.

        Raise QwenCameraError if there is no frame, if it is black or withheld, if consent is missing, or if the queue
        is full.
        """
        asked = QuestionTime.now()
        route, detail = choose(question.words, question.detail, question.route)
        if route in (QuestionMode.READ, QuestionMode.TWICE):
            # Use one picture for a program's question: the program can ask again.
            route = QuestionMode.DETAIL
        if route is QuestionMode.PAST and (self._recalling is None or not self._recalling.wanted):
            if question.route is QuestionMode.PAST:
                raise Conflict(
                    "No pictures of the recent past are kept. Ask the person to turn that on in the page's settings."
                )
            route = QuestionMode.NOW
        if route is QuestionMode.WHERE and self._pointing is None:
            route = QuestionMode.NOW
        # Check consent before a picture is taken.
        self._requests.consent.check(self._services.current_engine())
        frame = question.frame or await self.wait_frame()
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
        raise Busy(
            "The person's own questions have priority. Ask again in a few seconds.", retry_after=5
        )

    async def _ask(
        self, question: Question, draft: Draft, waited: float, into: AnswerCollector
    ) -> wire.Response | None:
        """Return the answer; None if a person's question displaced it before the first piece of text.

        Raise Busy if later.
        """
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
            raise Busy(
                "The answer took longer than 80 seconds. Ask again in a few seconds.", retry_after=5
            ) from None
        finally:
            if asking.job is not None:
                self._services.inference.cancel(asking.job, "user")
            begun = into.begun
            # Break the reference cycle with a raised error, which would keep the frame in memory.
            del asking, publisher, into, draft
        if response.finish_reason == "cancelled":
            if not begun:
                return None
            raise Busy(
                "The person's own question has priority. Ask again in a few seconds.", retry_after=2
            )
        return response


# Watches that programs add to a session, and the alerts that programs receive

# Most watches of one program; a session has eight in all.
MAX_WATCHES = 3
# Longest wait for an alert in seconds
MOST_WAIT = 25.0


class ProgramWatches:
    """The watches of one session's programs.

    A program can list and remove only its own watches; they end with its access.
    """

    def __init__(self, watching: Watching | None) -> None:
        """Use the session's watches. `watching`: None if that feature is off."""
        self._found = watching
        self._numbers = itertools.count(1)

    @property
    def _watching(self) -> Watching:
        if self._found is None:
            raise Conflict(
                "Watches are disabled on this server. Use look from time to time instead."
            )
        return self._found

    def add(self, grant: Grant, condition: str, *, repeat: bool = False) -> str:
        """Add a watch and return its id.

        Raise BadRequest or TooLong for an invalid condition, Conflict beyond the limit.
        """
        if len(self._list_active_ids(grant)) >= MAX_WATCHES:
            raise Conflict(
                f"This program has {MAX_WATCHES} watches (limit). Remove one with watch_remove, then add this one."
            )
        id = f"{PROGRAMS}{grant.id}:{next(self._numbers)}"
        self._watching.watch_for(id, condition, repeat=repeat)
        grant.watches.append(id)
        return id

    def list_own(self, grant: Grant) -> list[WatchInfo]:
        """Return the watches that the program added, oldest first."""
        watching, own = self._watching, self._list_active_ids(grant)
        return [one for one in watching.watches() if one.id in own]

    def remove(self, grant: Grant, id: str) -> None:
        """Remove a watch. Raise NotFound if the program did not add it."""
        if id not in self._list_active_ids(grant):
            raise NotFound("Watch not found. watch_list returns the ids of this program's watches.")
        self._watching.remove(id)

    def forget(self, grant: Grant) -> None:
        """Remove all watches of a program, and cancel its waits."""
        for wait in grant.waits:
            wait.cancel()
        for id in self._list_active_ids(grant):
            self._watching.remove(id)

    async def wait_alerts(self, grant: Grant, after: int, wait: float) -> list[KeptAlert]:
        """Return the kept alerts with numbers above `after`, since the beginning of the program's access, oldest first.

        If there are none, wait for the next one, at most `wait` seconds. Raise Unauthorized if the access ends
        meanwhile, and Conflict if watches are off.
        """
        kept = self._watching.alerts
        deadline = asyncio.get_running_loop().time() + min(max(0.0, wait), MOST_WAIT)

        async def next_ones() -> list[KeptAlert]:
            while True:
                all_of_them, since = kept.list_all(), grant.made_at * 1000
                found = [one for one in all_of_them if one.number > after and one.at >= since]
                if found or not await kept.wait_next(deadline):
                    return found

        task = asyncio.create_task(next_ones(), name="program/events")
        grant.waits.add(task)
        try:
            await asyncio.wait((task,))
        finally:
            # The task is done here, unless the client has disconnected.
            task.cancel()
            grant.waits.discard(task)
        if task.cancelled():
            raise make_access_ended_error()
        return task.result()

    def _list_active_ids(self, grant: Grant) -> list[str]:
        """Return the ids of a program's watches that still exist: the person may have removed some."""
        there = {one.id for one in self._found.watches()} if self._found is not None else ()
        grant.watches = [id for id in grant.watches if id in there]
        return grant.watches
