"""A model's words as a state of Home Assistant: one line, at most 255 characters. Pure."""

from __future__ import annotations

import unicodedata

# Home Assistant takes no longer state.
MOST_STATE = 255
# Characters of the whole words beside it
MOST_WHOLE = 4000
_ENDS = ".!?。！？؟।"


def one_line(text: str, most: int = MOST_WHOLE) -> str:
    """Return printable characters with single spaces between words, `most` at most."""
    cut = text[: most * 2]
    shown = (c if unicodedata.category(c)[0] not in "CZ" else " " for c in cut)
    return " ".join("".join(shown).split())[:most]


def shorten(text: str, most: int = MOST_STATE) -> str:
    """Return the first whole sentences that fit, else the first words and an ellipsis.

    Sentences have to fill a third of the room, or words fill it.
    """
    line = one_line(text)
    if len(line) <= most:
        return line
    head = line[:most]
    for at in range(most - 1, most // 3, -1):
        after = line[at + 1 : at + 2]
        if head[at] in _ENDS and (after == " " or head[at] in "。！？"):
            return head[: at + 1]
    head = line[: most - 1]
    words, space, _ = head.rpartition(" ")
    if space and len(words) > most // 2:
        head = words
    return head.rstrip(" ,;:-") + "…"
