"""Webhooks: sends the alerts of watches to other programs, signed, with retries.

`shared/attention/` and `features/watches/` decide when to alert.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api


def register(api: Api) -> None:
    """Send the alerts of fixed cameras, and of visitors who agree, to the receivers of WEBHOOKS."""
    from server.features.webhooks.messages import Forward
    from server.features.webhooks.settings import WebhookSettings
    from server.features.webhooks.webhooks import Forwarding, Webhooks, add_routes

    listed = WebhookSettings.of(api.settings).read_webhook_list()
    webhooks = Webhooks(listed, api.metrics, new_id=api.new_session_id)
    api.run("webhooks", start=webhooks.start, close=webhooks.close)
    api.on_alert(webhooks.on_alert)
    api.on_session_ended(webhooks.end)
    api.add_session_part(lambda context: Forwarding(context, webhooks), Forward)
    add_routes(api, webhooks)
    api.provide(Webhooks, webhooks)
