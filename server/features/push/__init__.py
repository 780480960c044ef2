"""Web Push: alerts to a visitor's own device, also while its screen is locked. They carry no picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api


def register(api: Api) -> None:
    """Offer to send the alerts of a session to its visitor through the browser's push service."""
    from server.features.push.messages import Subscribe
    from server.features.push.push import Pushing, PushSender
    from server.features.push.settings import PushSettings

    settings = PushSettings.of(api.settings)
    sender = PushSender(settings.core("jwt_secret_key").get_secret_value(), settings.push_contact)
    api.run("push", close=sender.close)
    api.on_session_ended(sender.end)
    hosts = settings.push_services
    api.add_session_part(lambda context: Pushing(context, sender, hosts), Subscribe)
