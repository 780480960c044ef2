"""Wire messages about webhooks."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, Field

from server.core.messages import ClientMessage, Identifier, ServerMessage


class Forward(ClientMessage):
    """Send the alerts of this session to these webhooks only, until another `forward` or the
    session's end.

    Alerts that still wait for webhooks chosen before are dropped.
    """

    type: Literal["forward"]
    # Names from the last `webhooks` message; empty: send alerts to no webhook.
    webhooks: tuple[Identifier, ...] = Field(max_length=8)


class WebhookOffer(BaseModel):
    """A webhook that the operator offers to visitors."""

    # Its name
    name: str
    # Its host, with the port if one is named
    host: str
    # True: alerts of this session go there.
    on: bool


class WebhookOffers(ServerMessage):
    """The webhooks that the person may choose, all off in a new session. Sent after each `ready` and
    `forward` if there are any.
    """

    type: Literal["webhooks"] = "webhooks"
    newest_only: ClassVar[bool] = True
    # In the operator's order
    webhooks: list[WebhookOffer]
