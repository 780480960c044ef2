"""Watches: conditions about which a person or an operator wants to be alerted.

The feature decides when to ask a model about them, what to ask, and when to alert, and sends the alerts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api


def register(api: Api) -> None:
    """Add watches to each session.

    The built-in detector looks for the objects that it knows, and a model confirms them.
    """
    from server.core.aio import run_in_pool
    from server.features.watches.detecting import register_look_counter
    from server.features.watches.messages import Ack, FalseAlarm, Unwatch, Watch, WatchSettings
    from server.features.watches.settings import WatchingSettings
    from server.features.watches.watching import WatchCounters, Watching
    from server.shared.boxes import count_overshoots
    from server.shared.services import SceneReader

    WatchCounters(api.metrics)
    register_look_counter(api.metrics)
    count_overshoots(api.metrics, 0, 0)
    settings = WatchingSettings.of(api.settings)
    scene = api.get_service(SceneReader)
    things = scene.things if scene is not None else None
    detector = (
        (lambda *of: run_in_pool(api.pools.heavy, things.check_conditions, *of))
        if things is not None
        else None
    )
    api.add_session_part(
        lambda context: Watching(
            context,
            detector=detector,
            confirm=settings.watch_confirm,
            away_seconds=settings.watch_away_seconds,
        ),
        *(Watch, Unwatch, Ack, FalseAlarm, WatchSettings),
    )
