"""Recognise models' control tokens, and remove them from texts. Pure.

A tokenizer turns `<|im_end|>`, `[INST]` or `<start_of_turn>` in a question into the real token,
which ends the turn or replaces the picture.
"""

from __future__ import annotations

import json
import re
import tomllib
from bisect import bisect_left
from collections.abc import Iterable
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from server.models.files import ModelFolderError, json_or_nothing, opened

_LIST = Path(__file__).with_suffix(".toml")
# No longer token is known; `clean` removes a `<|…|>` of any length.
LONGEST = 100
# Characters by whose end a token is looked up; none is shorter.
_TAIL = 3
# Bounds for a model's folder: some vocabularies have thousands of unused tokens.
_MOST_TOKENS = 10_000
_MOST_FILE_BYTES = 4 * 1024 * 1024
# Full-width and similar marks, which a later normalisation would turn into these.
WIDE = str.maketrans({"＜": "<", "｜": "|", "＞": ">", "［": "[", "］": "]"})
# Gemma 4 opens with `<|turn>` and closes with `<turn|>`.
_PIPED = re.compile(r"<\|.*\|>|<\|[\w/:-]+>|<[\w/:-]+\|>", re.DOTALL)
# Beginning of a token such as `<turn|>`
_WORD = re.compile(r"<[\w/:-]*\|?")
_NUMBER = re.compile(r"\d+")
_CLOSING = {">": "<", "]": "["}


class ControlTokens:
    """A set of control tokens; every `<|…|>` is one, too.

    `numbered`: tokens with 0 in place of any number.
    """

    def __init__(self, tokens: Iterable[str], numbered: Iterable[str] = ()) -> None:
        self.tokens = frozenset(one for one in tokens if _is_markup(one))
        self.numbered = frozenset(numbered)
        # Last characters to the lengths of their tokens, longest first
        lengths: dict[str, set[int]] = {}
        for token in self.tokens:
            lengths.setdefault(token[-_TAIL:], set()).add(len(token))
        self._lengths = {end: sorted(all, reverse=True) for end, all in lengths.items()}
        self._numbered_ends = frozenset(token[-2:] for token in self.numbered)
        # The characters at which something begins or ends; between them a text stays as it is.
        marks = {*"<[>]", *(token[-1] for token in self.tokens)}
        self._marks = re.compile(f"[{re.escape(''.join(sorted(marks)))}]")

    def __or__(self, other: ControlTokens) -> ControlTokens:
        return ControlTokens(self.tokens | other.tokens, self.numbered | other.numbered)

    @cached_property
    def beginnings(self) -> frozenset[str]:
        """All beginnings of the tokens, with numbers as 0."""
        return frozenset(
            _NUMBER.sub("0", token)[:end]
            for token in self.tokens | self.numbered
            for end in range(1, len(token) + 1)
        )

    def clean(self, text: str) -> str:
        """Remove all control tokens, nested ones too, in one pass (linear in the text)."""
        text, at = text.translate(WIDE), 0
        rest = Remainder(self)
        for found in self._marks.finditer(text):
            rest.add_plain(text[at : found.start()])
            rest.add(found.group())
            at = found.end()
        return rest.text + text[at:]


class Remainder:
    """A text that grows by characters, and removes a control token as soon as its last character is
    added.

    Therefore the text never contains one.
    """

    def __init__(self, tokens: ControlTokens) -> None:
        self._tokens = tokens
        self._chars: list[str] = []
        # Mark to its positions
        self._marks: dict[str, list[int]] = {"<": [], "[": [], ">": [], "]": []}

    def __len__(self) -> int:
        return len(self._chars)

    @property
    def text(self) -> str:
        return "".join(self._chars)

    def add_plain(self, text: str) -> None:
        """Add a piece of text in which nothing begins or ends."""
        self._chars.extend(text)

    def add(self, char: str) -> str:
        """Add a character, and return the control token that it completes and removes, or ""."""
        chars = self._chars
        chars.append(char)
        if char in self._marks:
            self._marks[char].append(len(chars) - 1)
        begin = self._begin(char)
        if begin is None:
            return ""
        token = "".join(chars[begin:])
        del chars[begin:]
        for positions in self._marks.values():
            del positions[bisect_left(positions, begin) :]
        return token

    def take(self, count: int) -> str:
        """Remove and return the first characters.

        The caller knows that no control token begins in them.
        """
        taken = "".join(self._chars[:count])
        del self._chars[:count]
        for mark, positions in self._marks.items():
            self._marks[mark] = [at - count for at in positions if at >= count]
        return taken

    def pending(self) -> int:
        """Return where a control token may begin first; the length for nowhere."""
        found = end = len(self._chars)
        # The rare opening mark has no positions of its own.
        rare = [n for n, char in enumerate(self._chars) if char == "◁"]
        for at in sorted((*self._marks["<"], *self._marks["["], *rare), reverse=True):
            if len(self._chars) - at > LONGEST or not self._may_grow("".join(self._chars[at:end])):
                break
            found = end = at
        return found

    def _may_grow(self, text: str) -> bool:
        if text.startswith("<|"):
            return ">" not in text
        return bool(_WORD.fullmatch(text)) or _NUMBER.sub("0", text) in self._tokens.beginnings

    def _begin(self, char: str) -> int | None:
        """Return the beginning of the control token that this last character completes, or None."""
        chars, tokens = self._chars, self._tokens
        for length in tokens._lengths.get("".join(chars[-_TAIL:]), ()):
            if length <= len(chars) and "".join(chars[-length:]) in tokens.tokens:
                return len(chars) - length
        opening = _CLOSING.get(char)
        if opening is None or not self._marks[opening]:
            return None
        begin = self._marks[opening][-1]
        closed = self._marks[char]
        if len(closed) > 1 and closed[-2] > begin:
            return None
        if char == ">" and (chars[begin + 1] == "|" or chars[-2] == "|"):
            return begin if _PIPED.fullmatch("".join(chars[begin:])) else None
        # A numbered token may end with these two characters.
        end = ("0" if chars[-2].isdecimal() else chars[-2]) + char
        if len(chars) - begin > LONGEST or end not in tokens._numbered_ends:
            return None
        return begin if _NUMBER.sub("0", "".join(chars[begin:])) in tokens.numbered else None


def _is_markup(token: str) -> bool:
    """Return True for a token that people do not write; words and spaces must stay in a question."""
    return (
        2 < len(token) <= LONGEST
        and not (token[0].isalnum() and token[-1].isalnum())
        and not token.isspace()
    )


@cache
def known() -> ControlTokens:
    """Return the control tokens of all known families."""
    return _of(_families())


def of_model(special: Iterable[str]) -> ControlTokens:
    """Return the control tokens of a model (`special`: from its tokenizer), and the placeholders of pictures that model
    servers use for any model.
    """
    return ControlTokens(special) | _of(["servers"])


def of_folder(folder: Path) -> ControlTokens | None:
    """Read the control tokens from the tokenizer in a model's folder; None when it names none.

    Added tokens that are not special count only when a known family has them; others are words,
    spaces or HTML.
    """
    found: set[str] = set()
    for one in _added(folder):
        token = one.get("content")
        if isinstance(token, str) and (one.get("special") is True or token in known().tokens):
            found.add(token)
    for value in json_or_nothing(folder / "special_tokens_map.json", _MOST_FILE_BYTES).values():
        for one in value if isinstance(value, list) else [value]:
            token = one.get("content") if isinstance(one, dict) else one
            if isinstance(token, str):
                found.add(token)
    found |= json_or_nothing(folder / "added_tokens.json", _MOST_FILE_BYTES).keys() & known().tokens
    return of_model(sorted(found)[:_MOST_TOKENS]) if found else None


def _added(folder: Path) -> list[dict[str, Any]]:
    decoder = json_or_nothing(folder / "tokenizer_config.json", _MOST_FILE_BYTES).get(
        "added_tokens_decoder"
    )
    if isinstance(decoder, dict):
        return [one for one in decoder.values() if isinstance(one, dict)]
    # This file may have tens of MiB; the added tokens are before the vocabulary.
    text = _text(folder / "tokenizer.json")
    at = text.find('"added_tokens"')
    begin = text.find("[", at)
    if at < 0 or begin < 0:
        return []
    try:
        listed, _ = json.JSONDecoder().raw_decode(text, begin)
    except (ValueError, RecursionError):
        return []
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def _text(path: Path) -> str:
    """Read the first 4 MiB of a file; "" without one."""
    try:
        with opened(path) as file:
            return file.read(_MOST_FILE_BYTES).decode("utf-8", "replace")
    except (OSError, ModelFolderError):
        return ""


@cache
def _families() -> dict[str, dict[str, Any]]:
    return tomllib.loads(_LIST.read_text(encoding="utf-8"))


def _of(names: Iterable[str]) -> ControlTokens:
    chosen = [_families()[name] for name in names]
    return ControlTokens(
        (token for one in chosen for token in one["tokens"]),
        (token for one in chosen for token in one.get("numbered", ())),
    )
