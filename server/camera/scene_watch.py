"""What a camera's scene looks like, from a look at one of its sampled frames now and then. Pure."""

from __future__ import annotations

import math

from server.core.frames import Frame, Scene
from server.vision.luma import SceneReader

# A look takes 0.4 ms, so frames are looked at no more often than this (seconds of capture time).
LOOK_SECONDS = 1.0


class SceneWatch:
    """Keeps the small luma pictures that motion is measured with, and what was seen last."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Another stream is not compared with this one, and what was seen goes with it."""
        self._luma = SceneReader()
        # Capture time of the frame that was looked at last.
        self._looked = -math.inf
        # None before the first look.
        self.scene: Scene | None = None

    @property
    def sharpness(self) -> float:
        """Of the last look; 0 before the first."""
        return self.scene.sharpness if self.scene is not None else 0.0

    def due(self, captured: float) -> bool:
        """Whether a frame captured then is to be looked at."""
        return abs(captured - self._looked) >= LOOK_SECONDS

    def look(self, frame: Frame) -> bool:
        """Look at a frame. Whether a hint (dark, blurred) came or went."""
        before = self.scene
        self._looked = frame.captured
        self.scene = scene = self._luma.read(frame.image, frame.captured)
        return before is None or (before.dark, before.blurred) != (scene.dark, scene.blurred)
