"""The settings of watches."""

from __future__ import annotations

from server.core.settings import FeatureSettings, flag


class WatchingSettings(FeatureSettings):
    """Settings of watches."""

    watch_confirm: bool = flag(False)


SETTINGS = WatchingSettings
