"""Detection of objects by two small models; boxes on which they disagree are dropped. Calls block.

A detector of 80 classes (COCO) finds boxes; a classifier of 1,000 (ImageNet) checks each box. Alone, the
detector is wrong in a third of its boxes. `things/NOTICE` names the source of the weights.
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

# Minimum score of a box; and of a person, for which the classifier has no class
_BOX, _PERSON = 0.5, 0.6
# Minimum score of a person that fills this fraction of the picture and is this many times wider than tall
_PERSON_WIDE, _FILLS, _WIDE = 0.75, 0.6, 1.6
# Overlap (IoU) above which two boxes show one object: with the same name, and with different names
_SAME, _OTHER = 0.5, 0.8
# Fraction of a better box with the same name inside a box, from which both show the same object
_INSIDE = 0.85
# Fraction of the picture from which a box is not a second object beside a smaller box with the same name
_SCENE = 0.85
# Maximum number of boxes that the classifier checks
_MOST = 6
# More specific names, by the name of an object
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
# The detector's animals
LARGE_ANIMALS = ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe")  # fmt: skip
# Minimum scores of single names: both models take circles for clocks and discs for balloons, and tools without a class
# for can openers.
_LEAST_OF = {"clock": 0.85, "balloon": 0.85, "can opener": 0.9}
# Boxes at a place that a person points at: minimum score, and largest fraction of the picture, named and unnamed
_AT, _LARGEST_AT, _LARGEST_UNNAMED = 0.35, 0.9, 0.4
# Margin around a box, as a fraction of its longer side
_MARGIN = 0.08
# Minimum weight of the classes of the detector's name at which the classifier agrees
_AGREES = 0.15
# Score from which the detector's name counts more than another name from a classifier that agrees in part
_PREFERRED = 0.8
# Minimum weight at which the classifier alone is trusted: for a box, or for the mean of middle and whole picture
_ALONE = 0.6
# Minimum side of an examined picture, in pixels
_LEAST_SIDE = 16
# Search: maximum number of checked boxes, and minimum overlap with the last box to count as the same place
_MOST_SOUGHT, _FOLLOWED = 3, 0.3
# Search: minimum score of further boxes, how many are enlarged for both models, and the classifier's minimum weight
# for the name
_PERHAPS, _MOST_CLOSER, _CLOSER = 0.3, 2, 0.3
# Counting: maximum number of checked boxes, minimum weight of the name, largest overlap of two objects, and largest
# area, relative to that of the largest known object
_MOST_COUNTED, _COUNTED, _COUNTED_APART, _MOST_LARGER = 16, 0.5, 0.3, 2
# Fraction of a box inside other boxes from which it is a part of them
_COVERED = 0.7
# Names that the detector gives to drawings and signs; the classifier has no such names
_DRAWN = frozenset({"kite", "frisbee", "skis", "snowboard", "surfboard", "sports ball", "tie"})
# Score from which the detector alone is trusted for a requested name, if the classifier gives no other name this weight
_ASKED, _CONTRARY = 0.7, 0.9
# The same for other objects: if the classifier lacks the name, if it has the name, and its largest weight for any class
_UNKNOWN_TO_IT, _ALMOST_CERTAIN, _UNSURE = 0.8, 0.97, 0.4


@dataclass(frozen=True, slots=True)
class DetectedThing:
    """An object in a picture.

    `box` is in pixels of the picture; None if the object fills the middle. `sure`: both models agree.
    """

    name: str
    confidence: float
    box: Box | None
    sure: bool


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """Class names of both models."""

    # Name of each class of the detector, and its column among the scores
    detector: tuple[str, ...]
    columns: tuple[int, ...]
    # Name of each class of the classifier; "" for a class that is never named
    classifier: tuple[str, ...]
    # By the detector's names: the classifier's classes for the same object
    agrees: dict[str, list[int]]
    # The classifier's names, and for each of its classes a row with a 1 in the column of its name
    named: tuple[str, ...]
    of_class: F32

    @property
    def names(self) -> frozenset[str]:
        return frozenset((*self.detector, *self.classifier)) - {""}


@cache
def load_classes() -> Classes:
    found = json.loads((FOLDER / "classes.json").read_text("utf-8"))
    classifier = [""] * 1000
    for name, ranges in found["classifier"].items():
        for number in parse_ranges(ranges):
            classifier[number] = name
    named = tuple(found["classifier"])
    of_class = np.array([[one == name for name in named] for one in classifier], np.float32)
    return Classes(
        tuple(found["detector"]),
        tuple(found["detector_columns"]),
        tuple(classifier),
        {name: parse_ranges(ranges) for name, ranges in found["agrees"].items()},
        named,
        of_class,
    )


def find_likeliest_name(weights: F32) -> tuple[str, float]:
    """Return the classifier's likeliest name and the sum of the weights of its classes.

    A class without a name may be likelier.
    """
    known = load_classes()
    of_names = weights @ known.of_class
    best = int(of_names.argmax())
    return known.named[best], float(of_names[best])


def parse_ranges(ranges: str) -> list[int]:
    """Return the numbers of ranges like "7-24 80"."""
    found: list[int] = []
    for part in ranges.split():
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model's file; `sha256` is "" for a model in this repository."""

    path: Path
    sha256: str = ""


def resize_bilinear(bgr: Bgr, side: int) -> F32:
    """Resize a picture to an RGB square with bilinear interpolation."""
    return _to_rgb(cv2.resize(bgr, (side, side), interpolation=cv2.INTER_LINEAR))


def resize_by_area(bgr: Bgr, side: int) -> F32:
    """Resize a picture to an RGB square with area averages.

    A large picture is halved first, because OpenCV then takes a tenth of the time.
    """
    while min(bgr.shape[:2]) >= 2 * side:
        height, width = (one // 2 for one in bgr.shape[:2])
        even, half = bgr[: 2 * height, : 2 * width], (width, height)
        bgr = np.asarray(cv2.resize(even, half, interpolation=cv2.INTER_AREA), np.uint8)
    if min(bgr.shape[:2]) <= side:
        return resize_bilinear(bgr, side)
    return _to_rgb(cv2.resize(bgr, (side, side), interpolation=cv2.INTER_AREA))


def _to_rgb(bgr: cv2.typing.MatLike) -> F32:
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.float32)


@dataclass(frozen=True, slots=True)
class _InputFormat:
    """A model's input: pixel values from 0 to 255, less `middle`, times `scale`."""

    middle: float
    scale: float
    # Resizes a picture to a square
    squeeze: Callable[[Bgr, int], F32]


_DETECTORS = _InputFormat(127.5, 2 / 255, resize_bilinear)
_CLASSIFIERS = _InputFormat(127, 1 / 128, resize_by_area)


class _SquareModel:
    """One of the two models; its input is a square picture."""

    def __init__(self, file: ModelFile, form: _InputFormat) -> None:
        """Load the file. Raises ModelUnusable."""
        self._form = form
        self._session = load_session(file.path, file.sha256)
        inputs = self._session.get_inputs()
        shape = inputs[0].shape
        if len(inputs) != 1 or len(shape) != 4 or shape[2] != shape[3] or shape[1] != 3:
            raise ModelUnusable(ModelTrouble.OTHER_FORM)
        self._input, self._side = inputs[0].name, int(shape[2])

    def run(self, bgr: Bgr) -> list[F32]:
        """Return the model's outputs for a picture."""
        form = self._form
        small = form.squeeze(bgr, self._side)
        values = (small - np.float32(form.middle)) * np.float32(form.scale)
        batch = np.ascontiguousarray(values.transpose(2, 0, 1)[None])
        return [
            np.asarray(one, np.float32) for one in self._session.run(None, {self._input: batch})
        ]


class ThingFinder:
    """Both models, loaded at first use. Any number of threads may call it at the same time.

    If they do not load, nothing is found, and `broken` is True.
    """

    def __init__(
        self,
        detector: ModelFile = ModelFile(FOLDER / DETECTOR),
        classifier: ModelFile = ModelFile(FOLDER / CLASSIFIER),
    ) -> None:
        self._files = detector, classifier
        self._lock = threading.Lock()
        self._models: tuple[_SquareModel, _SquareModel] | None = None
        self.broken = False

    def find(self, bgr: Bgr, asked: Collection[str] = ()) -> list[DetectedThing]:
        """Return the named objects of the detected boxes, the most confident box first.

        `asked`: names of objects that a question is about. If none of them is found, tiles of the picture are searched,
        too. If nothing is found, the middle of the picture is classified.
        """
        return self.name_boxes(bgr, self.find_boxes(bgr), asked)

    def name_boxes(
        self, bgr: Bgr, boxes: Iterable[Box], asked: Collection[str] = ()
    ) -> list[DetectedThing]:
        """Return the same as `find` for a picture whose `find_boxes` are known."""
        if self._load() is None or min(bgr.shape[:2]) < _LEAST_SIDE:
            return []
        # Boxes of requested names come first, so that the limit does not drop them.
        first = sorted(boxes, key=lambda box: box.label not in asked)[:_MOST]
        found = [thing for box in first if (thing := self.name_box(bgr, box, asked)) is not None]
        if asked and not select_things(found, asked):
            found += self._find_in_tiles(bgr, asked)
        if not found and (thing := self._name_middle(bgr)) is not None:
            found.append(thing)
        return found

    def seek(
        self, bgr: Bgr, names: Collection[str], known: Box | None = None
    ) -> list[DetectedThing]:
        """Return the objects with these names that have a box, surest first, in a third of the time of `find`.

        An object at the place of a `known` box, which was sure a moment ago, is sure without another check.
        """
        every = self.find_boxes(bgr, _PERHAPS)
        likely = [box for box in every if box.label in names and (box.confidence or 0.0) >= _BOX]
        boxes = likely[:_MOST_SOUGHT]
        there = [box for box in boxes if known is not None and box.overlap(known) >= _FOLLOWED]
        found = [DetectedThing(box.label, box.confidence or 0.0, box, sure=True) for box in there]
        rest = [box for box in boxes if box not in there]
        named = (self.name_box(bgr, box) for box in rest)
        found += [one for one in named if one is not None and one.name in names]
        if not any(one.sure for one in found):
            rest = sorted(
                (box for box in every if box not in likely), key=lambda box: box.label not in names
            )
            found += self._look_closer(bgr, names, rest, known)
        return sorted(found, key=lambda one: (not one.sure, -one.confidence))

    def _look_closer(
        self, bgr: Bgr, names: Collection[str], boxes: Sequence[Box], known: Box | None
    ) -> list[DetectedThing]:
        """Enlarge unsure or otherwise named boxes; return the first that both models call by one of these names.

        At the place of a `known` box the classifier alone is enough.
        """
        boxes = [box for box in boxes if box.label != PERSON][:_MOST_CLOSER]
        for box in boxes:
            part = _crop_with_margin(bgr, box)
            name, weight = find_likeliest_name(self._classify(part))
            if name not in names or weight < _CLOSER:
                continue
            if known is not None and box.overlap(known) >= _FOLLOWED:
                return [DetectedThing(name, weight, box, sure=True)]
            left, top = _get_corner(box)
            for near in self.find_boxes(part):
                thing = self.name_box(part, near) if near.label in names else None
                if thing is not None and thing.sure:
                    return [replace(thing, box=near.moved(left, top))]
        return []

    def find_around(self, bgr: Bgr, known: Collection[Box] = ()) -> list[DetectedThing]:
        """Return the objects that have a box, surest first.

        An object at the place of a `known` box of its name is not checked again, and not sure.
        """
        boxes = self.find_boxes(bgr)
        there = [
            box
            for box in boxes
            if any(one.label == box.label and one.overlap(box) >= _FOLLOWED for one in known)
        ]
        rest = [box for box in boxes if box not in there][:_MOST]
        found = [DetectedThing(box.label, box.confidence or 0.0, box, sure=False) for box in there]
        found += [one for box in rest if (one := self.name_box(bgr, box)) is not None]
        scene = _SCENE * bgr.shape[0] * bgr.shape[1]
        smaller = {one.name for one in found if one.box is not None and one.box.area < scene}
        found = [
            one
            for one in found
            if one.box is None or one.box.area < scene or one.name not in smaller
        ]
        return sorted(found, key=lambda one: (not one.sure, -one.confidence))

    def find_at(self, bgr: Bgr, x: float, y: float) -> list[Box]:
        """Return the boxes around a point, in pixels; the label is an object's name, or "" if it is unknown.

        Without a box, the detector runs on a square around the point, in which small objects are larger.
        """
        height, width = bgr.shape[:2]
        found = [box for box in self.find_boxes(bgr, _AT) if box.encloses(x, y)]
        if not found:
            side = min(height, width) // 2
            left = min(max(0, int(x) - side // 2), width - side)
            top = min(max(0, int(y) - side // 2), height - side)
            part = bgr[top : top + side, left : left + side]
            found = [box.moved(left, top) for box in self.find_boxes(part, _AT)]
            found = [box for box in found if box.encloses(x, y)]
        labelled = [self._label_box(bgr, box) for box in found]
        most = {True: _LARGEST_AT * width * height, False: _LARGEST_UNNAMED * width * height}
        return [box for box in labelled if box.area <= most[box.label != ""]]

    def _label_box(self, bgr: Bgr, box: Box) -> Box:
        thing = self.name_box(bgr, box)
        if thing is None:
            return replace(box, label="", confidence=None)
        return replace(box, label=thing.name, confidence=thing.confidence)

    def find_more(self, bgr: Bgr, found: Sequence[DetectedThing], name: str) -> list[DetectedThing]:
        """Return further objects of a name that are small or unsure, for counting."""
        known = load_classes()
        same = known.agrees.get(name) or [
            at for at, one in enumerate(known.classifier) if one == name
        ]
        seen = [one.box for one in found if one.box is not None and one.name == name]
        sure = any(one.sure for one in found if one.name == name)
        if not seen or not same:
            # If the classifier has no such class, nothing confirms a weak box.
            return []
        largest = _MOST_LARGER * max(box.area for box in seen)
        more: list[DetectedThing] = []
        looks = _MOST_COUNTED
        for left, top, part in [(0, 0, bgr), *make_tiles(bgr)]:
            for box in self.find_boxes(part, _PERHAPS):
                placed = box.moved(left, top)
                if placed.area > largest or any(_is_same_place(placed, one) for one in seen):
                    continue
                if sum(map(placed.intersection, seen)) >= _COVERED * placed.area:
                    # It is made up of parts of other objects.
                    continue
                weight = float(self._classify(_crop_with_margin(part, box))[same].sum())
                if weight >= _COUNTED:
                    seen.append(placed)
                    more.append(DetectedThing(name, weight, placed, sure))
                looks -= 1
                if not looks:
                    return more
        return more

    def _find_in_tiles(self, bgr: Bgr, asked: Collection[str]) -> list[DetectedThing]:
        """Return the requested objects in squares of the picture, in which small objects are larger."""
        found: list[DetectedThing] = []
        for left, top, part in make_tiles(bgr):
            for box in self.find_boxes(part):
                thing = self.name_box(part, box) if box.label in asked else None
                if thing is None or thing.box is None or not thing.sure:
                    continue
                placed = thing.box.moved(left, top)
                if all(placed.overlap(other.box) < _SAME for other in found if other.box):
                    found.append(replace(thing, box=placed))
        return found

    def find_boxes(self, bgr: Bgr, least: float = _BOX) -> list[Box]:
        """Return the detector's boxes with names and scores, best first; unconfirmed, they are often wrong."""
        models = self._load()
        if models is None or min(bgr.shape[:2]) < _LEAST_SIDE:
            return []
        known = load_classes()
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
        return _remove_duplicates(sorted(found, key=lambda box: -(box.confidence or 0)))

    def name_box(self, bgr: Bgr, box: Box, asked: Collection[str] = ()) -> DetectedThing | None:
        """Return the object that both models together name in a box; None if they disagree."""
        known, score = load_classes(), box.confidence or 0.0
        if box.label == PERSON:
            return DetectedThing(PERSON, score, box, sure=True) if _is_person(bgr, box) else None
        if score < _LEAST_OF.get(box.label, _BOX):
            return None
        weights = self._classify(_crop_with_margin(bgr, box))
        best = int(weights.argmax())
        same = known.agrees.get(box.label)
        agreed = float(weights[same].sum()) if same else 0.0
        name, weight = find_likeliest_name(weights)
        # Small weights of many breeds do not make a dog if another name weighs more.
        other = agreed < weight and name not in {known.classifier[at] for at in same or ()}
        near = agreed >= weights[best] / 2 and not other
        if same and agreed >= _AGREES and (best in same or near):
            return DetectedThing(box.label, max(score, agreed), box, sure=True)
        single = float(weights[same].max()) if same else 0.0
        if single >= _AGREES and score >= _PREFERRED and name not in known.detector:
            # An orange that looks like a lemon. Between a cat and a dog the classifier decides.
            return DetectedThing(box.label, agreed, box, sure=False)
        if box.label in asked and score >= _ASKED and (weight < _CONTRARY or name == box.label):
            return DetectedThing(box.label, score, box, sure=False)
        if weight >= _ALONE:
            return (
                DetectedThing(name, weight, box, sure=False)
                if weight >= _LEAST_OF.get(name, 0)
                else None
            )
        enough = _ALMOST_CERTAIN if same else _UNKNOWN_TO_IT
        if box.label not in _DRAWN and score >= enough and weights[best] < _UNSURE:
            return DetectedThing(box.label, score, box, sure=False)
        return None

    def _name_middle(self, bgr: Bgr) -> DetectedThing | None:
        """Return the object that fills the picture, judged by its middle and the whole picture together."""
        whole = self._classify(bgr)
        if find_likeliest_name(whole)[1] < 2 * _ALONE - 1:
            # The average cannot reach the limit.
            return None
        height, width = bgr.shape[:2]
        side = int(min(height, width) * 224 / 256)
        top, left = (height - side) // 2, (width - side) // 2
        middle = self._classify(bgr[top : top + side, left : left + side])
        name, weight = find_likeliest_name((middle + whole) * np.float32(0.5))
        if weight < max(_ALONE, _LEAST_OF.get(name, 0)):
            return None
        return DetectedThing(name, weight, None, sure=False)

    def _classify(self, bgr: Bgr) -> F32:
        """Return the weight of each class; the sum is 1."""
        models = self._load()
        assert models is not None
        weights: F32 = models[1].run(bgr)[0][0]
        return weights

    def _load(self) -> tuple[_SquareModel, _SquareModel] | None:
        with self._lock:
            if self._models is not None or self.broken:
                return self._models
            trouble: ModelTrouble | None = None
            try:
                forms = _DETECTORS, _CLASSIFIERS
                self._models = self._verify(*map(_SquareModel, self._files, forms))
                # Loading leaves unused memory: a fifth of the models' own.
                trim_memory()
            except ModelUnusable as error:
                trouble = error.trouble
            if trouble is not None:
                # The engine continues without names of objects.
                self.broken = True
                log.error("object detector failed to load", extra={"reason": str(trouble)})
            return self._models

    def _verify(
        self, detector: _SquareModel, classifier: _SquareModel
    ) -> tuple[_SquareModel, _SquareModel]:
        """Return both models if their outputs have the expected shapes. Raises ModelUnusable."""
        blank = np.zeros((8, 8, 3), np.uint8)
        try:
            scores, corners = detector.run(blank)
            weights = classifier.run(blank)
        except Exception:  # noqa: BLE001
            raise ModelUnusable(ModelTrouble.OTHER_FORM) from None
        known = load_classes()
        fits = scores.ndim == 3 and scores.shape[2] >= max(known.columns) and corners.shape[-1] == 4
        if not fits or weights[0].shape != (1, len(known.classifier)):
            raise ModelUnusable(ModelTrouble.OTHER_FORM)
        return detector, classifier


def select_things(things: Iterable[DetectedThing], names: Collection[str]) -> list[DetectedThing]:
    """Return the objects with these names or more specific ones: the sure objects, or else all."""
    wanted = {*names}.union(*(KINDS.get(name, ()) for name in names))
    found = [one for one in things if one.name in wanted]
    return [one for one in found if one.sure] or found


def make_tiles(bgr: Bgr) -> list[tuple[int, int, Bgr]]:
    """Return three squares along the longer side, with their corners; none for a nearly square picture."""
    height, width = bgr.shape[:2]
    side, rest = min(height, width), abs(width - height)
    if rest < side / 3:
        return []
    places = (0, rest // 2, rest)
    if width > height:
        return [(at, 0, bgr[:, at : at + side]) for at in places]
    return [(0, at, bgr[at : at + side]) for at in places]


def _is_person(bgr: Bgr, box: Box) -> bool:
    """Return True if a box of a person is credible: a table that fills the picture is wide, with a low score."""
    score = box.confidence or 0.0
    fills = box.area >= _FILLS * bgr.shape[0] * bgr.shape[1] and box.width >= _WIDE * box.height
    return score >= (_PERSON_WIDE if fills else _PERSON)


def _crop_with_margin(bgr: Bgr, box: Box) -> Bgr:
    margin = _MARGIN * max(box.width, box.height)
    left, top = _get_corner(box)
    return bgr[top : int(box.y2 + margin) + 1, left : int(box.x2 + margin) + 1]


def _get_corner(box: Box) -> tuple[int, int]:
    """Return the upper left corner of a box with its margin."""
    margin = _MARGIN * max(box.width, box.height)
    return int(max(0, box.x1 - margin)), int(max(0, box.y1 - margin))


def _remove_duplicates(boxes: Sequence[Box]) -> list[Box]:
    """Return the boxes without duplicates of better ones."""
    kept: list[Box] = []
    for box in boxes:
        limits = ((_SAME if one.label == box.label else _OTHER, one) for one in kept)
        group = any(one.label == box.label and _is_within(one, box) for one in kept)
        if not group and all(box.overlap(one) <= limit for limit, one in limits):
            kept.append(box)
    return kept


def _is_same_place(box: Box, other: Box) -> bool:
    return box.overlap(other) >= _COUNTED_APART or _is_within(box, other) or _is_within(other, box)


def _is_within(inner: Box, outer: Box) -> bool:
    """Return True if nearly all of a box lies in another."""
    return 0 < inner.intersection(outer) >= _INSIDE * inner.area
