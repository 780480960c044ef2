"""The running description: describes the scene, and what has changed since, without further questions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api


def register(api: Api) -> None:
    """Add the running description to each session, with its counters."""
    from server.features.describe.live_description import (
        LiveDescription,
        get_counter,
        get_looks_counter,
    )
    from server.features.describe.messages import DescribeSettings

    get_counter(api.metrics)
    get_looks_counter(api.metrics)
    api.add_session_part(LiveDescription, DescribeSettings)
