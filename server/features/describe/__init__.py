"""The running description: asks by itself when the scene changes, and says what is new."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api


def register(api: Api) -> None:
    """Describe in sessions that want it."""
    from server.features.describe.live_description import LiveDescription, counter, looks_counter
    from server.features.describe.messages import DescribeSettings

    counter(api.metrics)
    looks_counter(api.metrics)
    api.session_part(LiveDescription, DescribeSettings)
