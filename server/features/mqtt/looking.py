"""A look that somebody ordered over MQTT: the way of any program's question, with its consent."""

from __future__ import annotations

from dataclasses import dataclass

from server.core.errors import QwenCameraError
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
    programs = session.part("grants")
    if programs is None:
        return Looked("The feature grants is off, so nobody may look.", False)
    try:
        answer = await programs.look_once(program, QUESTION, ACCESS_SECONDS)
    except QwenCameraError as error:
        return Looked(error.visitor_message, False)
    return Looked(answer.text, True)
