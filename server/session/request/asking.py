"""The stages of a question from its frame to its end. All of them, and the ways between them, are in this file."""

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
    """A stage of a question on its way to its answer."""

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
    """An event in the life of a question."""

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
    # In `ENGINE` alone, the newest
    job: Job | None = None
    # In `LOOKS` alone
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
    abandoned: bool = False

    @property
    def id(self) -> str:
        return self.question.id

    def on_submitted(self, job: Job) -> None:
        """Note the job of its request."""
        self._step(Step.SUBMITTED)
        self.job = None if self.stage is Stage.ENDED else job

    def take_looks(self, looks: Looks) -> None:
        """Hand the answer to several looks, which end it."""
        self._step(Step.LOOKS)
        self.job, self.looks = None, looks

    def on_called(self, question: Question) -> None:
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
