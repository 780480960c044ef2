"""The settings of the sample."""

from __future__ import annotations

from server.core.feature_settings import FeatureSettings
from server.core.setting_fields import whole


class SampleSettings(FeatureSettings):
    sample_most_waves: int = whole(3, 1, 100, " (of a session)")


SETTINGS = SampleSettings
