"""The programs that a person lets use one session: their grants, their looks, and what the page hears of them."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from server.core import messages as wire
from server.core.aio import Timer, cancel_and_wait, in_pool
from server.core.errors import Busy, Conflict, Internal, QwenCameraError, RequestError
from server.core.frames import Frame
from server.features.grants import messages
from server.features.grants.grants import MAX_GRANTS, Grant, Grants, Scope, ended
from server.features.grants.program_question import (
    ProgramQuestion,
    ProgramQuestions,
    ProgramWatches,
)
from server.media.picture.encode import data_url
from server.session.part import SessionContext, SessionPart
from server.session.session import Session

T = TypeVar("T")
# The end of a look: its result, and the words and the picture (a data URL) that the page gets
LookResult = tuple[T, str, str | None]
# Looks of one program that wait while another one of it runs
MAX_WAITING = 3
# Bytes that wait for a client up to which a look's picture goes out with its words
_MOST_WAITING = 128 * 1024
_UNSEEN = (
    "The page of this camera is closed, so the person would not see it. Nothing was looked at."
    " Ask the person to open the page, and ask again."
)


class PageClosed(RequestError):
    """A program looks only while a page of the session is open: the person would not see it."""

    code = "page_closed"
    status = 409


class Programs(SessionPart):
    """One session's programs. All methods are called on the event loop.

    A look goes the way of a person's question, beside the person's chat, and after the person's question.
    It is refused unless the user's page is open, or the camera is one of the house.
    """

    def __init__(self, context: SessionContext, looks_per_minute: int) -> None:
        """`looks_per_minute`: of one program, at most; 0: nobody may look."""
        self.grants = Grants(context.id, looks_per_minute)
        self._outbox = context.outbox
        self.questions = ProgramQuestions(context)
        self.watches = ProgramWatches(context.part("watches"))
        # what: made, used, looked, failed, ended, expired, unseen, busy, and the codes of refusals
        self._counter = context.services.metrics.counter(
            "programs_total", "Access, calls and refusals of other programs", "what"
        )
        self._services, self._touch = context.services, context.touch
        self._numbers = itertools.count(1)
        # A socket of the session is open.
        self._connected = False
        # True: a camera of the house, which needs no page
        self.unattended = False
        # The client has heard of programs, so that it hears when there are none any more.
        self._announced = False
        # Fires when the next grant expires
        self._timer = Timer()
        self._closed = False

    # Grants

    def make(self, name: str, scopes: Iterable[Scope], seconds: float) -> tuple[Grant, str]:
        """Give a program access; return the grant and its token. Raises Forbidden, BadRequest, Conflict."""
        if self._closed:
            raise Conflict("This session has ended. Begin a new one.")
        self._expire()
        made = self.grants.make(name, scopes, seconds, time.monotonic(), time.time())
        self._count("made")
        self._changed()
        return made

    def find(self, digest: bytes) -> Grant:
        """Return the grant of a token's digest. Raises Unauthorized."""
        self._expire()
        return self.grants.find(digest, time.monotonic())

    def end(self, id: str) -> bool:
        """End a program's access with all that it runs and watches; False for one that is not there."""
        grant = self.grants.end(id)
        if grant is None:
            return False
        self._count("ended")
        self._stop_work(grant)
        self._changed()
        return True

    def end_all(self) -> int:
        return sum(self.end(grant.id) for grant in self.grants.all())

    def program_list(self) -> messages.ProgramList:
        self._expire()
        return messages.ProgramList(
            programs=[info_of(grant) for grant in self.grants.all()],
            most=MAX_GRANTS if self.grants.allowed else 0,
            looks_per_minute=self.grants.per_minute,
        )

    def ready(self) -> dict[str, Any]:
        return {"allowed": self.grants.allowed}

    def become_fixed(self) -> bool:
        """Nobody needs to see what is done with a fixed camera."""
        self.unattended = True
        return True

    def greet(self) -> None:
        """Send the list to a new socket, when there is or was a program."""
        if self._announced or len(self.grants):
            self._announced = True
            self._outbox.put(self.program_list())

    def set_connected(self, connected: bool) -> None:
        """Note whether a socket of the session is open: without one nobody would see a look."""
        self._connected = connected

    def _expire(self) -> None:
        over = self.grants.expire(time.monotonic())
        for grant in over:
            self._count("expired")
            self._stop_work(grant)
        if over:
            self._changed()

    def _stop_work(self, grant: Grant) -> None:
        """Stop all that a program without access still has."""
        for task in grant.looks:
            task.cancel()
        self.watches.forget(grant)

    def _changed(self) -> None:
        self._timer.cancel()
        if (end := self.grants.next_end()) is not None:
            self._timer.set(max(0.05, end - time.monotonic()), self._expire_soon)
        self.greet()

    def _expire_soon(self) -> None:
        self._expire()
        if not self._timer and len(self.grants):
            # The timer was a moment early.
            self._changed()

    # For programs

    def count_message(self, grant: Grant) -> None:
        """Note a message of a program's, before it is read. Raises Unauthorized and RateLimited."""
        with self._refusals():
            self.grants.count_message(grant, time.monotonic())

    def count_call(self, grant: Grant, scope: Scope | None) -> None:
        """Note a call; `scope` is None for one that needs none. Raises Unauthorized, Forbidden, RateLimited."""
        with self._refusals():
            self.grants.count_call(grant, scope, time.monotonic(), time.time())
        self._count("used")
        self._touch()

    async def ask(
        self,
        grant: Grant,
        question: ProgramQuestion,
        on_text: Callable[[str], None] = lambda _: None,
    ) -> wire.Response:
        """Ask for a program, and return the whole answer; the page shows the question with its picture.

        `on_text` gets its pieces. Cancelling stops the engine, and so does the end of the grant.

        Raises QwenCameraError: no access, the rate, a closed page, and what a person's question gets.
        """
        question = replace(question, since=grant.since)
        question.check()
        self.admit(grant)

        async def work(look: messages.ProgramLook) -> LookResult[wire.Response]:
            answer = await self.questions.answer(look.id, grant.id, question, on_text)
            picture = answer.frame.thumbnail if answer.frame is not None else None
            return answer, answer.text, picture

        return await self.run_look(grant, question.tool, question.words, work)

    @property
    def model(self) -> str:
        engine = self._services.current_engine()
        return engine.status.model_name or engine.name

    async def picture(self, grant: Grant) -> tuple[bytes, Frame]:
        """Return a filtered JPEG of the next frame, at most 640 px and 36 KiB, and the frame. Raises as `ask` does."""
        self.admit(grant)

        async def work(look: messages.ProgramLook) -> LookResult[tuple[bytes, Frame]]:
            frame = await self.questions.frame()
            self.check_picture(grant)
            still = self._services.preparer.still
            jpeg = await in_pool(self._services.prepare_pool, still, frame)
            return (jpeg, frame), "", data_url(jpeg)

        return await self.run_look(grant, "snapshot", "", work)

    def admit(self, grant: Grant) -> None:
        """Check that a program may look now, and note it."""
        self.count_call(grant, Scope.LOOK)
        self.check_picture(grant)
        if len(grant.looks) > MAX_WAITING:
            self._count("busy")
            raise Busy(
                "This program's earlier looks are still on their way. Wait for them, then ask again.",
                retry_after=2,
            )
        with self._refusals():
            self.grants.count_look(grant, time.monotonic())

    def check_picture(self, grant: Grant) -> None:
        """Check that a program may get a picture now: each way by which one leaves calls this.

        Raises Unauthorized, Forbidden without the scope of looks, and PageClosed.
        """
        self.grants.allow(grant, Scope.LOOK, time.monotonic())
        self.check_page_open()

    def check_page_open(self) -> None:
        """Raise PageClosed when nobody would see what a program does."""
        if not (self._connected or self.unattended):
            self._count("unseen")
            raise PageClosed(_UNSEEN)

    async def run_look(
        self,
        grant: Grant,
        tool: str,
        question: str,
        work: Callable[[messages.ProgramLook], Coroutine[Any, Any, LookResult[T]]],
    ) -> T:
        """Run one look in its turn, and send the page its beginning and its end."""
        look = messages.ProgramLook(
            id=f"look-{next(self._numbers)}",
            program=grant.id,
            name=grant.name,
            tool=tool,
            question=question,
            state="looking",
            at=round(time.time() * 1000),
        )

        async def in_turn() -> LookResult[T]:
            async with grant.turn:
                # The page may have closed while this one waited.
                self.check_picture(grant)
                return await work(look)

        task = asyncio.create_task(in_turn(), name=f"program/{tool}")
        grant.looks.add(task)
        task.add_done_callback(grant.looks.discard)
        self._outbox.put(look)
        self.greet()
        try:
            await asyncio.wait((task,))
        finally:
            # Here it is done, unless the program itself has left.
            task.cancel()
            result = self._report_end(look, task)
        try:
            if isinstance(result, BaseException):
                raise result
            return result
        finally:
            # An error has this call in its trace: kept here, both would keep the look's frame.
            del task, result

    def _report_end(
        self, look: messages.ProgramLook, task: asyncio.Task[LookResult[T]]
    ) -> T | BaseException:
        """Send the page the end of a look; return its result, or its error."""
        result: T | BaseException
        state, image = "failed", None
        if not task.done() or task.cancelled():
            result, text = ended(), "It was stopped."
        elif (error := task.exception()) is not None:
            if not isinstance(error, QwenCameraError):
                error = Internal(
                    "Something went wrong with this question on the server. Ask again."
                )
            result, text = error, error.visitor_message
            self._services.metrics.errors.labels(error.code).inc()
        else:
            state = "done"
            result, text, image = task.result()
            if self._outbox.size >= _MOST_WAITING:
                image = None
        update = {"state": state, "text": text, "image": image}
        self._outbox.put(look.model_copy(update=update))
        self._count("looked" if state == "done" else "failed")
        return result

    def _count(self, what: str) -> None:
        self._counter.labels(what).inc()

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except QwenCameraError as error:
            self._count(error.code)
            raise

    # End

    async def close(self) -> None:
        """End all access, and wait until its looks have ended. Safe to call twice."""
        self._closed = True
        grants = self.grants.all()
        running = [task for grant in grants for task in grant.looks]
        for grant in grants:
            self.grants.end(grant.id)
            self._stop_work(grant)
        self._timer.cancel()
        await cancel_and_wait(running)

    async def look_once(self, program: str, question: str, seconds: float) -> wire.Response:
        """Ask for a program of ours, with an access that lives as long as the question. Raises as `ask` does."""
        grant, _ = self.make(program, [Scope.LOOK], seconds)
        try:
            return await self.ask(grant, ProgramQuestion(question))
        finally:
            self.end(grant.id)


def info_of(grant: Grant) -> messages.ProgramInfo:
    left = grant.until - time.monotonic()
    return messages.ProgramInfo(
        id=grant.id,
        name=grant.name,
        scopes=sorted(grant.scopes),
        made_at=round(grant.made_at * 1000),
        expires_at=round((time.time() + left) * 1000),
        last_used=None if grant.last_used is None else round(grant.last_used * 1000),
        looks=grant.looked,
    )


def programs_of(session: Session) -> Programs:
    found = session.part("grants")
    assert isinstance(found, Programs)
    return found
