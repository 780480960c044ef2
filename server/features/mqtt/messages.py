"""Wire messages about Home Assistant."""

from __future__ import annotations

from typing import ClassVar, Literal

from server.core.messages import ClientMessage, ServerMessage


class SetHomeAssistant(ClientMessage):
    """Make this camera a device of Home Assistant, or remove the device."""

    type: Literal["home_assistant"]
    # True: make it a device; false: remove the device
    on: bool


class HomeAssistant(ServerMessage):
    """State of Home Assistant for this camera: sent after each `ready` and `home_assistant`, if the
    operator offers it to visitors.
    """

    type: Literal["home_assistant"] = "home_assistant"
    newest_only: ClassVar[bool] = True
    # The broker's host and port
    host: str
    # True if this camera is a device there
    on: bool
