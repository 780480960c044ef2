"""The part of a spoken answer that was heard, and the piece that is heard now."""

from __future__ import annotations

from server.features.voice_out.speaking import Utterance

ANSWER = "The cup is red. It stands on the table. It is full."


def written(*, by_page: bool = False) -> Utterance:
    utterance = Utterance("a", by_page=by_page)
    for char in ANSWER:
        utterance.write(char)
    utterance.finish()
    return utterance


def spoken(utterance: Utterance, *seconds: float) -> None:
    """Speak the first pieces, each for so many seconds."""
    at = 0.0
    for piece, lasts in zip(list(utterance.waiting), seconds, strict=False):
        utterance.begin_piece(piece, at)
        at += lasts
        utterance.end_piece(at)


def test_nothing_was_heard_before_the_first_sound() -> None:
    utterance = written()
    assert utterance.heard(5.0) == ""
    spoken(utterance, 1.0, 2.0, 1.0)
    assert utterance.heard(0.0) == ""
    assert utterance.spoken_at(-1.0) is None


def test_what_was_heard_ends_within_its_piece() -> None:
    utterance = written()
    spoken(utterance, 1.0, 2.0, 1.0)
    assert utterance.heard(1.0) == "The cup is red."
    assert utterance.heard(2.0) == "The cup is red. It stands"
    assert utterance.heard(9.0) == ANSWER
    piece = utterance.spoken_at(1.5)
    assert piece is not None
    assert piece.text == "It stands on the table."


def test_a_piece_whose_sound_still_comes() -> None:
    """Its length is not known yet: some of it was heard."""
    utterance = written()
    utterance.begin_piece(utterance.waiting[0], 0.0)
    assert utterance.heard(1.0) in ANSWER[:15]
    assert utterance.heard(0.0) == ""


def test_what_the_page_has_read() -> None:
    """It names the end itself, and cannot name more than there is."""
    utterance = written(by_page=True)
    utterance.read(16)
    assert utterance.heard(0.0) == "The cup is red."
    assert not utterance.read_whole
    utterance.read(9_999_999)
    assert utterance.heard(0.0) == ANSWER
    assert utterance.read_whole


def test_an_answer_without_words_is_read_at_once() -> None:
    utterance = Utterance("a", by_page=True)
    utterance.write("🙂")
    assert not utterance.read_whole
    utterance.finish()
    assert utterance.read_whole
    assert not utterance.waiting
