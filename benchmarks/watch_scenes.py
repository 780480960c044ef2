"""Scenes for WatchBench, a model with given error rates, and the scoring of alerts."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from scripts.bench.live_encoder import Scene
from scripts.bench.processes import ServerProcess
from scripts.bench.report import Row, Spread, Sums
from server.shared.watch_answers import parse_conditions
from tests.support.fakes_openai import FakeOpenAI

U8 = NDArray[np.uint8]
WIDTH, HEIGHT = 1280, 720
# The first condition occurs; the others, which are also watched for, never do.
CONDITIONS = (
    "a red thing",
    "somebody comes to the door",
    "the kettle boils",
    "the cat sits on the table",
    "a parcel lies at the door",
    "the light is on",
    "the window is open",
    "a car stops in the drive",
)
# Y, U and V of the object, of a look-alike, and of the background
RED, ORANGE, GROUND = (82, 90, 240), (150, 60, 190), (120, 128, 128)
# Fraction of the picture that the object and an almost-object cover
AREA, ALMOST = 0.03, 0.002
LEAST = 0.008
# Visual tokens of one request: the setting's default, and those of a second look
TOKENS = 480
# The simulated GPU, seconds. Each step reads 64 GB of bfloat16 weights at 5.3 TB/s.
STEP = 64e9 / 5.3e12
# A prompt token: 2 operations for each of 32.8e9 weights, at 40 % of 1,307 TFLOP/s (dense bfloat16),
# and a tenth more for the pictures' encoder.
TOKEN = 1.1 * 2 * 32.8e9 / (0.4 * 1307e12)
# "empty": a still scene in which nothing happens
CLASSES = ("empty", "still", "noisy", "flickering", "shaken", "slow", "busy")


@dataclass(frozen=True)
class SceneEvent:
    """An event in the scene: the "thing", an "alike", or "almost" the thing appears."""

    what: str
    begin: float
    seconds: float
    x: float
    y: float

    def is_active(self, at: float) -> bool:
        return self.begin <= at < self.begin + self.seconds


def make_script(seconds: float, seed: int) -> list[SceneEvent]:
    """Return one event for every 10 s: look-alikes and almost-objects between objects that stay for 0.5, 2 and 10 s."""
    rng = random.Random(seed)
    found: list[SceneEvent] = []
    at, lengths = 8.0, [2.0, 10.0, 0.5]
    while at + 14 < seconds:
        for what in (rng.choice(("alike", "almost")), "thing"):
            length = lengths[len(found) // 2 % 3] if what == "thing" else 3.0
            found.append(SceneEvent(what, at, length, rng.uniform(0.1, 0.7), rng.uniform(0.2, 0.7)))
            at += length + rng.uniform(4, 7)
    return found


class Stage(Scene):
    """A scripted scene of one class."""

    def __init__(self, kind: str, events: list[SceneEvent], seed: int) -> None:
        super().__init__(WIDTH, HEIGHT, seed=seed)
        self.kind = kind
        self.events = events
        # Seconds since the epoch at which the script begins
        self.begin = time.time() + 3600
        self._noise = np.random.default_rng(seed).normal(0, 5, (HEIGHT, WIDTH)).astype(np.int16)

    def draw(self, epoch: float) -> av.VideoFrame:
        return av.VideoFrame.from_ndarray(self.draw_planes(epoch - self.begin), format="yuv420p")

    def draw_planes(self, at: float) -> U8:
        planes = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
        luma = planes[:HEIGHT]
        luma[:] = self._ground
        chroma = planes[HEIGHT:].reshape(2, HEIGHT // 2, WIDTH // 2)
        if self.kind == "busy":
            self._draw_blocks(luma, at)
        for event in self.events:
            if event.is_active(at):
                self._paint_event(luma, chroma, event, at)
        if self.kind == "noisy":
            luma[:] = np.clip(luma + np.roll(self._noise, int(at * 977) % 997, 1), 0, 255)
        elif self.kind == "flickering":
            luma[:] = np.clip(luma * (1 + 0.05 * math.sin(at * 37)), 0, 255)
        elif self.kind == "shaken":
            shift = round(3 * math.sin(at * 5)), round(3 * math.cos(at * 4))
            luma[:] = np.roll(luma, shift, (0, 1))
        return planes

    def _paint_event(self, luma: U8, chroma: U8, event: SceneEvent, at: float) -> None:
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

    def get_true_from(self, thing: SceneEvent) -> float:
        """Return the time at which the condition becomes true: an object that fades in is not red at first."""
        steps = range(30) if self.kind == "slow" else range(1)
        for at in (thing.begin + step / 30 for step in steps):
            bgr = np.asarray(cv2.cvtColor(self.draw_planes(at), cv2.COLOR_YUV2BGR_I420), np.uint8)
            if _find_red(bgr) is not None:
                return at
        return thing.begin

    def describe_truth(self, at: float) -> str:
        return next((event.what for event in self.events if event.is_active(at)), "")


def make_stage(kind: str, seconds: float, seed: int) -> Stage:
    return Stage(kind, [] if kind == "empty" else make_script(seconds, seed), seed)


@dataclass
class Usage(Sums):
    """The cost of requests."""

    requests: int = 0
    visual_tokens: int = 0
    # Visual tokens and text tokens (about four characters each)
    prompt_tokens: int = 0
    answer_tokens: int = 0
    # GPU seconds, with the GPU of `benchmarks.simulate`: if other work shares each step, and if it does not
    gpu_shared: float = 0.0
    gpu_alone: float = 0.0

    def add(self, pictures: int, prompt: int, answer: int) -> None:
        self.requests += 1
        self.visual_tokens += pictures * TOKENS
        self.prompt_tokens += prompt
        self.answer_tokens += answer
        self.gpu_shared += (prompt + answer) * TOKEN
        self.gpu_alone += max(STEP, prompt * TOKEN) + (answer - 1) * STEP

    def subtract(self, before: Usage) -> Usage:
        return Usage(
            **{name: value - getattr(before, name) for name, value in asdict(self).items()}
        )


@dataclass
class Model:
    """A model that answers from pixels, with errors: a false yes, three times as often for look-alikes, or a false no.

    `linked`: an error about the same state is repeated with this probability; a second look halves the rates.
    """

    false_yes: float
    false_no: float
    linked: float
    seed: int
    usage: Usage = field(default_factory=Usage)
    # Times, in seconds since the epoch, at which the model missed the object
    blind: list[float] = field(default_factory=list)
    # By condition: the state at the last look, and whether the model erred
    _last: dict[str, tuple[str, bool]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def say(self, condition: str, bgr: U8, *, second: bool) -> tuple[bool, list[int] | None]:
        """Return True if the condition's object is seen, and its place; only the first condition's object ever appears."""
        if condition == CONDITIONS[0]:
            return self.look(bgr, second=second)
        seen = self._should_err(condition, False, False, second=second)
        return seen, self._make_random_box(bgr) if seen else None

    def look(self, bgr: U8, *, second: bool) -> tuple[bool, list[int] | None]:
        """Return True if the object is seen, and its place."""
        place = _find_red(bgr)
        alike = place is None and _is_orange(bgr)
        wrong = self._should_err(CONDITIONS[0], place is not None, alike, second=second)
        if wrong and place is not None:
            self.blind.append(time.time())
        seen = (place is not None) != wrong
        return seen, (place or self._make_random_box(bgr)) if seen else None

    def _should_err(self, condition: str, there: bool, alike: bool, *, second: bool) -> bool:
        rate = self.false_no if there else self.false_yes * (3 if alike else 1)
        state, (before, wrong) = f"{there} {alike}", self._last.get(condition, ("", False))
        if before != state or self._random.random() >= self.linked:
            wrong = self._random.random() < rate * (0.5 if second else 1)
        self._last[condition] = state, wrong
        return wrong

    def _make_random_box(self, bgr: U8) -> list[int]:
        height, width = bgr.shape[:2]
        x, y = self._random.randrange(width // 2), self._random.randrange(height // 2)
        return [x, y, x + width // 5, y + height // 5]

    def answer(self, body: dict[str, Any], jpeg: bytes | None) -> list[str]:
        assert jpeg is not None
        bgr = np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), np.uint8)
        content = body["messages"][-1]["content"]
        text = content[-1]["text"]
        pictures = sum(part["type"] == "image_url" for part in content)
        second = "enlarged" in text or pictures > 1
        entries = []
        conditions = parse_conditions(text)
        for name, condition in conditions.items():
            seen, place = self.say(condition, bgr, second=second)
            why = "It is there." if seen else "Not there."
            if seen or len(conditions) == 1:
                entries.append({"id": name, "seen": seen, "sure": 0.9, "where": place, "why": why})
        said = json.dumps({"watches": entries})
        words = sum(
            len(part if isinstance(part, str) else part.get("text", ""))
            for message in body["messages"]
            for part in (
                [message["content"]] if isinstance(message["content"], str) else message["content"]
            )
        )
        self.usage.add(pictures, pictures * TOKENS + words // 4, len(said) // 4)
        return [said]


def _find_red(bgr: U8) -> list[int] | None:
    blue, green, red = (bgr[..., channel].astype(int) for channel in range(3))
    return _find_place((red > 140) & (green < 90) & (blue < 110))


def _is_orange(bgr: U8) -> bool:
    blue, green, red = (bgr[..., channel].astype(int) for channel in range(3))
    return _find_place((red > 170) & (green > 100) & (green < 175) & (blue < 90)) is not None


def _find_place(mask: NDArray[np.bool_]) -> list[int] | None:
    if mask.mean() < LEAST:
        return None
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


@dataclass
class Score(Sums):
    """The objects that one method of watching saw and missed, and its cost."""

    name: str
    seconds: float = 0.0
    things: int = 0
    seen: int = 0
    premature: int = 0
    false: int = 0
    proven: int = 0
    alerts: int = 0
    delays: list[float] = field(default_factory=list)
    # Delays of alerts before which the model made no error about the object
    clean: list[float] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)

    def take(
        self,
        stage: Stage,
        alerts: list[tuple[float, float]],
        seconds: float,
        blind: Sequence[float] = (),
    ) -> None:
        """Add the results of a scene.

        `alerts`: seconds from the script's beginning to the evidence frame and to the alert. `blind`: seconds at which
        the model missed a visible object.
        """
        self.seconds += seconds
        taken: set[SceneEvent] = set()
        things = [event for event in stage.events if event.what == "thing"]
        self.things += len(things)
        for at, alerted in alerts:
            self.alerts += 1
            # A frame's capture time is some milliseconds off.
            thing = next(
                (e for e in things if e.begin - 0.05 <= at <= e.begin + e.seconds + 0.05), None
            )
            if thing is not None:
                self.proven += 1
                if thing not in taken:
                    taken.add(thing)
                    began = stage.get_true_from(thing)
                    self.delays.append(max(0.0, alerted - began))
                    if not any(began <= moment <= alerted for moment in blind):
                        self.clean.append(self.delays[-1])
            elif stage.describe_truth(at):
                self.premature += 1
            else:
                self.false += 1
        self.seen += len(taken)

    def format_line(self) -> str:
        hours = self.seconds / 3600
        every, clean = Spread.of(self.delays), Spread.of(self.clean)
        return (
            f"{self.name:26} recall {self.seen}/{self.things}, an hour: premature {self.premature / hours:6.1f}, false "
            f"{self.false / hours:6.1f}, requests {self.usage.requests / hours:7.0f}, visual tokens "
            f"{self.usage.visual_tokens / hours:9.0f}; change to alert p50 {every.p50:5.2f} s, p95 {every.p95:5.2f} s (where the "
            f"model did not err: {clean.p50:5.2f}, {clean.p95:5.2f} s, n={clean.n}); evidence holds {self.proven}/{self.alerts}"
        )

    def to_rows(self, target: float | None) -> list[Row]:
        """Return the rows of a report.

        `target`: for the 95th percentile of the delays in seconds; None if there is none.
        """
        hours = self.seconds / 3600

        def value(what: str, unit: str, number: float) -> Row:
            return Row(f"{self.name}: {what}", unit, value=number)

        share = 100 / max(1, self.alerts)
        return [
            Row(f"{self.name}: change to alert", "s", Spread.of(self.delays), target_p95=target),
            Row(f"{self.name}: the same, no error of the model", "s", Spread.of(self.clean)),
            value("things alerted for", "%", 100 * self.seen / max(1, self.things)),
            value("premature alerts", "an hour", self.premature / hours),
            value("false alerts", "an hour", self.false / hours),
            value("evidence that shows it", "% of alerts", self.proven * share),
            *(
                value(name.replace("_", " "), unit, number / hours)
                for name, number in asdict(self.usage).items()
                for unit in ["s an hour" if name.startswith("gpu") else "an hour"]
            ),
        ]


@asynccontextmanager
async def served(model: Model, first_token: float) -> AsyncIterator[ServerProcess]:
    """Yield a server whose model is the stand-in."""
    async with (
        FakeOpenAI(
            model="Qwen/Qwen2.5-VL-7B-Instruct", first_token=first_token, answer_for=model.answer
        ) as fake,
        ServerProcess(ENGINE="vllm", VLLM_BASE_URL=fake.base_url) as server,
    ):
        await server.wait_for_engine()
        yield server
