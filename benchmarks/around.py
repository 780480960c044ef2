"""Let simulated people look around in a rendered room: python -m benchmarks.around.

The room is that of benchmarks.guidance, with five to seven photographs at known places whose things the detector knows, two
of them often of the same thing, and four others. The camera is a pinhole of 50 to 70 degrees (nobody tells the server which), 1280x720
pixels, 12.5 times a second, in a hand that shakes and tilts; it blurs with the turn and has noise. The person turns to one
side, not evenly, until they are told that it is over, then turns once more by some way and asks where a thing was. The server's own `Scanning` looks with the true detector,
within its own bound on the processor. All but the times of looks follows from the seed; with --quiet they are those of a
quiet machine, too. --speed: degrees a second.
"""

from __future__ import annotations

import math
import random
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import av
import cv2
import numpy as np

from benchmarks.guidance import (
    A_DEGREE,
    EXPOSURE,
    GRAIN,
    HEIGHT,
    PHOTOS,
    ROUND,
    STEP,
    WALL,
    WIDTH,
    Bgr,
    Looked,
    bare_room,
    paste,
    shaken,
)
from scripts.arguments import call
from scripts.bench.report import percentile
from server.core import core_dumps
from server.features.builtin.beside import Beside
from server.features.builtin.detector import ThingFinder
from server.features.builtin.reader import Finder, Reader
from server.features.builtin.surroundings import Around, Extra
from server.features.guidance.messages import Bearing, Scan, Scanned, WhereWas
from server.features.guidance.scanning import Scanner, Scanning

# By thing: photographs of it
THINGS = {
    "cup": ["coffee"],
    "apple": ["apple"],
    "orange": ["orange"],
    "cat": ["chelsea"],
    "dog": ["dog"],
    "car": ["car_rear"],
    "person": ["astronaut", "camera"],
    "potted plant": ["aloe", "plant"],
}
APART = 34.0
# Seconds of a core of looks on a quiet machine
COSTS: dict[Extra, float] = {"": 0.037, "signs": 0.07, "faces": 0.091}
# Of the person: how evenly they turn, and how far they tilt, in degrees
UNEVEN, TILTS = 0.35, 4.0
FIELDS = (50.0, 70.0)
LONGEST = 45.0


@dataclass
class Room:
    wall: Bgr
    # A quarter of its size
    small: Bgr
    # The name of each thing that is there, and its heading; and all photographs with theirs and their half width
    things: list[tuple[str, float]]
    photos: list[tuple[str, float, float]]


@dataclass
class Run:
    lens: float
    end: str = ""
    things: int = 0
    right: int = 0
    doubles: int = 0
    invented: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    drift: float = 0.0
    # Of the way to a thing, after another turn; None: it says that it does not know
    bearing: float | None = None
    asked: bool = False
    seconds: float = 0.0
    spent: float = 0.0
    looks: int = 0
    followed: float = 0.0


@cache
def shown() -> dict[str, set[str]]:
    """The names that are right for each photograph."""
    found = tomllib.loads((PHOTOS / "questions.toml").read_text("utf-8"))
    return {
        name.removesuffix(".jpg"): {one.strip() for one in entry.get("shows", "").split(",")} - {""}
        for name, entry in found.items()
        if name.endswith(".jpg")
    }


def build(chance: random.Random) -> Room:
    wall = bare_room(chance)
    names = chance.sample(sorted(THINGS), chance.randrange(5, 7))
    if chance.random() < 0.5:
        names.append(names[0])
    known = {one for photos in THINGS.values() for one in photos}
    rest = [one for one in sorted(shown()) if one not in known and (PHOTOS / f"{one}.jpg").exists()]
    wanted = [(name, chance.choice(THINGS[name])) for name in names]
    wanted += [("", one) for one in chance.sample(rest, 4)]
    chance.shuffle(wanted)
    # Evenly spread, each moved a little
    slot = 360 / len(wanted)
    first = chance.uniform(-180, 180)
    room = Room(wall, wall, [], [])
    for number, (name, photo) in enumerate(wanted):
        heading = (
            first + number * slot + chance.uniform(-1, 1) * max(0, slot - APART) / 2 + 180
        ) % 360 - 180
        left, _, right, _ = paste(wall, chance, photo, heading)
        room.photos.append((photo, heading, (right - left) / 2 / A_DEGREE))
        if name:
            room.things.append((name, heading))
    size = ROUND // 4, WALL // 4
    room.small = np.asarray(cv2.resize(wall, size, interpolation=cv2.INTER_AREA), np.uint8)
    return room


@dataclass(frozen=True)
class Eye:
    """A pinhole camera in the hand of somebody who turns: its direction, speed and field of view."""

    heading: float
    pitch: float
    speed: float
    lens: float
    number: int

    def view(self, room: Room, share: int = 1) -> Bgr:
        """Return what it sees of the wall, at this share of its size."""
        wall = room.wall if share == 1 else room.small
        width, height, degree = WIDTH // share, HEIGHT // share, A_DEGREE / share
        focal = width / 2 / math.tan(math.radians(self.lens / 2))
        angles = np.arctan((np.arange(width) - (width - 1) / 2) / focal)
        middle = ROUND / share / 2 + self.heading * degree
        radius = degree * 180 / math.pi
        begin = math.floor(middle - math.radians(45) * radius)
        columns = np.arange(begin, begin + round(math.radians(90) * radius)) % wall.shape[1]
        part = np.ascontiguousarray(wall.take(columns, axis=1))
        x = np.broadcast_to(middle + angles * radius - begin, (height, width)).astype(np.float32)
        rows = (np.arange(height) - (height - 1) / 2)[:, None] / focal
        y = wall.shape[0] / 2 - self.pitch * degree + radius * rows / np.cos(angles)[None, :]
        seen = cv2.remap(
            part, x, y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        blurred = max(1, round(abs(self.speed) * EXPOSURE * math.radians(1) * focal))
        if blurred > 1:
            seen = cv2.blur(seen, (blurred, 1))
        grain = GRAIN[self.number % len(GRAIN)][:height, :width] // (1 if share == 1 else 3)
        return np.asarray(cv2.add(seen, grain), np.uint8)


class Person:
    """Turns to one side, not evenly, with a hand that shakes and tilts."""

    def __init__(self, chance: random.Random, speed: float) -> None:
        self.heading, self.speed = 0.0, 0.0
        self.side = chance.choice([-1, 1])
        self.wanted = speed
        self._chance = chance
        self._phases = [chance.uniform(0, 2 * math.pi) for _ in range(10)]

    def move(self, now: float) -> None:
        uneven = math.sin(0.9 * now + self._phases[8]) + 0.6 * math.sin(2.1 * now + self._phases[9])
        wanted = self.side * self.wanted * (1 + UNEVEN * uneven / 1.6)
        self.speed += (wanted - self.speed) * (1 - math.exp(-STEP / 0.15))
        self.heading += self.speed * STEP

    def looks(self, now: float) -> tuple[float, float]:
        shake = [shaken(self._phases[at : at + 3], now) for at in (0, 3)]
        tilt = TILTS * math.sin(0.5 * now + self._phases[6])
        return self.heading + shake[0], shake[1] + tilt


class Server(Looked):
    """The server's own scan."""

    def __init__(self, finder: Finder, quiet: bool) -> None:
        """`quiet`: looks take as long as on a quiet machine."""
        super().__init__(finder)
        self._quiet = quiet
        self.followed = 0.0
        self.looks = 0
        self.scanning = Scanning(self.context, Scanner(self._find))

    async def _find(self, bgr: Bgr, known: Any, extra: Extra) -> tuple[list[Around], float]:
        began = time.thread_time()
        found = self.finder.around(bgr, known, extra)
        spent = COSTS[extra] if self._quiet else time.thread_time() - began
        self.spent += spent
        self.looks += 1
        return found, spent

    async def frame(self, small: Bgr, seen: Callable[[], Bgr], now: float) -> None:
        """Take a frame. `small`: a quarter of its size, from which its motion is found."""
        grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.uint8)
        image = av.VideoFrame.from_ndarray(grey, format="gray")
        self.followed += await self.take(self.scanning, image, seen, now)


async def look_around(finder: Finder, seed: int, speed: float, quiet: bool) -> Run:
    chance = random.Random(seed)
    room = build(chance)
    person = Person(chance, speed)
    run = Run(chance.uniform(*FIELDS))
    server = Server(finder, quiet)
    server.scanning.set(Scan(type="scan"))
    now = began = 1.0
    number = 0
    ended: Scanned | None = None
    looked = 0.0
    while ended is None and now < began + LONGEST:
        looked, pitch = person.looks(now)
        eye = Eye(looked, pitch, person.speed, run.lens, number)
        await server.frame(eye.view(room, 4), partial(eye.view, room), now)
        ended = next((one for one in server.told if isinstance(one, Scanned) and one.end), None)
        person.move(now)
        now, number = round(now + STEP, 4), number + 1
    run.seconds, run.spent, run.looks, run.followed = (
        now - began,
        server.spent,
        server.looks,
        server.followed,
    )
    if ended is None:
        run.end = "never"
        return run
    run.end = ended.end or ""
    grade(room, run, ended, looked)
    # Another turn, of 60 to 200 degrees to either side
    person.side = chance.choice([-1, 1])
    stop = person.heading + person.side * chance.uniform(60, 200)
    while (stop - person.heading) * person.side > 0:
        looked, pitch = person.looks(now)
        eye = Eye(looked, pitch, person.speed, run.lens, number)
        await server.frame(eye.view(room, 4), partial(eye.view, room), now)
        person.move(now)
        now, number = round(now + STEP, 4), number + 1
    listed = [one for one in ended.things if one.kind == "thing"]
    names = {one.label for one in listed}
    truth = [one for one in room.things if label(one[0]) in names]
    if truth:
        name = chance.choice(truth)[0]
        run.asked = True
        server.scanning.where(WhereWas(type="where_was", thing=name))
        told = server.told[-1]
        if isinstance(told, Bearing) and told.found is not None:
            headings = [at for one, at in room.things if one == name]
            run.bearing = min(abs(apart(told.found.degrees, at - looked)) for at in headings)
    await server.scanning.close()
    return run


def label(name: str) -> str:
    from server.features.builtin.thing_words import words_of

    return words_of("en").one(name)


def apart(one: float, other: float) -> float:
    return (one - other + 180) % 360 - 180


def grade(room: Room, run: Run, ended: Scanned, looked: float) -> None:
    """Compare what is told with what is there."""
    run.things = len(room.things)
    left = list(room.things)
    for one in ended.things:
        near = sorted(
            (abs(apart(one.degrees, heading - looked)), (name, heading))
            for name, heading in left
            if label(name) == one.label
        )
        if near and near[0][0] < 25:
            run.errors.append(near[0][0])
            left.remove(near[0][1])
            run.right += 1
            continue
        if any(
            label(name) == one.label and abs(apart(one.degrees, heading - looked)) < 25
            for name, heading in room.things
        ):
            run.doubles += 1
            continue
        # Something else that is on a photograph there
        may = {
            label(name)
            for photo, heading, half in room.photos
            if abs(apart(one.degrees, heading - looked)) < half + 15
            for name in shown()[photo]
        }
        if one.label not in may:
            run.invented.append(f"{one.label} {one.degrees}")
    run.missed = [name for name, _ in left]


def report(runs: list[Run]) -> str:
    errors = [one for run in runs for one in run.errors] or [math.nan]
    things, right = sum(run.things for run in runs), sum(run.right for run in runs)
    bearings = [run.bearing for run in runs if run.bearing is not None] or [math.nan]
    seconds = sum(run.seconds for run in runs)
    return "\n".join(
        [
            f"listed: {right} of {things}; double: {sum(run.doubles for run in runs)};"
            f" invented: {sum(len(run.invented) for run in runs)}; in {len(runs)} rooms",
            f"direction wrong by {percentile(errors, 50):.1f} / {percentile(errors, 95):.1f} degrees",
            f"where a thing was, after another turn: wrong by {percentile(bearings, 50):.1f} / {percentile(bearings, 95):.1f} degrees;"
            f" known {len([run for run in runs if run.bearing is not None])} of {sum(run.asked for run in runs)}",
            f"core: {sum(run.spent + run.followed for run in runs) / seconds:.3f}, {sum(run.followed for run in runs) / seconds:.3f} of it for the motion; {sum(run.looks for run in runs) / seconds:.1f} looks a second",
            f"ends: { {end: sum(run.end == end for run in runs) for end in sorted({run.end for run in runs})} }",
        ]
    )


async def measure(runs: int = 40, seed: int = 1, speed: float = 25.0, quiet: bool = False) -> None:
    finder = Finder(Reader(), Beside(ThingFinder()))
    found = []
    for number in range(runs):
        run = await look_around(finder, seed + number, speed, quiet)
        print(
            f"{number} field {run.lens:.0f} {run.end} {run.seconds:.1f} s, {run.right} of {run.things}, double {run.doubles},"
            f" invented {run.invented}, missed {run.missed}, error {[round(one) for one in run.errors]}, bearing {run.bearing},"
            f" looks {run.looks}, core {(run.spent + run.followed) / run.seconds:.3f} ({run.followed / run.seconds:.3f})",
            flush=True,
        )
        found.append(run)
    print(report(found))


if __name__ == "__main__":
    core_dumps.forbid()
    call(measure, __doc__)
