"""The machines that may get one session's pictures, sound and answers."""

from __future__ import annotations

from typing import Any

import pytest

from server.core.errors import BadRequest, NotConfirmed
from server.session.request.builder import Consent
from tests.support.fakes import FakeEngine


class Elsewhere:
    """A recogniser or a voice on another machine."""

    def __init__(self, elsewhere: str) -> None:
        self.elsewhere = elsewhere


def consent(engine: FakeEngine, ear: str = "", voice: str = "") -> tuple[Consent, Any, Any]:
    recogniser: Any = Elsewhere(ear)
    speaker: Any = Elsewhere(voice)
    return Consent(engine, recogniser, speaker), recogniser, speaker


@pytest.mark.parametrize("part", ["ear", "voice"])
def test_no_picture_goes_where_only_words_or_sound_may(part: str) -> None:
    """Whoever hears the questions or speaks the answers may get another engine later."""
    one, _, _ = consent(FakeEngine(), **{part: "there.example"})
    assert one.sound_given
    assert one.voice_given
    one.give_voice()
    moved = FakeEngine(elsewhere="there.example")
    assert not one.given(moved)
    with pytest.raises(NotConfirmed):
        one.check(moved)
    one.give(moved, "there.example")
    assert one.given(moved)


def test_consent_for_sound_is_for_sound() -> None:
    one, recogniser, _ = consent(FakeEngine())
    recogniser.elsewhere = "there.example"
    with pytest.raises(NotConfirmed):
        one.check_sound()
    one.give(FakeEngine(), "there.example")
    assert one.sound_given
    assert not one.given(FakeEngine(elsewhere="there.example"))
    with pytest.raises(BadRequest):
        one.give(FakeEngine(), "another.example")


def test_consent_for_pictures_is_for_all() -> None:
    one, recogniser, voice = consent(FakeEngine(elsewhere="there.example"))
    recogniser.elsewhere = voice.elsewhere = "there.example"
    assert one.sound_given
    assert one.voice_given
