"""Glances between two looks: a clear change is looked at early, noise and light are not."""

from __future__ import annotations

import dataclasses
import itertools

import av
import numpy as np
import pytest

from server.media.picture.planes import BufferPool
from server.shared.attention.attention import Attention, EarlyCheck
from server.shared.attention.gate import Why
from tests.shared.attention.clip_classes import object_clip, still_clips
from tests.shared.attention.watching import watch
from tests.support.rooms import make_frame


def drawn(seed: int = 1, *, mark: int = 0, light: int = 0) -> av.VideoFrame:
    """A noisy picture of 1280x720. `mark`: side of a thing in it; `light`: grey levels more."""
    rng = np.random.default_rng(seed)
    planes = np.full((1080, 1280), 128, np.int16)
    planes[:720] = 100 + light + rng.normal(0, 5, (720, 1280))
    if mark:
        planes[200 : 200 + mark, 300 : 300 + mark] += 30
    return av.VideoFrame.from_ndarray(np.clip(planes, 0, 255).astype(np.uint8), format="yuv420p")


def test_a_thing_is_noticed_and_noise_and_light_are_not() -> None:
    """Two in a hundred of the picture are enough."""
    glance = EarlyCheck()
    assert not glance.differs(drawn(), 0.0)
    glance.looked(drawn(), 0.0)
    assert not glance.differs(drawn(2), 0.1)
    assert not glance.differs(drawn(3, light=20), 0.2)
    assert glance.differs(drawn(4, mark=140), 0.3)


def test_what_it_noticed_once_is_noticed_no_more() -> None:
    """The early look was about this very frame."""
    glance = EarlyCheck()
    glance.looked(drawn(), 0.0)
    assert glance.differs(drawn(2, mark=140), 0.1)
    assert not glance.differs(drawn(3, mark=140), 0.4)
    assert glance.differs(drawn(4), 0.7)


def test_early_looks_are_few_where_everything_moves() -> None:
    """Three at once, then one in two seconds: on average a look comes at most every 0.4 s."""
    glance = EarlyCheck()
    glance.looked(drawn(), 0.0)
    frames = [drawn(1, mark=140), drawn(2)]
    found = [
        number / 10 for number in range(1, 101) if glance.differs(frames[number % 2], number / 10)
    ]
    assert len([at for at in found if at <= 1]) == 3
    assert len(found) == 3 + 4
    assert all(later - before >= 0.15 for before, later in itertools.pairwise(found))


def test_what_always_moves_is_learned() -> None:
    """Looks teach it how much each part usually differs."""
    glance = EarlyCheck()
    for number in range(20):
        glance.looked(drawn(number, mark=140 * (number % 2)), number / 2)
    assert not glance.differs(drawn(1, mark=0), 9.6)


def test_an_early_look_finds_what_is_clear_and_teaches_the_gate_nothing() -> None:
    """The next look comes when it would have come without it, and compares with the same frame."""
    attention = Attention(BufferPool())
    assert attention.glance(make_frame(scene=2, captured=0.1)) is None, "nothing to compare with"
    first = attention.look(make_frame(scene=1, captured=0.2))
    assert first is not None
    attention.asked(first, 0.2)
    attention.answered(0.2, same=False)
    assert attention.glance(make_frame(scene=1, captured=0.3)) is None
    same = attention.look(make_frame(scene=1, captured=0.7))
    assert same is not None
    assert same.why is Why.SAME
    early = attention.glance(make_frame(scene=1, mark=True, captured=0.8))
    assert early is not None
    assert early.why in (Why.OBJECT, Why.SCENE)
    assert attention.look(make_frame(scene=1, captured=0.9)) is None
    again = attention.look(make_frame(scene=1, captured=1.1))
    assert again is not None
    assert again.why is Why.SAME
    attention.forget()
    assert attention.glance(make_frame(scene=1, mark=True, captured=1.2)) is None


@pytest.mark.slow
def test_still_clips_do_not_wake_by_early_looks() -> None:
    """Noise of a sensor and of the codec, at ten frames a second."""
    clip = next(clip for clip in still_clips(12.0, (1,), 10) if clip.name == "noise 5")
    assert watch(clip, glances=True).wakes == []


@pytest.mark.slow
def test_objects_are_found_earlier() -> None:
    """With early looks the same things are seen, and none later than without."""
    made = object_clip(0.05, 40, 1)
    # Begins between two looks, which come every 0.4 s
    late = tuple(dataclasses.replace(event, at=event.at + 0.1) for event in made.events)
    clip = dataclasses.replace(
        made, fps=10, events=late, draw=lambda at, rng, canvas: made.draw(at - 0.1, rng, canvas)
    )

    def delays(glances: bool) -> list[float]:
        watched = watch(clip, glances=glances)
        assert watched.missed == []
        first = [
            min(at for at, _ in watched.wakes if event.at <= at <= event.until)
            for event in clip.events
        ]
        return [at - event.at for at, event in zip(first, clip.events, strict=True)]

    assert max(delays(True)) <= 0.11
    assert max(delays(False)) > 0.11
