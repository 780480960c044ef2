"""The settings of watches."""

from __future__ import annotations

from server.core.settings import FeatureSettings, flag, integer


class WatchingSettings(FeatureSettings):
    """Settings of watches."""

    watch_confirm: bool = flag(False)
    watch_away_seconds: int = integer(3600, 0, 86_400)


SETTINGS = WatchingSettings
