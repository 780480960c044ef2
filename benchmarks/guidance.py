"""Lead simulated people to objects in a rendered room: python -m benchmarks.guidance.

The room is a wall around the person, drawn from a seed, with photographs at known places. The camera sees 60° of it in
1280x720 pixels, 12.5 times a second, from a shaking hand; turning blurs the picture, which also has noise. The server's
`Leading` uses the real detector. A look takes the measured time on this machine; each frame arrives 80 ms late, and
each message takes 20 ms back. The page's own tracker and course run in Node. The person turns at 40 degrees a second
towards the cue, more slowly near the middle, with a delay of 0.4 s, and knows nothing else. Without a cue they turn 50
degrees to one side, which may be the wrong one, 50 to the other, and then further; when they are asked to, they stop
from time to time. Everything except the duration of looks follows from the seed. Six successive seeds, one for each
object, are for tuning; the next six are held out.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import random
import subprocess
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scripts.arguments import ROOT, call_with_options
from scripts.bench.report import get_percentile
from server.core import core_dumps
from server.core.frames import Frame, Picture
from server.core.metrics import Metrics
from server.features.builtin.beside import DetectorAid
from server.features.builtin.detector import ThingFinder
from server.features.builtin.finder import Finder
from server.features.builtin.reader import TextReader
from server.features.builtin.seeking import SearchHit, SearchTarget
from server.features.guidance.leading import Leading, Seeker
from server.features.guidance.messages import Goal
from server.media.picture.grounding import Box
from server.session.request.parts import Preferences

Bgr = NDArray[np.uint8]
Luma = NDArray[np.uint8]
PHOTOS = ROOT / "tests" / "features" / "builtin" / "photos"

WIDTH, HEIGHT, FIELD = 1280, 720, 60.0
A_DEGREE = WIDTH / FIELD
ROUND = round(360 * A_DEGREE)
WALL = 1100
STEP = 0.08
# People turn more slowly if the cue is nearer to the middle than this fraction of half the picture.
SLOWS = 0.7
# Seconds from a frame's capture to its look, and from the look's end to the page
TO_SERVER, TO_PAGE = 0.088, 0.02
EXPOSURE = 1 / 100
TURN, SEARCH, TILT, DELAY, SETTLES = 40.0, 40.0, 15.0, 0.4, 0.1
# Seconds without a cue after which people are asked to stop from time to time; degrees between two stops; seconds of a
# stop. A blurred picture shows little.
TOLD, STOPS, STOPPED = 9.4, 25.0, 0.5
# Degrees that they turn to one side, then to the other, and so on
SWEEPS = (50.0, 50.0, 100.0, 100.0)
AWAY = 60.0
# Largest distance from the middle, in halves of the picture, and seconds for which the object has to stay there
MIDDLE, STAYS = 0.3, 0.5
LIMIT = 20.0
# A bump turns the person by this many degrees within this many seconds.
BUMP, BUMPED = 55.0, 0.8

# By object: its photographs, and other photographs that also show one
THINGS = {
    "cup": (["coffee"], []),
    "apple": (["apple"], ["fruits"]),
    "orange": (["orange"], ["citrus", "fruits"]),
    "cat": (["chelsea"], []),
    "dog": (["dog"], []),
    "car": (["car_rear"], ["building", "bridge", "louvre", "stairs", "windmill"]),
}


@dataclass
class Room:
    """A wall around the person, the heading of the object on it, and its place on the wall in pixels."""

    wall: Bgr
    # The wall at a quarter of its size, as the page's tracker sees it
    small: Luma
    thing: str
    box: tuple[int, int, int, int] | None


@dataclass
class Run:
    """The path of one person to an object."""

    seed: int
    thing: str
    right_way: bool
    # Simulated seconds with a goal
    lasted: float = 0.0
    # Seconds until the object is in the middle; None if it never is
    middle: float | None = None
    again: float | None = None
    # Number of times that an object was reported as found, and of those that were wrong
    found: int = 0
    wrong: int = 0
    looks: list[float] = field(default_factory=list)

    @property
    def absent(self) -> bool:
        return self.seed % 5 == 0

    @property
    def held_out(self) -> bool:
        return self.seed // len(THINGS) % 2 == 1


def draw_bare_room(chance: random.Random) -> Bgr:
    """Draw a wall with the edges of doors, shelves and windows."""
    noise = np.random.default_rng(chance.randrange(1 << 30))
    base = np.array([chance.randrange(150, 215) for _ in range(3)], np.float32)
    wall = np.empty((WALL, ROUND, 3), np.float32)
    wall[:] = base
    wall[int(WALL * 0.72) :] = base * 0.55
    coarse = noise.normal(0, 9, (WALL // 40, ROUND // 40, 3)).astype(np.float32)
    wall += cv2.resize(coarse, (ROUND, WALL), interpolation=cv2.INTER_CUBIC)
    wall += noise.normal(0, 2, (WALL, ROUND, 1)).astype(np.float32)
    for _ in range(26):
        x, y = chance.randrange(ROUND), chance.randrange(WALL // 8, WALL * 3 // 4)
        wide, high = chance.randrange(40, 400), chance.randrange(40, 350)
        shade = tuple(float(chance.randrange(50, 235)) for _ in range(3))
        cv2.rectangle(wall, (x, y), (x + wide, y + high), shade, chance.choice([-1, 6, 12]))
    return np.asarray(wall.clip(0, 255), np.uint8)


def build(chance: random.Random, thing: str, heading: float | None) -> Room:
    """Draw a room. `heading`: degrees to the right of straight ahead; None: without the object."""
    wall8 = draw_bare_room(chance)
    own, others = THINGS[thing]
    rest = [one.stem for one in sorted(PHOTOS.glob("*.jpg")) if one.stem not in (*own, *others)]
    box = None
    places = []
    if heading is not None:
        box = paste_object(wall8, chance, chance.choice(own), heading)
        places.append(heading)
    for name in chance.sample(rest, 9):
        for _ in range(40):
            at = chance.uniform(-180, 180)
            if all(abs((at - one + 180) % 360 - 180) > 30 for one in places):
                paste_object(wall8, chance, name, at)
                places.append(at)
                break
    grey = cv2.cvtColor(wall8, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(grey, (ROUND // 4, WALL // 4), interpolation=cv2.INTER_AREA)
    return Room(wall8, np.asarray(small, np.uint8), thing, box)


def paste_object(
    wall: Bgr, chance: random.Random, name: str, heading: float
) -> tuple[int, int, int, int]:
    photo = cv2.imread(str(PHOTOS / f"{name}.jpg"))
    assert photo is not None
    high = chance.randrange(290, 350)
    wide = round(photo.shape[1] * high / photo.shape[0])
    photo = cv2.resize(photo, (wide, high), interpolation=cv2.INTER_AREA)
    left = round(ROUND / 2 + heading * A_DEGREE - wide / 2)
    top = round(WALL / 2 - high / 2 + chance.uniform(-4, 4) * A_DEGREE)
    columns = np.arange(left, left + wide) % ROUND
    wall[top : top + high, columns] = photo
    return left, top, left + wide, top + high


def compute_shake(phases: Sequence[float], now: float) -> float:
    """Return the motion of a shaking hand in one direction, in degrees."""
    return sum(
        size * math.sin(2 * math.pi * rate * now + phase)
        for size, rate, phase in zip((0.35, 0.15, 0.07), (0.9, 2.3, 4.1), phases, strict=True)
    )


class Person:
    """A simulated person who turns, with a delay, towards the last cue."""

    def __init__(self, chance: random.Random) -> None:
        self.heading = self.pitch = self.speed = 0.0
        self.tilt = 0.0
        self._heard: deque[tuple[float, dict[str, Any]]] = deque()
        self._now: dict[str, Any] = {"state": "looking"}
        self.first = chance.choice([-1, 1])
        self._sweep = self.first
        self._from = 0.0
        self._swept = 0
        # Start of the time without a cue; heading and end of the last stop
        self._since: float | None = None
        self._stop, self._stopped = 0.0, 0.0
        self._phases = [chance.uniform(0, 2 * math.pi) for _ in range(6)]

    def hear(self, at: float, cue: dict[str, Any]) -> None:
        self._heard.append((at + DELAY, cue))

    def move(self, now: float, seconds: float) -> None:
        while self._heard and self._heard[0][0] <= now:
            self._now = self._heard.popleft()[1]
        cue, wanted, tilt = self._now, 0.0, 0.0
        if cue["state"] != "looking":
            self._from, self._swept, self._since = self.heading, 0, None
        else:
            farthest = SWEEPS[min(self._swept, len(SWEEPS) - 1)]
            if (self.heading - self._from) * self._sweep > farthest:
                self._sweep, self._swept = -self._sweep, self._swept + 1
            wanted = self._get_search_speed(now)
        if cue["state"] == "lost":
            wanted = {"left": -TURN, "right": TURN}.get(cue["side"], 0.0)
            tilt = {"up": TILT, "down": -TILT}.get(cue["side"], 0.0)
        elif cue["state"] == "covered":
            wanted = 0.0
        elif cue["state"] in ("maybe", "found", "middle"):
            wanted = TURN * max(-1.0, min(1.0, cue["pan"] / SLOWS))
            # Direction on a clock face, which is given only while the object is not in the middle
            if cue["state"] == "found":
                up = math.cos(cue["hour"] * math.pi / 6)
                tilt = TILT * up * min(1.0, cue["off"] / SLOWS)
        share = 1 - math.exp(-seconds / SETTLES)
        self.speed += (wanted - self.speed) * share
        self.tilt += (tilt - self.tilt) * share
        self.heading += self.speed * seconds
        self.pitch = max(-12.0, min(12.0, self.pitch + self.tilt * seconds))

    def _get_search_speed(self, now: float) -> float:
        """Return the speed of turning while searching."""
        self._since = now if self._since is None else self._since
        if now - self._since >= TOLD and abs(self.heading - self._stop) >= STOPS:
            self._stop, self._stopped = self.heading, now + STOPPED
        return 0.0 if now < self._stopped else SEARCH * self._sweep

    def get_shake(self, now: float) -> tuple[float, float]:
        return compute_shake(self._phases[:3], now), compute_shake(self._phases[3:], now)


def get_corner(person: Person, now: float) -> tuple[int, int]:
    """Return the upper left corner of the part of the wall that the camera sees."""
    across, down = person.get_shake(now)
    left = ROUND / 2 + (person.heading + across) * A_DEGREE - WIDTH / 2
    top = WALL / 2 - (person.pitch + down) * A_DEGREE - HEIGHT / 2
    return round(left), max(0, min(WALL - HEIGHT, round(top)))


# Sensor noise, centred on the middle of its range
GRAIN = [
    np.random.default_rng(number).integers(0, 5, (HEIGHT, WIDTH, 3), np.uint8)
    for number in range(4)
]


def make_view(room: Room, at: tuple[int, int], speed: float, number: int) -> Bgr:
    """Return the camera's picture."""
    left, top = at
    columns = np.arange(left, left + WIDTH) % ROUND
    seen = np.ascontiguousarray(room.wall[top : top + HEIGHT].take(columns, axis=1))
    blurred = max(1, round(abs(speed) * EXPOSURE * A_DEGREE))
    if blurred > 1:
        seen = np.asarray(cv2.blur(seen, (blurred, 1)), np.uint8)
    return np.asarray(cv2.add(seen, GRAIN[number % len(GRAIN)]), np.uint8)


def make_small_view(room: Room, at: tuple[int, int], speed: float, number: int) -> Luma:
    """Return the picture for the page's tracker: a part of the wall at a quarter of its size, with subpixel shift."""
    left, top = at[0] / 4, at[1] / 4
    columns = np.arange(math.floor(left), math.floor(left) + WIDTH // 4 + 1) % (ROUND // 4)
    rows = slice(math.floor(top), math.floor(top) + HEIGHT // 4 + 1)
    part = np.ascontiguousarray(room.small[rows].take(columns, axis=1))
    move = np.array([[1, 0, -(left % 1)], [0, 1, -(top % 1)]], np.float32)
    seen = cv2.warpAffine(part, move, (WIDTH // 4, HEIGHT // 4), borderMode=cv2.BORDER_REPLICATE)
    blurred = max(1, round(abs(speed) * EXPOSURE * A_DEGREE / 4))
    if blurred > 1:
        seen = cv2.blur(seen, (blurred, 1))
    grain = GRAIN[number % len(GRAIN)][: HEIGHT // 4, : WIDTH // 4, 0] // 3
    return np.asarray(cv2.add(seen, grain), np.uint8)


class Page:
    """The page's tracker and course, in a Node process."""

    def __init__(self) -> None:
        script = str(ROOT / "benchmarks" / "guidance_page.mjs")
        self._node = subprocess.Popen(
            ["node", "--experimental-detect-module", "--no-warnings", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._node.stdin is not None
        assert self._node.stdout is not None
        self._in, self._out = self._node.stdin, self._node.stdout

    def send_course(self, **message: Any) -> None:
        self._in.write(json.dumps(message) + "\n")

    def get_cue(self, now: float) -> dict[str, Any]:
        self.send_course(type="cue", now=now * 1000)
        self._in.flush()
        found: dict[str, Any] = json.loads(self._out.readline())
        return found

    def close(self) -> None:
        self._in.close()
        self._node.wait(10)


def make_picture(seen: Bgr, shown: Any) -> Picture:
    """Return the picture for a view of a frame. `seen`: pixels of the whole frame."""
    frame, region = shown.frame, shown.region
    if region is not None:
        seen = seen[region.top : region.bottom, region.left : region.right]
    return Picture(
        frame_id=frame.id,
        captured=frame.captured,
        captured_sender=frame.captured,
        source_width=WIDTH,
        source_height=HEIGHT,
        width=seen.shape[1],
        height=seen.shape[0],
        visual_tokens=0,
        bgr=np.ascontiguousarray(seen),
    )


class Server:
    """The server's guidance and its cues, with a camera that shows given frames."""

    def __init__(self, finder: Finder) -> None:
        self.told: list[Any] = []
        self._finder = finder
        # Duration of the newest look in seconds
        self._spent = 0.0
        self._view: Callable[[], Bgr] | None = None
        none = SimpleNamespace
        no_model = none(status=none(ready=False))
        context: Any = none(
            services=none(metrics=Metrics("test"), current_engine=lambda *role: no_model),
            requests=none(preferences=Preferences(), prepare=self._prepare),
            camera=none(scene=None, wake=lambda: None),
            outbox=none(put=self.told.append, discard=lambda kind: None),
            held=lambda: None,
            touch=lambda: None,
            wants_changed=lambda: None,
        )
        self.leading = Leading(context, Seeker(self._find))

    async def _prepare(self, shown: Any, needs: Any, *, unseen: bool) -> Picture:
        assert self._view is not None
        return make_picture(self._view(), shown)

    async def _find(
        self, bgr: Bgr, wish: SearchTarget, known: Box | None
    ) -> tuple[list[SearchHit], float]:
        # Measure CPU time, since the machine may also do other work.
        began = time.thread_time()
        found = self._finder.seek(bgr, wish, known)
        self._spent = time.thread_time() - began
        return found, self._spent

    async def process_frame(self, seen: Callable[[], Bgr], now: float) -> float:
        """Process a frame; return the duration of its look in seconds, 0 if none was due."""
        self._spent, self._view = 0.0, cache(seen)
        no_image: Any = None
        self.leading.on_frame(Frame("f", no_image, WIDTH, HEIGHT, now, now, now, 0))
        while self.leading.looks.running:
            await asyncio.sleep(0)
        return self._spent


async def lead_person(finder: Finder, page: Page, seed: int) -> Run:
    """Lead one person to an object, bump them when they reach it, and lead them again."""
    chance = random.Random(seed)
    thing = list(THINGS)[seed % len(THINGS)]
    person = Person(chance)
    side = chance.choice([-1, 1])
    run = Run(seed, thing, person.first == side)
    room = build(chance, thing, None if run.absent else side * AWAY)
    server = Server(finder)
    server.leading.set(Goal(type="goal", thing=thing))
    page.send_course(type="begin")
    coming: deque[tuple[float, Any]] = deque((0.02, one) for one in server.told)
    server.told.clear()
    now, since, bumped = 1.0, None, None
    limit = now + (10.0 if run.absent else LIMIT)
    state = "looking"
    while now < limit:
        at = get_corner(person, now)
        number = round(now / STEP)
        small = make_small_view(room, at, person.speed, number)
        page.send_course(
            type="frame", luma=base64.b64encode(small.tobytes()).decode(), at=round(now * 1000, 1)
        )
        spent = await server.process_frame(partial(make_view, room, at, person.speed, number), now)
        if spent:
            run.looks.append(spent)
        for one in server.told:
            coming.append((now + TO_SERVER + spent + TO_PAGE, one))
            if one.state in ("found", "there") and state not in ("found", "there"):
                run.found += 1
                run.wrong += not is_right(room, at, one.box)
            state = one.state
        server.told.clear()
        while coming and coming[0][0] <= now:
            one = coming.popleft()[1]
            at_ms = one.captured_at or 0
            page.send_course(type="target", state=one.state, box=one.box, at=at_ms, now=now * 1000)
        cue = page.get_cue(now)
        person.hear(now, cue)
        # A bump turns the person, independent of the cues.
        if bumped is not None and now < bumped[0] + BUMPED:
            person.heading += bumped[1] * STEP / BUMPED
            person.speed = 0.0
        else:
            person.move(now, STEP)
        inside = (
            cue["state"] in ("middle", "there")
            and abs(person.speed) < 5
            and measure_offset(room, at) <= MIDDLE
        )
        since = (since if since is not None else now) if inside else None
        if since is not None and now - since >= STAYS:
            if run.middle is None:
                run.middle = since - 1.0
                bumped = (now + STEP, chance.choice([-BUMP, BUMP]))
                limit = now + LIMIT
                since = None
            elif bumped is not None and now > bumped[0] + BUMPED + STAYS:
                run.again = since - bumped[0] - BUMPED
                break
        if state == "there" and run.middle is not None and bumped is not None and now > bumped[0]:
            # The goal ended before the bump: start it again.
            server.leading.set(Goal(type="goal", thing=thing))
            state = "looking"
        now = round(now + STEP, 4)
    await server.leading.close()
    run.lasted = now - 1.0
    return run


def measure_offset(room: Room, at: tuple[int, int]) -> float:
    """Return the true distance of the object's middle from the picture's, in halves of the picture's sides."""
    if room.box is None:
        return math.inf
    left, top, right, bottom = room.box
    across = ((left + right) / 2 - at[0] - WIDTH / 2 + ROUND / 2) % ROUND - ROUND / 2
    down = (top + bottom) / 2 - at[1] - HEIGHT / 2
    return math.hypot(across / (WIDTH / 2), down / (HEIGHT / 2))


def is_right(room: Room, at: tuple[int, int], box: tuple[float, ...] | None) -> bool:
    """Return True if the middle of a box is on the object."""
    if room.box is None or box is None:
        return False
    x = (box[0] + box[2]) / 2 * WIDTH + at[0]
    y = (box[1] + box[3]) / 2 * HEIGHT + at[1]
    left, top, right, bottom = room.box
    return (x - left) % ROUND <= right - left and top <= y <= bottom


def compute_figures(runs: list[Run]) -> dict[str, Any]:
    """Return the figures to compare with the targets. The time of a person who never reaches the object is infinite."""
    led = [one for one in runs if not one.absent]
    reached = [one for one in led if one.middle is not None]
    again = [one.again for one in reached if one.again is not None]
    times = [math.inf if one.middle is None else one.middle for one in led]
    looks = sorted(seconds for one in runs for seconds in one.looks)

    def get_finite_percentile(values: list[float], share: int) -> float | None:
        """Return a percentile in seconds; None if it is infinite."""
        value = get_percentile(values, share) if values else math.inf
        return round(value, 1) if math.isfinite(value) else None

    return {
        "rooms": len(runs),
        "without the thing": len(runs) - len(led),
        "in the middle, from 60 degrees, s": [
            get_finite_percentile(times, 50),
            get_finite_percentile(times, 95),
        ],
        "never": {
            name: f"{missed} of {total}"
            for name in THINGS
            if (total := sum(one.thing == name for one in led))
            and (missed := sum(one.thing == name and one.middle is None for one in led))
        },
        "found again after a bump of 55 degrees": f"{len(again)} of {len(reached)}",
        "found again, s": [get_finite_percentile(again, 50), get_finite_percentile(again, 95)],
        "wrong": f"{sum(one.wrong for one in runs)} of {sum(one.found for one in runs)}",
        "a look, ms of a core": round(1000 * looks[len(looks) // 2]) if looks else None,
        "looks, cores": round(sum(looks) / sum(one.lasted for one in runs), 3),
    }


def report(runs: list[Run]) -> dict[str, Any]:
    tuning = [one for one in runs if not one.held_out]
    held_out = [one for one in runs if one.held_out]
    parts = {"tuning": tuning, "held out": held_out, "all": runs}
    return {name: compute_figures(part) for name, part in parts.items() if part}


async def measure(runs: int = 60, seed: int = 1) -> None:
    finder = Finder(TextReader(), DetectorAid(ThingFinder()))
    with closing(Page()) as page:
        found = []
        for number in range(seed, seed + runs):
            run = await lead_person(finder, page, number)
            seconds = [None if one is None else round(one, 2) for one in (run.middle, run.again)]
            way = "right" if run.right_way else "wrong"
            print(number, run.thing, way, *seconds, run.found, run.wrong)
            found.append(run)
        print(json.dumps(report(found), indent=1))


if __name__ == "__main__":
    core_dumps.forbid_core_dumps()
    call_with_options(measure, __doc__)
