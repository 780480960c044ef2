"""Wire messages about webhooks."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, Field

from server.core.messages.base import ClientMessage, Identifier, ServerMessage


class Forward(ClientMessage):
    """Let alerts of this session go to these webhooks alone (`WebhookOffers`); none: to nobody any more."""

    type: Literal["forward"]
    webhooks: tuple[Identifier, ...] = Field(max_length=8)


class WebhookOffer(BaseModel):
    name: str
    # Its host, with the port if one is named
    host: str
    # Alerts of this session go there.
    on: bool


class WebhookOffers(ServerMessage):
    """The webhooks to which the person may let alerts go; sent where there are some."""

    type: Literal["webhooks"] = "webhooks"
    newest_only: ClassVar[bool] = True
    webhooks: list[WebhookOffer]
