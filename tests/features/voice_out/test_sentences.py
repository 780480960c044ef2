"""Pieces of a growing answer: where they end, and that nothing of the answer gets lost."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.features.voice_out.sentences import Sentences, SpokenPiece, cut_text, to_speakable


def cut(answer: str, size: int = 1) -> list[SpokenPiece]:
    """Give an answer in parts of `size` characters."""
    sentences = Sentences()
    pieces = []
    for at in range(0, len(answer), size):
        pieces += sentences.add(answer[at : at + size])
    return pieces + sentences.end()


def words(answer: str, size: int = 1) -> list[str]:
    return [piece.text for piece in cut(answer, size)]


def test_the_first_piece_ends_at_a_clause_and_the_others_at_sentences() -> None:
    """The voice begins early, and reads whole sentences then."""
    assert words(
        "There is a red cup on the table, next to a book. It is full, or nearly. Mind it!"
    ) == [
        "There is a red cup on the table,",
        "next to a book.",
        "It is full, or nearly.",
        "Mind it!",
    ]


def test_a_piece_comes_with_its_last_character_or_the_one_behind() -> None:
    """Nothing waits for the sentence after it."""
    sentences = Sentences()
    assert sentences.add("It is red.") == []
    assert [piece.text for piece in sentences.add(" ")] == ["It is red."]
    assert [piece.text for piece in sentences.add("它很漂亮。")] == ["它很漂亮。"]


@pytest.mark.parametrize(
    ("answer", "pieces"),
    [
        (
            "桌子上有一个红色的杯子，旁边有一本书。价格是3.5元！",
            ["桌子上有一个红色的杯子，", "旁边有一本书。", "价格是3.5元！"],
        ),
        ("هل هذا كتاب؟ نعم، هو كتاب. شكرا", ["هل هذا كتاب؟", "نعم، هو كتاب.", "شكرا"]),
        ("नमस्ते। आप कैसे हैं।", ["नमस्ते।", "आप कैसे हैं।"]),
        ("赤いカップです。「はい。」そうです。", ["赤いカップです。", "「はい。", "そうです。"]),
        ("¿Qué es? Es 1.5 l. Sí.", ["¿Qué es?", "Es 1.5 l. Sí."]),
    ],
)
def test_marks_of_other_scripts(answer: str, pieces: list[str]) -> None:
    """Chinese, Arabic, Hindi, Japanese and Spanish."""
    assert words(answer) == pieces


@pytest.mark.parametrize(
    "answer",
    [
        "It costs 3.50 euros at 8.30.",
        "Ask Dr. Miller, e.g. at St. Mary.",
        "Am 3. Mai z.B. war es kalt.",
        "Read J. S. Bach at www.example.org today.",
    ],
)
def test_dots_inside_a_sentence(answer: str) -> None:
    """Numbers, abbreviations, initials and names of hosts do not end one."""
    assert "".join(f"{one} " for one in words(answer)).strip() == answer
    assert not any(one.endswith((" Dr.", "3.", "e.g.", "J.")) for one in words(answer))
    assert len(words(answer)) <= 2


def test_yes_and_no_are_spoken_at_once() -> None:
    assert words("No. It is blue.") == ["No.", "It is blue."]


def test_a_sentence_that_goes_on_in_the_next_line_is_spoken_as_one() -> None:
    """Another line is another piece, and so are another paragraph and a line that ends what is here."""
    answer = "It reads:\nDear all\nthe water is off\non Tuesday.\nRoom 5\n\nbe there"
    pieces = ["It reads:", "Dear all the water is off on Tuesday.", "Room 5", "be there"]
    assert words(answer, 100) == pieces
    assert words(answer, len("It reads:\nDear all\n"))[1] == "Dear all"


def test_a_long_sentence_is_cut_between_words() -> None:
    """A piece is never so long that its sound keeps one waiting."""
    pieces = words("word " * 200)
    assert all(piece.endswith("word") for piece in pieces)
    assert len(pieces[0]) <= 80
    # About 16 seconds: shorter ones sound choppy, longer ones are waited for.
    assert [len(piece) for piece in pieces[1:-1]] == [239] * len(pieces[1:-1])
    assert "".join(pieces).count("word") == 200


def test_a_text_without_spaces_is_cut_all_the_same() -> None:
    pieces = words("红" * 1000)
    assert "".join(pieces) == "红" * 1000
    # Such a character takes as long to say as three.
    assert {len(piece) for piece in pieces[1:-1]} == {80}


def test_code_is_not_read_out() -> None:
    """Neither a block nor one that has no end."""
    answer = "Do this.\n```python\nprint('a. b')\n\nx = 1.\n```\nThen look. ```\nmore. code"
    for size in (1, 2, 5, 100):
        assert words(answer, size) == ["Do this.", "Then look."]


def test_markdown_is_not_read_out() -> None:
    """Headings, lists, tables, emphasis, links, addresses and pictograms."""
    answer = (
        "## Cups\n\n- **Red** cup 🙂\n- [the _blue_ one](https://example.org/a?b=1)\n\n"
        "| what | where |\n|---|---|\n| cup | table |\n\n---\n> See https://example.org/x.html, please."
    )
    assert words(answer) == [
        "Cups", "Red cup", "the blue one", "what, where", "cup, table", "See, please.",
    ]  # fmt: skip


@given(st.text(alphabet="ab1 .,!?:\n`*_()[]|#。，红🙂“”", max_size=400), st.integers(1, 9))
def test_the_parts_in_which_an_answer_comes_do_not_matter(answer: str, size: int) -> None:
    """Its pieces follow each other without a gap, and are the same however it was streamed."""
    pieces = cut(answer, size)
    assert pieces == cut(answer, 1000)
    assert all(before.end == after.start for before, after in itertools.pairwise(pieces))
    assert all(piece.text and piece.start < piece.end <= len(answer) for piece in pieces)


def test_what_was_heard_ends_with_a_whole_word() -> None:
    """Of the piece that was interrupted, and all pieces before it."""
    answer = "The cup is red. It stands on the table."
    first, second = cut(answer)
    assert cut_text(answer, first, 1.0) == "The cup is red."
    assert cut_text(answer, second, 0.5) == "The cup is red. It stands"
    assert cut_text(answer, second, 0.0) == "The cup is red."
    assert cut_text(answer, first, 0.0) == ""
    assert cut_text(answer, second, 2.0) == answer


def test_what_was_heard_of_a_text_without_spaces() -> None:
    answer = "桌子上有一个杯子。"
    assert cut_text(answer, cut(answer)[0], 0.5) == "桌子上有"


# Words for a voice: what of an answer is read out, and what is not


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Press `Save as` or `a == b`.", "Press Save as or."),
        ("![a cat](cat.png) sleeps", "a cat sleeps"),
        ("5 * 3 = 15, 20 °C", "5 3 = 15, 20 °C"),
        ("key sk-" + "a1" * 40, "key"),
        ("<b>bold</b> 3 < 5", "bold 3 < 5"),
        ("** --- 🙂", ""),
    ],
)
def test_words_for_a_voice(text: str, said: str) -> None:
    assert to_speakable(text) == said
