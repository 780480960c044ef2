"""Measure what the memory of the recent past holds, and what questions get of it: `python -m benchmarks.recall`.

Virtual time: events of 3 s, one each 30 s at random, before scenes of several kinds, seen by the change gate at 2 frames a
second, kept as JPEG within the settings' defaults. An event counts as held, or as sent, when one picture shows it. Questions
come at random: about what happened, and about the time at which an event was ("two minutes ago").
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from benchmarks.watch_scenes import HEIGHT, WIDTH, Happens, Stage
from scripts.arguments import call
from server.core import core_dumps
from server.core.frames import Frame
from server.features.recall.memory import Kept, Recall, before, during, grid_of
from server.media.picture import encode
from server.media.picture.planes import BufferPool
from server.models.routing import span_in
from server.shared.attention.attention import Attention

CLASSES = ("still", "noisy", "flickering", "shaken", "busy")
SECONDS, MEGABYTES, PICTURES = 300.0, 2, 8
EVENT, BETWEEN, STEP = 3.0, 30.0, 0.5
# Ages of events in seconds: the last of each row
AGES = (30, 60, 120, 180, 240, 297)


@dataclass
class Found:
    """Counts of one class and age."""

    events: int = 0
    held: int = 0
    sent: int = 0
    timed: int = 0


@dataclass
class Result:
    by_age: dict[int, Found] = field(default_factory=lambda: {age: Found() for age in AGES})
    shares: list[float] = field(default_factory=list)
    pictures: list[int] = field(default_factory=list)


def happens(seconds: float, rng: random.Random) -> list[Happens]:
    """Events at random times, none over another."""
    found: list[Happens] = []
    at = 0.0
    while True:
        at += EVENT + rng.expovariate(1 / (BETWEEN - EVENT))
        if at + EVENT > seconds:
            return found
        what = rng.choice(("thing", "alike"))
        found.append(Happens(what, at, EVENT, rng.uniform(0.05, 0.8), rng.uniform(0.05, 0.75)))


def asked(age: float) -> str:
    """The question of somebody who knows about when something was."""
    if age < 50:
        return f"What happened {max(5, round(age / 5) * 5)} seconds ago?"
    minutes = max(1, round(age / 60))
    return f"What happened {minutes} minute{'s' if minutes > 1 else ''} ago?"


def run(kind: str, seconds: float, seed: int, result: Result) -> None:
    rng = random.Random(seed)
    events = happens(seconds, rng)
    stage = Stage(kind, events, seed)
    attention, recall = Attention(BufferPool()), Recall(SECONDS, MEGABYTES * 2**20)
    questions = [rng.uniform(SECONDS, seconds) for _ in range(int(seconds / 20))]
    at = 0.0
    while at < seconds:
        image = stage.draw(stage.begin + at)
        frame = Frame("f", image, WIDTH, HEIGHT, at, None, at, int(at * 90_000))
        change = attention.look(frame)
        if change is not None and recall.due(change.changed, at):
            attention.asked(change, at)
            bgr = np.asarray(cv2.cvtColor(stage.planes(at), cv2.COLOR_YUV2BGR_I420), np.uint8)
            jpeg = encode.still(encode.scaled_to(bgr, 640, 360))
            kept = Kept(f"f{at}", at, None, WIDTH, HEIGHT, jpeg, at, grid_of(jpeg))
            recall.keep(kept, at, changed=change.changed)
            attention.answered(at, same=False)
        at += STEP
        for asked_at in [one for one in questions if at - STEP <= one < at]:
            _ask(recall, events, asked_at, result)


def _ask(recall: Recall, events: Sequence[Happens], now: float, result: Result) -> None:
    recall.expire(now)
    pictures = recall.pictures()
    sent = before(pictures, now, PICTURES)
    result.shares.append(recall.size / recall.most_bytes)
    result.pictures.append(len(recall))
    for event in events:
        age = now - event.begin
        if not EVENT <= age <= AGES[-1]:
            continue
        found = result.by_age[next(bound for bound in AGES if age <= bound)]
        span = span_in(asked(age))
        assert span is not None
        timed = during(pictures, now - span.since, now - span.until, PICTURES)
        found.events += 1
        found.held += any(event.active(one.captured) for one in pictures)
        found.sent += any(event.active(one.captured) for one in sent)
        found.timed += any(event.active(one.captured) for one in timed)


def measure(minutes: float = 20.0, seeds: int = 2, only: tuple[str, ...] = CLASSES) -> None:
    print(
        "| class | age to | events | held | among eight | asked with its time | bytes, median | pictures |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for kind in only:
        result = Result()
        for seed in range(seeds):
            run(kind, minutes * 60, seed, result)
        for age, found in result.by_age.items():
            share = [
                f"{each / max(1, found.events):.0%}"
                for each in (found.held, found.sent, found.timed)
            ]
            print(
                f"| {kind} | {age} s | {found.events} | {' | '.join(share)} | "
                f"{statistics.median(result.shares):.0%} | {statistics.median(result.pictures):g} |"
            )


if __name__ == "__main__":
    core_dumps.forbid()
    call(measure, __doc__)
