"""Wire messages about reading a text."""

from __future__ import annotations

from typing import ClassVar, Literal

from server.core.messages import ServerMessage
from server.shared.aim import Hint


class ReadingState(ServerMessage):
    """The progress of reading a text on the route `read`: a hint, or its end."""

    type: Literal["reading"] = "reading"
    newest_only: ClassVar[bool] = True
    # The id of the question
    id: str
    # How to move the camera, such as `lower_edge`: the text continues at that edge. Absent: no hint
    hint: Hint | None = None
    # True: no new lines came, so the text is complete; the `response` follows.
    ended: bool = False
