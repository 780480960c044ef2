"""Sounds that stand out from what is heard all the time."""

from __future__ import annotations

from collections.abc import Iterable

from server.features.voice_in.detector import CHUNK_SECONDS, Chunk, Onset


def begun(levels: Iterable[float]) -> list[float]:
    """Return the times at which sounds begin, in seconds."""
    onset = Onset()
    at = 0.0
    found = []
    for level in levels:
        if onset.hears(Chunk(at, 0.0, level)):
            found.append(round(at, 1))
        at += CHUNK_SECONDS
    return found


def lasting(seconds: float, level: float) -> list[float]:
    return [level] * round(seconds / CHUNK_SECONDS)


def test_a_bark_in_a_quiet_room() -> None:
    """Within 100 ms; a second one soon after it is the same sound, a later one another."""
    bark = lasting(0.3, -25)
    found = begun(
        lasting(5, -70) + bark + lasting(0.5, -70) + bark + lasting(3, -70) + bark + lasting(1, -70)
    )
    assert found == [5.1, 9.2]


def test_a_sound_that_stays_becomes_the_background() -> None:
    """A fan begins once; a bark over it is heard, and also after it."""
    fan = lasting(30, -45)
    bark = lasting(0.3, -20)
    found = begun(lasting(5, -70) + fan + bark + fan + lasting(2, -70) + bark)
    assert len(found) == 3
    assert found[0] == 5.1
    assert 35 <= found[1] <= 35.3
    assert found[2] >= 67


def test_soft_and_short_sounds_are_none() -> None:
    """A creak far away, a click, and hiss that goes up and down a little."""
    hiss = [-60 + (number % 5) for number in range(300)]
    assert begun(lasting(3, -80) + lasting(1, -55) + lasting(3, -80)) == []
    assert begun(lasting(3, -80) + lasting(2 * CHUNK_SECONDS, -10) + lasting(3, -80)) == []
    assert begun(hiss) == []
