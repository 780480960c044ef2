"""The ring of pictures for questions about the recent past: what stays, what goes, within bounds."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.attention.recall import CLOSEST_SECONDS, Dropped, Kept, Recall


def picture(captured: float, size: int = 1000, since: float | None = None) -> Kept:
    since = captured if since is None else since
    return Kept(f"f{captured}", captured, None, 1280, 720, bytes(size), since)


def times(recall: Recall, now: float, count: int = 1000) -> list[float]:
    return [one.captured for one in recall.before(now + 0.001, count)]


def test_the_first_frame_is_kept_then_changes() -> None:
    """An unchanged frame is not kept, and a change at most once a second."""
    recall = Recall(300, 100_000)
    assert recall.due(False, 10.0)
    recall.keep(picture(10.0), 10.0)
    assert not recall.due(False, 11.5)
    assert not recall.due(True, 10.0 + CLOSEST_SECONDS - 0.01)
    assert recall.due(True, 10.0 + CLOSEST_SECONDS)


def test_a_still_scene_has_one_recent_picture() -> None:
    """A newer one replaces it now and then and knows since when nothing changed: the view before a change is there."""
    recall = Recall(300, 100_000)
    gone: Counter[Dropped] = Counter()
    for now in range(3600):
        if recall.due(False, now):
            gone += recall.keep(picture(now), now, changed=False)
    (only,) = recall.before(3600, 10)
    assert (only.captured, only.since) == (3540, 0)
    assert gone == {Dropped.SAME: 59}


def test_pictures_go_at_the_bound_in_seconds() -> None:
    """Also without a new picture, and none older than that is ever returned."""
    recall = Recall(30, 100_000)
    recall.keep(picture(0), 0)
    recall.keep(picture(20), 20)
    assert times(recall, 29) == [0, 20]
    assert times(recall, 31) == [20]
    assert recall.expire(31) == {Dropped.OLD: 1}
    assert (len(recall), recall.size) == (1, 1000)
    assert recall.keep(picture(60), 60) == {Dropped.OLD: 1}


def test_pictures_are_thinned_with_age() -> None:
    """A minute of changes a second keeps the last seconds whole, and less and less of what is older."""
    recall = Recall(300, 10_000_000)
    for now in range(300):
        recall.keep(picture(now), now)
    found = times(recall, 299)
    gaps = [after - before for before, after in pairwise(found)]
    assert found[-5:] == [295, 296, 297, 298, 299]
    assert found[0] <= 10
    # The pairs of neighbors of an age are a seventh of it apart; nothing leaves a larger hole.
    for at, captured in enumerate(found[1:-1], 1):
        around = found[at + 1] - found[at - 1]
        assert around >= max(1.0, 0.15 * (299 - captured)) - 1
        assert max(gaps[at - 1], gaps[at]) <= max(2.0, 0.15 * (299 - found[at - 1]) + 1)
    assert len(found) < 70


def test_when_full_the_most_crowded_goes() -> None:
    """The bound in bytes costs closeness in time, not the oldest."""
    recall = Recall(300, 5000)
    gone: Counter[Dropped] = Counter()
    for now in (0, 40, 80, 81.5, 90, 100):
        gone += recall.keep(picture(now), now)
    assert gone == {Dropped.FULL: 1}
    assert times(recall, 100) in ([0, 40, 80, 90, 100], [0, 40, 81.5, 90, 100])
    assert recall.keep(picture(110, size=5001), 110) == {Dropped.FULL: 1}
    assert times(recall, 110)[-1] == 100


def test_a_late_picture_is_not_kept() -> None:
    """Pictures stay in the order of their capture."""
    recall = Recall(300, 5000)
    recall.keep(picture(10), 10)
    assert recall.keep(picture(10), 11) == {Dropped.LATE: 1}
    assert len(recall) == 1


def test_cleared() -> None:
    """Nothing is left, and the pictures are counted."""
    recall = Recall(300, 5000)
    recall.keep(picture(1), 1)
    recall.keep(picture(3), 3)
    assert recall.clear() == {Dropped.CLEARED: 2}
    assert (len(recall), recall.size, recall.oldest(), recall.before(4, 9)) == (0, 0, None, ())
    assert recall.clear() == {}


def test_a_question_gets_a_few_pictures_from_its_past() -> None:
    """None of or after its own frame; the recent ones closer together, the oldest time not lost."""
    recall = Recall(300, 10_000_000)
    for now in range(0, 200, 2):
        recall.keep(picture(now), now)
    chosen = [one.captured for one in recall.before(198, 6)]
    assert len(chosen) == 6
    assert chosen == sorted(chosen)
    assert max(chosen) < 198
    ages = [198 - captured for captured in chosen]
    assert ages[-1] <= 10
    assert ages[0] >= 60
    assert [b - a for a, b in pairwise(chosen)] == sorted(
        (b - a for a, b in pairwise(chosen)), reverse=True
    )
    assert recall.before(198, 0) == ()


def test_bounds_must_be_positive() -> None:
    """Off is a matter of not having one."""
    with pytest.raises(ValueError, match="0 s and 5 bytes"):
        Recall(0, 5)


@given(
    st.lists(
        st.tuples(st.floats(-0.5, 120), st.integers(1, 3000), st.booleans(), st.floats(0, 2)),
        max_size=80,
    ),
    st.floats(1, 600),
    st.integers(1, 20_000),
)
def test_bounds_and_counts_hold_always(
    steps: list[tuple[float, int, bool, float]], seconds: float, most: int
) -> None:
    """Whatever comes, both bounds hold, the size is right, and each picture is kept or counted as dropped."""
    recall = Recall(seconds, most)
    now, gone = 0.0, Counter[Dropped]()
    for offered, (passed, size, changed, late) in enumerate(steps, 1):
        now += max(0.0, passed)
        gone += recall.keep(picture(now - late, size), now, changed=changed)
        kept = recall._kept
        assert recall.size == sum(len(one.jpeg) for one in kept) <= most
        assert offered == len(kept) + sum(gone.values())
        assert [one.captured for one in kept] == sorted({one.captured for one in kept})
        assert all(one.since <= one.captured for one in kept)
        gone += recall.expire(now)
        assert all(now - one.captured <= seconds for one in recall._kept)


def test_memory_is_flat() -> None:
    """Measured: after hours of changes the ring takes no more than its bound and some bytes a picture."""
    recall = Recall(300, 2_000_000)
    tracemalloc.start()
    try:
        sizes = []
        for hour in range(3):
            for second in range(3600):
                now = hour * 3600.0 + second
                recall.keep(picture(now, 36_000), now)
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert sizes[0] < 2_000_000 + 50_000
    assert max(sizes) - min(sizes) < 40_000


def test_a_time_of_the_past() -> None:
    """The pictures within it, and the one that shows its beginning; when there are more, they are spread over it."""
    recall = Recall(300, 100_000)
    for at in (10, 20, 40, 50, 55):
        recall.keep(picture(at), at)

    def shown(since: float, until: float, count: int = 10) -> list[float]:
        return [one.captured for one in recall.during(since, until, count)]

    assert shown(15, 45) == [10, 20, 40]
    assert shown(20, 45) == [20, 40]
    assert shown(45, 48) == [40]
    assert shown(0, 10) == []
    assert shown(57, 60) == [55]
    assert len(shown(5, 60, 3)) == 3
    assert shown(5, 60, 0) == []


def test_a_still_time_of_the_past() -> None:
    """A picture that shows the beginning, too, is not sent twice."""
    recall = Recall(300, 100_000)
    recall.keep(picture(5), 5)
    recall.keep(picture(40, since=10), 40)
    assert [one.captured for one in recall.during(20, 60, 5)] == [40]
    assert [one.captured for one in recall.during(8, 60, 5)] == [5, 40]
