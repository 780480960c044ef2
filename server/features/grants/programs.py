"""The programs with access to one session: their grants and looks, and the messages about them to the page."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from server.core import messages as wire
from server.core.aio import Timer, cancel_and_wait, run_in_pool
from server.core.errors import Busy, Conflict, Internal, QwenCameraError, RequestError
from server.core.frames import Frame
from server.features.grants import messages
from server.features.grants.grants import MAX_GRANTS, Grant, Grants, Scope, make_access_ended_error
from server.features.grants.program_question import (
    ProgramQuestion,
    ProgramQuestions,
    ProgramWatches,
)
from server.media.picture.encode import to_data_url
from server.session.part import SessionContext, SessionPart
from server.session.session import Session

T = TypeVar("T")
# The result of a look, and the text and picture (data URL) of the look for the page
LookResult = tuple[T, str, str | None]
# Most looks of one program that wait while another is running
MAX_WAITING = 3
# A look's picture is sent with its text if at most this many bytes wait for the client.
_MOST_WAITING = 128 * 1024
_UNSEEN = (
    "The page of this camera is closed, so the person cannot see what programs do. Ask the person to open the page,"
    " then ask again."
)


class PageClosed(RequestError):
    """No page of the session is open, so the person would not see the look."""

    code = "page_closed"
    status = 409


class SessionPrograms(SessionPart):
    """The programs with access to one session. All methods run on the event loop.

    A look takes the same path as a person's question, outside the person's chat and with lower priority.
    It is refused unless the person's page is open, or the camera is a fixed camera.
    """

    def __init__(self, context: SessionContext, looks_per_minute: int) -> None:
        """Start without programs. `looks_per_minute`: limit for one program; 0 disables access."""
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
        # True while a socket of the session is open
        self._connected = False
        # True for a fixed camera, which needs no open page
        self.unattended = False
        # True once a list was sent; from then on an empty list is sent, too.
        self._announced = False
        # Timer for the next grant to expire
        self._timer = Timer()
        self._closed = False

    # Grants

    def make(self, name: str, scopes: Iterable[Scope], seconds: float) -> tuple[Grant, str]:
        """Give a program access; return the grant and its token. Raise Forbidden, BadRequest or Conflict."""
        if self._closed:
            raise Conflict("This session has ended. Start a new one, then give access again.")
        self._expire()
        made = self.grants.make(name, scopes, seconds, time.monotonic(), time.time())
        self._count("made")
        self._on_change()
        return made

    def find(self, digest: bytes) -> Grant:
        """Return the grant with this token digest. Raise Unauthorized if there is none."""
        self._expire()
        return self.grants.find(digest, time.monotonic())

    def end(self, id: str) -> bool:
        """End a program's access, and its looks and watches. Return False for an unknown id."""
        grant = self.grants.end(id)
        if grant is None:
            return False
        self._count("ended")
        self._stop_work(grant)
        self._on_change()
        return True

    def end_all(self) -> int:
        """End the access of all programs; return their number."""
        return sum(self.end(grant.id) for grant in self.grants.all())

    def make_program_list(self) -> messages.ProgramList:
        """Return the message with all programs."""
        self._expire()
        return messages.ProgramList(
            programs=[make_program_info(grant) for grant in self.grants.all()],
            most=MAX_GRANTS if self.grants.allowed else 0,
            looks_per_minute=self.grants.per_minute,
        )

    def ready(self) -> dict[str, Any]:
        return {"allowed": self.grants.allowed}

    def become_fixed(self) -> bool:
        """Allow looks without an open page, since this is a fixed camera."""
        self.unattended = True
        return True

    def greet(self) -> None:
        """Send the list to a new socket, if there is or was a program."""
        if self._announced or len(self.grants):
            self._announced = True
            self._outbox.put(self.make_program_list())

    def set_connected(self, connected: bool) -> None:
        """Store whether a socket of the session is open; looks need one."""
        self._connected = connected

    def count_listening(self, grant: Grant, change: int) -> None:
        """Count a connection that begins (1) or stops (-1) to send sound; the page shows it."""
        grant.listening += change
        self.greet()

    def _expire(self) -> None:
        over = self.grants.expire(time.monotonic())
        for grant in over:
            self._count("expired")
            self._stop_work(grant)
        if over:
            self._on_change()

    def _stop_work(self, grant: Grant) -> None:
        """Cancel the looks, watches and waits of a program whose access has ended."""
        for task in grant.looks:
            task.cancel()
        self.watches.forget(grant)

    def _on_change(self) -> None:
        self._timer.cancel()
        if (end := self.grants.get_next_expiry()) is not None:
            self._timer.set(max(0.05, end - time.monotonic()), self._expire_soon)
        self.greet()

    def _expire_soon(self) -> None:
        self._expire()
        if not self._timer and len(self.grants):
            # The timer fired slightly early: set it again.
            self._on_change()

    # For programs

    def count_message(self, grant: Grant) -> None:
        """Count a message of a program, before it is parsed. Raise Unauthorized or RateLimited."""
        with self._refusals():
            self.grants.count_message(grant, time.monotonic())

    def count_call(self, grant: Grant, scope: Scope | None) -> None:
        """Count a call that needs `scope`; None if it needs no scope. Raise Unauthorized, Forbidden or RateLimited."""
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
        """Ask a program's question, and return the complete answer; the page shows both with the picture.

        `on_text` is called with each piece. Cancelling stops the engine, and so does the end of the grant.

        Raise QwenCameraError if the access has ended, the rate is exceeded or the page is closed, and in the cases in
        which a person's question fails.
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
        """The name of the model that currently answers."""
        engine = self._services.current_engine()
        return engine.status.model_name or engine.name

    async def take_picture(self, grant: Grant) -> tuple[bytes, Frame]:
        """Return a filtered JPEG of the next frame, at most 640 px and 36 KiB, and the frame. Raise as `ask` does."""
        self.admit(grant)

        async def work(look: messages.ProgramLook) -> LookResult[tuple[bytes, Frame]]:
            frame = await self.questions.wait_frame()
            self.check_picture(grant)
            still = self._services.preparer.make_still
            jpeg = await run_in_pool(self._services.prepare_pool, still, frame)
            return (jpeg, frame), "", to_data_url(jpeg)

        return await self.run_look(grant, "snapshot", "", work)

    def admit(self, grant: Grant) -> None:
        """Check that a program may look now, and count the look. Raise as `ask` does, and Busy if too many of its looks wait."""
        self.count_call(grant, Scope.LOOK)
        self.check_picture(grant)
        if len(grant.looks) > MAX_WAITING:
            self._count("busy")
            raise Busy(
                f"{MAX_WAITING} earlier looks of this program still wait (limit). Wait for their answers, then ask again.",
                retry_after=2,
            )
        with self._refusals():
            self.grants.count_look(grant, time.monotonic())

    def check_picture(self, grant: Grant) -> None:
        """Check that a program may get a picture now. All code that gives a picture to a program has to call this.

        Raise Unauthorized, Forbidden if the scope `look` is missing, or PageClosed.
        """
        self.grants.allow(grant, Scope.LOOK, time.monotonic())
        self.check_page_open()

    def check_page_open(self) -> None:
        """Raise PageClosed if no page is open, except for a fixed camera."""
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
        """Run a program's request once its earlier ones have finished; send its start and end to the page. Return its result.

        `work` performs the request. Raise what `work` raises, and Unauthorized if the access ends meanwhile.
        """
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
                # The page may have closed while this look waited.
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
            # The task is done here, unless the client has disconnected.
            task.cancel()
            result = self._report_end(look, task)
        try:
            if isinstance(result, BaseException):
                raise result
            return result
        finally:
            # Break the reference cycle with a raised error, which would keep the frame in memory.
            del task, result

    def _report_end(
        self, look: messages.ProgramLook, task: asyncio.Task[LookResult[T]]
    ) -> T | BaseException:
        """Send the end of a look to the page; return its result, or its error."""
        result: T | BaseException
        state, image = "failed", None
        if not task.done() or task.cancelled():
            result, text = make_access_ended_error(), "It was stopped."
        elif (error := task.exception()) is not None:
            if not isinstance(error, QwenCameraError):
                error = Internal(
                    "An internal error occurred on the server. Ask again; if it happens again, tell the operator."
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
        """End all access, and wait for the end of all looks. Safe to call twice."""
        self._closed = True
        grants = self.grants.all()
        running = [task for grant in grants for task in grant.looks]
        for grant in grants:
            self.grants.end(grant.id)
            self._stop_work(grant)
        self._timer.cancel()
        await cancel_and_wait(running)

    async def look_once(self, program: str, question: str, seconds: float) -> wire.Response:
        """Ask a question for an integration of this server, with access for this question only. Raise as `ask` does."""
        grant, _ = self.make(program, [Scope.LOOK], seconds)
        try:
            return await self.ask(grant, ProgramQuestion(question))
        finally:
            self.end(grant.id)


def make_program_info(grant: Grant) -> messages.ProgramInfo:
    """Return the description of a grant for clients, without its token."""
    left = grant.until - time.monotonic()
    return messages.ProgramInfo(
        id=grant.id,
        name=grant.name,
        scopes=sorted(grant.scopes),
        made_at=round(grant.made_at * 1000),
        expires_at=round((time.time() + left) * 1000),
        last_used=None if grant.last_used is None else round(grant.last_used * 1000),
        looks=grant.looked,
        listening=grant.listening > 0,
    )


def get_programs(session: Session) -> SessionPrograms:
    """Return the programs of a session."""
    found = session.part("grants")
    assert isinstance(found, SessionPrograms)
    return found
