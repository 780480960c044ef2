"""Scene measurements (dark, blurred, motion) on about one sampled frame per second. Pure."""

from __future__ import annotations

import math

from server.core.frames import Frame, Scene
from server.vision.luma import Luma, SceneReader

# Least time between two analysed frames, seconds of capture time; one analysis takes 0.4 ms.
ANALYSIS_SECONDS = 1.0


class SceneWatch:
    """Keeps the small luma pictures from which motion is measured, and the last scene.

    Bounds of small luma pictures: 8 of 160×90; the oldest is dropped, and all with the
    connection.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start anew, because frames of another stream are not comparable."""
        self._luma = SceneReader()
        # Capture time of the last analysed frame.
        self._analysed = -math.inf
        # None before the first analysis.
        self.scene: Scene | None = None

    @property
    def sharpness(self) -> float:
        """Sharpness of the last scene; 0 before the first."""
        return self.scene.sharpness if self.scene is not None else 0.0

    def due(self, captured: float) -> bool:
        """Return True when a frame captured at this time should be analysed."""
        return abs(captured - self._analysed) >= ANALYSIS_SECONDS

    def measured(self, captured: float) -> bool:
        """Return True when the last scene is of the frame captured at this time."""
        return self.scene is not None and captured == self._analysed

    def analyse(self, frame: Frame, small: Luma | None = None) -> bool:
        """Measure a frame's scene. Returns True when a hint (dark, blurred, black) appeared or disappeared.

        `small`: the frame's small luma picture, if there is one already.
        """
        before = self.scene
        self._analysed = frame.captured
        self.scene = scene = self._luma.read(frame.image, frame.captured, small)
        return before is None or _hints(before) != _hints(scene)


def _hints(scene: Scene) -> tuple[bool, bool, bool]:
    return scene.dark, scene.blurred, scene.black
