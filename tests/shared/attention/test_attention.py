"""One piece of background work: what it compares with, and when it asks."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import av
import numpy as np
import pytest

from server.media.picture.grounding import Box
from server.shared.attention.attention import (
    HEARTBEAT_SECONDS,
    LONGEST_PAUSE,
    WHOLE,
    Attention,
    Change,
    EarlyCheck,
    Pace,
    Why,
)
from server.shared.attention.planes import BufferPool
from tests.shared.attention.clip_classes import object_clip, still_clips
from tests.shared.attention.watching import watch
from tests.support.rooms import make_frame


def look(attention: Attention, scene: int, at: float, *, mark: bool = False) -> Change:
    change = attention.look(make_frame(scene=scene, captured=at, mark=mark))
    assert change is not None
    return change


def test_it_compares_with_the_frame_that_was_asked_about() -> None:
    """Also when later frames were looked at before the answer came."""
    attention = Attention(BufferPool())
    first = look(attention, 1, 0.0)
    assert (first.why, attention.due(first, 0.0)) == (Why.FIRST, True)
    attention.request_sent(first, 0.0)
    look(attention, 2, 0.5)
    attention.answer_received(0.6, same=False)
    assert look(attention, 2, 1.0).why is Why.SCENE
    assert look(attention, 1, 1.5).why is Why.SAME


def test_a_camera_that_turns_before_the_answer_shows_another_view() -> None:
    """The gate compares with the picture that was asked about, whatever is asked meanwhile."""
    attention = Attention(BufferPool())
    attention.request_sent(look(attention, 1, 0.0), 0.0)
    attention.answer_received(0.1, same=False)
    turned = make_frame(scene=1, captured=0.5, width=240, height=320)
    change = attention.look(turned)
    assert change is not None
    assert change.why is Why.VIEW
    attention.request_sent(change, 0.5)
    assert look(attention, 1, 1.0).why is Why.SAME
    attention.answer_received(1.1, same=False)
    assert look(attention, 1, 1.5).why is Why.VIEW


def test_a_frame_soon_after_a_look_is_not_looked_at() -> None:
    attention = Attention(BufferPool())
    look(attention, 1, 0.0)
    assert attention.look(make_frame(scene=2, captured=0.3)) is None


def test_after_a_failure_it_waits_longer_each_time() -> None:
    """1, then 2 seconds; a retry ends the wait, and so does another stream."""
    attention = Attention(BufferPool())
    change = look(attention, 1, 0.0)
    for now, pause in ((0.0, 1.0), (1.0, 2.0)):
        attention.request_sent(change, now)
        attention.request_failed(now)
        assert not attention.due(change, now + pause - 0.1)
        assert attention.due(change, now + pause)
    attention.request_failed(3.0)
    attention.retry()
    assert attention.due(change, 3.0)
    attention.request_failed(3.0)
    attention.forget()
    assert attention.due(look(attention, 1, 3.5), 3.5)


def test_a_request_that_was_stopped_may_be_repeated_at_once() -> None:
    attention = Attention(BufferPool())
    change = look(attention, 1, 0.0)
    attention.request_sent(change, 0.0)
    assert attention.due(change, 0.0)


def test_the_small_picture_is_that_of_the_last_look() -> None:
    attention = Attention(BufferPool())
    look(attention, 1, 0.0)
    assert attention.small.shape == (90, 160)
    look(attention, 1, 0.5)
    upright = attention.look(make_frame(scene=1, captured=1.0, width=240, height=320))
    assert upright is not None
    assert attention.small.shape == (160, 90)


def test_it_takes_memory_from_its_first_look_until_it_forgets() -> None:
    """Two more megabytes for each visitor who wants no background work would be many."""
    attention = Attention(BufferPool(), sensitivity=2.0)
    assert attention._gate is None
    attention.request_sent(look(attention, 1, 0.0), 0.0)
    assert attention._gate is not None
    attention.forget()
    assert attention._gate is attention._asked is None
    # The answer of a request from before
    attention.answer_received(1.0, same=False)
    assert look(attention, 1, 2.0).why is Why.FIRST
    assert attention._gate is not None
    assert attention._gate.sensitivity == 2.0


def test_a_change_that_stays_differs_from_before() -> None:
    """Until the scene is as it was before the last request; without an earlier one nothing differs."""
    attention = Attention(BufferPool())

    def ask(scene: int, at: float, *, mark: bool = False) -> None:
        attention.request_sent(look(attention, scene, at, mark=mark), at, ahead=True)
        attention.answer_received(at + 0.1, same=False)

    empty, thing = (make_frame(scene=1, captured=9.0, mark=mark) for mark in (False, True))
    ask(1, 0.0)
    assert not attention.is_still_changed(thing)
    ask(1, 1.0, mark=True)
    assert attention.is_still_changed(thing)
    assert not attention.is_still_changed(empty)
    attention.forget()
    assert not attention.is_still_changed(thing)


LEFT = Box(0.0, 0.2, 0.3, 0.6)


def change(region: Box | None = LEFT, *, busy: float = 0.0) -> Change:
    return Change(Why.OBJECT if region else Why.SAME, 1.0, region, busy)


def asked_at(pace: Pace, seen: Change, seconds: float, *, same: bool) -> list[float]:
    """Return the times at which it asks about a change that stays, at two looks a second."""
    times = []
    for half in range(round(seconds * 2)):
        now = half / 2
        if pace.due(seen, now):
            pace.request_sent(seen, now)
            pace.answer_received(now, same=same)
            times.append(now)
    return times


def test_pauses_grow_while_answers_stay_the_same() -> None:
    """1, 2, 4 ... 30 s, and on at that."""
    times = asked_at(Pace(), change(), 130, same=True)
    pauses = [late - early for early, late in pairwise(times)]
    assert pauses == [1, 2, 4, 8, 16, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]


def test_a_new_answer_ends_the_pauses() -> None:
    """After an answer that says something new it asks at once, and the pauses begin anew."""
    pace = Pace()
    asked_at(pace, change(), 30, same=True)
    pace.answer_received(40, same=False)
    assert pace.due(change(), 40)
    pace.answer_received(41, same=True)
    assert not pace.due(change(), 41.5)
    assert pace.due(change(), 42)


def test_a_scene_that_has_calmed_down_begins_anew() -> None:
    """Four seconds without a change end the pause, three do not."""
    pace = Pace()
    asked_at(pace, change(), 40, same=True)
    for now in (40.0, 41.0, 42.0, 43.0):
        assert not pace.due(change(None), now)
    assert not pace.due(change(), 43.5)
    for now in (44.0, 46.0, 48.0):
        assert not pace.due(change(None), now)
    assert pace.due(change(), 48.5)


def test_no_change_asks_nothing() -> None:
    """However long."""
    assert asked_at(Pace(), change(None), 300, same=True) == []


def test_heartbeat_where_much_moves() -> None:
    """Once a minute, of a busy scene that the gate sees less of."""
    times = asked_at(Pace(), change(None, busy=0.02), 300, same=True)
    assert times == [0, 60, 120, 180, 240]
    assert HEARTBEAT_SECONDS == 60


def test_the_end_of_a_pause_is_no_reason_to_ask() -> None:
    """Once a minute stays once a minute; a change is asked about at once."""
    pace = Pace()
    seen = change(None, busy=0.02)
    assert pace.due(seen, 0)
    pace.request_sent(seen, 0)
    pace.answer_received(0.1, same=True)
    pace.retry()
    assert not pace.due(seen, 1)
    assert pace.due(change(), 1)


@pytest.mark.parametrize("same", [True, False])
def test_whole_pictures_wait_too(same: bool) -> None:
    """Another scene lies nowhere else."""
    pace = Pace()
    pace.request_sent(change(WHOLE), 0)
    pace.answer_received(0, same=same)
    assert pace.due(change(WHOLE), 0.5) is not same


def test_a_stronger_change_or_one_of_another_kind_does_not_wait() -> None:
    """Within a region where much moves; a little stronger than before is no news."""
    pace = Pace()
    seen = change()
    pace.request_sent(seen, 0.0)
    pace.answer_received(0.0, same=True)
    assert not pace.due(seen, 0.5)
    assert not pace.due(Change(Why.OBJECT, 1.4, LEFT, 0.0), 0.5)
    stronger, other = Change(Why.OBJECT, 1.6, LEFT, 0.0), Change(Why.COLOR, 1.0, LEFT, 0.0)
    assert pace.due(stronger, 0.5)
    assert pace.due(other, 0.5)
    for one in (stronger, other):
        pace.request_sent(one, 0.5)
        pace.answer_received(0.5, same=True)
    assert not pace.due(stronger, 0.6)
    assert not pace.due(other, 0.6)


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
    assert not glance.wants_look(drawn(), 0.0)
    glance.note_look(drawn(), 0.0)
    assert not glance.wants_look(drawn(2), 0.1)
    assert not glance.wants_look(drawn(3, light=20), 0.2)
    assert glance.wants_look(drawn(4, mark=140), 0.3)


def test_what_it_noticed_once_is_noticed_no_more() -> None:
    """The early look was about this very frame."""
    glance = EarlyCheck()
    glance.note_look(drawn(), 0.0)
    assert glance.wants_look(drawn(2, mark=140), 0.1)
    assert not glance.wants_look(drawn(3, mark=140), 0.4)
    assert glance.wants_look(drawn(4), 0.7)


def test_a_part_that_is_ignored_deserves_no_early_look() -> None:
    """A tree that moves there takes none of those that a thing elsewhere needs."""
    ignored = [(0.2, 0.25, 0.36, 0.5)]
    glance = EarlyCheck()
    glance.note_look(drawn(), 0.0)
    assert not glance.wants_look(drawn(2, mark=140), 0.1, ignored)
    assert glance.wants_look(drawn(3, mark=300), 0.2, ignored)


def test_early_looks_are_few_where_everything_moves() -> None:
    """Three at once, then one in two seconds: on average a look comes at most every 0.4 s."""
    glance = EarlyCheck()
    glance.note_look(drawn(), 0.0)
    frames = [drawn(1, mark=140), drawn(2)]
    found = [
        number / 10
        for number in range(1, 101)
        if glance.wants_look(frames[number % 2], number / 10)
    ]
    assert len([at for at in found if at <= 1]) == 3
    assert len(found) == 3 + 4
    assert all(later - before >= 0.15 for before, later in pairwise(found))


def test_what_always_moves_is_learned() -> None:
    """Looks teach it how much each part usually differs."""
    glance = EarlyCheck()
    for number in range(20):
        glance.note_look(drawn(number, mark=140 * (number % 2)), number / 2)
    assert not glance.wants_look(drawn(1, mark=0), 9.6)


def test_an_early_look_finds_what_is_clear_and_teaches_the_gate_nothing() -> None:
    """The next look comes when it would have come without it, and compares with the same frame."""
    attention = Attention(BufferPool())
    assert attention.look_early(make_frame(scene=2, captured=0.1)) is None, (
        "nothing to compare with"
    )
    attention.request_sent(look(attention, 1, 0.2), 0.2)
    attention.answer_received(0.2, same=False)
    assert attention.look_early(make_frame(scene=1, captured=0.3)) is None
    assert look(attention, 1, 0.7).why is Why.SAME
    early = attention.look_early(make_frame(scene=1, mark=True, captured=0.8))
    assert early is not None
    assert early.why in (Why.OBJECT, Why.SCENE)
    assert attention.look(make_frame(scene=1, captured=0.9)) is None
    assert look(attention, 1, 1.1).why is Why.SAME
    attention.forget()
    assert attention.look_early(make_frame(scene=1, mark=True, captured=1.2)) is None


@pytest.mark.slow
def test_still_clips_do_not_wake_by_early_looks() -> None:
    """Noise of a sensor and of the codec, at ten frames a second."""
    clip = next(clip for clip in still_clips(12.0, 1, 10) if clip.name == "noise 5")
    assert watch(clip, glances=True).wakes == []


@pytest.mark.slow
def test_objects_are_found_earlier() -> None:
    """With early looks the same things are seen, and none later than without."""
    made = object_clip(0.05, 40, 1, count=2)
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
