"""WatchBench: what a watch sees, misses and costs on scripted scenes: `python -m benchmarks.watch_bench [--minutes 1]`.

The whole server watches a simulated camera for "a red thing", in real time, through WebRTC and VP8. A stand-in for the model
knows from each picture whether the thing is there, and errs at stated rates. The baselines get the same scenes as drawn, on
simulated time, and the same model: a frame a second; ten frames every 10 s; and a loop that asks again after the pause that
the model chose (as Frigate's watch does, by its description).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from scripts.bench.live_encoder import LiveEncoder, Scene
from server.attention.watch_answers import conditions_in
from server.core import core_dumps
from tests.support.clients import visitor
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import running

U8 = NDArray[np.uint8]
WIDTH, HEIGHT = 1280, 720
CONDITION = "a red thing"
# Y, U and V of the thing, of one that looks alike, and of the ground
RED, ORANGE, GROUND = (82, 90, 240), (150, 60, 190), (120, 128, 128)
# Share of the picture
AREA, ALMOST = 0.03, 0.002
LEAST = 0.008
# Visual tokens of one request: the setting's default, and the second look's
TOKENS = 480
# "empty": still, and nothing happens
CLASSES = ("empty", "still", "noisy", "flickering", "shaken", "slow", "busy")


@dataclass(frozen=True)
class Happens:
    """Something in the picture: the "thing", an "alike", or "almost" the thing."""

    what: str
    begin: float
    seconds: float
    x: float
    y: float

    def active(self, at: float) -> bool:
        return self.begin <= at < self.begin + self.seconds


def script(seconds: float, seed: int) -> list[Happens]:
    """Every 10 s something: look-alikes and almost-things between things of 0.5, 2 and 10 s."""
    rng = random.Random(seed)
    found: list[Happens] = []
    at, lengths = 8.0, [2.0, 10.0, 0.5]
    while at + 14 < seconds:
        for what in (rng.choice(("alike", "almost")), "thing"):
            length = lengths[len(found) // 2 % 3] if what == "thing" else 3.0
            found.append(Happens(what, at, length, rng.uniform(0.1, 0.7), rng.uniform(0.2, 0.7)))
            at += length + rng.uniform(4, 7)
    return found


class Stage(Scene):
    """A scripted scene of one class."""

    def __init__(self, kind: str, events: list[Happens], seed: int) -> None:
        super().__init__(WIDTH, HEIGHT, seed=seed)
        self.kind = kind
        self.events = events
        # Seconds since the epoch at which the script begins
        self.begin = time.time() + 3600
        self._noise = np.random.default_rng(seed).normal(0, 5, (HEIGHT, WIDTH)).astype(np.int16)

    def draw(self, epoch: float) -> av.VideoFrame:
        return av.VideoFrame.from_ndarray(self.planes(epoch - self.begin), format="yuv420p")

    def planes(self, at: float) -> U8:
        planes = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
        luma = planes[:HEIGHT]
        luma[:] = self._ground
        chroma = planes[HEIGHT:].reshape(2, HEIGHT // 2, WIDTH // 2)
        if self.kind == "busy":
            self._blocks(luma, at)
        for event in self.events:
            if event.active(at):
                self._paint(luma, chroma, event, at)
        if self.kind == "noisy":
            luma[:] = np.clip(luma + np.roll(self._noise, int(at * 977) % 997, 1), 0, 255)
        elif self.kind == "flickering":
            luma[:] = np.clip(luma * (1 + 0.05 * math.sin(at * 37)), 0, 255)
        elif self.kind == "shaken":
            shift = round(3 * math.sin(at * 5)), round(3 * math.cos(at * 4))
            luma[:] = np.roll(luma, shift, (0, 1))
        return planes

    def _paint(self, luma: U8, chroma: U8, event: Happens, at: float) -> None:
        share = ALMOST if event.what == "almost" else AREA
        side = int(math.sqrt(share * WIDTH * HEIGHT)) // 2 * 2
        x, y = int(event.x * WIDTH) // 2 * 2, int(event.y * HEIGHT) // 2 * 2
        color = ORANGE if event.what == "alike" else RED
        strength = min(1.0, (at - event.begin) / 1.0) if self.kind == "slow" else 1.0
        for plane, level, ground, scale in zip(
            (luma, *chroma), color, GROUND, (1, 2, 2), strict=True
        ):
            part = plane[y // scale : (y + side) // scale, x // scale : (x + side) // scale]
            part[:] = np.uint8(ground + strength * (level - ground))

    def truth(self, at: float) -> str:
        return next((event.what for event in self.events if event.active(at)), "")


def staged(kind: str, seconds: float, seed: int) -> Stage:
    return Stage(kind, [] if kind == "empty" else script(seconds, seed), seed)


@dataclass
class Model:
    """Answers from pixels, and errs: false yes, three times as often for look-alikes, and false no.

    `linked`: an error about the same state is repeated with this probability; a second look halves the rates.
    """

    false_yes: float
    false_no: float
    linked: float
    seed: int
    requests: int = 0
    tokens: int = 0
    _last: dict[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def look(self, bgr: U8, *, second: bool) -> tuple[bool, list[int] | None]:
        self.requests += 1
        self.tokens += TOKENS
        place = _red(bgr)
        alike = place is None and _orange(bgr)
        rate = self.false_no if place else self.false_yes * (3 if alike else 1)
        state = f"{place is not None} {alike}"
        if state in self._last and self._random.random() < self.linked:
            wrong = self._last[state]
        else:
            wrong = self._random.random() < rate * (0.5 if second else 1)
        self._last = {state: wrong}
        seen = (place is not None) != wrong
        if seen and place is None:
            height, width = bgr.shape[:2]
            x, y = self._random.randrange(width // 2), self._random.randrange(height // 2)
            place = [x, y, x + width // 5, y + height // 5]
        return seen, place if seen else None

    def answer(self, body: dict[str, Any], jpeg: bytes | None) -> list[str]:
        assert jpeg is not None
        bgr = np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), np.uint8)
        text = body["messages"][-1]["content"][-1]["text"]
        pictures = sum(part["type"] == "image_url" for part in body["messages"][-1]["content"])
        self.tokens += TOKENS * (pictures - 1)
        names = conditions_in(text)
        seen, place = self.look(bgr, second="enlarged" in text or pictures > 1)
        entries = [
            {
                "id": name,
                "seen": seen,
                "sure": 0.9,
                "where": place,
                "why": "It is there." if seen else "Not there.",
            }
            for name in names
        ]
        return [json.dumps({"watches": entries})]


def _red(bgr: U8) -> list[int] | None:
    blue, green, red = (bgr[..., channel].astype(int) for channel in range(3))
    return _place((red > 140) & (green < 90) & (blue < 110))


def _orange(bgr: U8) -> bool:
    blue, green, red = (bgr[..., channel].astype(int) for channel in range(3))
    return _place((red > 170) & (green > 100) & (green < 175) & (blue < 90)) is not None


def _place(mask: NDArray[np.bool_]) -> list[int] | None:
    if mask.mean() < LEAST:
        return None
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


@dataclass
class Score:
    name: str
    seconds: float = 0.0
    things: int = 0
    seen: int = 0
    premature: int = 0
    false: int = 0
    proven: int = 0
    rings: int = 0
    delays: list[float] = field(default_factory=list)
    requests: int = 0
    tokens: int = 0

    def take(self, stage: Stage, rings: list[tuple[float, float]], seconds: float) -> None:
        """`rings`: seconds of the evidence frame and of the ring itself, since the script's beginning."""
        self.seconds += seconds
        taken: set[Happens] = set()
        things = [event for event in stage.events if event.what == "thing"]
        self.things += len(things)
        for at, rang in rings:
            self.rings += 1
            # A frame's capture time is some milliseconds off.
            thing = next(
                (e for e in things if e.begin - 0.05 <= at <= e.begin + e.seconds + 0.05), None
            )
            if thing is not None:
                self.proven += 1
                if thing not in taken:
                    taken.add(thing)
                    self.delays.append(rang - thing.begin)
            elif stage.truth(at):
                self.premature += 1
            else:
                self.false += 1
        self.seen += len(taken)

    def line(self) -> str:
        hours = self.seconds / 3600
        delays = sorted(self.delays) or [math.nan]
        return (
            f"{self.name:26} recall {self.seen}/{self.things}, an hour: premature {self.premature / hours:6.1f}, false "
            f"{self.false / hours:6.1f}, requests {self.requests / hours:7.0f}, visual tokens {self.tokens / hours:9.0f}; "
            f"change to ring p50 {statistics.median(delays):5.2f} s, p95 {delays[math.ceil(0.95 * len(delays)) - 1]:5.2f} s; "
            f"evidence holds {self.proven}/{self.rings}"
        )


async def watched(
    kind: str,
    seconds: float,
    seed: int,
    make: Callable[[], Model],
    first_token: float,
    score: Score,
) -> None:
    stage = staged(kind, seconds, seed)
    model = make()
    async with (
        FakeOpenAI(
            model="Qwen/Qwen2.5-VL-7B-Instruct", first_token=first_token, answer_for=model.answer
        ) as server,
        running(engine="vllm", vllm_base_url=server.base_url) as run,
    ):
        encoder = LiveEncoder(stage, rate=4.0)
        try:
            async with visitor(run, encoder) as one:
                await one.page.send(
                    type="watch", id="w", condition=CONDITION, repeat=True, cooldown=0
                )
                await asyncio.sleep(3)
                stage.begin = begin = time.time()
                requests, tokens = model.requests, model.tokens
                rings: dict[str, tuple[float, float]] = {}
                while (left := begin + seconds - time.time()) > 0:
                    try:
                        ring = await one.page.next("ring", timeout=left)
                    except TimeoutError:
                        break
                    rings.setdefault(ring["id"], (ring["at"] / 1000 - begin, time.time() - begin))
        finally:
            await encoder.close()
    score.take(stage, list(rings.values()), seconds)
    score.requests += model.requests - requests
    score.tokens += model.tokens - tokens


def baseline(
    name: str, kind: str, seconds: float, seed: int, model: Model, first_token: float, score: Score
) -> None:
    """One of the simple loops, on the scene as drawn and on simulated time. Each rings once while its answer stays yes."""
    stage = staged(kind, seconds, seed)
    stage.begin = 0.0
    rings, held, at = [], False, 0.0
    while at < seconds:
        moments = [at + number for number in range(10)] if name == "10 s chunk" else [at]
        votes = []
        for moment in moments:
            bgr = cv2.cvtColor(stage.planes(moment), cv2.COLOR_YUV2BGR_I420)
            small = np.asarray(cv2.resize(bgr, (840, 448), interpolation=cv2.INTER_AREA), np.uint8)
            votes.append(model.look(small, second=False)[0])
        if name == "10 s chunk":
            model.requests -= len(votes) - 1  # one request of ten pictures
        seen = any(votes)
        evidence = moments[votes.index(True)] if seen else at
        ends = moments[-1] + 2 * first_token
        if seen and not held:
            rings.append((evidence, ends))
        held = seen
        at += {"a frame a second": 1.0, "10 s chunk": 10.0}.get(name, 5.0 if seen else 10.0)
    score.take(stage, rings, seconds)
    score.requests += model.requests
    score.tokens += model.tokens


async def measure(given: argparse.Namespace) -> None:
    seconds = given.minutes * 60

    def make(seed: int) -> Model:
        return Model(given.false_yes, given.false_no, given.linked, seed)

    names = ("a frame a second", "10 s chunk", "model chooses the pause")
    scores = [Score("ours"), *(Score(name) for name in names)]
    for number, kind in enumerate(given.only or CLASSES):
        seed = given.seed + number
        one = Score(f"ours, {kind}")
        await watched(kind, seconds, seed, partial(make, seed), given.first_token, one)
        print(one.line(), flush=True)
        if kind == "empty":
            print(f"  a frame a second: {3600 * TOKENS} visual tokens an hour")
        for into in (
            "things",
            "seen",
            "premature",
            "false",
            "proven",
            "rings",
            "requests",
            "tokens",
        ):
            setattr(scores[0], into, getattr(scores[0], into) + getattr(one, into))
        scores[0].seconds += one.seconds
        scores[0].delays += one.delays
        for score, name in zip(scores[1:], names, strict=True):
            baseline(name, kind, seconds, seed, make(seed), given.first_token, score)
    for score in scores:
        print(score.line())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.watch_bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--minutes", type=float, default=2.0, help="of each class of scenes (2)")
    add("--only", nargs="*", choices=CLASSES, help="classes (all)")
    add("--false-yes", type=float, default=0.02)
    add("--false-no", type=float, default=0.1)
    add("--linked", type=float, default=0.5, help="probability that an error is repeated (0.5)")
    add("--first-token", type=float, default=0.1, help="seconds (0.1)")
    add("--seed", type=int, default=1)
    asyncio.run(measure(parser.parse_args(arguments)))


if __name__ == "__main__":
    core_dumps.forbid()
    main()
