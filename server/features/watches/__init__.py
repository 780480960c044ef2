"""Conditions that a person or an operator has watched: what to ask the model about them and when, the
rule that decides when one alerts, and the alerts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api


def register(api: Api) -> None:
    """Watch for conditions in each session."""
    from server.features.watches.messages import Ack, FalseAlarm, Unwatch, Watch, WatchSettings
    from server.features.watches.watching import WatchCounters, Watching

    WatchCounters(api.metrics)
    api.session_part(Watching, Watch, Unwatch, Ack, FalseAlarm, WatchSettings)
