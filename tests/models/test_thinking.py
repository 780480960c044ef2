"""Models that think: switched off, or given tokens for it."""

from __future__ import annotations

from server.models.thinking import OFF_FIELDS, Mode, Thinking, ThinkingLimits


def test_nothing_is_sent_before_it_is_seen_to_think() -> None:
    """Then it is asked not to; when that does not help, it gets tokens."""
    one = Thinking(ThinkingLimits())
    assert (one.fields(), one.budget(8192)) == ({}, 0)
    assert one.seen(Mode.PLAIN)
    assert (one.fields(), one.budget(8192)) == (OFF_FIELDS, 0)
    assert one.seen(Mode.OFF)
    assert (one.fields(), one.budget(8192)) == ({}, 1024)
    assert not one.seen(Mode.BUDGET)


def test_answers_at_the_same_time_learn_it_once() -> None:
    """The second of two that were asked plainly is asked anew as the first was, and no more."""
    one = Thinking(ThinkingLimits())
    assert one.seen(Mode.PLAIN)
    assert one.seen(Mode.PLAIN)
    assert one.mode is Mode.OFF


def test_wanted_thinking_gets_its_tokens_at_once() -> None:
    """A quarter of the context at most."""
    one = Thinking(ThinkingLimits(wanted=True, max_tokens=2000))
    assert one.seen(Mode.PLAIN)
    assert one.mode is Mode.BUDGET
    assert (one.budget(None), one.budget(4096)) == (2000, 1024)


def test_fields_that_are_refused_are_not_sent_again() -> None:
    """One by one, or all of them where none was named; another model begins anew."""
    one = Thinking(ThinkingLimits())
    one.seen(Mode.PLAIN)
    one.drop("reasoning_effort")
    assert list(one.fields()) == ["chat_template_kwargs"]
    one.drop("chat_template_kwargs")
    assert one.mode is Mode.BUDGET
    assert not one.refused()
    one.served({})
    assert (one.fields(), one.budget(8192)) == ({}, 0)
    one.seen(Mode.PLAIN)
    assert one.refused()
    assert (one.fields(), one.budget(8192)) == ({}, 1024)


def test_a_models_own_template_says_whether_it_can_be_switched_off() -> None:
    """Switched off from the first question on; without a switch it gets tokens once seen to think."""
    for wanted, switch, opened, mode in (
        (False, True, False, Mode.OFF),
        (True, True, False, Mode.BUDGET),
        (False, False, True, Mode.BUDGET),
        (False, True, True, Mode.BUDGET),
        (True, False, False, Mode.PLAIN),
    ):
        one = Thinking(ThinkingLimits(wanted=wanted), switch=False)
        one.known(switch=switch, opened=opened)
        assert one.mode is mode
    bare = Thinking(ThinkingLimits(), switch=False)
    assert bare.seen(Mode.PLAIN)
    assert bare.mode is Mode.BUDGET
