"""Our estimate of tokens beside what servers count."""

from __future__ import annotations

from server.session.request.builder import TokenScale


def test_more_than_was_estimated_counts_at_once() -> None:
    """A prompt that took twice the tokens makes the next estimate twice as large."""
    scale = TokenScale()
    assert scale.of("a") == 1.0
    scale.learn("a", 500, 1000)
    assert scale.of("a") == 2.0


def test_less_counts_slowly_and_within_bounds() -> None:
    """One short count is no reason to risk the next question; nonsense of any size is bounded."""
    scale = TokenScale()
    scale.learn("a", 1000, 500)
    assert 0.9 <= scale.of("a") < 1.0
    for _ in range(100):
        scale.learn("a", 1000, 500)
    assert 0.75 <= scale.of("a") < 0.76
    scale.learn("a", 1, 2**31)
    assert scale.of("a") == 4.0


def test_a_server_that_counts_nothing_changes_nothing() -> None:
    """No usage, or none that can be: some count only what they had not cached."""
    scale = TokenScale()
    for counted in (None, 0, 10, 199):
        scale.learn("a", 500, counted)
    scale.learn("a", 0, 500)
    assert scale.of("a") == 1.0


def test_each_model_has_its_own() -> None:
    """The scale of one tokenizer is not used for another, nor lost while another one answers, too."""
    scale = TokenScale()
    scale.learn("a", 500, 1000)
    assert scale.of("b") == 1.0
    scale.learn("b", 500, 500)
    assert (scale.of("a"), scale.of("b")) == (2.0, 1.0)
    for number in range(8):
        scale.learn(f"another {number}", 500, 500)
    assert scale.of("a") == 1.0
