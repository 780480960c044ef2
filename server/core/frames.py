"""Data types between the camera and the model. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import av
    import numpy as np
    from numpy.typing import NDArray

# Bounds of a change gate's sensitivity; its figures are measured with 1.
LEAST_SENSITIVITY = 0.25
MOST_SENSITIVITY = 4.0

# Pixel formats of a frame: planar, 8 bits, 4:2:0; with luma of limited or full range.
READABLE = frozenset({"yuv420p", "yuvj420p"})
# Frames of a video go into a Qwen vision model in pairs: its patches are two frames deep.
FRAME_FACTOR = 2


class JobKind(StrEnum):
    """Purpose of an inference job, most urgent first."""

    CHAT = "chat"
    WATCH = "watch"
    # A question of another program that the person lets look
    PROGRAM = "program"
    DESCRIBE = "describe"
    # A picture without its question, which somebody types: a model server keeps what it computes for it.
    PREFILL = "prefill"


class Role(StrEnum):
    """The work of an engine; each role may have an engine of its own."""

    ANSWERS = "answers"
    # Watches and descriptions
    WATCHES = "watches"
    # Texts that are read on over several pictures
    READS = "reads"


class Detail(StrEnum):
    """Resolution of the picture for a question."""

    AUTO = "auto"
    LOW = "low"
    HIGH = "high"


class QuestionMode(StrEnum):
    """The view that a question is about."""

    # The picture of now, at low detail
    NOW = "now"
    # The picture of now, at high detail
    DETAIL = "detail"
    # The same, and then a part of it again, for safety and medicine: see `Response.second_look`
    TWICE = "twice"
    # Up to 8 pictures of the last minutes and the one of now, as one video where the engine takes
    # one; becomes `now` where none is kept or the engine takes one picture
    PAST = "past"
    # The picture of now, for a spot in it
    WHERE = "where"
    # One picture after another, for text: each `delta` has lines that were not read before
    READ = "read"


class VoiceCommand(StrEnum):
    """An order that somebody says in place of a question, which the page carries out."""

    # Read the last answer once more.
    AGAIN = "again"
    # Begin a running description.
    DESCRIBE = "describe"
    # End it.
    DESCRIBE_OFF = "describe_off"
    # Tell what somebody who carries the camera would want to know, again and again.
    NOTABLE = "notable"
    # Begin a watch, with its condition.
    WATCH = "watch"
    # End all watches.
    WATCH_OFF = "watch_off"
    # Keep the picture of now for the next questions.
    HOLD = "hold"
    # Let it go.
    RELEASE = "release"
    # Give hints how to move the camera.
    GUIDE = "guide"
    # Give none.
    GUIDE_OFF = "guide_off"
    # Lead to a thing, which is its condition.
    GUIDE_TO = "guide_to"
    # Tell what is around somebody who turns.
    SCAN = "scan"
    # Tell the direction of a thing that was there.
    WHERE_WAS = "where_was"
    # End what runs.
    STOP = "stop"
    # Answer in fewer words.
    SHORTER = "shorter"
    # Answer in more words.
    LONGER = "longer"
    # End the visit: nothing is heard any more.
    CAMERA_OFF = "camera_off"


class Verbosity(StrEnum):
    """The amount of words that a person wants of answers."""

    SHORT = "short"
    NORMAL = "normal"
    FULL = "full"


class CodeUse(StrEnum):
    """A code in the picture, and its uses to a person: open its address, or copy something of it."""

    OPEN = "open"
    PASSWORD = "password"
    PHONE = "phone"
    EMAIL = "email"
    CONTACT = "contact"
    EVENT = "event"
    TEXT = "text"


class BoxUnit(StrEnum):
    """Unit of the coordinates in a model's boxes, and their order where it is not left, top, right, bottom."""

    # Pixels of the model's picture
    PIXELS = "pixels"
    # Thousandths of the picture's width and height
    THOUSANDTHS = "thousandths"
    # The same, but top, left, bottom, right
    THOUSANDTHS_Y_FIRST = "thousandths_y_first"


class CameraState(StrEnum):
    STARTING = "starting"
    LIVE = "live"
    STALLED = "stalled"
    FROZEN = "frozen"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded camera picture, neither converted nor filtered."""

    id: str
    # In one of the `READABLE` formats, at the camera's resolution. Read only: several threads may use a frame at once.
    image: av.VideoFrame
    width: int
    height: int
    # Estimated capture time, seconds on this machine's monotonic clock (short by the path's shortest delay).
    captured: float
    # Capture time in seconds since the epoch by the sender's clock; None before its first sender report, while its
    # reports are ignored as wrong, and for a camera that is not the page's.
    captured_sender: float | None
    # Arrival of the frame's first packet, monotonic seconds.
    arrived: float
    # RTP timestamp, unwrapped, in 1/90,000 s: grows with capture time within one stream.
    rtp_time: int
    # True when the sender's reports contradict each other or the frames' arrival, and are ignored.
    clock_doubted: bool = False
    # Parts in which no change matters.
    ignored: tuple[Part, ...] = ()


# Left, top, right and bottom of a part of a picture, as shares of its width and height, 0 to 1
Part = tuple[float, float, float, float]
# Least width and height of one
LEAST_PART = 0.02
# What a picture of a part shows around it, as a share of the part's sides; and its least side in pixels
_AROUND_PART, _LEAST_SIDE = 0.1, 32


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a frame in its pixels; right and bottom lie outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @classmethod
    def around(cls, part: Part, width: int, height: int) -> Region:
        """Return the region of a frame of this size that shows a part of it, and a little around it."""
        left, right = _span(part[0], part[2], width)
        top, bottom = _span(part[1], part[3], height)
        return cls(left, top, right, bottom)


def _span(low: float, high: float, side: int) -> tuple[int, int]:
    size = min(side, max(_LEAST_SIDE, round((high - low) * (1 + 2 * _AROUND_PART) * side)))
    first = round((low + high) / 2 * side - size / 2)
    # What would lie outside is left out, unless too little would be left.
    low_end, high_end = max(0, first), min(side, first + size)
    if high_end - low_end < min(side, _LEAST_SIDE):
        low_end = max(0, min(side - _LEAST_SIDE, low_end))
        high_end = min(side, low_end + _LEAST_SIDE)
    return low_end, high_end


@dataclass(frozen=True, slots=True)
class Scene:
    """Measurements of a frame's small luma picture, 0 to 1 each. Taken before any filter, and kept as numbers only."""

    brightness: float
    # Relative sharpness; 0 for a plain surface or a strong blur.
    sharpness: float
    # Mean difference to the luma picture of about one second before; None for the first.
    motion: float | None
    dark: bool
    blurred: bool
    # Dark without a lit spot and without an edge: nothing can be seen in it.
    black: bool = False


@dataclass(frozen=True, slots=True)
class Tiles:
    """Tiling of an image processor that cuts a picture into squares and adds the whole picture (Idefics3, SmolVLM)."""

    # Pixels of a square's side
    side: int
    # Visual tokens of one square
    tokens: int
    # Pixels to which the longer side is scaled first, for any picture
    longest: int
    # True when the caller limits the scaling to the squares that the picture fills
    filled: bool = False


@dataclass(frozen=True, slots=True)
class Geometry:
    """Picture sizes that a model's image processor does not resize."""

    # Both sides are multiples of this: patch size times merge size.
    factor: int
    min_pixels: int
    max_pixels: int
    # None: the visual tokens depend on the size alone
    tiles: Tiles | None = None
    # Visual tokens of any picture; None: they depend on its size
    tokens: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A frame prepared for the model: filtered, resized once, encoded once.

    Exactly one of `jpeg` and `bgr` is set, as the engine requires.
    """

    frame_id: str
    # Monotonic seconds; see `Frame.captured`.
    captured: float
    captured_sender: float | None
    # Size of the camera's frame.
    source_width: int
    source_height: int
    # Size of this picture.
    width: int
    height: int
    visual_tokens: int
    jpeg: bytes | None = None
    bgr: NDArray[np.uint8] | None = None
    # A JPEG of this picture, at most 320 px and 24 KiB; None unless requested.
    thumbnail: bytes | None = None
    prepare_seconds: float = 0.0
    held: bool = False
    # Set when it is that of an earlier frame, since which nothing has changed: that frame's capture time, monotonic
    # seconds. `captured` is then the time of the frame that was compared with it.
    unchanged_since: float | None = None
    # The scene at the time of the frame; None when unknown.
    scene: Scene | None = None
    # The part of the frame that it shows; None for all of it.
    region: Region | None = None
