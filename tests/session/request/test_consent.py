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


def consent(*engines: FakeEngine) -> tuple[Consent, list[FakeEngine]]:
    """The consent of a session whose roles have these engines, and the list of them."""
    now = list(engines)
    return Consent(lambda: now), now


@pytest.mark.parametrize("confirmed", [True, False], ids=["sound", "answers"])
def test_no_picture_goes_where_only_words_or_sound_may(confirmed: bool) -> None:
    """Who gets the questions or speaks the answers may get another engine later."""
    one, engines = consent(FakeEngine())
    there = Elsewhere(one, "there.example", confirmed=confirmed)
    assert there.purpose.given
    there.purpose.give()
    moved = FakeEngine(elsewhere="there.example")
    assert not one.given(moved)
    with pytest.raises(NotConfirmed):
        one.check(moved)
    engines[:] = [moved]
    one.give("there.example")
    assert one.given(moved)


def test_consent_for_sound_is_for_sound() -> None:
    one, _ = consent(FakeEngine())
    sound, answers = Elsewhere(one, confirmed=True), Elsewhere(one)
    assert one.complete
    sound.elsewhere = answers.elsewhere = "there.example"
    with pytest.raises(NotConfirmed, match=r"Sound would go to there\.example"):
        sound.purpose.check()
    assert not one.complete
    one.give("there.example")
    sound.purpose.check()
    assert one.complete
    assert not answers.purpose.given
    assert not one.given(FakeEngine(elsewhere="there.example"))
    with pytest.raises(BadRequest):
        one.give("another.example")


def test_a_confirm_message_agrees_to_what_asks_for_it_alone() -> None:
    """Answers have a button of their own."""
    one, _ = consent(FakeEngine())
    answers = Elsewhere(one)
    answers.elsewhere = "there.example"
    assert one.complete
    with pytest.raises(BadRequest):
        one.give("there.example")
    assert not answers.purpose.given


def test_consent_for_pictures_is_for_all() -> None:
    one, _ = consent(FakeEngine(elsewhere="there.example"))
    sound, answers = Elsewhere(one, confirmed=True), Elsewhere(one)
    sound.elsewhere = answers.elsewhere = "there.example"
    assert sound.purpose.given
    assert answers.purpose.given


def test_the_machine_of_each_role_needs_consent() -> None:
    """Those of the session's beginning have it; of those that come later each is agreed to, alone or together."""
    large, small = FakeEngine(elsewhere="large.example"), FakeEngine(elsewhere="small.example")
    one, engines = consent(large)
    assert one.for_pictures
    engines.append(small)
    assert (one.elsewhere, one.for_pictures) == ("large.example, small.example", False)
    assert one.given(large)
    with pytest.raises(NotConfirmed, match=r"would go to small\.example"):
        one.check(small)
    for wrong in ("large.example, other.example", "small.exampl", ", "):
        with pytest.raises(BadRequest):
            one.give(wrong)
    one.give("small.example")
    assert one.for_pictures
    one.check(small)
    engines[:] = [small, FakeEngine(elsewhere="a.example"), FakeEngine(elsewhere="b.example")]
    assert not one.for_pictures
    one.give(one.elsewhere)
    assert one.for_pictures


def test_a_machine_of_several_is_agreed_to_once() -> None:
    """Servers of one model that come and go are no reason to ask again; a further one is."""
    group = FakeEngine(elsewhere="a.example, b.example")
    one, _ = consent(group)
    assert one.given(FakeEngine(elsewhere="b.example"))
    assert not one.given(FakeEngine(elsewhere="b.example, c.example"))
