"""The file of settings: find lines in it that have no effect."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from dotenv.parser import parse_stream


def unused_lines(path: Path, keys: Sequence[str], used: Sequence[str]) -> list[str]:
    """Warn of lines and names that have no effect.

    `keys`: all settings; `used`: without those of features that are off.
    """
    if not path.is_file():
        return []
    warnings = []
    with path.open(encoding="utf-8") as stream:
        for binding in parse_stream(stream):
            if binding.error:
                warnings.append(
                    f"Line {binding.original.line} of {path.name} is not understood and is ignored."
                )
            key = (binding.key or "").upper()
            if not key or key in used:
                continue
            if key in keys:
                warnings.append(f"{key} in {path.name} is of a feature that FEATURES leaves out.")
                continue
            near = difflib.get_close_matches(key[:60], keys, n=1, cutoff=0.7)
            meant = f"; did you mean {near[0]}?" if near else "."
            warnings.append(f"{key[:60]} in {path.name} is not a setting and is ignored{meant}")
    return warnings
