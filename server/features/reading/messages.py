"""The wire message about a text that is read on."""

from __future__ import annotations

from typing import ClassVar, Literal

from server.core.messages import ServerMessage
from server.shared.aim import Hint


class ReadingState(ServerMessage):
    """A hint that helps to read a text on, or that the text is read: the route `read`."""

    type: Literal["reading"] = "reading"
    newest_only: ClassVar[bool] = True
    # The question's, which goes on
    id: str
    # What helps to read on, such as `lower_edge`: the text goes on there.
    hint: Hint | None = None
    # Nothing new has come, so the text is read; the `response` follows.
    ended: bool = False
