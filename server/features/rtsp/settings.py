"""The settings of fixed cameras."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from server.core.feature_settings import FeatureSettings, path
from server.core.tls_files import unreadable
from server.features.rtsp.camera_list import StandingCamera, read_list


class RtspSettings(FeatureSettings):
    standing_cameras: Path | None = path("a TOML file with cameras, as docs/standing.md shows")

    def problems(self) -> Iterable[str]:
        return unreadable(
            "STANDING_CAMERAS",
            self.standing_cameras,
            read_list,
            "docs/standing.md shows such a file.",
        )

    def listed_cameras(self) -> tuple[StandingCamera, ...]:
        return read_list(self.standing_cameras) if self.standing_cameras is not None else ()


SETTINGS = RtspSettings
