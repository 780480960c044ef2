"""Wire messages about Web Push."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from server.core.messages import ClientMessage, ServerMessage


class Subscribe(ClientMessage):
    """Send the alerts of this session to the browser's push service until the session's end; end it
    with an empty endpoint.
    """

    type: Literal["push"]
    # PushSubscription.endpoint
    endpoint: str = Field(default="", max_length=1000)
    # Its public key: an uncompressed point of P-256, as base64url
    p256dh: str = Field(default="", max_length=100)
    # Its secret: 16 bytes, as base64url
    auth: str = Field(default="", max_length=40)


class PushState(ServerMessage):
    """The state of the session's push subscription. Sent after each `ready`, after `push`, and when the
    subscription has expired.
    """

    type: Literal["push"] = "push"
    newest_only: ClassVar[bool] = True
    # The server's public key for `PushManager.subscribe`, as base64url
    key: str
    # True: alerts of this session are sent.
    on: bool
    # The push service's host; empty if `on` is false
    host: str = ""
