"""The recent past: keeps pictures of the last minutes while the person wants it, for questions about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.app.api import Api


def register(api: Api) -> None:
    """Add the recent past to each session, with its metrics."""
    from server.features.recall.messages import RecallSettings
    from server.features.recall.recalling import RecallLimits, RecallPart, register_counter
    from server.features.recall.settings import RecallLimitSettings
    from server.shared.services import RecallDuration

    settings = RecallLimitSettings.of(api.settings)
    limits = RecallLimits(settings.recall_seconds, int(settings.recall_megabytes * 1_000_000))
    register_counter(api.metrics)
    api.metrics.gauge(
        "recall_bytes",
        "Bytes of the pictures kept for questions about the past",
        lambda: sum(session.part("recall").size for session in api.sessions.list_visitors()),
    )
    api.add_session_part(lambda context: RecallPart(context, limits), RecallSettings)
    # Other features keep nothing longer than this duration.
    api.provide(RecallDuration, limits)
