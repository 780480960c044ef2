"""The immutable content of a question."""

from __future__ import annotations

from dataclasses import dataclass

from server.core.frames import Detail, Part, QuestionMode
from server.media.camera import QuestionTime
from server.models import prompts
from server.models.routing import Span
from server.session.request.parts import Spoken


@dataclass(frozen=True, slots=True)
class Question:
    """A question, created once from its message."""

    id: str
    text: str
    asked: QuestionTime
    # The route to the answer
    route: QuestionMode = QuestionMode.NOW
    detail: Detail = Detail.AUTO
    # Id and time of the client's message, which a repeated message shares; None unless it has both
    key: tuple[str, float] | None = None
    # Data of a spoken question; None for a typed question
    spoken: Spoken | None = None
    # True after a correction, which replaces the sound
    corrected: bool = False
    # The part of the picture that the question is about; None: the whole picture
    part: Part | None = None
    # True if the model chose `part`, not the person
    closer: bool = False
    # Pictures before this time are excluded, monotonic seconds
    since: float = 0.0
    # The span of the past that the question is about; None: determined by its words
    span: Span | None = None

    @property
    def words(self) -> str:
        """The question's text for the history; a placeholder for a spoken question without text."""
        if self.spoken is not None and not self.text.strip():
            return prompts.SPOKEN_TURN
        return self.text
