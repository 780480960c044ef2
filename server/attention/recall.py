"""The recent past of a camera: small filtered pictures, kept on change and thinned with age. Pure.

`now` and capture times are seconds of the same steady clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

# Least time between two pictures
CLOSEST_SECONDS = 1.0
# While nothing changes, a newer picture replaces the last one this often: the view before the next
# change is in memory even after hours.
REFRESH_SECONDS = 60.0
# Pictures of this age in seconds have neighbors at a distance of at least a second or this share.
_SPACING = 0.15
# Added to an age when two distances are compared, so that the last seconds are not all that stays
_RECENT = 5.0


class Dropped(StrEnum):
    """The reason why a picture is not in memory any more."""

    # Older than the bound in seconds
    OLD = "old"
    # Close to its neighbors in time, and no longer recent
    THINNED = "thinned"
    # The bound in bytes was reached.
    FULL = "full"
    # A newer picture shows the same.
    SAME = "same"
    # Captured before the newest one
    LATE = "late"
    # Forgotten on request, or with the camera or the session
    CLEARED = "cleared"


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A small picture of a frame, after the privacy filters."""

    id: str
    # See `Frame`.
    captured: float
    captured_sender: float | None
    source_width: int
    source_height: int
    jpeg: bytes
    # Capture time of the first frame that showed the same
    since: float


class Recall:
    """One camera's pictures, bounded in seconds and bytes. When full, the most crowded one goes."""

    def __init__(self, seconds: float, most_bytes: int) -> None:
        if not seconds > 0 or most_bytes < 1:
            raise ValueError(
                f"a memory of {seconds:g} s and {most_bytes} bytes was asked for; both must be more than 0"
            )
        self.seconds = seconds
        self.most_bytes = most_bytes
        # Bytes of all pictures
        self.size = 0
        # Oldest first
        self._kept: list[Kept] = []

    def __len__(self) -> int:
        return len(self._kept)

    def due(self, changed: bool, captured: float) -> bool:
        """Return True when a frame should be kept. `changed`: it differs from the newest picture."""
        if not self._kept:
            return True
        passed = captured - self._kept[-1].captured
        return passed >= (CLOSEST_SECONDS if changed else min(REFRESH_SECONDS, self.seconds / 4))

    def keep(self, picture: Kept, now: float, *, changed: bool = True) -> Counter[Dropped]:
        """Keep a picture, in place of the newest one unless the scene changed.

        Returns the number of pictures that went, by reason.
        """
        dropped = self.expire(now)
        newest = self._kept[-1] if self._kept else None
        if newest is not None and picture.captured <= newest.captured:
            dropped[Dropped.LATE] += 1
            return dropped
        if len(picture.jpeg) > self.most_bytes:
            dropped[Dropped.FULL] += 1
            return dropped
        if newest is not None and not changed:
            picture = replace(picture, since=newest.since)
            self._drop(len(self._kept) - 1)
            dropped[Dropped.SAME] += 1
        self._kept.append(picture)
        self.size += len(picture.jpeg)
        dropped[Dropped.THINNED] += self._thin(now)
        while self.size > self.most_bytes:
            self._drop(_most_crowded(self._kept[:-1], self._kept[-1].captured, now))
            dropped[Dropped.FULL] += 1
        return +dropped

    def expire(self, now: float) -> Counter[Dropped]:
        """Drop the pictures that are too old."""
        dropped: Counter[Dropped] = Counter()
        while self._kept and now - self._kept[0].captured > self.seconds:
            self._drop(0)
            dropped[Dropped.OLD] += 1
        return dropped

    def clear(self) -> Counter[Dropped]:
        dropped = Counter({Dropped.CLEARED: len(self._kept)})
        self._kept.clear()
        self.size = 0
        return +dropped

    def oldest(self) -> Kept | None:
        return self._kept[0] if self._kept else None

    def before(self, captured: float, count: int) -> tuple[Kept, ...]:
        """Return at most `count` of the pictures captured before this time, oldest first.

        The more recent, the closer together they are.
        """
        bound = captured - self.seconds
        chosen = [one for one in self._kept if bound <= one.captured < captured]
        while len(chosen) > max(0, count):
            del chosen[_most_crowded(chosen, captured, captured)]
        return tuple(chosen)

    def during(self, since: float, until: float, count: int) -> tuple[Kept, ...]:
        """Return at most `count` of the pictures that show the time between these two, oldest first.

        The first one may have been captured before, while the scene was as at the beginning. The
        more recent, the closer together they are.
        """
        chosen = [one for one in self._kept if since <= one.captured < until]
        before = [one for one in self._kept if one.captured < since]
        if before and (not chosen or chosen[0].since > since):
            chosen.insert(0, before[-1])
        while len(chosen) > max(0, count):
            del chosen[_most_crowded(chosen, until, until)]
        return tuple(chosen)

    def _thin(self, now: float) -> int:
        gone = 0
        # The oldest and the newest stay: they have one neighbor.
        for at in range(len(self._kept) - 2, 0, -1):
            around = self._kept[at + 1].captured - self._kept[at - 1].captured
            age = now - self._kept[at].captured
            if around < max(CLOSEST_SECONDS, _SPACING * age):
                self._drop(at)
                gone += 1
        return gone

    def _drop(self, at: int) -> None:
        self.size -= len(self._kept.pop(at).jpeg)


def _most_crowded(pictures: Sequence[Kept], end: float, now: float) -> int:
    """Return the index of the picture whose neighbors are closest for its age; `end` is behind the last one.

    The oldest of more than two stays.
    """

    def distance(at: int) -> float:
        own = pictures[at].captured
        after = pictures[at + 1].captured if at + 1 < len(pictures) else end
        before = pictures[at - 1].captured if at else own - (after - own)
        return (after - before) / (max(0.0, now - own) + _RECENT)

    return min(range(1 if len(pictures) > 2 else 0, len(pictures)), key=distance)
