"""What a terminal shows, as a picture."""

from __future__ import annotations

import re

import numpy as np
import zxingcpp

# Upper and lower half of a character: True is ink.
_INK = {" ": (False, False), "▀": (True, False), "▄": (False, True), "█": (True, True)}
# Black ink on white ground, from here to the reset.
_RUN = re.compile("\x1b\\[38;5;16;48;5;231m([ ▀▄█]*)\x1b\\[0m")


def read_qr(text: str) -> str:
    """The QR code that `text` paints: the last one, when there are several. The terminal's own ground is dark."""
    blocks: list[list[str]] = [[]]
    for line in text.splitlines():
        if painted := _RUN.search(line):
            blocks[-1].append(painted[1])
        elif blocks[-1]:
            blocks.append([])
    lines = [block for block in blocks if block][-1]
    halves = [[_INK[c][half] for c in line] for line in lines for half in (0, 1)]
    picture = np.where(np.array(halves), 0, 255).astype(np.uint8)
    picture = np.pad(np.kron(picture, np.ones((6, 6), np.uint8)), 40, constant_values=0)
    [found] = zxingcpp.read_barcodes(picture)
    return str(found.text)
