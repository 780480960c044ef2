"""Remove models' control tokens from texts. Pure.

A tokenizer turns `<|im_end|>`, `[INST]` or `<start_of_turn>` in a question into the real token,
which ends the turn or replaces the picture.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

# Control tokens by family; 0 means any number
FAMILIES = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
# Maximum nesting depth; each pass takes time in proportion to the length of the text.
_PASSES = 8
# Full-width and similar marks, which a later normalisation would turn into ASCII
_WIDE = {"＜": "<", "｜": "|", "＞": ">", "［": "[", "］": "]"}


def _join_alternatives(texts: Iterable[str]) -> str:
    """Return a pattern of alternatives, grouped by first character for speed."""
    groups = groupby(sorted(texts), key=lambda text: text[0])
    parts = [(first, "|".join(re.escape(text[1:]) for text in group)) for first, group in groups]
    return "|".join(f"{re.escape(first)}(?:{rest})" for first, rest in parts).replace("0", r"\d+")


_TOKENS = {token for family in FAMILIES.values() for token in family["tokens"]}
_ANGLED, _SQUARED = (
    {one for one in _TOKENS if one[0] == first and one[1] not in "<|"} for first in "<["
)
# Also every <|…|>, and Gemma 4's <|turn> and <turn|>
_TOKEN = re.compile(
    rf"<(?=[^<>]+>)(?:\|[^<>]*\||\|[\w/:-]+|[\w/:-]+\||{_join_alternatives(one[1:-1] for one in _ANGLED)})>"
    rf"|\[(?:{_join_alternatives(one[1:-1] for one in _SQUARED)})\]|{_join_alternatives(_TOKENS - _ANGLED - _SQUARED)}"
)
_BEGINNING = re.compile("[<[◁]")


def remove(text: str) -> str:
    """Remove the control tokens of one piece of an answer."""
    return _TOKEN.sub("", text)


def clean(text: str) -> str:
    """Remove all control tokens from a text for a model, including nested ones and look-alikes."""
    for wide, plain in _WIDE.items():
        text = text.replace(wide, plain)
    for _ in range(_PASSES):
        text, found = _TOKEN.subn("", text)
        if not found:
            return text
    return _BEGINNING.sub("", text)
