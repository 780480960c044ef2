"""QR codes as text for terminals. Pure."""

from __future__ import annotations

import segno

# Black on white with any terminal's colours, because scanners need dark modules.
_BLACK_ON_WHITE = "\x1b[38;5;16;48;5;231m"
_RESET = "\x1b[0m"
# (upper module dark, lower module dark) to the character.
_HALVES = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}
# Light modules around it (ISO/IEC 18004, section 6.3.8), and the fewest for small terminals: phones
# still find a code with two.
QUIET = 4
LEAST_QUIET = 2


def qr_lines(text: str, quiet: int = QUIET) -> list[str]:
    """Draw a QR code with half blocks, two rows per line: a URL of up to 78 characters takes 41
    columns and 21 lines.
    """
    code = segno.make(text, error="l", micro=False)
    rows = [[bool(module) for module in row] for row in code.matrix_iter(border=quiet)]
    # Lower half of the last line for an odd number of rows.
    rows += [[False] * len(rows[0])] * (len(rows) % 2)
    return [
        _BLACK_ON_WHITE + "".join(_HALVES[pair] for pair in zip(upper, lower, strict=True)) + _RESET
        for upper, lower in zip(rows[::2], rows[1::2], strict=True)
    ]


def qr_columns(text: str, quiet: int = QUIET) -> int:
    """Return the number of columns of `qr_lines`."""
    return int(segno.make(text, error="l", micro=False).symbol_size(border=quiet)[0])
