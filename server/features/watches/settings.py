"""The settings of watches."""

from __future__ import annotations

from server.core.feature_settings import FeatureSettings, flag


class WatchingSettings(FeatureSettings):
    watch_by_detector: bool = flag(False)
    watch_confirm: bool = flag(False)


SETTINGS = WatchingSettings
