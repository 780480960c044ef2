"""One microphone's checks for the end of a turn: one at a time, each with an answer in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from server.core.sound import Sound
from server.voice.turn_judge import ANSWER_SECONDS, TurnJudge


class TurnChecks:
    """Asks the model, and brings its answers back to the event loop, where all methods are called.

    Bounds of pauses that a model judges: one at a time of each, the newest pause replaces a
    waiting one; three in all, more are counted, and silence decides. A check has 8 s of sound and
    9 MB of working memory; without an answer within 0.3 s silence decides.
    """

    def __init__(self, judge: TurnJudge, answer: Callable[[int, bool | None], bool]) -> None:
        """`answer(number, complete)`: takes each answer once, None for none; returns whether it was of use."""
        self._judge = judge
        self._answer = answer
        self._running: asyncio.Future[bool] | None = None
        # The check that the turn waits for, and its time's end; None without one
        self._number: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        # Its sound, while an earlier check still runs
        self._waiting: Sound | None = None
        # The running one was counted: it took too long.
        self._counted = False

    @property
    def busy(self) -> bool:
        """True while a check runs."""
        return self._running is not None

    def ask(self, number: int, sound: Sound) -> None:
        """Make a check in place of the one before."""
        self.close()
        self._number = number
        self._timer = asyncio.get_running_loop().call_later(ANSWER_SECONDS, self._late)
        if self._running is None:
            self._begin(number, sound)
        else:
            self._waiting = sound

    def close(self) -> None:
        """Forget what was asked. A check that runs cannot be stopped; nobody waits for it."""
        if self._waiting is not None:
            self._judge.note("unused")
        self._forget()

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._number = self._timer = self._waiting = None

    def _begin(self, number: int, sound: Sound) -> None:
        check = self._judge.begin(sound.samples)
        if check is None:
            self._give_up("busy")
            return
        self._counted = False
        self._running = asyncio.wrap_future(check)
        self._running.add_done_callback(lambda done: self._done(number, done))

    def _done(self, number: int, done: asyncio.Future[bool]) -> None:
        self._running = None
        if done.cancelled():
            return  # the program ends
        error = done.exception()
        if number != self._number:
            if not self._counted:
                self._judge.note("unused" if error is None else "failed", error)
            if self._waiting is not None and self._number is not None:
                sound, self._waiting = self._waiting, None
                self._begin(self._number, sound)
        elif error is not None:
            self._give_up("failed", error)
        else:
            self._forget()
            used = self._answer(number, done.result())
            result = "complete" if done.result() else "incomplete"
            self._judge.note(result if used else "unused")

    def _late(self) -> None:
        self._counted = self._waiting is None
        self._give_up("slow")

    def _give_up(self, result: str, error: BaseException | None = None) -> None:
        """Say that there is no answer."""
        number = self._number
        self._forget()
        self._judge.note(result, error)
        if number is not None:
            self._answer(number, None)
