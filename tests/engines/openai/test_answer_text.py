"""Answers without markup and apart from thoughts, however they are cut into pieces."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.catalogue.control_tokens import LONGEST
from server.engines.openai.answer_text import AnswerText


def read(pieces: list[str], *, inside: bool = False) -> tuple[str, str, AnswerText]:
    """The answer, the thoughts, and who told them apart."""
    one = AnswerText(inside=inside)
    parts = [part for piece in pieces for part in one.feed(piece)] + one.end()
    assert all(part.text for part in parts)
    text = "".join(part.text for part in parts if not part.thought)
    return text, "".join(part.text for part in parts if part.thought), one


@pytest.mark.parametrize(
    ("whole", "text", "thoughts"),
    [
        ("A cup.", "A cup.", ""),
        ("<think>It is round.</think>\n\nA cup.", "A cup.", "It is round."),
        ("\n<think>\n\n</think>\n\nA cup.", "A cup.", ""),
        ("[THINK]round[/THINK]A cup.", "A cup.", "round"),
        ("◁think▷round◁/think▷A cup.", "A cup.", "round"),
        ("<|channel>thought\nround<channel|>A cup.", "A cup.", "round"),
        ("<|begin_of_box|>A cup<|end_of_box|>.<|im_end|>", "A cup.", ""),
        ("<|im_start|>assistant", "assistant", ""),
        ("<answer>A cup.</answer>", "A cup.", ""),
        ("<think>Is it [INST] a<|im_end|> cup?</think>Yes.", "Yes.", "Is it  a cup?"),
        ("<im<|x|>age>A cup.", "A cup.", ""),
        # A mark in the middle of an answer was read somewhere.
        ("It says <think> and </think> there.", "It says  and  there.", ""),
        ("a < b, <3, [1] and <b>bold</b>", "a < b, <3, [1] and <b>bold</b>", ""),
        ("ends with <", "ends with <", ""),
        ("ends with <|im_e", "ends with <|im_e", ""),
        ("<think>never ends", "", "never ends"),
    ],
)
def test_markup_goes_wherever_it_is_cut(whole: str, text: str, thoughts: str) -> None:
    """In one piece, in characters, and in two pieces cut at every place."""
    cuts = [[whole], list(whole)]
    cuts += [[whole[:n], whole[n:]] for n in range(1, len(whole))]
    for pieces in cuts:
        assert read(pieces)[:2] == (text, thoughts), pieces


@given(st.text(alphabet="<|>/[]thinkA 0", max_size=60), st.lists(st.integers(0, 60), max_size=8))
def test_pieces_give_what_the_whole_gives(whole: str, cuts: list[int]) -> None:
    """The text does not depend on where it was cut."""
    edges = sorted({0, len(whole), *(min(cut, len(whole)) for cut in cuts)})
    pieces = [whole[begin:end] for begin, end in pairwise(edges)]
    assert read(pieces)[:2] == read([whole])[:2]


def test_little_is_held_back() -> None:
    """What can be no mark any more comes at once; what may be one waits for a bounded number of characters."""
    one = AnswerText()
    assert [part.text for part in one.feed("A cup, a <")] == ["A cup, a "]
    assert [part.text for part in one.feed(" b and ")] == ["< b and "]
    told = "".join(part.text for part in one.feed("<|" + "x" * 500))
    assert len(told) >= 500 - LONGEST


def test_a_hostile_answer_is_cleaned_in_no_time() -> None:
    """Marks that never close, nested ones, and thousands of them."""
    begin = time.thread_time()
    for hostile in ("<|" * 20_000, "[" * 20_000, "<" * 10_000 + ">" * 10_000, "◁" * 5_000):
        read([hostile[n : n + 7] for n in range(0, len(hostile), 7)])
    assert time.thread_time() - begin < 5


def test_thoughts_that_the_template_opened() -> None:
    """Their end alone is marked: the first time it is learned, then they are told apart, and nothing is lost."""
    text, thoughts, first = read(["Round, white.", "</think>\n", "A cup."])
    assert first.closed_unopened
    assert (text, thoughts) == ("Round, white.\nA cup.", "")
    text, thoughts, _ = read(["Round, white.", "</think>\n", "A cup."], inside=True)
    assert (text, thoughts) == ("A cup.", "Round, white.")
    text, _, never = read(["A ", "cup."], inside=True)
    assert never.never_closed
    assert text == "A cup."
