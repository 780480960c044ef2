"""Watch for people who come and leave, in virtual time: `python -m benchmarks.watch_things`.

People cut out of the test's photographs stand for some seconds before a still scene with a sensor's noise and light
that changes slowly; as many minutes of each scene stay empty. At two frames a second "a person comes" and "a person leaves" are
watched for in two ways: by the built-in engine, whose looks a change gate calls for; and by the detector beside a model
(WATCH_BY_DETECTOR), which answers truly after `--answer` seconds. Processor time is that of all looks, their pictures
included, as a share of one core.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from server.core import core_dumps
from server.core.frames import Detail, Frame, Geometry, Picture
from server.features.builtin.beside import Beside
from server.features.builtin.detector import ThingFinder
from server.features.builtin.engine import pixels_of
from server.features.builtin.reader import Reader
from server.features.builtin.watcher import Watcher
from server.features.watches.detecting import Sightings
from server.features.watches.rule import Ask, Firing, Look, Order, Watches
from server.features.watches.watch_list import crop_region
from server.features.watches.watch_triggers import WatchTriggers
from server.media.picture.grounding import Box
from server.media.picture.planes import BufferPool
from server.media.picture.prepare import PicturePreparer
from server.models.base import Capabilities
from server.shared.attention.attention import Attention
from server.shared.watch_answers import Answer, read_answers

PHOTOS = Path(__file__).parents[1] / "tests/features/builtin/photos"
PEOPLE = ("astronaut", "camera")
SCENES = ("", "brick", "palace")
CONDITIONS = {"comes": "a person comes", "leaves": "a person leaves"}
STEP, BEGIN, SETTLES = 0.5, 1000.0, 5.0
WIDTH, HEIGHT = 1280, 720
PIXELS = Capabilities(wants_pixels=True, geometry=Geometry(1, 1, 4096 * 4096))
U8 = NDArray[np.uint8]


@dataclass(frozen=True)
class Visit:
    """Somebody in the picture."""

    begin: float
    end: float
    shown: U8
    left: int
    top: int


class Clip:
    """A scene with its visits, drawn at any time."""

    def __init__(self, scene: str, seconds: float, seed: int, *, empty: bool) -> None:
        self.seconds = seconds
        self._rng = random.Random(f"{scene} {seed}")
        rng = np.random.default_rng(seed)
        # Of a sensor, one pattern after the other
        self._noise = [
            np.repeat(rng.normal(0, 4, (HEIGHT, WIDTH, 1)), 3, axis=2).astype(np.int16)
            for _ in range(7)
        ]
        self._ground = np.full((HEIGHT, WIDTH, 3), 150, np.uint8)
        if scene:
            self._ground = np.asarray(cv2.resize(_photo(scene), (WIDTH, HEIGHT)), np.uint8)
        self.visits = [] if empty else list(self._visits())

    def _visits(self) -> Any:
        at = SETTLES + 3
        while at + 12 < self.seconds:
            shown, scale = _photo(self._rng.choice(PEOPLE)), self._rng.uniform(0.7, 1.2)
            shown = np.asarray(cv2.resize(shown, None, fx=scale, fy=scale), np.uint8)
            begin = at + self._rng.uniform(0, STEP)
            left = self._rng.randrange(WIDTH - shown.shape[1])
            top = self._rng.randrange(max(1, HEIGHT - shown.shape[0]))
            yield Visit(begin, begin + 8, shown, left, top)
            at += 16

    def now(self, at: float) -> Visit | None:
        return next((one for one in self.visits if one.begin <= at < one.end), None)

    def frame(self, at: float) -> Frame:
        bgr = self._ground.copy()
        if (visit := self.now(at)) is not None:
            shown = visit.shown[: HEIGHT - visit.top]
            high, wide = shown.shape[:2]
            bgr[visit.top : visit.top + high, visit.left : visit.left + wide] = shown
        # A quarter of the light comes and goes within two minutes.
        light = 1 - 0.125 * (1 - np.cos(at / 120 * 2 * np.pi))
        lit = cv2.convertScaleAbs(bgr, alpha=float(light))
        noise = self._noise[int(at / STEP) % len(self._noise)]
        noisy = np.asarray(cv2.add(lit, noise, dtype=cv2.CV_8U), np.uint8)
        image = av.VideoFrame.from_ndarray(noisy, format="bgr24").reformat(format="yuv420p")
        captured = BEGIN + at
        return Frame(f"f{at}", image, WIDTH, HEIGHT, captured, None, captured, int(captured * 9e4))


def _photo(name: str) -> U8:
    found = cv2.imread(str(PHOTOS / f"{name}.jpg"))
    if found is None:
        raise FileNotFoundError(f"{PHOTOS / name}.jpg cannot be read")
    return np.asarray(found, np.uint8)


@dataclass
class Found:
    """The alerts of a run. Delays are seconds from the event to the alert."""

    delays: dict[str, list[float]] = field(default_factory=lambda: {"comes": [], "leaves": []})
    visits: int = 0
    false: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    requests: int = 0

    def alerts(self, clip: Clip, fired: Sequence[tuple[str, float, float]]) -> None:
        """Take alerts: the watch, and the times of its frame and of the alert."""
        self.visits += len(clip.visits)
        open_ = {(name, visit) for name in CONDITIONS for visit in range(len(clip.visits))}
        for name, seen_at, at in fired:
            events = [one.begin if name == "comes" else one.end for one in clip.visits]
            number = max((n for n, begin in enumerate(events) if begin <= seen_at), default=-1)
            if (name, number) in open_ and seen_at < events[number] + 8:
                open_.remove((name, number))
                self.delays[name].append(at - events[number])
            else:
                self.false += 1

    def line(self, name: str) -> str:
        cells = [name]
        for delays in self.delays.values():
            ranked = sorted(delays)
            if not ranked:
                cells.append("–")
                continue
            p95 = ranked[min(len(ranked) - 1, int(0.95 * len(ranked)))]
            middle = statistics.median(ranked)
            cells.append(f"{len(ranked)} of {self.visits}, {middle:.2f} / {p95:.2f} s")
        cells += [f"{self.false} in {self.seconds / 60:.0f} min", f"{self.cpu / self.seconds:.3f}"]
        cells.append(f"{self.requests / self.seconds * 60:.1f}")
        return f"| {' | '.join(cells)} |"


Alerts = list[tuple[str, float, float]]


def _orders() -> Watches:
    rule = Watches()
    for name, condition in CONDITIONS.items():
        rule.add(Order(name, condition, repeat=True, cooldown_s=0.0), BEGIN)
    return rule


def _fired(firings: Sequence[Firing], frame: Frame, at: float) -> Alerts:
    return [(one.watch_id, frame.captured - BEGIN, at) for one in firings]


def by_engine(clip: Clip, found: Found, finder: ThingFinder) -> Alerts:
    """Watch as the built-in engine does; an answer takes as long as it computes."""
    rule, watcher, preparer = _orders(), Watcher(Reader(), finder), PicturePreparer((), 512)
    frames: dict[str, Frame] = {}
    now = [BEGIN]
    status = SimpleNamespace(capabilities=PIXELS)
    wakes = WatchTriggers(
        attention=Attention(BufferPool()),
        rule=rule,
        frames=cast(Any, SimpleNamespace(keep=lambda frame: frames.update({frame.id: frame}))),
        allowance=cast(Any, SimpleNamespace(left=lambda now: True)),
        tools=cast(
            Any, SimpleNamespace(current_engine=lambda role: SimpleNamespace(status=status))
        ),
        minute=lambda: 0,
        clock=lambda: now[0],
    )
    alerts: Alerts = []

    def answer(ask: Ask, at: float) -> None:
        began = time.thread_time()
        frame = frames[ask.frame_id]
        region = crop_region(ask.crop, frame) if ask.look is Look.SECOND else None
        picture = preparer.make(frame, PIXELS, Detail.LOW, region=region)
        asked = {name: CONDITIONS[name] for name in ask.watch_ids}
        text = watcher.answer("s", picture, pixels_of(picture), asked)
        took = time.thread_time() - began
        found.cpu += took
        found.requests += 1
        left, top = (region.left, region.top) if region else (0, 0)
        answers = {name: _moved(one, left, top) for name, one in read_answers(text, asked).items()}
        outcome = rule.answered(ask, answers, now[0], 0)
        wakes.answered(ask, answers)
        alerts.extend(_fired(outcome.firings, frame, at + took))
        wakes.follow(outcome.asks)
        for further in outcome.asks:
            answer(further, at + took)

    for frame in _frames(clip, now):
        began = time.thread_time()
        change = wakes.look(frame)
        ask = wakes.ask(frame, change) if change is not None else None
        found.cpu += time.thread_time() - began
        if ask is not None:
            frames[frame.id] = frame
            answer(ask, frame.captured - BEGIN)
    return alerts


def by_detector(clip: Clip, found: Found, finder: ThingFinder, seconds: float) -> Alerts:
    """Watch as WATCH_BY_DETECTOR does; a model confirms what is so after so many seconds."""
    rule, beside, preparer = _orders(), Beside(finder), PicturePreparer((), 512)
    rule.boxes = False
    sightings = {name: Sightings() for name in CONDITIONS}
    now = [BEGIN]
    alerts: Alerts = []
    for frame in _frames(clip, now):
        began = time.thread_time()
        picture: Picture = preparer.make(frame, PIXELS, Detail.LOW)
        looked = beside.look(picture, CONDITIONS) or {}
        took = time.thread_time() - began
        found.cpu += took
        agreed = {}
        for name, answers in looked.items():
            if answers and (one := sightings[name].take(answers, now[0])) is not None:
                agreed[name] = one
        rule.detect(tuple(CONDITIONS))
        for ask in rule.detected(frame.id, agreed, now[0], 0):
            (name,) = ask.watch_ids
            found.requests += 1
            there = clip.now(frame.captured - BEGIN) is not None
            seen = there if name == "comes" else not there
            outcome = rule.answered(ask, {name: Answer(seen, 0.9, None, "")}, now[0], 0)
            if rule.holds(name):
                sightings[name].confirm()
            else:
                sightings[name].deny(ask.crop, now[0])
            alerts += _fired(outcome.firings, frame, frame.captured - BEGIN + took + seconds)
    return alerts


def _frames(clip: Clip, now: list[float]) -> Any:
    at = 0.0
    while at < clip.seconds:
        now[0] = BEGIN + at
        yield clip.frame(at)
        at += STEP


def _moved(answer: Answer, left: int, top: int) -> Answer:
    box = answer.where
    if box is None:
        return answer
    moved = Box(box.x1 + left, box.y1 + top, box.x2 + left, box.y2 + top)
    return Answer(answer.seen, answer.confidence, moved, answer.why)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--minutes", type=float, default=3.5, help="of each scene, visited and empty (3.5)"
    )
    parser.add_argument(
        "--answer", type=float, default=0.5, help="seconds of a model's answer (0.5)"
    )
    args = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    finder = ThingFinder()
    ways: dict[str, Callable[[Clip, Found], Alerts]] = {
        "built-in engine": lambda clip, found: by_engine(clip, found, finder),
        "detector beside a model": lambda clip, found: by_detector(
            clip, found, finder, args.answer
        ),
    }
    print("| way | comes | leaves | false | core | requests a minute |\n|---|---|---|---|---|---|")
    for name, watch in ways.items():
        for empty in (False, True):
            found = Found()
            for seed, scene in enumerate(SCENES):
                clip = Clip(scene, args.minutes * 60, seed, empty=empty)
                found.seconds += clip.seconds
                found.alerts(clip, watch(clip, found))
            print(found.line(f"{name}, {'empty' if empty else 'visited'}"), flush=True)
    return 0


if __name__ == "__main__":
    core_dumps.forbid()
    sys.exit(main())
