"""Turn a stream of tokens into text. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

# Maximum tokens to wait for an incomplete character; four tokens suffice for any character.
_MAX_WAIT_TOKENS = 8
# Replacement for incomplete or invalid bytes
_BROKEN = "\ufffd"
# Maximum tokens that are decoded together while they result in no text
_WINDOW = 64


class Detokenizer:
    """Converts tokens to pieces of text, which together are the text of all tokens without a last incomplete character.

    A token may be part of a character, and its leading space may depend on the previous token. Therefore each piece is
    the difference between the text with and without the newest tokens. `decode` returns the text of some tokens.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        # Tokens from `_start` on are decoded together; those from `_whole` on may be emitted in part.
        self._start = 0
        self._whole = 0
        # Emitted part of the text from `_start` on
        self._emitted = ""
        # Tokens since the last emitted text
        self._waited = 0

    def push(self, token: int) -> str:
        """Add a token; return the text that it completes, "" if a character is incomplete."""
        self._ids.append(token)
        self._waited += 1
        text = self._decode(self._ids[self._start :])
        whole = text.rstrip(_BROKEN)
        if whole == text or self._waited >= _MAX_WAIT_TOKENS:
            return self._emit(text, all_of_it=True)
        return self._emit(whole, all_of_it=False)

    def end(self) -> str:
        """Return the remaining text."""
        return self._emit(self._decode(self._ids[self._start :]).rstrip(_BROKEN), all_of_it=True)

    def _emit(self, text: str, *, all_of_it: bool) -> str:
        # Some tokenizers return nothing, not even emitted text, while bytes of a character are missing.
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
