"""The change gate on clips through a true VP8 encoder, and its rules on drawn frames."""

from __future__ import annotations

import threading
from copy import deepcopy

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from server.shared.attention.attention import LOOK_SECONDS, WHOLE, Change, ChangeGate, Why
from server.shared.attention.planes import BufferPool
from tests.shared.attention.clip_classes import (
    color_clip,
    display_clip,
    lamp_clip,
    light_drift,
    moved_clip,
    object_clip,
    person_clip,
    scene_clip,
    shadow_clip,
    slow_clip,
    still_clips,
)
from tests.shared.attention.clips import Clip, dead_leaves
from tests.shared.attention.watching import watch
from tests.support.parts import at_night

U8 = NDArray[np.uint8]
# Seconds of each still class
STILL_SECONDS = 10.0
# Each takes seconds to draw and to encode; this one stands for the others in everyday work.
QUICK = "noise 5"
# Others are harder, or the same for longer.
AT_NIGHT = ("noise 2", "noise 10", "shake 1 px", "light drift")


@pytest.mark.parametrize(
    "clip",
    [
        pytest.param(
            clip,
            id=clip.name,
            marks=[
                *[pytest.mark.slow] * (clip.name != QUICK),
                *[pytest.mark.night] * (clip.name in AT_NIGHT),
            ],
        )
        for clip in still_clips(STILL_SECONDS, 1)
    ],
)
def test_still_scenes_do_not_wake(clip: Clip) -> None:
    """Noise, mains light, a shaking hand, focus, exposure, daylight and the codec are no change."""
    assert [(at, change.why) for at, change in watch(clip).wakes] == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, *at_night(*range(2, 10))])
def test_light_that_drifts_is_no_change(seed: int) -> None:
    """On none of ten pictures, also those with white parts that a full sensor cuts off."""
    clip = Clip("light drift", 45.0, seed, see=light_drift)
    assert [(at, change.why) for at, change in watch(clip).wakes] == []


@pytest.mark.parametrize(
    "clip",
    [
        object_clip(0.02, 25, 1),
        *at_night(
            object_clip(0.02, 40, 0), object_clip(0.05, 25, 2), object_clip(0.10, 25, 0, count=2)
        ),
        *(
            pytest.param(clip, marks=pytest.mark.slow)
            for clip in (
                *(slow_clip(1), color_clip(2), scene_clip(1), moved_clip(1), person_clip(1)),
                *(display_clip(1), lamp_clip(2)),
            )
        ),
    ],
    ids=lambda clip: clip.name,
)
def test_changes_wake(clip: Clip) -> None:
    """Objects of 2 % and contrast 25, slow ones, other colors and other scenes are all seen."""
    assert watch(clip).missed == []


def drawn(luma: U8, u: U8 | None = None) -> av.VideoFrame:
    """A frame of that luma, grey where U is not given."""
    height, width = luma.shape
    half = (height // 2, width // 2)
    u = np.full(half, 128, np.uint8) if u is None else u
    flat = np.concatenate([luma.ravel(), u.ravel(), np.full(half, 128, np.uint8).ravel()])
    return av.VideoFrame.from_ndarray(flat.reshape(-1, width), format="yuv420p")


def textured(width: int = 1280, height: int = 720) -> U8:
    return np.ascontiguousarray(cv2.resize(dead_leaves(5).y, (width, height))).astype(np.uint8)


def with_box(luma: U8, box: tuple[int, int, int, int], by: int = 40) -> U8:
    """Brighter within left, top, right, bottom."""
    left, top, right, bottom = box
    luma = luma.copy()
    part = luma[top:bottom, left:right]
    part[:] = np.clip(part.astype(np.int16) + by, 0, 255)
    return luma


def answered(image: av.VideoFrame, *, sensitivity: float = 1.0) -> ChangeGate:
    """A gate whose last answer was about this frame, at 0 s."""
    gate = ChangeGate(BufferPool(), sensitivity=sensitivity)
    assert gate.look(image, 0.0).why is Why.FIRST
    gate.set_reference(deepcopy(gate.seen))
    return gate


def looks(gate: ChangeGate, image: av.VideoFrame, first: int, count: int) -> list[Change]:
    """One every half second."""
    return [gate.look(image, (first + number) / 2) for number in range(count)]


def test_first_look_is_a_change() -> None:
    """Without a reference all of it is new, again after another stream began."""
    image = drawn(textured())
    gate = ChangeGate(BufferPool())
    assert gate.look(image, 0.0) == Change(Why.FIRST, 1.0, WHOLE, 0.0)
    gate.set_reference(deepcopy(gate.seen))
    assert not gate.look(image, 0.5).changed
    gate.forget()
    assert gate.look(image, 1.0).why is Why.FIRST


def test_looks_are_rare() -> None:
    """At most one every 0.4 s of capture time, and again when that goes back."""
    gate = ChangeGate(BufferPool())
    assert gate.due(7.0)
    gate.look(drawn(textured()), 7.0)
    assert not gate.due(7.0 + LOOK_SECONDS * 0.9)
    assert gate.due(7.0 + LOOK_SECONDS)
    assert gate.due(3.0)


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((1280, 720), (320, 180, 640, 360)),
        ((720, 1280), (90, 640, 270, 960)),
        ((640, 480), (320, 240, 480, 360)),
        ((1920, 1080), (960, 270, 1440, 540)),
        ((1279, 719), (320, 180, 640, 360)),
    ],
    ids=str,
)
def test_region_is_where_it_happened(size: tuple[int, int], box: tuple[int, int, int, int]) -> None:
    """Whatever shape the camera's picture has, the box names the place within a few blocks."""
    luma = textured(*size)
    if size[0] % 2:
        luma = textured(size[0] + 1, size[1] + 1)
    gate = answered(drawn(luma))
    looks(gate, drawn(luma), 1, 3)
    change = gate.look(drawn(with_box(luma, box)), 2.0)
    assert change.why is Why.OBJECT
    assert change.value >= 1
    region = change.region
    assert region is not None
    height, width = luma.shape
    expected = (box[0] / width, box[1] / height, box[2] / width, box[3] / height)
    assert region.edges == pytest.approx(expected, abs=0.05)


def test_region_follows_a_moved_camera() -> None:
    """It lies in the frame of the look, not in the one that was answered."""
    canvas = dead_leaves(5).y
    gate = answered(drawn(np.ascontiguousarray(canvas[40:760, 64:1344])))
    moved = with_box(np.ascontiguousarray(canvas[40:760, 40:1320]), (640, 180, 960, 360))
    change = gate.look(drawn(moved), 0.5)
    assert change.changed
    assert change.region is not None
    assert change.region.x1 == pytest.approx(0.5, abs=0.03)
    assert change.region.x2 == pytest.approx(0.75, abs=0.03)


def test_weak_changes_need_two_looks() -> None:
    """One is an accident; the same twice is a change, and once more after another answer."""
    luma = textured()
    weak = drawn(with_box(luma, (600, 300, 656, 356), 25))
    gate = answered(drawn(luma))
    looks(gate, drawn(luma), 1, 4)
    first, second = looks(gate, weak, 5, 2)
    assert not first.changed
    assert second.why is Why.SLIGHT
    gate.set_reference(deepcopy(gate.seen))
    assert not any(change.changed for change in looks(gate, weak, 7, 4))


def test_other_view_and_other_scene() -> None:
    """A camera that turned away, or shows another place, is reported as such for the whole picture."""
    canvas = dead_leaves(5).y
    gate = answered(drawn(np.ascontiguousarray(canvas[40:760, 0:1280])))
    away = gate.look(drawn(np.ascontiguousarray(canvas[40:760, 88:1368])), 0.5)
    assert away.why in (Why.VIEW, Why.SCENE)
    assert away.region == WHOLE
    other = gate.look(drawn(np.ascontiguousarray(dead_leaves(6).y[40:760, 64:1344])), 1.0)
    assert other.why in (Why.SCENE, Why.VIEW)
    upright = gate.look(drawn(textured(720, 1280)), 1.5)
    assert upright.why is Why.VIEW


def test_nothing_is_adapted_away() -> None:
    """A change goes on being one until an answer was about it, and one that grows slowly adds up."""
    luma = textured()
    gate = answered(drawn(luma))
    changed = drawn(with_box(luma, (600, 300, 900, 500), 30))
    assert all(change.changed for change in looks(gate, changed, 1, 40)[1:])
    gate = answered(drawn(luma))
    slow = [
        gate.look(drawn(with_box(luma, (600, 300, 900, 500), step)), 0.5 + step / 2)
        for step in range(40)
    ]
    assert slow[-1].why in (Why.OBJECT, Why.SLIGHT)
    assert not slow[0].changed


@pytest.mark.parametrize(("levels", "at_once"), [(60, True), (12, False)])
def test_a_clear_color_is_found_in_one_look(levels: int, at_once: bool) -> None:
    """It may be gone in the next one; a faint one may be noise."""
    luma = textured()
    u = np.full((360, 640), 128, np.uint8)
    u[100:200, 200:340] += np.uint8(levels)
    gate = answered(drawn(luma))
    looks(gate, drawn(luma), 1, 3)
    changes = looks(gate, drawn(luma, u), 4, 2)
    assert changes[0].changed is at_once
    assert changes[1].why is Why.COLOR


@pytest.mark.slow
@pytest.mark.parametrize("place", [(910, 700), (20, 80)])
def test_a_clock_in_the_picture_wakes_nothing(place: tuple[int, int]) -> None:
    """After ten seconds its digits are the same picture; a thing beside them is found."""
    luma, chance = textured(), np.random.default_rng(1)

    def shown(second: int, scene: U8) -> av.VideoFrame:
        text, picture = f"12:34:{second % 60:02}", scene.copy()
        # Digits of 57 px, white with a black edge
        for level, width in ((0, 10), (255, 6)):
            cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 2.65, level, width)
        noise = chance.normal(0, 1.5, picture.shape)
        return drawn(np.clip(picture + noise, 0, 255).astype(np.uint8))

    gate = answered(shown(0, luma))
    whys = []
    for at in range(1, 140):
        change = gate.look(shown(at // 2, luma), at / 2)
        whys.append(change.why)
        if change.changed:
            gate.set_reference(deepcopy(gate.seen))
    assert Why.SLIGHT in whys[:20]
    assert set(whys[20:]) == {Why.SAME}
    thing = with_box(luma, (500, 300, 800, 600))
    assert gate.look(shown(70, thing), 70.0).why is Why.OBJECT


def test_a_small_thing_that_moves_is_no_clock() -> None:
    """People, a bird and a cat, far away, are found at once and again while they move."""
    luma, hops = textured(), np.random.default_rng(7).integers(0, 200, (24, 2))
    moving = {
        "walker": [((200 + 12 * at, 350), (50, 90), 40) for at in range(24)],
        "dark walker": [((900 - 10 * at, 300), (40, 80), -30) for at in range(24)],
        "bird": [((600 + int(x), 200 + int(y)), (80, 60), 40) for x, y in hops],
        "cat": [((300 + 6 * at, 560), (90, 70), 50) for at in range(24)],
    }
    found = {}
    for name, places in moving.items():
        gate = answered(drawn(luma))
        changes = [
            gate.look(drawn(with_box(luma, (x, y, x + wide, y + high), by)), (at + 1) / 2).changed
            for at, ((x, y), (wide, high), by) in enumerate(places)
        ]
        found[name] = any(changes[:3]), sum(changes[12:])
    assert all(soon and later >= 3 for soon, later in found.values()), found


def test_a_walker_passes_beside_running_digits() -> None:
    """Only the line itself is quiet while something else moves beside it."""
    luma, chance = textured(), np.random.default_rng(4)

    def shown(at: int) -> U8:
        """Small digits that run at the left, and from 20 s on a walker who comes to them from the right."""
        picture = luma.copy()
        picture[300:360, 400:440] = cv2.resize(
            chance.integers(0, 200, (6, 4)).astype(np.uint8), (40, 60)
        )
        left = 640 - 8 * (at - 40)
        return with_box(picture, (left, 290, left + 50, 370), -30) if at >= 40 else picture

    gate = answered(drawn(shown(0)))
    whys = [gate.look(drawn(shown(at)), at / 2).why for at in range(1, 56)]
    assert set(whys[20:39]) == {Why.SAME}
    assert Why.SLIGHT in whys[39:]


@pytest.mark.parametrize("size", [(1280, 720), (720, 1280)])
def test_parts_that_are_ignored_wake_nothing(size: tuple[int, int]) -> None:
    """A change there is no change of the picture; one elsewhere is found."""
    luma, ignored = textured(*size), [(0.6, 0.5, 1.0, 1.0)]
    gate = ChangeGate(BufferPool())
    width, height = size
    inside = drawn(with_box(luma, (int(width * 0.7), int(height * 0.6), width - 60, height - 60)))
    outside = drawn(with_box(luma, (60, 60, width // 2, height // 3)))
    gate.look(drawn(luma), 0.0, ignored)
    gate.set_reference(deepcopy(gate.seen))
    assert not any(gate.look(inside, at / 2, ignored).changed for at in range(1, 6))
    assert gate.look_early(inside, ignored) is None
    assert gate.look(outside, 3.0, ignored).why is Why.OBJECT


def test_sensitivity() -> None:
    """A higher one sees what the usual one does not."""
    luma = textured()
    faint = drawn(with_box(luma, (600, 300, 656, 356), 12))
    seen = {}
    for sensitivity in (1.0, 4.0):
        gate = answered(drawn(luma), sensitivity=sensitivity)
        looks(gate, drawn(luma), 1, 4)
        seen[sensitivity] = any(change.changed for change in looks(gate, faint, 5, 4))
    assert seen == {1.0: False, 4.0: True}


@pytest.mark.slow
def test_pauses_answer_a_moving_shadow() -> None:
    """It is a change, look for look; while answers stay the same, pauses grow."""
    shadow = shadow_clip(46)
    every, paced = watch(shadow), watch(shadow, paced=True)
    assert every.a_minute > 20
    assert paced.a_minute <= min(20, every.a_minute / 2)


def test_what_always_moves_is_said_and_wakes_less() -> None:
    """A part that never stands still is learned, and `busy` says how large it is."""
    luma = textured()
    gate = answered(drawn(luma))
    rng = np.random.default_rng(3)
    changes = []
    for number in range(40):
        restless = luma.copy()
        blocks = rng.integers(0, 200, (10, 20)).astype(np.uint8)
        restless[200:360, 400:720] = cv2.resize(blocks, (320, 160))
        changes.append(gate.look(drawn(restless), 0.5 + number / 2))
        if number % 5 == 0:
            gate.set_reference(deepcopy(gate.seen))
    assert changes[0].busy == 0
    assert changes[-1].busy == pytest.approx(0.055, abs=0.03)
    # A person elsewhere is still seen at once.
    assert gate.look(drawn(with_box(restless, (900, 100, 1100, 600))), 21.0).why is Why.OBJECT


def test_cameras_share_the_scratch() -> None:
    """Two gates that take turns, and two threads, find what each finds alone."""
    luma, other = textured(), np.ascontiguousarray(textured()[::-1])
    pictures = [drawn(luma), drawn(with_box(luma, (600, 300, 900, 500)))]
    others = [drawn(other), drawn(with_box(other, (100, 100, 300, 300)))]

    def alone(images: list[av.VideoFrame], scratch: BufferPool) -> list[Change]:
        gate = ChangeGate(scratch)
        changes = []
        for number in range(30):
            changes.append(gate.look(images[number // 10 % 2], number / 2))
            if changes[-1].changed:
                gate.set_reference(deepcopy(gate.seen))
        return changes

    expected = alone(pictures, BufferPool()), alone(others, BufferPool())
    scratch = BufferPool()
    found: dict[int, list[Change]] = {}
    threads = [
        threading.Thread(
            target=lambda at=at, images=images: found.update({at: alone(images, scratch)})
        )
        for at, images in enumerate((pictures, others))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found[0], found[1]) == expected
