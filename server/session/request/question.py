"""A question, and how far its answer is: all its stages and the ways between them are in this file."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from server.core import messages as wire
from server.core.frames import Detail, Part, Route
from server.media.camera import Asked
from server.models import prompts
from server.models.routing import Span
from server.models.scheduler.job import Job
from server.session.request.parts import Spoken, View

if TYPE_CHECKING:
    from server.session.request.answers import AnswerPublisher


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody asks."""

    id: str
    text: str
    asked: Asked
    # The way to find the answer
    route: Route = Route.NOW
    detail: Detail = Detail.AUTO
    # The client's id and time of it: a message with the same ones is a repetition. None unless it has both.
    key: tuple[str, float] | None = None
    # None for a typed question
    spoken: Spoken | None = None
    # Its words were corrected: its sound counts no more.
    corrected: bool = False
    # The part of the picture that it is about; None: all of it
    part: Part | None = None
    # The model has chosen `part`, not the person.
    closer: bool = False
    # It sees nothing of the past from before this time, monotonic seconds.
    since: float = 0.0
    # The time of the past that it is about; None: its words decide
    span: Span | None = None

    @property
    def words(self) -> str:
        """The question's words for the history; a spoken one may have none."""
        if self.spoken is not None and not self.text.strip():
            return prompts.SPOKEN_TURN
        return self.text


class Stage(StrEnum):
    """How far the answer to a question is."""

    # It waits for its frame, or that is prepared: no engine has it.
    FRAME = "frame"
    # It waits in the queue, or an engine answers.
    ENGINE = "engine"
    # Several looks make its answer, or what comes behind it.
    LOOKS = "looks"
    # It is asked once more, and that request is not in the queue yet.
    AGAIN = "again"
    ENDED = "ended"


class Step(StrEnum):
    """What happens to a question."""

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
    # An engine may end it before `submit` returns.
    (Stage.ENDED, Step.SUBMITTED): Stage.ENDED,
    (Stage.ENDED, Step.END): Stage.ENDED,
}


class Looks(Protocol):
    """An answer that is made of several looks."""

    def stop(self, reason: str) -> None:
        """End it with what there is so far."""
        ...


@dataclass(slots=True, eq=False)
class Asking:
    """A question on its way to its answer. Its owner is the service that asks it.

    Raises KeyError for a step that its stage does not have.
    """

    question: Question
    stage: Stage = Stage.FRAME
    # Waits for the frame and prepares it
    task: asyncio.Task[None] | None = None
    # In `ENGINE`, the newest
    job: Job | None = None
    # In `LOOKS`
    looks: Looks | None = None
    # Its sink; None before there is a frame
    publisher: AnswerPublisher | None = None
    # What it is about, once there is a frame; several for several cameras. Those of an ended one that was spoken stay: its
    # words may be corrected.
    views: tuple[View, ...] = ()
    # Its turn of the history; None without one
    turn: int | None = None
    # The part of its answer that was heard before an interruption; None without one.
    heard: str | None = None
    # The tools that its answer has called; None before the model had its chance
    calls: list[wire.CalledTool] | None = None
    # The same in the history; "" for none
    note: str = ""
    # Stopped because its client was gone, so its end is not the answer.
    abandoned: bool = field(default=False)

    @property
    def id(self) -> str:
        return self.question.id

    def submitted(self, job: Job) -> None:
        """Note the job of its request."""
        self._step(Step.SUBMITTED)
        self.job = None if self.stage is Stage.ENDED else job

    def take_looks(self, looks: Looks) -> None:
        """Have several looks make the answer; they end it."""
        self._step(Step.LOOKS)
        self.looks = looks

    def called(self, question: Question) -> None:
        """Ask once more, what the model's call of a tool has made of it."""
        self._step(Step.CALLED)
        self.question, self.job = question, None

    def end(self) -> None:
        """Note the end, and drop what holds pictures and sound: a spoken one keeps its views, to correct its words."""
        self._step(Step.END)
        # One that was cancelled holds the frames of its code, with the sound.
        self.task = self.job = self.looks = None
        spoken = self.question.spoken
        if spoken is None:
            self.views = ()
        else:
            self.question = replace(self.question, spoken=replace(spoken, sound=None))

    def _step(self, step: Step) -> None:
        self.stage = STAGES[self.stage, step]
