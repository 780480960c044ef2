"""Read JSON in a model's words, which may be wrapped, wrong or cut off. Bounded; never raises. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

# A longer text is not read.
MAX_TEXT_CHARS = 100_000
_MAX_OBJECTS = 1_000
# Bound of the characters read in failed attempts to parse an object, each of which may reach to the end of the text.
_MAX_VAIN = 10 * MAX_TEXT_CHARS
_FAILURE = 1_000
# Coordinates and shares are far smaller.
_MOST = 1e9


def objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the complete JSON objects in a text, outer ones whole; those inside a broken one, too."""
    if len(text) > MAX_TEXT_CHARS:
        return
    decoder = json.JSONDecoder(strict=False)
    at = found = vain = 0
    while found < _MAX_OBJECTS and vain < _MAX_VAIN and (at := text.find("{", at)) >= 0:
        try:
            entry, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            # Creating the error reads the text before it once more.
            vain += _FAILURE + error.pos - at
            at += 1
        except (ValueError, RecursionError):
            # A number of thousands of digits, or too deep nesting
            vain += len(text) - at
            at += 1
        else:
            found += 1
            yield entry


def number(value: object) -> float | None:
    """Return a finite number of a size that coordinates can have; None for a boolean, a string and others."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -_MOST < value < _MOST:
        return None
    return float(value) if math.isfinite(value) else None


def share(value: object) -> float | None:
    """Return a number from 0 to 1, given as such or in percent; None for anything else."""
    found = number(value)
    if found is None:
        return None
    if 1 < found <= 100:
        found /= 100
    return min(1.0, max(0.0, found))
