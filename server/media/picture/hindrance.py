"""Find what keeps anybody from seeing something in a picture, and what helps. Pure."""

from __future__ import annotations

from enum import StrEnum

from server.core.frames import Frame, Scene
from server.media.picture.luma import SceneReader


class Hindrance(StrEnum):
    """A reason why a picture shows little, the worst first. With the first one no model is asked: it could only invent."""

    # No light and no edge at all: covered, or in the dark
    BLACK = "black"
    DARK = "dark"
    BLURRED = "blurred"


# For people: what it is, and what to do
WORDS = {
    Hindrance.BLACK: "The picture is black: the camera is covered, or there is no light. Uncover it or switch on a light.",
    Hindrance.DARK: "The picture is dark. Switch on a light, or the torch.",
    Hindrance.BLURRED: "The picture is blurred. Hold still, or move back a little.",
}


def hindrance(scene: Scene | None) -> Hindrance | None:
    """Return the worst hindrance of a scene; None without one, and for an unknown scene."""
    if scene is None:
        return None
    if scene.black:
        return Hindrance.BLACK
    if scene.dark:
        return Hindrance.DARK
    return Hindrance.BLURRED if scene.blurred else None


def is_black(scene: Scene | None, frame: Frame) -> bool:
    """Find whether nothing can be seen in a frame.

    `scene`: of a picture up to a second older; only a black one has the frame itself read.
    """
    if hindrance(scene) is not Hindrance.BLACK:
        return False
    return hindrance(SceneReader().read(frame.image, frame.captured)) is Hindrance.BLACK
