"""Counts how often questions about a still scene share one picture, and that none shares an old one.

Clips go through a true VP8 encoder. Of each class three questions are asked in 8 s, again and again; the first one's
picture is new. Then words, digits and things change, before a camera that stands and one that sways: the picture from before
must not serve for a question after. --seconds: the length of a still clip.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import cv2

from scripts.arguments import call
from server.core import core_dumps
from server.media.picture.likeness import Likeness
from server.media.picture.planes import BufferPool
from tests.shared.attention.clip_classes import (
    color_clip,
    digit_clip,
    display_clip,
    lamp_clip,
    moved_clip,
    object_clip,
    person_clip,
    still_clips,
    tripod,
    tripod_clips,
)
from tests.shared.attention.clips import WARM_UP, Clip, frames

SEEDS = (0, 1, 2, 3)
AREAS, CONTRASTS = (0.02, 0.05, 0.10), (25, 40, 60)
# Seconds between three questions, and from the first ones to the next
APART, AGAIN = 4.0, 9.0
# A change is in the picture after this; until then an encoder may not have sent it.
SENT = 0.5


def reused(clip: Clip) -> list[bool]:
    """Ask as people do who ask on; find of each later question whether it shares the picture sent last."""
    scratch = BufferPool()
    found = []
    sent: Likeness | None = None
    for at, image in frames(clip):
        since = (at - WARM_UP) % AGAIN
        if at < WARM_UP or since % APART:
            continue
        one = Likeness(image, scratch)
        if since and sent is not None:
            found.append(sent.alike(one, scratch))
        if not since or not found[-1]:
            sent = one
    return found


def old(clip: Clip) -> tuple[int, int]:
    """Count the changes after which any frame would have shared the picture from before, and all changes."""
    scratch = BufferPool()
    shown = [(at, Likeness(image, scratch)) for at, image in frames(clip)]
    ends = [*(event.at for event in clip.events[1:]), clip.seconds]
    missed = 0
    for event, end in zip(clip.events, ends, strict=True):
        kept = [one for at, one in shown if at < event.at][-1]
        after = [one for at, one in shown if event.at + SENT <= at < min(end, event.until)]
        missed += any(kept.alike(one, scratch) for one in after)
    return missed, len(clip.events)


def changes(seed: int) -> Iterator[Clip]:
    for area in AREAS:
        for contrast in CONTRASTS:
            yield object_clip(area, contrast, seed)
    yield from (digit_clip(contrast, seed) for contrast in (30, 50, 100))
    yield digit_clip(100, seed, size=0.6)
    for make in (display_clip, color_clip, moved_clip, lamp_clip, person_clip):
        yield make(seed)


def show_reuse(seconds: float) -> None:
    print("Questions that share the picture sent last, by class")
    share: dict[str, list[bool]] = defaultdict(list)
    standing = {clip.name for clip in tripod_clips(seconds, 1)}
    for seed in SEEDS:
        others = [c for c in still_clips(seconds, (seed,)) if c.name not in standing]
        for clip in (*tripod_clips(seconds, seed), *others):
            share[clip.name] += reused(clip)
    for name in sorted(share, key=lambda name: name not in standing):
        mark = "tripod" if name in standing else ""
        found = share[name]
        print(f"  {name:28} {sum(found):3}/{len(found)} {sum(found) / len(found):6.1%}  {mark}")
    on_tripod = [alike for name in standing for alike in share[name]]
    print(f"  {'tripod, all':28} {sum(on_tripod) / len(on_tripod):.1%}", flush=True)


def show_old() -> None:
    print("Changes that a shared picture would have hidden: camera stands; it sways")
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for seed in SEEDS:
        for clip in changes(seed):
            row = counts[clip.name]
            for column, see in enumerate((clip, replace(clip, see=tripod, noise=5.0))):
                missed, events = old(see)
                row[column] += missed
            row[2] += events
    for name, (still, swaying, events) in counts.items():
        print(f"  {name:28} {still}/{events}; {swaying}/{events}", flush=True)


def measure(seconds: float = 41.0) -> None:
    cv2.setNumThreads(1)
    show_reuse(seconds)
    show_old()


if __name__ == "__main__":
    core_dumps.forbid()
    call(measure, __doc__)
