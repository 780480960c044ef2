"""Check of the TURN relays, with their states in /health and the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api


def register(api: Api) -> None:
    """Check the relays periodically."""
    from server.core.aio import TaskSet
    from server.features.relays.watch import RelayWatch

    settings, gathering = api.settings, api.services.webrtc.gathering
    secret = settings.turn_secret.get_secret_value()
    relays = RelayWatch(settings.turn_urls, secret, settings.turn_ttl, gathering)
    tasks = TaskSet("relays")
    api.metrics.gauge(
        "relays",
        "TURN relays by the result of their last check",
        lambda: {"working": relays.count_working(), "failing": relays.count_failing()},
        "state",
    )
    api.add_health_facts(lambda: {"turn": relays.report()})

    def start() -> None:
        tasks.spawn(relays.run(), name="relays")

    api.run("relays", start=start, close=tasks.close)
