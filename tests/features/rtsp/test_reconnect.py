"""Pauses before the next attempt: they grow, with jitter, up to a bound."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.features.rtsp.reader import (
    FIRST_PICTURE_SECONDS,
    GOOD_SECONDS,
    LAST_MENDED_PAUSE,
    LAST_PAUSE,
    LEAST_SHARE,
    MENDED_PAUSE,
    FixedCameraState,
    Reconnect,
)
from server.features.rtsp.worker.rtsp import Trouble


def test_pauses_grow_to_a_bound() -> None:
    life = Reconnect(0.0)
    pauses = [life.fail(0.0, Trouble.UNREACHABLE, 1.0) for _ in range(10)]
    assert pauses == [1, 2, 4, 8, 16, 32, LAST_PAUSE, LAST_PAUSE, LAST_PAUSE, LAST_PAUSE]


def test_a_wrong_password_is_tried_seldom() -> None:
    """Cameras lock users out; whoever has to mend it needs minutes anyway."""
    life = Reconnect(0.0)
    pauses = [life.fail(0.0, Trouble.CREDENTIALS, 0.0) for _ in range(8)]
    assert pauses[0] == MENDED_PAUSE * LEAST_SHARE
    assert pauses[-1] == LAST_MENDED_PAUSE * LEAST_SHARE


def test_a_good_connection_makes_the_next_pause_short() -> None:
    """One that ends at once does not: a camera that restarts for ever is not hammered."""
    life = Reconnect(0.0)
    for _ in range(5):
        life.fail(0.0, Trouble.UNREACHABLE, 1.0)
    life.begin(10.0)
    life.live(11.0)
    assert life.fail(12.0, Trouble.ENDED, 1.0) == 32
    life.live(100.0)
    assert life.trouble is None
    assert life.fail(100.0 + GOOD_SECONDS, Trouble.ENDED, 1.0) == 1
    assert (life.state, life.since) == (FixedCameraState.WAITING, 100.0 + GOOD_SECONDS)


def test_since_when_there_is_no_picture() -> None:
    """Attempts that fail do not move it."""
    life = Reconnect(5.0)
    life.begin(5.0)
    life.live(6.0)
    assert life.since == 6.0
    life.fail(50.0, Trouble.ENDED, 0.5)
    life.begin(52.0)
    life.fail(53.0, Trouble.UNREACHABLE, 0.5)
    assert life.since == 50.0


def test_an_attempt_without_a_picture_ends() -> None:
    life = Reconnect(0.0)
    life.begin(1.0)
    assert not life.too_late(FIRST_PICTURE_SECONDS)
    assert life.too_late(1.0 + FIRST_PICTURE_SECONDS)
    life.live(2.0)
    assert not life.too_late(1000.0)


@given(
    st.lists(
        st.tuples(st.sampled_from(Trouble), st.floats(0, 1), st.floats(0, 100), st.booleans()),
        max_size=40,
    )
)
def test_pauses_are_bounded(steps: list[tuple[Trouble, float, float, bool]]) -> None:
    """Whatever happens, the next attempt lies in the future, and not beyond the bound."""
    now = 0.0
    life = Reconnect(now)
    for trouble, chance, later, live in steps:
        now += later
        life.begin(now)
        if live:
            life.live(now)
        pause = life.fail(now, trouble, chance)
        assert LEAST_SHARE <= pause <= LAST_MENDED_PAUSE
        assert life.due == now + pause
