"""Wire messages about Home Assistant."""

from __future__ import annotations

from typing import ClassVar, Literal

from server.core.messages import ClientMessage, ServerMessage


class SetHomeAssistant(ClientMessage):
    """Make this camera a device of Home Assistant, or end that."""

    type: Literal["home_assistant"]
    # True: it is a device of it; false: it is not, or no more.
    on: bool


class HomeAssistant(ServerMessage):
    """Home Assistant is there, by a broker of the operator's: after each `ready` and
    `home_assistant`, where it is offered to visitors.
    """

    type: Literal["home_assistant"] = "home_assistant"
    newest_only: ClassVar[bool] = True
    # The broker's host and port
    host: str
    # This camera is a device there.
    on: bool
