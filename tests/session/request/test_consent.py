"""The machines that may get one session's pictures, and what else leaves the server."""

from __future__ import annotations

import pytest

from server.core.errors import BadRequest, NotConfirmed
from server.session.request.builder import Consent, Purpose
from tests.support.fakes import FakeEngine


class Elsewhere:
    """What gets sound or words, on a machine that a test chooses."""

    def __init__(self, consent: Consent, elsewhere: str = "", *, confirmed: bool = False) -> None:
        self.elsewhere = elsewhere
        self.purpose: Purpose = consent.purpose(
            "Sound", lambda: self.elsewhere, confirmed=confirmed
        )


@pytest.mark.parametrize("confirmed", [True, False], ids=["sound", "answers"])
def test_no_picture_goes_where_only_words_or_sound_may(confirmed: bool) -> None:
    """Who gets the questions or speaks the answers may get another engine later."""
    one = Consent(FakeEngine())
    there = Elsewhere(one, "there.example", confirmed=confirmed)
    assert there.purpose.given
    there.purpose.give()
    moved = FakeEngine(elsewhere="there.example")
    assert not one.given(moved)
    with pytest.raises(NotConfirmed):
        one.check(moved)
    one.give(moved, "there.example")
    assert one.given(moved)


def test_consent_for_sound_is_for_sound() -> None:
    one = Consent(FakeEngine())
    sound, answers = Elsewhere(one, confirmed=True), Elsewhere(one)
    assert one.complete(FakeEngine())
    sound.elsewhere = answers.elsewhere = "there.example"
    with pytest.raises(NotConfirmed, match=r"Sound would go to there\.example"):
        sound.purpose.check()
    assert not one.complete(FakeEngine())
    one.give(FakeEngine(), "there.example")
    sound.purpose.check()
    assert one.complete(FakeEngine())
    assert not answers.purpose.given
    assert not one.given(FakeEngine(elsewhere="there.example"))
    with pytest.raises(BadRequest):
        one.give(FakeEngine(), "another.example")


def test_a_confirm_message_agrees_to_what_asks_for_it_alone() -> None:
    """Answers have a button of their own."""
    one = Consent(FakeEngine())
    answers = Elsewhere(one)
    answers.elsewhere = "there.example"
    assert one.complete(FakeEngine())
    with pytest.raises(BadRequest):
        one.give(FakeEngine(), "there.example")
    assert not answers.purpose.given


def test_consent_for_pictures_is_for_all() -> None:
    one = Consent(FakeEngine(elsewhere="there.example"))
    sound, answers = Elsewhere(one, confirmed=True), Elsewhere(one)
    sound.elsewhere = answers.elsewhere = "there.example"
    assert sound.purpose.given
    assert answers.purpose.given
