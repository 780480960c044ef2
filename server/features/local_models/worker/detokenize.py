"""Text out of tokens, one at a time. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

# Tokens that are waited for at most until a character is whole; four make any.
_MAX_WAIT_TOKENS = 8
# The character for bytes that are none, or not yet
_BROKEN = "\ufffd"
# Tokens that are decoded together at most while none of them gives a text
_WINDOW = 64


class Detokenizer:
    """Turns tokens into pieces of text that together are the text of all, but for a character that
    is never completed.

    A token may be a part of a character, or have a space before it only where another token is: so
    each piece is what the newest tokens add to those just before them. `decode` gives the text of
    some tokens.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        # Tokens are decoded together from `_start` on; those from `_whole` on may have been given
        # out in part.
        self._start = 0
        self._whole = 0
        # The part of the text from `_start` on that was given out
        self._emitted = ""
        # Tokens since a text was given out
        self._waited = 0

    def push(self, token: int) -> str:
        """Return the text that is complete now; "" while a character is not whole."""
        self._ids.append(token)
        self._waited += 1
        text = self._decode(self._ids[self._start :])
        whole = text.rstrip(_BROKEN)
        if whole == text or self._waited >= _MAX_WAIT_TOKENS:
            return self._emit(text, all_of_it=True)
        return self._emit(whole, all_of_it=False)

    def end(self) -> str:
        """Return the rest that is text."""
        return self._emit(self._decode(self._ids[self._start :]).rstrip(_BROKEN), all_of_it=True)

    def _emit(self, text: str, *, all_of_it: bool) -> str:
        # Some tokenizers give nothing of bytes until all in a row are there, not even the text that
        # was given out before.
        known = all_of_it or text.startswith(self._emitted)
        fresh = text[len(self._emitted) :] if known else ""
        if all_of_it and (fresh or len(self._ids) - self._start > _WINDOW):
            self._start, self._whole = self._whole, len(self._ids)
            self._emitted = self._decode(self._ids[self._start :])
        elif fresh:
            self._emitted = text
        if fresh:
            self._waited = 0
        return fresh
