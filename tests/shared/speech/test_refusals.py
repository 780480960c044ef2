"""A speech server's refusals as errors of ours."""

from __future__ import annotations

import pytest

from server.shared.speech.errors import (
    SpeechFailed,
    SpeechRefused,
    SpeechTimeout,
    SpeechUnavailable,
)
from server.shared.speech.speech_server import Refusals
from tests.core.test_error_texts import for_visitors

REFUSALS = Refusals("speech server", "SPEECH", "http://10.1.2.3/v1", "/audio/speech")


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (0, SpeechFailed, "log"),
        (200, SpeechFailed, "log"),
        (307, SpeechUnavailable, "SPEECH_BASE_URL"),
        (400, SpeechRefused, "refused"),
        (401, SpeechUnavailable, "SPEECH_API_KEY"),
        (403, SpeechUnavailable, "SPEECH_API_KEY"),
        (404, SpeechUnavailable, "SPEECH_MODEL"),
        (422, SpeechRefused, "refused"),
        (429, SpeechUnavailable, "no more requests"),
        (500, SpeechFailed, "log"),
        (503, SpeechUnavailable, "no more requests"),
    ],
)
def test_a_status(status: int, kind: type[Exception], words: str) -> None:
    """Operators read where, what and what to do; visitors read none of the names."""
    error = REFUSALS.of_status(status, 3.0)
    assert type(error) is kind
    assert "http://10.1.2.3/v1" in error.message
    assert words in error.message
    assert for_visitors(error.visitor_message)


def test_the_other_ways_to_fail() -> None:
    """Each with its kind."""
    assert isinstance(REFUSALS.unreachable(), SpeechUnavailable)
    assert isinstance(REFUSALS.too_slow(), SpeechTimeout)
    assert isinstance(REFUSALS.broken(), SpeechFailed)
    assert isinstance(REFUSALS.garbage(), SpeechFailed)
    assert "sends too much" in REFUSALS.garbage("sends too much").message
