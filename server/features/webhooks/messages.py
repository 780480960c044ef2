"""Wire messages about webhooks."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, Field

from server.core.messages import ClientMessage, Identifier, ServerMessage


class Forward(ClientMessage):
    """Let alerts of this session go to these webhooks alone, until another `forward` or the
    session's end.

    Nothing more leaves for those that were named before.
    """

    type: Literal["forward"]
    # Names out of the last `webhooks`; empty: alerts go to nobody any more.
    webhooks: tuple[Identifier, ...] = Field(max_length=8)


class WebhookOffer(BaseModel):
    """A webhook of the operator's."""

    # Its name
    name: str
    # Its host, with the port if one is named
    host: str
    # Alerts of this session go there.
    on: bool


class WebhookOffers(ServerMessage):
    """The webhooks to which the person may let alerts go, all off in a new session: after each
    `ready` and `forward`, where there are some.
    """

    type: Literal["webhooks"] = "webhooks"
    newest_only: ClassVar[bool] = True
    # In the operator's order
    webhooks: list[WebhookOffer]
