"""The webhooks to which a person lets the alerts of one session go: none, until the person says so."""

from __future__ import annotations

from server.core.alert import Alert
from server.core.errors import BadRequest
from server.features.webhooks.messages import Forward, WebhookOffer, WebhookOffers
from server.features.webhooks.webhooks import Webhooks
from server.session.part import SessionContext, SessionPart


class Forwarding(SessionPart):
    """One session's consent. It begins empty, holds for the session, and ends at once."""

    def __init__(self, context: SessionContext, webhooks: Webhooks) -> None:
        self._context = context
        self._webhooks = webhooks
        self._agreed: tuple[str, ...] = ()
        self.handlers = {Forward: self.choose}

    def choose(self, message: Forward) -> None:
        """Let alerts go to these webhooks alone, from now on. Nothing more leaves for those before.

        Raises BadRequest for an unknown one; all stays as it was.
        """
        offered = [one.name for one in self._webhooks.offered]
        if unknown := [name for name in message.webhooks if name not in offered]:
            allowed = ", ".join(offered) or "none"
            self.greet()
            raise BadRequest(
                f'"webhooks" has {unknown[0]}, which is not offered. Allowed: {allowed}.'
            )
        self._agreed = tuple(dict.fromkeys(message.webhooks))
        self._webhooks.end(self._context.id, kept=self._agreed)
        self.greet()

    def greet(self) -> None:
        """Tell the client which webhooks there are, and which of them get the alerts."""
        offers = [
            WebhookOffer(name=one.name, host=one.host, on=one.name in self._agreed)
            for one in self._webhooks.offered
        ]
        if offers:
            self._context.outbox.put(WebhookOffers(webhooks=offers))

    def alerted(self, alert: Alert) -> None:
        if self._agreed:
            self._webhooks.alert_for(alert, self._agreed)
