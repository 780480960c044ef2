"""A look that somebody ordered over MQTT: the way of any program's question, with its consent."""

from __future__ import annotations

from dataclasses import dataclass

from server.core.errors import QwenCameraError
from server.grants.grants import Scope
from server.session.programs.program_question import ProgramQuestion
from server.session.session import Session

# The names that the camera's own page shows: of a camera of the house, and of a visitor's
PROGRAM, HOME = "MQTT", "Home Assistant"
QUESTION = "What does the camera show now? Answer in one or two short sentences."
# Seconds of the access, which ends with the answer
ACCESS_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Looked:
    """The end of a look: a model's words, or our own about why there are none."""

    text: str
    ok: bool


async def look(session: Session, program: str = PROGRAM) -> Looked:
    """Ask about the camera's next frame, with an access that lives as long as the question."""
    try:
        grant, _ = session.programs.make(program, [Scope.LOOK], ACCESS_SECONDS)
    except QwenCameraError as error:
        return Looked(error.visitor_message, False)
    try:
        answer = await session.programs.ask(grant, ProgramQuestion(QUESTION))
    except QwenCameraError as error:
        return Looked(error.visitor_message, False)
    finally:
        session.programs.end(grant.id)
    return Looked(answer.text, True)
