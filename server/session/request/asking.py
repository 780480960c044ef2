"""The state machine of a question, from its frame to its end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from server.core import messages as wire
from server.models.scheduler.job import Job
from server.session.request.answers import AnswerPublisher
from server.session.request.parts import View
from server.session.request.question import Question


class Stage(StrEnum):
    """The stage of a question."""

    # Waits for its frame or its preparation
    FRAME = "frame"
    # Queued, or being answered by an engine
    ENGINE = "engine"
    # Being answered with several requests
    LOOKS = "looks"
    # Asked again, with the new request not queued yet
    AGAIN = "again"
    ENDED = "ended"


class Step(StrEnum):
    """An event that changes the stage of a question."""

    SUBMITTED = "submitted"
    LOOKS = "looks"
    CALLED = "called"
    END = "end"


STAGES: dict[tuple[Stage, Step], Stage] = {
    (Stage.FRAME, Step.SUBMITTED): Stage.ENGINE,
    (Stage.FRAME, Step.LOOKS): Stage.LOOKS,
    (Stage.FRAME, Step.END): Stage.ENDED,
    # A second look
    (Stage.ENGINE, Step.SUBMITTED): Stage.ENGINE,
    (Stage.ENGINE, Step.LOOKS): Stage.LOOKS,
    (Stage.ENGINE, Step.CALLED): Stage.AGAIN,
    (Stage.ENGINE, Step.END): Stage.ENDED,
    (Stage.LOOKS, Step.END): Stage.ENDED,
    (Stage.AGAIN, Step.SUBMITTED): Stage.ENGINE,
    (Stage.AGAIN, Step.LOOKS): Stage.LOOKS,
    (Stage.AGAIN, Step.END): Stage.ENDED,
    # An engine may end a question before `submit` returns.
    (Stage.ENDED, Step.SUBMITTED): Stage.ENDED,
    (Stage.ENDED, Step.END): Stage.ENDED,
}


class Looks(Protocol):
    """An answer that consists of several requests."""

    def stop(self, reason: str) -> None:
        """End the answer with the results so far."""
        ...


@dataclass(slots=True, eq=False)
class Asking:
    """A question being answered, owned by its service. Raises KeyError for an invalid step."""

    question: Question
    stage: Stage = Stage.FRAME
    # The task that waits for the frame and prepares it
    task: asyncio.Task[None] | None = None
    # The newest job; only in `ENGINE`
    job: Job | None = None
    # Only in `LOOKS`
    looks: Looks | None = None
    # Publisher of the answer; None before the frame is available
    publisher: AnswerPublisher | None = None
    # The views that the question is about, once there is a frame; several for several cameras. A spoken question keeps
    # them after its end, for corrections.
    views: tuple[View, ...] = ()
    # Number of its turn in the history; None if it has none
    turn: int | None = None
    # The part of the answer that was played before an interruption; None if it was not interrupted
    heard: str | None = None
    # Tool calls of the answer; None before an answer
    calls: list[wire.CalledTool] | None = None
    # The tool calls as a note for the history; "" if there are none
    note: str = ""
    # Cancelled because the client disconnected, so its end is not an answer
    abandoned: bool = False

    @property
    def id(self) -> str:
        return self.question.id

    def on_submitted(self, job: Job) -> None:
        """Store the job of the request."""
        self._step(Step.SUBMITTED)
        self.job = None if self.stage is Stage.ENDED else job

    def take_looks(self, looks: Looks) -> None:
        """Continue with several requests, which end the answer."""
        self._step(Step.LOOKS)
        self.job, self.looks = None, looks

    def on_called(self, question: Question) -> None:
        """Ask again, with the question from a tool call."""
        self._step(Step.CALLED)
        self.question, self.job = question, None

    def end(self) -> None:
        """End the question, and release pictures and sound. A spoken question keeps its views for corrections."""
        self._step(Step.END)
        # A cancelled task references its stack frames, and with them the sound.
        self.task = self.job = self.looks = None
        spoken = self.question.spoken
        if spoken is None:
            self.views = ()
        else:
            self.question = replace(self.question, spoken=replace(spoken, sound=None))

    def _step(self, step: Step) -> None:
        self.stage = STAGES[self.stage, step]
