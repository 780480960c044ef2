"""The ring of pictures for questions about the recent past: what stays, what goes, within bounds."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.watch_scenes import SceneEvent
from server.features.recall import memory as choosing
from server.features.recall.memory import (
    CLOSEST_SECONDS,
    MOST,
    SIZE,
    Compared,
    DropReason,
    PastPicture,
    Recall,
    measure_distance,
    read_grid,
)
from server.media.picture import encode
from server.models.routing import find_span


def picture(
    captured: float, size: int = 1000, since: float | None = None, shows: int = 0
) -> PastPicture:
    """`size`: bytes with its grid; `shows`: 0 the usual scene, else a thing of this number."""
    since = captured if since is None else since
    grid = np.full(SIZE, 100, np.uint8)
    if shows:
        at = shows * 61 % 1200
        grid[at : at + 60] = 180
    jpeg = bytes(max(0, size - SIZE))
    return PastPicture(f"f{captured}", captured, None, 1280, 720, jpeg, since, grid)


def times(recall: Recall, now: float, count: int = 1000) -> list[float]:
    return [
        one.captured for one in choosing.select_before(recall.list_pictures(), now + 0.001, count)
    ]


def test_the_first_frame_is_kept_then_changes() -> None:
    """An unchanged frame is not kept, and a change at most once a second."""
    recall = Recall(300, 100_000)
    assert recall.is_due(False, 10.0)
    recall.keep(picture(10.0), 10.0)
    assert not recall.is_due(False, 11.5)
    assert not recall.is_due(True, 10.0 + CLOSEST_SECONDS - 0.01)
    assert recall.is_due(True, 10.0 + CLOSEST_SECONDS)


def test_a_still_scene_has_one_recent_picture() -> None:
    """A newer one replaces it now and then and knows since when nothing changed: the view before a change is there."""
    recall = Recall(300, 100_000)
    gone: Counter[DropReason] = Counter()
    for now in range(3600):
        if recall.is_due(False, now):
            gone += recall.keep(picture(now), now, changed=False)
    (only,) = recall.list_pictures()
    assert (only.captured, only.since) == (3540, 0)
    assert gone == {DropReason.SAME: 59}


def test_when_full_the_oldest_of_alike_ones_go() -> None:
    """Ten minutes of a picture a second within a tenth of their bytes: every event is still there."""
    recall = Recall(600, 60 * 3000)
    events = {at: number for number, at in enumerate(range(20, 600, 25), 1)}
    for now in range(600):
        shows = next((number for at, number in events.items() if at <= now < at + 3), 0)
        recall.keep(picture(now, 3000, shows=shows), now)
    found = times(recall, 599)
    assert all(any(at <= one < at + 3 for one in found) for at in events)
    rest = [one for one in found if not any(at <= one < at + 3 for at in events)]
    assert len([one for one in rest if one > 500]) > len([one for one in rest if one < 100])


def test_nothing_goes_below_the_bounds() -> None:
    """Not in five minutes of changes a second; and one that does not fit at all is not kept."""
    recall = Recall(300, 10_000_000)
    for now in range(300):
        recall.keep(picture(now, 3000, shows=now % 2), now)
    assert len(recall) == 300
    full = Recall(300, 5000)
    assert full.keep(picture(1, 5000), 1) == {}
    assert full.keep(picture(2, 5001), 2) == {DropReason.FULL: 1}
    assert times(full, 3) == [1]
    small = Recall(3600, 60_000_000)
    for now in range(MOST + 5):
        small.keep(picture(now, 2000, shows=now % 17 + 1), now)
    assert len(small) == MOST


def test_a_late_picture_is_not_kept() -> None:
    """Pictures stay in the order of their capture."""
    recall = Recall(300, 5000)
    recall.keep(picture(10), 10)
    assert recall.keep(picture(10), 11) == {DropReason.LATE: 1}
    assert len(recall) == 1


def test_a_question_gets_a_few_pictures_from_its_past() -> None:
    """When nothing happened, recent ones are closer together, and the oldest time is not lost."""
    recall = Recall(300, 10_000_000)
    for now in range(0, 200, 2):
        recall.keep(picture(now), now)
    chosen = times(recall, 197, 6)
    assert len(chosen) == 6
    assert chosen == sorted(chosen)
    ages = [198 - captured for captured in chosen]
    assert min(ages) <= 10
    assert max(ages) >= 60
    assert [b - a for a, b in pairwise(chosen)] == sorted(
        (b - a for a, b in pairwise(chosen)), reverse=True
    )
    assert times(recall, 198, 0) == []


def test_what_always_moves_is_usual() -> None:
    """A thing that comes beside a screen that never rests is what happened."""
    recall = Recall(300, 10_000_000)
    rng = np.random.default_rng(1)
    for now in range(200):
        one = picture(now, shows=5 if 120 <= now < 123 else 0)
        one.grid[0:300] = rng.integers(0, 255, 300)
        recall.keep(one, now)
    assert any(120 <= one < 123 for one in times(recall, 199, 4))


@given(
    st.lists(
        st.tuples(st.floats(-0.5, 120), st.integers(1, 9000), st.booleans(), st.floats(0, 2)),
        max_size=80,
    ),
    st.floats(1, 600),
    st.integers(1, 60_000),
)
def test_bounds_and_counts_hold_always(
    steps: list[tuple[float, int, bool, float]], seconds: float, most: int
) -> None:
    """Whatever comes, both bounds hold, the size is right, and each picture is kept or counted as dropped."""
    recall = Recall(seconds, most)
    now, gone = 0.0, Counter[DropReason]()
    for offered, (passed, size, changed, late) in enumerate(steps, 1):
        now += max(0.0, passed)
        gone += recall.keep(picture(now - late, size), now, changed=changed)
        kept = recall.list_pictures()
        assert recall.size == sum(one.size for one in kept) <= most
        assert offered == len(kept) + sum(gone.values())
        assert [one.captured for one in kept] == sorted({one.captured for one in kept})
        assert all(one.since <= one.captured for one in kept)
        gone += recall.expire(now)
        assert all(now - one.captured <= seconds for one in recall.list_pictures())


def test_a_time_of_the_past() -> None:
    """The pictures within it, and the one that shows its beginning; when there are more, they are spread over it."""
    recall = Recall(300, 100_000)
    for at in (10, 20, 40, 50, 55):
        recall.keep(picture(at), at)

    def shown(since: float, until: float, count: int = 10) -> list[float]:
        return [
            one.captured
            for one in choosing.select_during(recall.list_pictures(), since, until, count)
        ]

    assert shown(15, 45) == [10, 20, 40]
    assert shown(20, 45) == [20, 40]
    assert shown(45, 48) == [40]
    assert shown(0, 10) == []
    assert shown(57, 60) == [55]
    assert len(shown(5, 60, 3)) == 3
    assert shown(5, 60, 0) == []


def scene(seed: int = 0) -> NDArray[np.uint8]:
    """A (360, 640, 3) BGR picture with soft texture."""
    ground = np.random.default_rng(seed).integers(60, 190, (12, 20, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(ground, (640, 360), interpolation=cv2.INTER_CUBIC), np.uint8)


def shown(bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return read_grid(encode.encode_still(bgr))


def with_thing(
    bgr: NDArray[np.uint8], share: float, color: tuple[int, int, int]
) -> NDArray[np.uint8]:
    side = int((share * 640 * 360) ** 0.5)
    found = bgr.copy()
    cv2.rectangle(found, (300, 150), (300 + side, 150 + side), color, -1)
    return found


def test_a_thing_is_another_scene() -> None:
    """From 1 % of the picture on; of the same lightness, by its color."""
    plain = scene()
    for share, color in ((0.01, (0, 0, 0)), (0.03, (40, 40, 230)), (0.2, (250, 250, 250))):
        assert measure_distance(shown(plain), shown(with_thing(plain, share, color))) == 1.0
    assert shown(plain).shape == (SIZE,)


@pytest.mark.parametrize(
    "change",
    [
        lambda bgr: np.clip(bgr.astype(np.int16) + 25, 0, 255).astype(np.uint8),
        lambda bgr: cv2.warpAffine(
            bgr,
            np.array([[1, 0, 7], [0, 1, -6]], np.float32),
            (640, 360),
            borderMode=cv2.BORDER_REFLECT,
        ),
        lambda bgr: np.clip(bgr + np.random.default_rng(3).normal(0, 12, bgr.shape), 0, 255).astype(
            np.uint8
        ),
    ],
    ids=["lighter", "moved a little", "noise"],
)
def test_light_sway_and_noise_are_no_other_scene(change) -> None:  # type: ignore[no-untyped-def]
    assert measure_distance(shown(scene()), shown(change(scene()))) < 0.5


def test_many_are_compared_at_once() -> None:
    grids = [shown(scene(0)), shown(scene(1)), shown(with_thing(scene(0), 0.05, (0, 0, 0)))]
    assert list(Compared(grids).measure_distance(grids[0])) == [0.0, 1.0, 1.0]


def test_a_broken_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be decoded"):
        read_grid(b"no picture")


# Events before a drawn scene in virtual time, seen by the change gate at 2 frames a second

SECONDS, PICTURES = 300.0, 8
EVENT, BETWEEN, STEP = 3.0, 30.0, 0.5


@dataclass(frozen=True)
class Asked:
    """An event at the time of a question: True where one of these pictures shows it."""

    age: float
    held: bool
    # Among those of "What just happened?", and of a question that names its time
    sent: bool
    timed: bool


def happens(seconds: float, rng: random.Random) -> Iterator[SceneEvent]:
    """Events at random times, none over another."""
    at = 0.0
    while (at := at + EVENT + rng.expovariate(1 / (BETWEEN - EVENT))) + EVENT <= seconds:
        what = rng.choice(("thing", "alike"))
        yield SceneEvent(what, at, EVENT, rng.uniform(0.05, 0.8), rng.uniform(0.05, 0.75))


def question(age: float) -> str:
    """That of somebody who knows about when something was."""
    if age < 50:
        return f"What happened {max(5, round(age / 5) * 5)} seconds ago?"
    minutes = max(1, round(age / 60))
    return f"What happened {minutes} minute{'s' if minutes > 1 else ''} ago?"


def asked(recall: Recall, events: Sequence[SceneEvent], now: float) -> Iterator[Asked]:
    """Ask at a time about each event of the recent past."""
    recall.expire(now)
    pictures = recall.list_pictures()
    sent = choosing.select_before(pictures, now, PICTURES)
    for event in events:
        age = now - event.begin
        if EVENT <= age <= SECONDS - EVENT:
            span = find_span(question(age))
            assert span is not None
            timed = choosing.select_during(pictures, now - span.since, now - span.until, PICTURES)
            ways = (pictures, sent, timed)
            yield Asked(age, *(any(event.is_active(one.captured) for one in way) for way in ways))
