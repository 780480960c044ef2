"""Pauses before the broker is tried again, and reasons why it was not reached."""

from __future__ import annotations

import pytest

from server.features.mqtt.outgoing import NEEDS_PERSON, SENTENCES, Trouble, pause, refusal


def test_pauses_grow_to_a_bound() -> None:
    pauses = [pause(failures, Trouble.UNREACHABLE, 1.0) for failures in (0, 1, 2, 5, 6, 9999)]
    assert pauses == [1, 2, 4, 32, 60, 60]
    assert pause(0, Trouble.CREDENTIALS, 1.0) == 30
    assert pause(99, Trouble.CREDENTIALS, 1.0) == 300
    assert pause(0, Trouble.ENDED, 0.0) == 0.5


@pytest.mark.parametrize(
    ("code", "trouble"),
    [
        *((134, Trouble.CREDENTIALS), (135, Trouble.CREDENTIALS), (132, Trouble.VERSION)),
        *((136, Trouble.UNREACHABLE), (133, Trouble.REFUSED), (0, Trouble.REFUSED)),
    ],
)
def test_codes(code: int, trouble: Trouble) -> None:
    assert refusal(code) is trouble


def test_each_trouble_has_a_sentence() -> None:
    assert set(SENTENCES) == set(Trouble) >= NEEDS_PERSON
