"""Watch scripted scenes in virtual time: `python -m benchmarks.watch_minutes`.

The scenes, conditions and the erring stand-in of WatchBench, with the server's own gate, choice of frames and rule, at two
frames a second; an answer takes a tenth of a second. The first condition happens; seven others never do.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np

from benchmarks.watch_scenes import CLASSES, CONDITIONS, HEIGHT, WIDTH, Model, staged
from scripts.arguments import call
from scripts.bench.report import Sums
from server.core import core_dumps
from server.core.frames import BoxUnit, Frame
from server.features.watches.rule import Ask, Look, Order, Watches
from server.features.watches.watch_list import crop_region
from server.features.watches.watch_triggers import WatchTriggers
from server.media.picture.grounding import Box
from server.media.picture.planes import BufferPool
from server.models.base import Capabilities
from server.shared.attention.attention import Attention
from server.shared.watch_answers import Answer

STEP, ANSWER = 0.5, 0.1
BEGIN = 1000.0
# Seconds before the script in which the watches begin
SETTLES = 3.0


class Frames(dict[str, Frame]):
    def keep(self, frame: Frame) -> None:
        self[frame.id] = frame


@dataclass
class Minutes(Sums):
    """The alerts of a run, and its requests."""

    # By the seconds that they stay
    things: Counter[float] = field(default_factory=Counter)
    seen: Counter[float] = field(default_factory=Counter)
    # Alerts for the first condition without the thing, and for those that never happen
    early: int = 0
    never: int = 0
    seconds: float = 0.0
    requests: int = 0

    def line(self, name: str) -> str:
        minutes = self.seconds / 60
        seen = " | ".join(
            f"{self.seen[length]}/{self.things[length]}" for length in (0.5, 2.0, 10.0)
        )
        return (
            f"| {name} | {seen} | {self.early} | {self.never} | {self.never / minutes * 14:.2f} | "
            f"{self.requests / minutes:.0f} |"
        )


def run(kind: str, seconds: float, seed: int, model: Model, conditions: int) -> Minutes:
    """Watch one scene."""
    found = Minutes(seconds=seconds)
    stage = staged(kind, seconds, seed)
    stage.begin = BEGIN
    rule, frames = Watches(), Frames()
    now = [BEGIN]
    capabilities = Capabilities(boxes=BoxUnit.PIXELS)
    services = SimpleNamespace(
        current_engine=lambda role: SimpleNamespace(
            status=SimpleNamespace(capabilities=capabilities)
        )
    )
    wakes = WatchTriggers(
        attention=Attention(BufferPool()),
        rule=rule,
        frames=cast(Any, frames),
        allowance=cast(Any, SimpleNamespace(left=lambda now: True)),
        services=cast(Any, services),
        minute=lambda: 0,
        clock=lambda: now[0],
    )
    for number, condition in enumerate(CONDITIONS[:conditions]):
        rule.add(Order(f"w{number}", condition, repeat=True, cooldown_s=0.0), now[0])
    alerts: list[tuple[str, float]] = []
    # Requests in the order in which they run: one at a time, second looks first
    waiting: list[tuple[int, int, Ask]] = []
    numbers = itertools.count()
    free = now[0]

    def put(asks: Sequence[Ask]) -> None:
        for ask in asks:
            first = 0 if ask.look is Look.SECOND else 1
            heapq.heappush(waiting, (first, next(numbers), ask))

    def answer(ask: Ask) -> None:
        frame = frames[ask.frame_id]
        found.requests += 1
        bgr = np.asarray(
            cv2.cvtColor(stage.planes(frame.captured - BEGIN), cv2.COLOR_YUV2BGR_I420), np.uint8
        )
        region = crop_region(ask.crop, frame) if ask.look is Look.SECOND else None
        left, top = (region.left, region.top) if region else (0, 0)
        if region is not None:
            bgr = bgr[region.top : region.bottom, region.left : region.right]
        answers = {}
        for name in ask.watch_ids:
            seen, place = model.say(CONDITIONS[int(name[1:])], bgr, second=ask.look is Look.SECOND)
            where = None
            if place is not None:
                x1, y1, x2, y2 = place
                where = Box(x1 + left, y1 + top, x2 + left, y2 + top)
            answers[name] = Answer(seen, 0.9, where, "")
        outcome = rule.answered(ask, answers, now[0], 0)
        wakes.answered(ask, answers)
        alerts.extend((alert.watch_id, frame.captured - BEGIN) for alert in outcome.firings)
        wakes.follow(outcome.asks)
        put(outcome.asks)

    at = -SETTLES
    while at < seconds:
        captured = BEGIN + at
        now[0] = captured
        while waiting and free <= now[0]:
            free = max(free, captured - STEP) + ANSWER
            answer(heapq.heappop(waiting)[2])
        image = stage.draw(captured)
        frame = Frame(f"f{at}", image, WIDTH, HEIGHT, captured, None, captured, int(captured * 9e4))
        change = wakes.look(frame)
        if change is not None and (ask := wakes.ask(frame, change)) is not None:
            put([ask])
        for name in frames.keys() - rule.asking - {ask.frame_id for *_, ask in waiting}:
            del frames[name]
        at += STEP
    things = [event for event in stage.events if event.what == "thing"]
    found.things.update(event.seconds for event in things)
    seen = set()
    for name, at in alerts:
        if at < 0:
            continue
        thing = next((one for one in things if one.active(at)), None)
        if name != "w0":
            found.never += 1
        elif thing is None:
            found.early += 1
        else:
            seen.add(thing)
    found.seen.update(event.seconds for event in seen)
    return found


def measure(
    minutes: float = 2.0,
    seeds: int = 10,
    only: tuple[str, ...] = CLASSES,
    conditions: int = 8,
    false_yes: float = 0.02,
    false_no: float = 0.1,
    linked: float = 0.5,
) -> None:
    """`minutes`: of each class."""
    print(
        "| class | 0.5 s | 2 s | 10 s | early | others alerted | in 14 minutes | requests a minute |"
    )
    print("|---|---|---|---|---|---|---|---|")
    total = Minutes()
    for kind in only:
        one = Minutes()
        for seed in range(seeds):
            model = Model(false_yes, false_no, linked, seed)
            one.merge(run(kind, minutes * 60, seed, model, conditions))
        print(one.line(kind), flush=True)
        total.merge(one)
    print(total.line("all"))


if __name__ == "__main__":
    core_dumps.forbid()
    call(measure, __doc__)
