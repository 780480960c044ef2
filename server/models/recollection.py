"""The words around pictures of the recent past, and the numbers of those that an answer names.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_HEAD = (
    "The pictures with a number are earlier ones of the same camera, oldest first. The very last picture has no number and "
    "is of now. Compare them to answer. After each statement about an earlier picture write its number in brackets, like [1]."
)
_VIDEO = (
    "The frames of this video are earlier pictures of the same camera, oldest first. Each has a number and a time before now: "
    "{frames}. Other times beside the frames do not count. The picture behind the video has no number and is of now. Compare "
    "them to answer. After each statement about an earlier frame write its number in brackets, like [1]."
)
# [1], [1, 2], [1-3]
_NAMED = re.compile(r"\[\s*(\d{1,2}(?:\s*(?:[,;–-]|and|und|et|y|e)\s*\d{1,2})*)\s*\]")
_PART = re.compile(r"(\d{1,2})(?:\s*[–-]\s*(\d{1,2}))?")
# Seconds after which an age is given in minutes
_MINUTES_FROM = 100


def captions(seconds: Sequence[tuple[float, float]]) -> list[str]:
    """Return the captions of pictures, oldest first.

    `seconds`: for each its age, and the age since which the scene looked so. The explanation of the
    pictures stands before the last one, because the oldest are left out when not all fit.
    """
    found = []
    for number, (age, since) in enumerate(seconds, 1):
        still = round(since) > round(age) + 1
        span = f"from {_words(since)} to {_words(age)} ago" if still else f"{_words(age)} ago"
        found.append(f"[{number}] {span}:")
    if found:
        found[-1] = f"{_HEAD}\n{found[-1]}"
    return found


def video_caption(captions: Sequence[str]) -> str:
    """Return the words before a video of pictures with such captions, which `captions` returned."""
    return _VIDEO.format(frames="; ".join(_times(captions)))


def cited(answer: str, count: int) -> frozenset[int]:
    """Return the numbers of `count` pictures that an answer names."""
    found: set[int] = set()
    for match in _NAMED.finditer(answer):
        for first, last in _PART.findall(match[1]):
            found.update(range(int(first), int(last or first) + 1))
    return frozenset(number for number in found if 1 <= number <= count)


def _times(captions: Sequence[str]) -> list[str]:
    return [caption.rpartition("\n")[2].removesuffix(":") for caption in captions]


def _words(seconds: float) -> str:
    whole = max(0, round(seconds))
    if whole < _MINUTES_FROM:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"
