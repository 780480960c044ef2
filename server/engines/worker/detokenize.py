"""Text out of tokens, one at a time. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

# Tokens that are waited for at most until a character is whole; four make any.
_HELD_BACK = 8


class Detokenizer:
    """Turns tokens into pieces of text that together are the text of all.

    A token may be a part of a character, or have a space before it only where another token is: so each piece is
    what the newest tokens add to those just before them. `decode` gives the text of some tokens.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        # From here on tokens are decoded together; from there on they were not told yet.
        self._start = 0
        self._told = 0

    def push(self, token: int) -> str:
        """What can be told now; "" while a character is not whole."""
        self._ids.append(token)
        text = self._fresh()
        if text.endswith("\ufffd") and len(self._ids) - self._told < _HELD_BACK:
            return ""
        return self._tell(text)

    def end(self) -> str:
        """What was held back."""
        return self._tell(self._fresh()) if self._told < len(self._ids) else ""

    def _fresh(self) -> str:
        known = self._decode(self._ids[self._start : self._told])
        return self._decode(self._ids[self._start :])[len(known) :]

    def _tell(self, text: str) -> str:
        if text:
            self._start, self._told = self._told, len(self._ids)
        return text
