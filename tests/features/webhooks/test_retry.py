"""The rule of further attempts."""

from __future__ import annotations

import pytest

from server.features.webhooks.waiting import (
    LEAST_SHARE,
    MOST_ASKED,
    PAUSES,
    Trouble,
    Verdict,
    asked_pause,
    pause,
    trouble,
    verdict,
)


@pytest.mark.parametrize(
    ("status", "wanted", "why"),
    [
        (200, Verdict.TAKEN, None),
        (204, Verdict.TAKEN, None),
        (301, Verdict.AGAIN, Trouble.REDIRECT),
        (308, Verdict.AGAIN, Trouble.REDIRECT),
        (400, Verdict.AGAIN, Trouble.STATUS),
        (410, Verdict.GONE, Trouble.GONE),
        (429, Verdict.AGAIN, Trouble.STATUS),
        (503, Verdict.AGAIN, Trouble.STATUS),
    ],
)
def test_what_an_answer_means(status: int, wanted: Verdict, why: Trouble | None) -> None:
    assert verdict(status) is wanted
    if why is not None:
        assert trouble(status) is why


def test_pauses_grow_and_end() -> None:
    """Within half an hour; each is a little random."""
    longest = [pause(failed, 1.0) for failed in range(1, len(PAUSES) + 1)]
    assert longest == list(PAUSES) == sorted(PAUSES)
    assert sum(PAUSES) <= 1800
    assert pause(1, 0.0) == PAUSES[0] * LEAST_SHARE
    assert pause(len(PAUSES) + 1, 1.0) is None


def test_a_receiver_may_ask_for_a_pause() -> None:
    """A longer one, within bounds, in seconds."""
    assert pause(1, 1.0, asked_pause("120")) == 120
    assert pause(1, 1.0, asked_pause("999999")) == MOST_ASKED
    assert pause(3, 1.0, asked_pause("1")) == PAUSES[2]
    for header in ("", "-1", "1.5", "9999999", "Wed, 21 Oct 2026 07:28:00 GMT", "²"):
        assert asked_pause(header) == 0
