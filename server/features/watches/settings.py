"""The settings of watches."""

from __future__ import annotations

from server.core.settings import FeatureSettings, flag


class WatchingSettings(FeatureSettings):
    watch_confirm: bool = flag(False)


SETTINGS = WatchingSettings
