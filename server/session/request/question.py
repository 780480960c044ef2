"""A question as it is asked."""

from __future__ import annotations

from dataclasses import dataclass

from server.core.frames import Detail, Part, QuestionMode
from server.media.camera import QuestionTime
from server.models import prompts
from server.models.routing import Span
from server.session.request.parts import Spoken


@dataclass(frozen=True, slots=True)
class Question:
    """The content of a question, made once from its message."""

    id: str
    text: str
    asked: QuestionTime
    # The way to find the answer
    route: QuestionMode = QuestionMode.NOW
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
