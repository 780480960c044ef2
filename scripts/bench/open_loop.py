"""Questions in an open loop: each is asked at its planned time, whether or not earlier ones were answered.

A session asks one question at a time, as a person does. A question that is due while all sessions
are busy waits here for the first free one. This wait is part of its latency: times are measured from
the planned arrival, never from the time at which it could be sent (leaving the wait out is called
"coordinated omission").
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidHandshake

from scripts.bench.camera_peer import AT_ONCE, CameraPeer, close_all
from scripts.bench.chat_client import Answer
from scripts.bench.http_json import HttpError
from scripts.bench.live_encoder import TICKS, LiveEncoder, Scene
from scripts.bench.processes import MeasurementError

# Questions about objects, and one about text, which uses more pixels with `--detail auto`
QUESTIONS = (
    "What do you see?",
    "What is in front of the camera?",
    "Is anything moving?",
    "Which colours are there?",
    "What does the text say?",
)


@dataclass(frozen=True, slots=True)
class PlannedQuestion:
    number: int
    # Seconds since the beginning
    at: float
    text: str


def plan_poisson(count: int, rate: float, seed: int) -> list[PlannedQuestion]:
    """Return `count` arrivals of a Poisson process of `rate` per second; the same seed gives the same arrivals."""
    rng = random.Random(seed)
    at = 0.0
    plan = []
    for number in range(count):
        at += rng.expovariate(rate)
        plan.append(PlannedQuestion(number, at, rng.choice(QUESTIONS)))
    return plan


@dataclass(slots=True)
class Sample:
    """One question. Times are seconds since the beginning of the run; None if the step was not reached."""

    number: int
    # Planned time
    planned: float
    # Time at which a session was free to ask it
    sent: float | None = None
    first_text: float | None = None
    ended: float | None = None
    # Between pieces of the answer, ms
    gaps: list[float] = field(default_factory=list)
    # An error code of the server, or timeout, connection_lost, unreachable; "" if it was answered
    error: str = ""
    # Measured by the server, ms (server/core/messages/to_client.py)
    timings: dict[str, float | None] = field(default_factory=dict)
    frame_age_ms: float | None = None
    visual_tokens: int | None = None
    prompt_tokens: int | None = None
    # Tokens as counted by the engine; the number of pieces of text if it does not count them
    completion_tokens: int | None = None

    @property
    def waited_ms(self) -> float | None:
        """Time for which it waited for a free session, ms."""
        return None if self.sent is None else (self.sent - self.planned) * 1000

    @property
    def ttft_ms(self) -> float | None:
        if self.error or self.first_text is None:
            return None
        return (self.first_text - self.planned) * 1000

    @property
    def e2el_ms(self) -> float | None:
        return None if self.error or self.ended is None else (self.ended - self.planned) * 1000

    @property
    def tpot_ms(self) -> float | None:
        """Time per output token after the first, as vLLM's benchmark defines it."""
        if self.e2el_ms is None or self.ttft_ms is None or (self.completion_tokens or 0) < 2:
            return None
        return (self.e2el_ms - self.ttft_ms) / ((self.completion_tokens or 0) - 1)

    def fill(self, answer: Answer, began: float) -> None:
        """Store the known values of an answer, complete or not. `began`: seconds since the epoch."""
        pieces = [a.at for a in answer.messages if a.message["type"] == "delta"]
        if pieces:
            self.first_text = pieces[0] - began
            self.gaps = [(b - a) * 1000 for a, b in pairwise(pieces)]
        if answer.error is not None:
            self.error = str(answer.error["code"])
        response = answer.response
        if response is None:
            return
        self.ended = answer.ended_at - began
        if response["finish_reason"] not in ("stop", "length"):
            self.error = str(response["finish_reason"])
        self.timings = response["timings"]
        frame, usage = response.get("frame") or {}, response.get("usage") or {}
        self.frame_age_ms, self.visual_tokens = frame.get("age_ms"), frame.get("visual_tokens")
        self.prompt_tokens = usage.get("prompt_tokens")
        self.completion_tokens = usage.get("completion_tokens") or len(pieces) or None


# Errors of a failed connection
LOST = (OSError, TimeoutError, EOFError, ConnectionClosed, InvalidHandshake, HttpError)
CONNECT_SECONDS = 30.0
# Maximum seconds for connecting all sessions while the server asks to wait (RATE_LIMIT_PER_MINUTE)
PATIENCE = 180.0


class ServerGone(Exception):
    """The server no longer opens sessions."""


class _Visitor:
    """A session with its camera; a lost session is replaced by a new one."""

    def __init__(self, make: Callable[[], CameraPeer]) -> None:
        self._make = make
        self.peer = make()

    async def connect(self) -> None:
        await self.peer.connect(timeout=CONNECT_SECONDS)
        await self.peer.open_socket(timeout=CONNECT_SECONDS)

    async def ensure_open(self) -> None:
        """Open the socket if it is not open; a restarted server creates a new session. Raises LOST."""
        if self.peer.ready and self.peer.close_code is None:
            return
        await self.peer.close()
        self.peer = self._make()
        await self.connect()


class OpenLoop:
    """Opens sessions, warms them up, and asks the planned questions; `samples` grows as answers end.

    With `steady`, cameras continuously send that many frames per second, from a few shared encoders, which
    is cheap for many sessions. Without it, each has its own encoder and wakes with its question, as the
    page does.
    """

    def __init__(self, url: str, args: argparse.Namespace) -> None:
        """`args`: the options of a load run."""
        self.samples: list[Sample] = []
        # Seconds since the epoch; 0 before `ask`
        self.began = 0.0
        self._url, self._args = url, args
        sessions, steady = args.sessions, args.steady
        phases = sessions if steady is None else min(sessions, max(1, round(TICKS / steady)))
        self._encoders = [
            LiveEncoder(Scene(*args.size, seed=i), rate=steady or 2.0, phase=TICKS * i // phases)
            for i in range(phases)
        ]
        self._visitors = [_Visitor(functools.partial(self._make_peer, i)) for i in range(sessions)]
        self._free: asyncio.Queue[_Visitor] = asyncio.Queue()
        # Frames dropped while cameras connected, which is normal
        self._dropped_before = 0
        # Consecutive questions for which no session could be opened
        self._unreachable = 0

    def _make_peer(self, number: int) -> CameraPeer:
        encoder = self._encoders[number % len(self._encoders)]
        wake = self._args.steady is None
        return CameraPeer(self._url, encoder, wake=wake, access_code=self._args.access_code)

    @property
    def ready(self) -> dict[str, Any]:
        """The server's `ready` message to the first session."""
        return self._visitors[0].peer.ready

    @property
    def frames_dropped(self) -> int:
        """Frames dropped while asking because the simulated cameras were too slow; above 0 the result is invalid."""
        return max(0, sum(v.peer.dropped for v in self._visitors) - self._dropped_before)

    async def open(self, tell: Callable[[str], None]) -> None:
        """Connect all sessions, waiting when the server requires it. Raises HttpError, OSError, TimeoutError."""
        limit = asyncio.Semaphore(AT_ONCE)
        end = time.monotonic() + PATIENCE

        async def open_one(visitor: _Visitor) -> None:
            while True:
                async with limit:
                    try:
                        await visitor.connect()
                        return
                    except HttpError as error:
                        if error.reply.status != 429 or time.monotonic() > end:
                            raise
                        wait = _retry_after(error)
                    await visitor.peer.drop_camera()
                tell(f"the server limits how fast sessions open: waiting {wait:.0f} s")
                await asyncio.sleep(wait)

        tasks = [asyncio.create_task(open_one(visitor)) for visitor in self._visitors]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def close(self) -> None:
        await close_all([visitor.peer for visitor in self._visitors])
        for encoder in self._encoders:
            await encoder.close()

    async def warm_up(self, each: int) -> None:
        """Ask `each` uncounted questions per session. Raises MeasurementError if none is answered."""
        answers: list[Answer] = []
        timeout = self._args.timeout

        async def warm_up_one(visitor: _Visitor) -> None:
            for _ in range(each):
                answers.append(await visitor.peer.ask("What do you see?", timeout=timeout))

        # The first frames are on their way.
        await asyncio.sleep(1)
        try:
            async with asyncio.TaskGroup() as group:
                for visitor in self._visitors:
                    group.create_task(warm_up_one(visitor))
        except* LOST as lost:
            first = lost.exceptions[0]
            raise MeasurementError(f"a session ended during the warm-up: {first}") from None
        errors = [answer.error for answer in answers if answer.error is not None]
        if errors and len(errors) == len(answers):
            raise MeasurementError(
                f"no question of the warm-up was answered: {errors[0]['code']}: {errors[0]['message']}"
            )

    async def ask(
        self, plan: Sequence[PlannedQuestion], on_end: Callable[[Sample], None] = lambda _: None
    ) -> None:
        """Ask all planned questions. Safe to cancel: `samples` contains the ended ones. Raises ServerGone."""
        for visitor in self._visitors:
            self._free.put_nowait(visitor)
        self._dropped_before = sum(visitor.peer.dropped for visitor in self._visitors)
        loop = asyncio.get_running_loop()
        start, self.began = loop.time(), time.time()
        try:
            async with asyncio.TaskGroup() as group:
                for planned in plan:
                    await asyncio.sleep(max(0.0, start + planned.at - loop.time()))
                    group.create_task(self._ask_planned(planned, on_end))
        except* ServerGone:
            raise ServerGone from None

    async def _ask_planned(
        self, planned: PlannedQuestion, on_end: Callable[[Sample], None]
    ) -> None:
        sample = Sample(planned.number, planned.at)
        # In order of arrival
        visitor = await self._free.get()
        try:
            sample.sent = self._get_time()
            await self._ask(visitor, planned, sample)
        finally:
            self._free.put_nowait(visitor)
        self.samples.append(sample)
        on_end(sample)
        if sample.error != "unreachable":
            self._unreachable = 0
        elif self._unreachable >= max(3, len(self._visitors)):
            raise ServerGone

    async def _ask(self, visitor: _Visitor, planned: PlannedQuestion, sample: Sample) -> None:
        try:
            await visitor.ensure_open()
        except LOST:
            sample.error, sample.ended = "unreachable", self._get_time()
            self._unreachable += 1
            return
        peer = visitor.peer
        answer: Answer | None = None
        try:
            answer = await peer.start(planned.text, detail=self._args.detail)
            sample.sent = answer.asked - self.began
            await peer.finish(answer, timeout=self._args.timeout)
        except TimeoutError:
            sample.error = "timeout"
            # The session's next question must not replace this one.
            with contextlib.suppress(*LOST):
                await peer.send({"type": "cancel"})
        except LOST:
            sample.error = "connection_lost"
        sample.ended = self._get_time()
        if answer is not None:
            sample.fill(answer, self.began)

    def _get_time(self) -> float:
        return time.time() - self.began


def _retry_after(error: HttpError) -> float:
    try:
        seconds = float(error.reply.headers.get("retry-after", "5"))
    except ValueError:
        seconds = 5.0
    return min(60.0, max(1.0, seconds if math.isfinite(seconds) else 5.0))
