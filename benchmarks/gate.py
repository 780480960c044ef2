"""The change gate's figures: false wakes, what it sees, and what a look costs. `python -m benchmarks.gate`

--seconds: the length of a still clip; --glances: looks early at frames between, as watches do.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable

import cv2

from scripts.arguments import call
from server.core import core_dumps
from server.media.picture.planes import BufferPool, SceneReader
from server.shared.attention.attention import ChangeGate, Why
from tests.shared.attention.clip_classes import (
    busy_clips,
    color_clip,
    display_clip,
    lamp_clip,
    moved_clip,
    object_clip,
    person_clip,
    scene_clip,
    slow_clip,
    still_clips,
)
from tests.shared.attention.clips import Clip, new_decoder, packets
from tests.shared.attention.watching import watch

# Seeds of the scenes: the photograph and drawn ones
SEEDS = (0, 1, 2, 3)
AREAS = (0.005, 0.01, 0.02, 0.05, 0.10)
CONTRASTS = (10, 15, 25, 40)
CHANGES: dict[str, Callable[[int], Clip]] = {
    "slow, 10 s": slow_clip,
    "color alone": color_clip,
    "other scene": scene_clip,
    "moved": moved_clip,
    "person": person_clip,
    "display": display_clip,
    "lamp, 0.1 %": lamp_clip,
}


def still(seconds: float, fps: int, glances: bool) -> None:
    """False wakes a minute where nothing happens, and where much moves; there also with pauses."""
    print(f"False wakes a minute at {fps} frames/s, {len(SEEDS)} scenes of {seconds:g} s a class")
    if glances:
        print("With early looks, as watches have them; in brackets: so many of them a minute")
    for clips, paced in (
        (still_clips(seconds, SEEDS, fps), False),
        (busy_clips(seconds, SEEDS, fps), False),
        (busy_clips(seconds, SEEDS, fps), True),
    ):
        wakes: dict[str, float] = defaultdict(float)
        minutes: dict[str, float] = defaultdict(float)
        early: dict[str, float] = defaultdict(float)
        reasons: dict[str, set[str]] = defaultdict(set)
        for clip in clips:
            watched = watch(clip, paced=paced, glances=glances)
            early[clip.name] += watched.early
            wakes[clip.name] += len(watched.wakes)
            minutes[clip.name] += watched.minutes
            reasons[clip.name] |= {change.why.value for _, change in watched.wakes}
        for name, count in wakes.items():
            how = ", with pauses" if paced else ""
            why = ", ".join(sorted(reasons[name]))
            often = f" ({early[name] / minutes[name]:.1f})" if glances else ""
            print(f"  {name + how:32} {count / minutes[name]:6.2f}{often}  {why}", flush=True)


def seen() -> None:
    """Print the share of objects seen, by size and contrast, and of other changes."""
    print("Objects seen, by area and contrast")
    for area in AREAS:
        row = []
        for contrast in CONTRASTS:
            clips = [watch(object_clip(area, contrast, seed)) for seed in SEEDS]
            shown = sum(len(each.clip.events) for each in clips)
            row.append(f"{contrast}: {shown - sum(len(each.missed) for each in clips)}/{shown}")
        print(f"  {area:5.1%}  " + "  ".join(row), flush=True)
    print("Other changes seen")
    for name, make in CHANGES.items():
        clips = [watch(make(seed)) for seed in SEEDS]
        shown = sum(len(each.clip.events) for each in clips)
        missed = sum(len(each.missed) for each in clips)
        print(f"  {name:16} {shown - missed}/{shown}", flush=True)


def cost(looks: int) -> None:
    """Thread CPU of a look and of the scene measure beside it, right after the frame was decoded.

    The server looks twice a second and measures the scene once, so the third figure is a look's
    with half a measurement.
    """
    print(
        f"Milliseconds of CPU a look, median / p95 of {looks}: gate; with dark, blurred, motion; "
        "with them in every second look, as in the server"
    )
    cv2.setNumThreads(1)
    for clip in still_clips(16, (1,)):
        sent = [packet for _, packet in packets(clip)]
        gate, scene = ChangeGate(BufferPool()), SceneReader()
        alone: list[float] = []
        both: list[float] = []
        number = 0
        while len(both) < looks:
            decoder = new_decoder()
            for packet in sent:
                for image in decoder.decode(packet):
                    began = time.thread_time()
                    change = gate.look(image, number / 2)
                    between = time.thread_time()
                    scene.read(image, number / 2, gate.seen.upright())
                    both.append((time.thread_time() - began) * 1000)
                    alone.append((between - began) * 1000)
                    number += 1
                    if change.why is Why.FIRST:
                        gate.answered(gate.seen.copy())
        usual = [(one + other) / 2 for one, other in zip(alone, both, strict=True)]
        print(
            f"  {clip.name:32} {_figures(alone)}; {_figures(both)}; {_figures(usual)}", flush=True
        )


def _figures(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} / {statistics.quantiles(values, n=20)[-1]:.2f}"


def measure(
    only: tuple[str, ...] = ("cost", "seen", "still"),
    seconds: float = 65.0,
    fps: int = 2,
    glances: bool = False,
    looks: int = 300,
) -> None:
    if "cost" in only:
        cost(looks)
    if "seen" in only:
        seen()
    if "still" in only:
        still(seconds, fps, glances)


if __name__ == "__main__":
    core_dumps.forbid()
    call(measure, __doc__)
