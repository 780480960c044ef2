"""Clips for `tools.eyes_to_alert` (generated ones, a folder with a list of times, StreamingBench's questions), and the
scoring of alerts as timely, premature, false or missed.
"""

from __future__ import annotations

import csv
import json
import math
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from scripts.bench.live_encoder import Scene
from scripts.bench.report import Row, Spread, Sums

U8 = NDArray[np.uint8]
PHOTOS = Path(__file__).parents[1] / "tests/features/builtin/photos"
WIDTH, HEIGHT = 1280, 720
# Suffixes of files that can be played
VIDEOS = {".mp4", ".mkv", ".webm", ".mov", ".avi"}
TIMES = ("times.csv", "times.json")
# The number of a StreamingBench sample in the name of its video or in the id of its question
_SAMPLE = re.compile(r"(?:sample|Output)_(\d+)")
# Seconds of a clip played before an event, and after it
BEFORE, AFTER = 20.0, 8.0


class ClipError(Exception):
    """Raised if clips cannot be read; the text is for the user. Used only by the tools."""


@dataclass(frozen=True, slots=True)
class Event:
    """A time, in seconds of a clip, during which a condition is true."""

    condition: str
    begin: float
    end: float
    # First and last visible moment: an alert between them belongs to the event.
    seen_from: float
    seen_until: float


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """A clip with its events. All times are seconds from its beginning."""

    name: str
    # Clips of one class are counted together.
    kind: str
    seconds: float
    # All watched conditions, including those that never hold
    conditions: tuple[str, ...]
    events: tuple[Event, ...]
    # Opens the clip: returns a function that maps increasing times to pictures (I420, 1280x720)
    open: Callable[[], Callable[[float], U8]]
    # An alert at most this many seconds before an event is premature; an earlier one is false.
    early: float = 3.0

    def is_true(self, condition: str, at: float) -> bool:
        """Return True if a condition is true at a time."""
        return any(one.condition == condition and one.begin <= at < one.end for one in self.events)


class PlayingClip(Scene):
    """A clip as the source of a simulated camera: shows the first picture until `begin` (seconds since the epoch)."""

    def __init__(self, clip: Clip) -> None:
        super().__init__(WIDTH, HEIGHT)
        self.clip = clip
        self.begin = math.inf
        self._picture = clip.open()

    def draw(self, epoch: float) -> av.VideoFrame:
        at = min(max(0.0, epoch - self.begin), self.clip.seconds)
        return av.VideoFrame.from_ndarray(self._picture(at), format="yuv420p")


# Generated clips: photographed objects move in and out; in still clips nothing appears.

# The photographs of each object, and its place in them, as fractions
THINGS: dict[str, tuple[tuple[str, tuple[float, float, float, float]], ...]] = {
    "person": (
        ("astronaut", (0.06, 0.0, 0.95, 1.0)),
        ("camera", (0.2, 0.12, 0.75, 1.0)),
        ("hopper", (0.0, 0.05, 1.0, 1.0)),
    ),
    "cat": (("chelsea", (0.1, 0.0, 1.0, 1.0)),),
    "dog": (("dog", (0.0, 0.0, 1.0, 1.0)),),
    "car": (("car_rear", (0.0, 0.0, 1.0, 1.0)),),
}
CONDITIONS = {name: f"a {name} comes" for name in THINGS}
# The fraction of the picture that an object covers
SHARES = (0.04, 0.08, 0.16, 0.3)
# Background: "" for a wall
GROUNDS = ("", "brick", "palace", "notebook")
# The content of a still scene
STILLS = ("coffee", "windmill", "fruits", "building", "raccoon", "stuff")
STILL = ("noise", "flicker", "drift", "shake", "somebody stays")
# Seconds for which an object moves in or out, stays, and is away
MOVES, STAYS, AWAY = 0.5, 5.0, 5.0


@dataclass(frozen=True, slots=True, eq=False)
class _Visit:
    begin: float
    shown: U8
    # The place where the object stays, and the one from which it comes, in pixels
    place: tuple[int, int]
    start: tuple[int, int]

    @property
    def gone(self) -> float:
        return self.begin + MOVES + STAYS + MOVES

    def locate(self, now: float) -> tuple[int, int] | None:
        """Return the top left corner of the object at a time; None while it is absent."""
        if not self.begin <= now < self.gone:
            return None
        away = max(0.0, 1 - (now - self.begin) / MOVES, 1 - (self.gone - now) / MOVES)
        return tuple(
            round(rest + away * (start - rest))
            for rest, start in zip(self.place, self.start, strict=True)
        )  # type: ignore[return-value]


def make_clips(seed: int, visits: int, still_minutes: float) -> list[Clip]:
    """Return clips in which each object appears `visits` times, and `still_minutes` of each class of still scenes."""
    comes = [_make_visit_clip(name, seed, visits) for name in THINGS if visits]
    return comes + [
        _make_still_clip(kind, seed, 60 * still_minutes) for kind in STILL if still_minutes
    ]


def _make_visit_clip(name: str, seed: int, number: int) -> Clip:
    rng = random.Random(f"{name} {seed}")
    visits = []
    # Use all sizes and photographs equally often.
    for index in range(number):
        photo, part = THINGS[name][index % len(THINGS[name])]
        begin = AWAY + index * (2 * MOVES + STAYS + AWAY) + rng.uniform(0, 1)
        visits.append(_visit(photo, part, SHARES[index % len(SHARES)], begin, rng))
    events = tuple(
        Event(CONDITIONS[name], one.begin + MOVES / 2, one.gone - MOVES / 2, one.begin, one.gone)
        for one in visits
    )
    seconds = AWAY + number * (2 * MOVES + STAYS + AWAY) + 1

    def open_() -> Callable[[float], U8]:
        grounds = [_load_ground(one) for one in GROUNDS]
        noise = _make_noise(seed, 4)

        def picture(at: float) -> U8:
            index = int(max(0.0, at - AWAY) / (2 * MOVES + STAYS + AWAY))
            bgr = grounds[index // 2 % len(grounds)].copy()
            for one in visits:
                if (corner := one.locate(at)) is not None:
                    _paste_object(bgr, one.shown, corner)
            return _simulate_sensor(bgr, 1 + 0.1 * math.sin(at / 20), noise, at)

        return picture

    return Clip(f"a {name} comes", "comes", seconds, tuple(CONDITIONS.values()), events, open_)


def _visit(
    photo: str,
    part: tuple[float, float, float, float],
    share: float,
    begin: float,
    rng: random.Random,
) -> _Visit:
    shown = _load_photo(photo)
    own = (part[2] - part[0]) * (part[3] - part[1]) * shown.shape[0] * shown.shape[1]
    scale = math.sqrt(share * WIDTH * HEIGHT / own)
    scale = min(scale, 0.98 * WIDTH / shown.shape[1])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    shown = np.asarray(cv2.resize(shown, None, fx=scale, fy=scale, interpolation=how), np.uint8)
    high, wide = shown.shape[:2]
    left, top = rng.randrange(WIDTH - wide), rng.randrange(max(1, HEIGHT - high))
    start = rng.choice(((-wide, top), (WIDTH, top), (left, HEIGHT)))
    return _Visit(begin, shown, (left, top), start)


def _make_still_clip(kind: str, seed: int, seconds: float) -> Clip:
    """Return a scene in which nothing appears; only light, noise and sway change with time."""

    def open_() -> Callable[[float], U8]:
        grounds = [_load_ground(one) for one in STILLS]
        noise = _make_noise(seed, 10 if kind == "noise" else 4)
        person = _visit("astronaut", THINGS["person"][0][1], 0.16, 0, random.Random(seed))

        def picture(at: float) -> U8:
            # Show one background for the whole time between two restarts of the watches' scene.
            bgr = grounds[STILL.index(kind) % len(grounds)].copy()
            light = 1.0
            if kind == "somebody stays":
                _paste_object(bgr, person.shown, person.place)
            if kind in ("flicker", "somebody stays"):
                light = 1 + 0.05 * math.sin(at * 37)
            elif kind == "drift":
                light = 1 + 0.25 * math.sin(at / 40 * math.tau)
            elif kind == "shake":
                shift = (round(3 * math.sin(at * 5)), round(3 * math.cos(at * 4)))
                bgr = np.roll(bgr, shift, (0, 1))
            return _simulate_sensor(bgr, light, noise, at)

        return picture

    return Clip(f"still: {kind}", kind, seconds, tuple(CONDITIONS.values()), (), open_)


def _simulate_sensor(bgr: U8, light: float, noise: Sequence[NDArray[np.int16]], at: float) -> U8:
    """Return a picture as a sensor sees it, in I420."""
    lit = cv2.convertScaleAbs(bgr, alpha=light)
    planes = np.asarray(cv2.cvtColor(lit, cv2.COLOR_BGR2YUV_I420), np.uint8)
    planes[:HEIGHT] = cv2.add(planes[:HEIGHT], noise[int(at * 30) % len(noise)], dtype=cv2.CV_8U)
    return planes


def _make_noise(seed: int, deviation: float) -> list[NDArray[np.int16]]:
    rng = np.random.default_rng(seed)
    return [rng.normal(0, deviation, (HEIGHT, WIDTH)).astype(np.int16) for _ in range(7)]


def _paste_object(bgr: U8, shown: U8, corner: tuple[int, int]) -> None:
    left, top = corner
    high, wide = shown.shape[:2]
    x1, y1, x2, y2 = max(0, left), max(0, top), min(WIDTH, left + wide), min(HEIGHT, top + high)
    if x1 < x2 and y1 < y2:
        bgr[y1:y2, x1:x2] = shown[y1 - top : y2 - top, x1 - left : x2 - left]


def _load_ground(name: str) -> U8:
    if not name:
        return np.full((HEIGHT, WIDTH, 3), 150, np.uint8)
    return _fit_to_frame(_load_photo(name))


def _fit_to_frame(bgr: U8) -> U8:
    """Return a picture cropped and scaled to fill a frame."""
    high, wide = bgr.shape[:2]
    scale = max(WIDTH / wide, HEIGHT / high)
    size = max(WIDTH, round(wide * scale)), max(HEIGHT, round(high * scale))
    whole = cv2.resize(bgr, size, interpolation=cv2.INTER_CUBIC)
    left, top = (size[0] - WIDTH) // 2, (size[1] - HEIGHT) // 2
    return np.ascontiguousarray(whole[top : top + HEIGHT, left : left + WIDTH], np.uint8)


@cache
def _load_photo(name: str) -> U8:
    found = cv2.imread(str(PHOTOS / f"{name}.jpg"))
    if found is None:
        raise ClipError(
            f"{PHOTOS / name}.jpg cannot be read. The generated clips need the tests' photographs."
        )
    return np.asarray(found, np.uint8)


# Files


def read_folder(path: Path) -> list[Clip]:
    """Return the clips of a folder, with their times in times.csv or times.json. Raises NoClips."""
    found = next((path / name for name in TIMES if (path / name).is_file()), None)
    if found is None:
        raise ClipError(
            f"{path} has no {TIMES[0]} or {TIMES[1]}. Create one with the events of its clips."
        )
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for number, row in enumerate(_read_rows(found), 1):
        name, condition = str(row.get("clip") or ""), str(row.get("condition") or "").strip()
        if not name or not condition:
            raise ClipError(f'Row {number} of {found} needs a "clip" and a "condition".')
        rows.setdefault(name, []).append(row)
    return [_make_clip_from_rows(path / name, listed, found) for name, listed in rows.items()]


def _make_clip_from_rows(path: Path, rows: Sequence[Mapping[str, Any]], listed: Path) -> Clip:
    seconds = _read_length(path)
    events = []
    for row in rows:
        if str(row.get("begin") or "0") == "0" and not str(row.get("begin", "")).strip():
            # Watched for, but never happens.
            continue
        begin = _parse_time(row["begin"], listed)
        end = _parse_time(row["end"], listed) if str(row.get("end") or "").strip() else seconds
        if not 0 <= begin < end:
            raise ClipError(f"In {listed} an event of {path.name} ends before it begins.")
        events.append(Event(str(row["condition"]).strip(), begin, end, begin, end))
    conditions = tuple(dict.fromkeys(str(row["condition"]).strip() for row in rows))
    kind = next((str(row["kind"]) for row in rows if row.get("kind")), "clips")
    return Clip(path.name, kind, seconds, conditions, tuple(events), lambda: _open_film(path, 0.0))


def read_streamingbench(listed: Path, videos: Path) -> list[Clip]:
    """Return StreamingBench's Proactive Output questions, each with a few seconds of its video. Raises NoClips.

    These fields of each row (CSV, or JSON in which questions may be nested in their video) are used: `question`, whose
    text before "output" is the condition; `ground_truth_time_stamp`; `time_stamp`, from which on the question is asked;
    and the video's file name in `video`, `video_path` or `video_name`, else the `question_id`, such as "Proactive
    Output_sample_17_2". A video has that name, or is in a folder `sample_17`, as in the data set's archives. Other rows
    are ignored. The videos were not available when this was written: check the list before you trust a figure.
    """
    clips = []
    for row in _read_rows(listed):
        if not row.get("ground_truth_time_stamp") or not row.get("question"):
            continue
        truth = _parse_time(row["ground_truth_time_stamp"], listed)
        asked = _parse_time(row.get("time_stamp") or 0, listed)
        named = next(
            (row[key] for key in ("video", "video_path", "video_name") if row.get(key)), None
        )
        path = _find_video(videos, str(named or row.get("question_id") or ""))
        begin = max(asked, truth - BEFORE, 0.0)
        end = min(_read_length(path), truth + AFTER)
        at = truth - begin
        condition = re.split(r"\boutput\b", str(row["question"]), maxsplit=1, flags=re.IGNORECASE)[
            0
        ]
        condition = condition.strip().removesuffix("please").rstrip(" ,.") or str(row["question"])
        event = Event(condition[:200], at, end - begin, at, end - begin)

        def film(path: Path = path, begin: float = begin) -> Callable[[float], U8]:
            return _open_film(path, begin)

        name = f"{path.name} {truth:g} s"
        clips.append(
            Clip(name, "StreamingBench", end - begin, (event.condition,), (event,), film, math.inf)
        )
    if not clips:
        raise ClipError(f"{listed} has no row with a question and a ground_truth_time_stamp.")
    return clips


def _find_video(videos: Path, name: str) -> Path:
    """Return the video with a name, which may have folders and a suffix, else the video in its sample's folder."""
    wanted, sample = Path(name), _SAMPLE.search(name)
    folder = f"sample_{sample[1]}" if sample else None
    found = [path for path in sorted(videos.rglob("*")) if path.suffix.lower() in VIDEOS]
    named = [path for path in found if path.stem in (wanted.stem, wanted.name)]
    inside = [path for path in found if path.parent.name == folder]
    if not named and len(inside) > 1:
        raise ClipError(
            f"{videos} has {len(inside)} videos in folders {folder}. Unpack only those of Proactive Output."
        )
    for path in named or inside:
        return path
    raise ClipError(f"{videos} has no video {wanted.name}{f' and no {folder}' if folder else ''}.")


def _read_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a CSV or JSON file; of nested rows the innermost ones, with the fields of the outer ones."""
    try:
        text = path.read_text("utf-8-sig")
        found = (
            json.loads(text) if path.suffix == ".json" else list(csv.DictReader(text.splitlines()))
        )
    except (OSError, ValueError) as error:
        raise ClipError(f"{path} cannot be read: {error}.") from None
    yield from _iterate_innermost(found if isinstance(found, list) else [found], {})


def _iterate_innermost(
    rows: Iterable[Any], around: Mapping[str, Any]
) -> Iterator[Mapping[str, Any]]:
    for row in rows:
        if not isinstance(row, dict):
            continue
        inner = next(
            (
                one
                for one in row.values()
                if one and isinstance(one, list) and isinstance(one[0], dict)
            ),
            None,
        )
        whole = {**around, **{key: one for key, one in row.items() if one is not inner}}
        if inner is None:
            yield whole
        else:
            yield from _iterate_innermost(inner, whole)


def _parse_time(value: Any, path: Path) -> float:
    """Parse a time such as 12.5, "12.5", "1:02" or "00:01:02"; return seconds."""
    try:
        parts = [float(one) for one in str(value).strip().split(":")]
        if len(parts) > 3 or not all(0 <= one < math.inf for one in parts):
            raise ValueError
    except ValueError:
        raise ClipError(f'"{value}" in {path} is not a time such as 12.5 or 00:01:02.') from None
    seconds = 0.0
    for one in parts:
        seconds = 60 * seconds + one
    return seconds


def _read_length(path: Path) -> float:
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            if stream.duration is not None and stream.time_base is not None:
                return float(stream.duration * stream.time_base)
            if container.duration is not None:
                return container.duration / av.time_base
    except (OSError, IndexError, av.FFmpegError) as error:
        raise ClipError(f"{path} cannot be read as a video: {error}.") from None
    raise ClipError(f"{path} does not contain its duration.")


def _open_film(path: Path, begin: float) -> Callable[[float], U8]:
    """Open a video at a time. Return a function that returns the picture at a later time."""
    container = av.open(str(path))
    stream = container.streams.video[0]
    container.seek(int(begin * av.time_base))
    frames = iter(container.decode(stream))
    ahead = next(frames, None)
    shown = _to_planes(ahead)

    def picture(at: float) -> U8:
        nonlocal ahead, shown
        newest = None
        while ahead is not None and (ahead.time or 0.0) <= begin + at:
            newest, ahead = ahead, next(frames, None)
        if newest is not None:
            shown = _to_planes(newest)
        return shown

    return picture


def _to_planes(frame: av.VideoFrame | None) -> U8:
    bgr = (
        _load_ground("")
        if frame is None
        else _fit_to_frame(np.asarray(frame.to_ndarray(format="bgr24"), np.uint8))
    )
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420), np.uint8)


# Scoring of alerts

# A frame's capture time at the server is some milliseconds off, and a request is about an earlier frame.
SLACK = 0.1
# StreamingBench accepts an answer within this many seconds of the true time.
ITS_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class ClientAlert:
    """An alert at the client. Seconds of a clip."""

    condition: str
    # Capture time of the frame that proves the alert
    evidence: float
    arrived: float


@dataclass
class Score(Sums):
    """The alerts of clips of one kind."""

    name: str
    seconds: float = 0.0
    events: int = 0
    # Seconds from each event to its first alert
    delays: list[float] = field(default_factory=list)
    premature: int = 0
    false: int = 0
    # Further alerts about a continuing event
    repeated: int = 0
    # Number of events with an alert within two seconds of their beginning and none before
    within: int = 0
    requests: float = 0.0
    visual_tokens: float = 0.0
    looks: float = 0.0
    cpu: float = 0.0

    @property
    def missed(self) -> int:
        return self.events - len(self.delays)

    def take(
        self, events: Sequence[Event], alerts: Sequence[ClientAlert], seconds: float, early: float
    ) -> None:
        """Count the alerts of a clip. `early`: seconds before an event in which an alert is premature, not false.

        An alert belongs to the event during which its evidence was captured. Only the first alert of an event counts.
        """
        self.seconds += seconds
        self.events += len(events)
        found: dict[Event, float] = {}
        spoilt = set[Event]()
        for alert in sorted(alerts, key=lambda one: one.arrived):
            own = [one for one in events if one.condition == alert.condition]
            at = alert.evidence
            event = next(
                (one for one in own if one.seen_from - SLACK <= at <= one.seen_until + SLACK), None
            )
            if event is not None:
                if event in found:
                    self.repeated += 1
                else:
                    found[event] = max(0.0, alert.arrived - event.begin)
                continue
            coming = next((one for one in own if 0 < one.seen_from - at <= early), None)
            if coming is None:
                self.false += 1
            else:
                self.premature += 1
                spoilt.add(coming)
        self.delays += found.values()
        self.within += sum(
            delay <= ITS_SECONDS and event not in spoilt for event, delay in found.items()
        )

    def to_row(self) -> str:
        """Return a line of a table in Markdown."""
        every, hours, minutes = Spread.of(self.delays), self.seconds / 3600, self.seconds / 60
        cells = (
            self.name,
            f"{len(self.delays)} of {self.events}" if self.events else "–",
            f"{every.p50:.2f} / {every.p95:.2f} s" if self.delays else "–",
            f"{self.premature}",
            f"{self.false} in {minutes:.0f} min",
            f"{self.repeated}",
            f"{self.requests / hours:.0f}",
            f"{self.visual_tokens / hours:.0f}",
            f"{self.looks / self.seconds:.1f}",
            f"{self.cpu / self.seconds:.3f}",
        )
        return f"| {' | '.join(cells)} |"

    def to_rows(self, p50: float | None, p95: float | None) -> list[Row]:
        """Return the rows of a report. `p50`, `p95`: targets for the delay; None if there is none."""
        hours = self.seconds / 3600

        def value(what: str, unit: str, number: float, **target: float) -> Row:
            return Row(f"{self.name}: {what}", unit, value=number, **target)  # type: ignore[arg-type]

        rows = [value("false alerts", "an hour", self.false / hours)]
        if self.events:
            rows = [
                Row(
                    f"{self.name}: event to alert",
                    "s",
                    Spread.of(self.delays),
                    target_p50=p50,
                    target_p95=p95,
                ),
                value("events alerted for", "%", 100 * len(self.delays) / self.events),
                value("within 2 s, none before", "%", 100 * self.within / self.events),
                value("missed", "", self.missed),
                value("premature", "", self.premature),
                value("repeated", "", self.repeated),
                *rows,
            ]
        return [
            *rows,
            value("requests", "an hour", self.requests / hours),
            value("visual tokens", "an hour", self.visual_tokens / hours),
            value("looks of the detector", "a second", self.looks / self.seconds),
            value("server", "core", self.cpu / self.seconds),
        ]


HEAD = (
    "| clips | alerted | event → alert, p50 / p95 | premature | false | repeated | requests an hour "
    "| visual tokens an hour | looks a second | core |\n|---|---|---|---|---|---|---|---|---|---|"
)
