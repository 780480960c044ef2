"""Finds and names things with two small models, and says nothing where they do not agree. Blocking.

A detector of 80 classes (COCO) finds boxes; a classifier of 1,000 (ImageNet) looks at each box. Alone the
detector is wrong in a third of what it says; together they are silent rather than wrong. Where the weights
come from stands in `things/NOTICE`.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from server.media.picture.encode import Bgr
from server.media.picture.grounding import Box
from server.media.video.decode import trim_memory
from server.shared.onnx_file import ModelTrouble, ModelUnusable, load_session

log = logging.getLogger(__name__)
F32 = NDArray[np.float32]

FOLDER = Path(__file__).with_name("things")
DETECTOR, CLASSIFIER = "ssdlite_mobilenet_v2.onnx", "efficientnet_lite0.onnx"
PERSON = "person"

# Least score of a box; that of a person, whom the classifier does not know
_BOX, _PERSON = 0.5, 0.6
# The same of one that has so much of the picture and is so much wider than tall
_PERSON_WIDE, _FILLS, _WIDE = 0.75, 0.6, 1.6
# Boxes that overlap more than this are one thing: of the same name, and of different ones
_SAME, _OTHER = 0.5, 0.8
# A box that has so much of a better one of its name shows the same thing and what is around it.
_INSIDE = 0.85
# A box of so large a share of the picture is no second thing beside one of its name.
_SCENE = 0.85
# Boxes that the classifier looks at
_MOST = 6
# Names of the kinds of a thing
KINDS: dict[str, tuple[str, ...]] = {
    "bird": (
        *("chicken", "crane", "duck", "eagle", "flamingo", "goose", "owl", "parrot", "penguin"),
        "swan",
    ),
    "boat": ("ship",),
    "car": ("ambulance", "taxi"),
    "glass": ("wine glass",),
    "pot": ("coffee pot",),
    "telephone": ("cell phone",),
    "train": ("tram",),
    "truck": ("fire truck",),
}
# Names of animals: the detector's, and all
LARGE_ANIMALS = ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe")  # fmt: skip
# Least score of a name: circles are clocks to both models and discs are balloons, and tools for which
# there is no class are can openers.
_LEAST_OF = {"clock": 0.85, "balloon": 0.85, "can opener": 0.9}
# Least score of a box at a place that somebody points at; its largest share of the picture, with a name
# and without one
_AT, _LARGEST_AT, _LARGEST_UNNAMED = 0.35, 0.9, 0.4
# Share of a box that is shown around it
_MARGIN = 0.08
# The classifier agrees with at least so much on the classes of the detector's name
_AGREES = 0.15
# It is believed alone from here on: about a box, or about the middle and the whole picture on average
_ALONE = 0.6
# Least side in pixels of what is looked at
_LEAST_SIDE = 16
# Boxes of what somebody seeks that are looked at; and from which share on one is at the place of the last look
_MOST_SOUGHT, _FOLLOWED = 3, 0.3
# Other boxes with this score that the classifier calls by the name of what somebody seeks, with so much weight: both
# models look closer at these.
_PERHAPS, _MOST_CLOSER, _CLOSER = 0.3, 2, 0.3
# Boxes that are looked at to count things, the least weight of the name, how little two of them share, and how much
# larger than the largest one that is sure one may be
_MOST_COUNTED, _COUNTED, _COUNTED_APART, _MOST_LARGER = 16, 0.5, 0.3, 2
# Share of a box in the others from which it is a part of these
_COVERED = 0.7
# Names that the detector gives to drawings and signs; the classifier has none for them
_DRAWN = frozenset({"kite", "frisbee", "skis", "snowboard", "surfboard", "sports ball", "tie"})
# The detector is believed alone for a thing that somebody asks about, unless the classifier is so sure of another
_ASKED, _CONTRARY = 0.7, 0.9
# And for others: for a name that the classifier lacks, and against one that is unsure
_UNKNOWN_TO_IT, _ALMOST_CERTAIN, _UNSURE = 0.8, 0.97, 0.4


@dataclass(frozen=True, slots=True)
class Thing:
    """A thing in a picture.

    `box` is in pixels of the picture; None where it fills the middle. `sure`: both models say so.
    """

    name: str
    confidence: float
    box: Box | None
    sure: bool


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """The names of both models' classes."""

    # Of each class of the detector, and its column among the detector's scores
    detector: tuple[str, ...]
    columns: tuple[int, ...]
    # Of each class of the classifier; "" for one that is never named
    classifier: tuple[str, ...]
    # The classifier's classes that are a thing of the detector's
    agrees: dict[str, list[int]]
    # The classifier's names, and for each of its classes a row with a 1 where its name stands
    named: tuple[str, ...]
    of_class: F32

    @property
    def names(self) -> frozenset[str]:
        return frozenset((*self.detector, *self.classifier)) - {""}


@cache
def classes() -> Classes:
    found = json.loads((FOLDER / "classes.json").read_text("utf-8"))
    classifier = [""] * 1000
    for name, ranges in found["classifier"].items():
        for number in numbers(ranges):
            classifier[number] = name
    named = tuple(found["classifier"])
    of_class = np.array([[one == name for name in named] for one in classifier], np.float32)
    return Classes(
        tuple(found["detector"]),
        tuple(found["detector_columns"]),
        tuple(classifier),
        {name: numbers(ranges) for name, ranges in found["agrees"].items()},
        named,
        of_class,
    )


def likeliest(weights: F32) -> tuple[str, float]:
    """Return the classifier's likeliest name and its weight, that of all classes of the name together.

    A class without a name may be likelier.
    """
    known = classes()
    of_names = weights @ known.of_class
    best = int(of_names.argmax())
    return known.named[best], float(of_names[best])


def numbers(ranges: str) -> list[int]:
    """Return the numbers of ranges like "7-24 80"."""
    found: list[int] = []
    for part in ranges.split():
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model of an operator's; `sha256` "" for one of our own."""

    path: Path
    sha256: str = ""


def sampled(bgr: Bgr, side: int) -> F32:
    """Return a picture as RGB, squeezed into a square: each pixel between the four next to its place."""
    return _rgb(cv2.resize(bgr, (side, side), interpolation=cv2.INTER_LINEAR))


def mean(bgr: Bgr, side: int) -> F32:
    """Return a picture as RGB, squeezed into a square: each pixel the mean of what it covers.

    A large one is halved first: by halves OpenCV takes a tenth of the time.
    """
    while min(bgr.shape[:2]) >= 2 * side:
        height, width = (one // 2 for one in bgr.shape[:2])
        even, half = bgr[: 2 * height, : 2 * width], (width, height)
        bgr = np.asarray(cv2.resize(even, half, interpolation=cv2.INTER_AREA), np.uint8)
    if min(bgr.shape[:2]) <= side:
        return sampled(bgr, side)
    return _rgb(cv2.resize(bgr, (side, side), interpolation=cv2.INTER_AREA))


def _rgb(bgr: cv2.typing.MatLike) -> F32:
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.float32)


@dataclass(frozen=True, slots=True)
class _Form:
    """The pictures that a model learned from: values from 0 to 255, less `middle`, by `scale`."""

    middle: float
    scale: float
    # Makes a picture a small square
    squeeze: Callable[[Bgr, int], F32]


_DETECTORS = _Form(127.5, 2 / 255, sampled)
_CLASSIFIERS = _Form(127, 1 / 128, mean)


class _Model:
    """One of the two: it takes a square picture, in values of its own."""

    def __init__(self, file: ModelFile, form: _Form) -> None:
        """Raises ModelUnusable."""
        self._form = form
        self._session = load_session(file.path, file.sha256)
        inputs = self._session.get_inputs()
        shape = inputs[0].shape
        if len(inputs) != 1 or len(shape) != 4 or shape[2] != shape[3] or shape[1] != 3:
            raise ModelUnusable(ModelTrouble.OTHER_FORM)
        self._input, self._side = inputs[0].name, int(shape[2])

    def run(self, bgr: Bgr) -> list[F32]:
        """Return its outputs for a picture."""
        form = self._form
        small = form.squeeze(bgr, self._side)
        values = (small - np.float32(form.middle)) * np.float32(form.scale)
        batch = np.ascontiguousarray(values.transpose(2, 0, 1)[None])
        return [
            np.asarray(one, np.float32) for one in self._session.run(None, {self._input: batch})
        ]


class ThingFinder:
    """Both models, loaded when they are first needed. Any number of threads may look at a time.

    Where they do not load, nothing is found, and `broken` is True.
    """

    def __init__(
        self,
        detector: ModelFile = ModelFile(FOLDER / DETECTOR),
        classifier: ModelFile = ModelFile(FOLDER / CLASSIFIER),
    ) -> None:
        self._files = detector, classifier
        self._lock = threading.Lock()
        self._models: tuple[_Model, _Model] | None = None
        self.broken = False

    def find(self, bgr: Bgr, asked: Collection[str] = ()) -> list[Thing]:
        """Return what can be named, surest of each rule first; empty where nothing can.

        `asked`: the names of things that somebody asks about.
        """
        return self.named(bgr, self.boxes(bgr), asked)

    def named(self, bgr: Bgr, boxes: Iterable[Box], asked: Collection[str] = ()) -> list[Thing]:
        """Return the same of a picture whose `boxes` are known."""
        if self._load() is None or min(bgr.shape[:2]) < _LEAST_SIDE:
            return []
        # Those that are asked about are looked at in any case.
        first = sorted(boxes, key=lambda box: box.label not in asked)[:_MOST]
        found = [thing for box in first if (thing := self.name(bgr, box, asked)) is not None]
        if asked and not asked_for(found, asked):
            found += self._in_tiles(bgr, asked)
        if not found and (thing := self._of_middle(bgr)) is not None:
            found.append(thing)
        return found

    def seek(self, bgr: Bgr, names: Collection[str], known: Box | None = None) -> list[Thing]:
        """Return the things of these names that have a box, surest first; in a third of the time of `find`.

        One at the place of a `known` box, which was sure a moment ago, is sure without another look at it.
        """
        every = self.boxes(bgr, _PERHAPS)
        likely = [box for box in every if box.label in names and (box.confidence or 0.0) >= _BOX]
        boxes = likely[:_MOST_SOUGHT]
        there = [box for box in boxes if known is not None and box.overlap(known) >= _FOLLOWED]
        found = [Thing(box.label, box.confidence or 0.0, box, sure=True) for box in there]
        rest = [box for box in boxes if box not in there]
        named = (self.name(bgr, box) for box in rest)
        found += [one for one in named if one is not None and one.name in names]
        if not any(one.sure for one in found):
            rest = sorted(
                (box for box in every if box not in likely), key=lambda box: box.label not in names
            )
            found += self._closer(bgr, names, rest, known)
        return sorted(found, key=lambda one: (not one.sure, -one.confidence))

    def _closer(
        self, bgr: Bgr, names: Collection[str], boxes: Sequence[Box], known: Box | None
    ) -> list[Thing]:
        """Return what both models call by these names in a box that the detector did not know from afar.

        At the place of a `known` box the classifier alone is enough.
        """
        boxes = [box for box in boxes if box.label != PERSON][:_MOST_CLOSER]
        for box in boxes:
            part = _with_margin(bgr, box)
            name, weight = likeliest(self._classify(part))
            if name not in names or weight < _CLOSER:
                continue
            if known is not None and box.overlap(known) >= _FOLLOWED:
                return [Thing(name, weight, box, sure=True)]
            left, top = _corner(box)
            for near in self.boxes(part):
                thing = self.name(part, near) if near.label in names else None
                if thing is not None and thing.sure:
                    return [replace(thing, box=near.moved(left, top))]
        return []

    def around(self, bgr: Bgr, known: Collection[Box] = ()) -> list[Thing]:
        """Return the things that have a box, surest first.

        One at the place of a `known` box of its name is not looked at again, and not sure.
        """
        boxes = self.boxes(bgr)
        there = [
            box
            for box in boxes
            if any(one.label == box.label and one.overlap(box) >= _FOLLOWED for one in known)
        ]
        rest = [box for box in boxes if box not in there][:_MOST]
        found = [Thing(box.label, box.confidence or 0.0, box, sure=False) for box in there]
        found += [one for box in rest if (one := self.name(bgr, box)) is not None]
        scene = _SCENE * bgr.shape[0] * bgr.shape[1]
        smaller = {one.name for one in found if one.box is not None and one.box.area < scene}
        found = [
            one
            for one in found
            if one.box is None or one.box.area < scene or one.name not in smaller
        ]
        return sorted(found, key=lambda one: (not one.sure, -one.confidence))

    def at(self, bgr: Bgr, x: float, y: float) -> list[Box]:
        """Return the boxes around a point, in pixels; the label is a thing's name, or "" where it cannot be named.

        Where there is none, a square around the point is looked at: small things are larger there.
        """
        height, width = bgr.shape[:2]
        found = [box for box in self.boxes(bgr, _AT) if box.encloses(x, y)]
        if not found:
            side = min(height, width) // 2
            left = min(max(0, int(x) - side // 2), width - side)
            top = min(max(0, int(y) - side // 2), height - side)
            part = bgr[top : top + side, left : left + side]
            found = [box.moved(left, top) for box in self.boxes(part, _AT)]
            found = [box for box in found if box.encloses(x, y)]
        labelled = [self._labelled(bgr, box) for box in found]
        most = {True: _LARGEST_AT * width * height, False: _LARGEST_UNNAMED * width * height}
        return [box for box in labelled if box.area <= most[box.label != ""]]

    def _labelled(self, bgr: Bgr, box: Box) -> Box:
        thing = self.name(bgr, box)
        if thing is None:
            return replace(box, label="", confidence=None)
        return replace(box, label=thing.name, confidence=thing.confidence)

    def more_of(self, bgr: Bgr, found: Sequence[Thing], name: str) -> list[Thing]:
        """Return further things of a name, small or unsure to the detector, as for counting them."""
        known = classes()
        same = known.agrees.get(name) or [
            at for at, one in enumerate(known.classifier) if one == name
        ]
        seen = [one.box for one in found if one.box is not None and one.name == name]
        sure = any(one.sure for one in found if one.name == name)
        if not seen or not same:
            # Where the classifier does not know it, nothing confirms a weak box.
            return []
        largest = _MOST_LARGER * max(box.area for box in seen)
        more: list[Thing] = []
        looks = _MOST_COUNTED
        for left, top, part in [(0, 0, bgr), *tiles(bgr)]:
            for box in self.boxes(part, _PERHAPS):
                placed = box.moved(left, top)
                if placed.area > largest or any(_same_place(placed, one) for one in seen):
                    continue
                if sum(map(placed.intersection, seen)) >= _COVERED * placed.area:
                    # Two dogs' sides are no third one.
                    continue
                weight = float(self._classify(_with_margin(part, box))[same].sum())
                if weight >= _COUNTED:
                    seen.append(placed)
                    more.append(Thing(name, weight, placed, sure))
                looks -= 1
                if not looks:
                    return more
        return more

    def _in_tiles(self, bgr: Bgr, asked: Collection[str]) -> list[Thing]:
        """Return what is asked about in squares of the picture: small things are larger there."""
        found: list[Thing] = []
        for left, top, part in tiles(bgr):
            for box in self.boxes(part):
                thing = self.name(part, box) if box.label in asked else None
                if thing is None or thing.box is None or not thing.sure:
                    continue
                placed = thing.box.moved(left, top)
                if all(placed.overlap(other.box) < _SAME for other in found if other.box):
                    found.append(replace(thing, box=placed))
        return found

    def boxes(self, bgr: Bgr, least: float = _BOX) -> list[Box]:
        """Return the detector's boxes with their names and scores, best first; it alone is often wrong."""
        models = self._load()
        if models is None or min(bgr.shape[:2]) < _LEAST_SIDE:
            return []
        known = classes()
        scores, corners = models[0].run(bgr)
        scores, corners = scores[0][:, [one - 1 for one in known.columns]], corners[0, :, 0]
        height, width = bgr.shape[:2]
        found = []
        # Five times as fast as a search in two dimensions
        for at in np.flatnonzero(scores >= least).tolist():
            row, column = divmod(at, len(known.columns))
            top, left, bottom, right = corners[row].clip(0, 1).tolist()
            edges = left * width, top * height, right * width, bottom * height
            found.append(Box(*edges, known.detector[column], float(scores[row, column])))
        return _apart(sorted(found, key=lambda box: -(box.confidence or 0)))

    def name(self, bgr: Bgr, box: Box, asked: Collection[str] = ()) -> Thing | None:
        """Return what both models together say is in a box; None where they disagree."""
        known, score = classes(), box.confidence or 0.0
        if box.label == PERSON:
            return Thing(PERSON, score, box, sure=True) if _is_person(bgr, box) else None
        if score < _LEAST_OF.get(box.label, _BOX):
            return None
        weights = self._classify(_with_margin(bgr, box))
        best = int(weights.argmax())
        same = known.agrees.get(box.label)
        agreed = float(weights[same].sum()) if same else 0.0
        name, weight = likeliest(weights)
        # A little of each breed of dog is no dog where more of it is a rabbit.
        other = agreed < weight and name not in {known.classifier[at] for at in same or ()}
        near = agreed >= weights[best] / 2 and not other
        if same and agreed >= _AGREES and (best in same or near):
            return Thing(box.label, max(score, agreed), box, sure=True)
        if box.label in asked and score >= _ASKED and (weight < _CONTRARY or name == box.label):
            return Thing(box.label, score, box, sure=False)
        if weight >= _ALONE:
            return (
                Thing(name, weight, box, sure=False) if weight >= _LEAST_OF.get(name, 0) else None
            )
        enough = _ALMOST_CERTAIN if same else _UNKNOWN_TO_IT
        if box.label not in _DRAWN and score >= enough and weights[best] < _UNSURE:
            return Thing(box.label, score, box, sure=False)
        return None

    def _of_middle(self, bgr: Bgr) -> Thing | None:
        """Return what fills the picture, if its middle and the whole of it together look like it."""
        whole = self._classify(bgr)
        if likeliest(whole)[1] < 2 * _ALONE - 1:
            # Whatever the middle is, the average stays below.
            return None
        height, width = bgr.shape[:2]
        side = int(min(height, width) * 224 / 256)
        top, left = (height - side) // 2, (width - side) // 2
        middle = self._classify(bgr[top : top + side, left : left + side])
        name, weight = likeliest((middle + whole) * np.float32(0.5))
        if weight < max(_ALONE, _LEAST_OF.get(name, 0)):
            return None
        return Thing(name, weight, None, sure=False)

    def _classify(self, bgr: Bgr) -> F32:
        """Return the weight of each class, together 1."""
        models = self._load()
        assert models is not None
        weights: F32 = models[1].run(bgr)[0][0]
        return weights

    def _load(self) -> tuple[_Model, _Model] | None:
        with self._lock:
            if self._models is not None or self.broken:
                return self._models
            trouble: ModelTrouble | None = None
            try:
                forms = _DETECTORS, _CLASSIFIERS
                self._models = self._tried(*map(_Model, self._files, forms))
                # What only the loading took: a fifth of what stays
                trim_memory()
            except ModelUnusable as error:
                trouble = error.trouble
            if trouble is not None:
                # The engine does the rest without them.
                self.broken = True
                log.error("things are not named", extra={"reason": str(trouble)})
            return self._models

    def _tried(self, detector: _Model, classifier: _Model) -> tuple[_Model, _Model]:
        """Return both, if they give what is read of them. Raises ModelUnusable."""
        blank = np.zeros((8, 8, 3), np.uint8)
        try:
            scores, corners = detector.run(blank)
            weights = classifier.run(blank)
        except Exception:  # noqa: BLE001
            raise ModelUnusable(ModelTrouble.OTHER_FORM) from None
        known = classes()
        fits = scores.ndim == 3 and scores.shape[2] >= max(known.columns) and corners.shape[-1] == 4
        if not fits or weights[0].shape != (1, len(known.classifier)):
            raise ModelUnusable(ModelTrouble.OTHER_FORM)
        return detector, classifier


def asked_for(things: Iterable[Thing], names: Collection[str]) -> list[Thing]:
    """Return the things of these names, and of their kinds: the sure ones, or else all."""
    wanted = {*names}.union(*(KINDS.get(name, ()) for name in names))
    found = [one for one in things if one.name in wanted]
    return [one for one in found if one.sure] or found


def tiles(bgr: Bgr) -> list[tuple[int, int, Bgr]]:
    """Return three squares along the longer side, with their places; none of one that is nearly square."""
    height, width = bgr.shape[:2]
    side, rest = min(height, width), abs(width - height)
    if rest < side / 3:
        return []
    places = (0, rest // 2, rest)
    if width > height:
        return [(at, 0, bgr[:, at : at + side]) for at in places]
    return [(0, at, bgr[at : at + side]) for at in places]


def _is_person(bgr: Bgr, box: Box) -> bool:
    """Return whether a box of a person is believed: a table that fills the picture is wide, and gets a low score."""
    score = box.confidence or 0.0
    fills = box.area >= _FILLS * bgr.shape[0] * bgr.shape[1] and box.width >= _WIDE * box.height
    return score >= (_PERSON_WIDE if fills else _PERSON)


def _with_margin(bgr: Bgr, box: Box) -> Bgr:
    margin = _MARGIN * max(box.width, box.height)
    left, top = _corner(box)
    return bgr[top : int(box.y2 + margin) + 1, left : int(box.x2 + margin) + 1]


def _corner(box: Box) -> tuple[int, int]:
    """Return the left upper corner of what is shown of a box and around it."""
    margin = _MARGIN * max(box.width, box.height)
    return int(max(0, box.x1 - margin)), int(max(0, box.y1 - margin))


def _apart(boxes: Sequence[Box]) -> list[Box]:
    """Return the boxes without those that show the same thing as a better one, or one around it."""
    kept: list[Box] = []
    for box in boxes:
        limits = ((_SAME if one.label == box.label else _OTHER, one) for one in kept)
        group = any(one.label == box.label and _within(one, box) for one in kept)
        if not group and all(box.overlap(one) <= limit for limit, one in limits):
            kept.append(box)
    return kept


def _same_place(box: Box, other: Box) -> bool:
    return box.overlap(other) >= _COUNTED_APART or _within(box, other) or _within(other, box)


def _within(inner: Box, outer: Box) -> bool:
    """Return whether nearly all of a box lies in another."""
    return 0 < inner.intersection(outer) >= _INSIDE * inner.area
