"""Redact the lines of a program's log in order, because a credential may continue on the next line. Pure."""

from __future__ import annotations

import re

from server.core.redact import HIDDEN, IS, LIKELY, LONGEST, MARGIN, SURE, VALUE, redact

# A line that ends before a value
_AROUND = " \t│|┃>"
_FRAME = r"[\s│|┃>]*"
_OPEN = re.compile(
    rf"(?:(?:{SURE}s?|{LIKELY}|(?i:authorization|cookie)){IS}|(?i:\bbearer))\s{{0,8}}[\[({{]?$"
)
_FIRST = re.compile(rf"^({_FRAME}){VALUE}")
# Without the frame of a line: a long word at its end, and the rest of that word at the beginning of
# the next line
_TO_THE_END = re.compile(r"[^\s│|┃>]{20}$")
_GOES_ON = re.compile(rf"^({_FRAME})[\w.+/=~-]{{8,}}")
_KEY_BEGINS = re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----")
# Maximum lines of a private key
_KEY_LINES = 200


class Redactor:
    """Redacts the lines of one log in order, so that a credential that continues on the next line is also hidden."""

    def __init__(self) -> None:
        # Whether the last line ended before a value, or within one; and the remaining lines of a
        # private key
        self._open = self._cut = False
        self._key = 0

    def line(self, text: str, most: int = LONGEST) -> str:
        """Redact the next line, from which `plain` has removed control characters. Return at most `most` characters."""
        if self._key:
            self._key = 0 if "-----END" in text else self._key - 1
            return HIDDEN
        shown = redact(text, most)
        if self._open:
            shown = _FIRST.sub(rf"\1{HIDDEN}", shown)
        elif self._cut:
            shown = _GOES_ON.sub(rf"\1{HIDDEN}", shown)
        if not text.strip():
            return shown
        # A frame of line-drawing characters may follow the text.
        end = text[-2 * MARGIN :].rstrip(_AROUND)
        self._open = _OPEN.search(end) is not None
        # The line ends with a credential, or is too long to know its end.
        hidden = len(text) > most or shown.rstrip(_AROUND + "\"'").endswith(HIDDEN)
        self._cut = hidden and _TO_THE_END.search(end) is not None
        if _KEY_BEGINS.search(text[: most + MARGIN]) and "-----END" not in text:
            self._key = _KEY_LINES
        return shown
