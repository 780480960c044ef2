"""Looking at a frame now and then."""

from __future__ import annotations

import uuid

import av
import numpy as np

from server.core.frames import Frame
from server.media.camera import ANALYSIS_SECONDS, SceneWatch


def frame(at: float, level: int) -> Frame:
    """An even picture, captured `at`."""
    image = av.VideoFrame.from_ndarray(np.full((1080, 1280), level, np.uint8), format="yuv420p")
    return Frame(
        id=uuid.uuid4().hex,
        image=image,
        width=1280,
        height=720,
        captured=at,
        captured_sender=None,
        arrived=at,
        rtp_time=0,
    )


def test_looks_are_rare() -> None:
    """At most one a second of capture time, and again when that goes back."""
    watch = SceneWatch()
    assert watch.due(5.0)
    watch.analyse(frame(5.0, 128))
    assert not watch.due(5.0 + ANALYSIS_SECONDS * 0.9)
    assert watch.due(5.0 + ANALYSIS_SECONDS)
    assert watch.due(1.0)


def test_hints_are_told_when_they_change() -> None:
    """The first look is news, one like it is none, the dark is; forgetting begins anew."""
    watch = SceneWatch()
    hinted = [watch.analyse(frame(*one))[1] for one in ((1.0, 128), (2.0, 128), (3.0, 2))]
    assert hinted == [True, False, True]
    assert watch.scene is not None
    assert watch.scene.dark
    assert watch.sharpness == watch.scene.sharpness
    watch.forget()
    assert watch.sharpness == 0.0
    assert watch.due(3.0)
