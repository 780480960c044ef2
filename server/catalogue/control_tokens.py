"""Control tokens of models: which texts they are, and how they are taken out of a text. Pure.

A tokenizer turns `<|im_end|>`, `[INST]` or `<start_of_turn>` inside a question into the real token, which ends the turn or
takes the picture's place.
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

_LIST = Path(__file__).with_suffix(".toml")
# A longer one was never seen; a `<|…|>` may have any length in what is cleaned as a whole.
LONGEST = 100
# What a model's folder tells is bounded: some vocabularies have thousands that nobody uses.
_MOST_TOKENS = 10_000
_MOST_FILE_BYTES = 4 * 1024 * 1024
# Full-width and look-alike marks, which would become these if somebody normalised the text later.
WIDE = str.maketrans({"＜": "<", "｜": "|", "＞": ">", "［": "[", "］": "]"})
# Gemma 4 opens with `<|turn>` and closes with `<turn|>`.
_PIPED = re.compile(r"<\|.*\|>|<\|[\w/:-]+>|<[\w/:-]+\|>", re.DOTALL)
# What may become `<turn|>`
_WORD = re.compile(r"<[\w/:-]*\|?")
_NUMBER = re.compile(r"\d+")
_CLOSING = {">": "<", "]": "["}


class ControlTokens:
    """A set of them, beside `<|…|>`, which always counts. `numbered`: with 0 for any number."""

    def __init__(self, tokens: Iterable[str], numbered: Iterable[str] = ()) -> None:
        self.tokens = frozenset(one for one in tokens if _is_markup(one))
        self.numbered = frozenset(numbered)
        # By its last character, the lengths that there are, the longest first
        lengths: dict[str, set[int]] = {}
        for token in self.tokens:
            lengths.setdefault(token[-1], set()).add(len(token))
        self._lengths = {end: sorted(all, reverse=True) for end, all in lengths.items()}

    def __or__(self, other: ControlTokens) -> ControlTokens:
        return ControlTokens(self.tokens | other.tokens, self.numbered | other.numbered)

    @cached_property
    def beginnings(self) -> frozenset[str]:
        """All that may become one, digits as 0."""
        return frozenset(
            _NUMBER.sub("0", token)[:end]
            for token in self.tokens | self.numbered
            for end in range(1, len(token) + 1)
        )

    def clean(self, text: str) -> str:
        """Take them out until none is left, nested ones too. In one pass: the work grows with the text alone."""
        rest = Remainder(self)
        for char in text.translate(WIDE):
            rest.add(char)
        return rest.text


class Remainder:
    """A text that grows by characters, out of which each control token goes as soon as its last character is there.

    So what is left never holds one: it would have ended with one before.
    """

    def __init__(self, tokens: ControlTokens) -> None:
        self._tokens = tokens
        self._chars: list[str] = []
        # Where the opening and closing marks are
        self._places: dict[str, list[int]] = {"<": [], "[": [], ">": [], "]": []}

    def __len__(self) -> int:
        return len(self._chars)

    @property
    def text(self) -> str:
        return "".join(self._chars)

    def add(self, char: str) -> str:
        """The control token that went with this character, or nothing."""
        chars = self._chars
        chars.append(char)
        if char in self._places:
            self._places[char].append(len(chars) - 1)
        begin = self._begin(char)
        if begin is None:
            return ""
        token = "".join(chars[begin:])
        self._cut(begin)
        return token

    def take(self, count: int) -> str:
        """Let go of the first characters: no control token begins in them any more."""
        taken = "".join(self._chars[:count])
        del self._chars[:count]
        for mark, places in self._places.items():
            self._places[mark] = [place - count for place in places if place >= count]
        return taken

    def pending(self) -> int:
        """Where the first thing begins that may become a control token yet; the length where there is none."""
        found = end = len(self._chars)
        for place in sorted(
            (*self._places["<"], *self._places["["], *self._others()), reverse=True
        ):
            if len(self._chars) - place > LONGEST or not self._may_grow(
                "".join(self._chars[place:end])
            ):
                break
            found = end = place
        return found

    def _others(self) -> list[int]:
        """Where a mark of another kind begins; few tokens have one."""
        return [n for n, char in enumerate(self._chars) if char == "◁"]

    def _may_grow(self, text: str) -> bool:
        if text.startswith("<|"):
            return ">" not in text
        return bool(_WORD.fullmatch(text)) or _NUMBER.sub("0", text) in self._tokens.beginnings

    def _begin(self, char: str) -> int | None:
        """Where the control token begins that ends here."""
        chars, tokens = self._chars, self._tokens
        for length in tokens._lengths.get(char, ()):
            if length <= len(chars) and "".join(chars[-length:]) in tokens.tokens:
                return len(chars) - length
        opening = _CLOSING.get(char)
        if opening is None or not self._places[opening]:
            return None
        begin = self._places[opening][-1]
        closed = self._places[char]
        if len(closed) > 1 and closed[-2] > begin:
            return None
        if char == ">" and (chars[begin + 1] == "|" or chars[-2] == "|"):
            return begin if _PIPED.fullmatch("".join(chars[begin:])) else None
        if len(chars) - begin > LONGEST:
            return None
        return begin if _NUMBER.sub("0", "".join(chars[begin:])) in tokens.numbered else None

    def _cut(self, begin: int) -> None:
        del self._chars[begin:]
        for places in self._places.values():
            del places[bisect_left(places, begin) :]


def _is_markup(token: str) -> bool:
    """Tell whether a token is nothing that people write: a word or spaces would be missed in a question."""
    return (
        2 < len(token) <= LONGEST
        and not (token[0].isalnum() and token[-1].isalnum())
        and not token.isspace()
    )


@cache
def known() -> ControlTokens:
    """Those of all families."""
    return _of(tuple(_families()))


@cache
def of_servers() -> ControlTokens:
    """Those that model servers put in the place of pictures, whatever the model."""
    return _of(("servers",))


def of_model(special: Iterable[str]) -> ControlTokens:
    """A model's own, as its tokenizer tells them, and those of model servers."""
    return ControlTokens(special) | of_servers()


def of_folder(folder: Path) -> ControlTokens | None:
    """What the tokenizer in a model's folder takes for control tokens; None where it does not tell.

    Tokens that were added and are not special count where a family is known for them: others are words, spaces or HTML.
    """
    found: set[str] = set()
    for one in _added(folder):
        token = one.get("content")
        if isinstance(token, str) and (one.get("special") is True or token in known().tokens):
            found.add(token)
    for value in _told(folder / "special_tokens_map.json").values():
        for one in value if isinstance(value, list) else [value]:
            token = one.get("content") if isinstance(one, dict) else one
            if isinstance(token, str):
                found.add(token)
    found.update(set(_told(folder / "added_tokens.json")) & known().tokens)
    return of_model(sorted(found)[:_MOST_TOKENS]) if found else None


def _added(folder: Path) -> list[dict[str, Any]]:
    decoder = _told(folder / "tokenizer_config.json").get("added_tokens_decoder")
    if isinstance(decoder, dict):
        return [one for one in decoder.values() if isinstance(one, dict)]
    # In a file of tens of MiB they stand before the vocabulary.
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


def _told(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_text(path))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _text(path: Path) -> str:
    """The beginning of a file; nothing where there is none."""
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return file.read(_MOST_FILE_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError):
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
