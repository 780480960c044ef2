"""Data types passed between the camera and the model. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import av
    import numpy as np
    from numpy.typing import NDArray

# Bounds of the change gate's sensitivity; its thresholds were measured with 1.
LEAST_SENSITIVITY = 0.25
MOST_SENSITIVITY = 4.0

# Pixel formats of a frame: planar, 8 bits, 4:2:0, with luma of limited or full range
READABLE = frozenset({"yuv420p", "yuvj420p"})
# A Qwen vision model takes the frames of a video in pairs: its patches are two frames deep.
FRAME_FACTOR = 2


class JobKind(StrEnum):
    """The purpose of an inference job, most urgent first."""

    CHAT = "chat"
    WATCH = "watch"
    # A question of another program to which the person gave access
    PROGRAM = "program"
    DESCRIBE = "describe"
    # A picture sent while its question is still being typed, for the model server's prefix cache
    PREFILL = "prefill"


class Role(StrEnum):
    """The kind of work of an engine; each role may have its own engine."""

    ANSWERS = "answers"
    # Watches and descriptions
    WATCHES = "watches"
    # Texts read across several pictures
    READS = "reads"


class Detail(StrEnum):
    """The resolution of the picture for a question."""

    AUTO = "auto"
    LOW = "low"
    HIGH = "high"


class QuestionMode(StrEnum):
    """The pictures that a question is about."""

    # The current picture, at low detail
    NOW = "now"
    # The current picture, at high detail
    DETAIL = "detail"
    # The current picture, and then a part of it again, for safety and medicine: see `Response.second_look`
    TWICE = "twice"
    # Up to 8 pictures of the last minutes and the current one, as one video if the engine accepts
    # videos; becomes `now` if no pictures are kept or the engine accepts only one picture
    PAST = "past"
    # The current picture, to locate something in it
    WHERE = "where"
    # One picture after another, to read text: each `delta` has lines that were not read before
    READ = "read"


class VoiceCommand(StrEnum):
    """A command spoken or typed in place of a question; the page executes it."""

    # Repeat the last answer.
    AGAIN = "again"
    # Start a running description.
    DESCRIBE = "describe"
    # Stop it.
    DESCRIBE_OFF = "describe_off"
    # Start a running description of what matters to the person who carries the camera.
    NOTABLE = "notable"
    # Add a watch for the condition.
    WATCH = "watch"
    # Remove all watches.
    WATCH_OFF = "watch_off"
    # Hold the current picture for the next questions.
    HOLD = "hold"
    # Release the held picture.
    RELEASE = "release"
    # Give hints on how to move the camera.
    GUIDE = "guide"
    # Stop the hints.
    GUIDE_OFF = "guide_off"
    # Guide to a thing, the condition.
    GUIDE_TO = "guide_to"
    # Describe the surroundings while the person turns.
    SCAN = "scan"
    # Tell the direction of a thing seen during the last scan.
    WHERE_WAS = "where_was"
    # Stop whatever is running.
    STOP = "stop"
    # Answer in fewer words.
    SHORTER = "shorter"
    # Answer in more words.
    LONGER = "longer"
    # End the visit; the microphone is closed, too.
    CAMERA_OFF = "camera_off"


class Verbosity(StrEnum):
    """The length of answers that a person prefers."""

    SHORT = "short"
    NORMAL = "normal"
    FULL = "full"


class CodeUse(StrEnum):
    """The use of a code in the picture: an address to open, or something to copy."""

    OPEN = "open"
    PASSWORD = "password"
    PHONE = "phone"
    EMAIL = "email"
    CONTACT = "contact"
    EVENT = "event"
    TEXT = "text"


class BoxUnit(StrEnum):
    """The unit and order of the coordinates in a model's boxes; left, top, right, bottom unless stated."""

    # Pixels of the model's picture
    PIXELS = "pixels"
    # Thousandths of the picture's width and height
    THOUSANDTHS = "thousandths"
    # Thousandths in the order top, left, bottom, right
    THOUSANDTHS_Y_FIRST = "thousandths_y_first"


class CameraState(StrEnum):
    STARTING = "starting"
    LIVE = "live"
    STALLED = "stalled"
    FROZEN = "frozen"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A decoded camera picture, neither converted nor filtered."""

    id: str
    # In a `READABLE` format, at the camera's resolution. Read only: several threads may use a frame at once.
    image: av.VideoFrame
    width: int
    height: int
    # Estimated capture time, monotonic seconds of this machine; too late by the shortest delay of the path.
    captured: float
    # Capture time by the sender's clock, seconds since the epoch; None before its first sender report, while its
    # reports are ignored as wrong, and for a camera other than the page's
    captured_sender: float | None
    # Arrival of the frame's first packet, monotonic seconds
    arrived: float
    # Unwrapped RTP timestamp in 1/90,000 s; it grows with capture time within one stream.
    rtp_time: int
    # The sender's reports contradict each other or the arrival of frames, and are ignored.
    clock_doubted: bool = False
    # Parts in which changes are ignored
    ignored: tuple[Part, ...] = ()


# Left, top, right and bottom of a part of a picture, as fractions of its width and height, 0 to 1
Part = tuple[float, float, float, float]
# Minimum width and height of a part
LEAST_PART = 0.02
# Margin shown around a part, as a fraction of its sides; and the shortest side of the result in pixels
_AROUND_PART, _LEAST_SIDE = 0.1, 32


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a frame in pixels; right and bottom are exclusive."""

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
        """Return the region that shows a part of a frame of this size, with a margin."""
        left, right = _widen(part[0], part[2], width)
        top, bottom = _widen(part[1], part[3], height)
        return cls(left, top, right, bottom)


def _widen(low: float, high: float, side: int) -> tuple[int, int]:
    size = min(side, max(_LEAST_SIDE, round((high - low) * (1 + 2 * _AROUND_PART) * side)))
    first = round((low + high) / 2 * side - size / 2)
    # Clip at the frame's edges, unless too little would be left.
    low_end, high_end = max(0, first), min(side, first + size)
    if high_end - low_end < min(side, _LEAST_SIDE):
        low_end = max(0, min(side - _LEAST_SIDE, low_end))
        high_end = min(side, low_end + _LEAST_SIDE)
    return low_end, high_end


@dataclass(frozen=True, slots=True)
class Scene:
    """Measurements of a frame's small luma picture, 0 to 1 each, taken before any filter."""

    brightness: float
    # Relative sharpness; 0 for a plain surface or a strong blur
    sharpness: float
    # Mean difference from the luma picture of about one second before; None for the first
    motion: float | None
    dark: bool
    blurred: bool
    # Dark without a lit spot or an edge: nothing can be recognised.
    black: bool = False


@dataclass(frozen=True, slots=True)
class Tiles:
    """The tiling of an image processor that splits a picture into squares and adds the whole picture (Idefics3, SmolVLM)."""

    # Side of a square in pixels
    side: int
    # Visual tokens of one square
    tokens: int
    # Pixels to which the longer side of any picture is scaled first
    longest: int
    # True if the caller limits the scaling to the squares that the picture fills
    filled: bool = False


@dataclass(frozen=True, slots=True)
class Geometry:
    """The picture sizes that a model's image processor does not resize."""

    # Both sides are multiples of it: patch size times merge size.
    factor: int
    min_pixels: int
    max_pixels: int
    # None if the visual tokens depend on the size alone
    tiles: Tiles | None = None
    # Visual tokens of any picture; None if they depend on its size
    tokens: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A frame prepared for the model: filtered, resized once, encoded once.

    Exactly one of `jpeg` and `bgr` is set, according to the engine.
    """

    frame_id: str
    # Monotonic seconds; see `Frame.captured`
    captured: float
    captured_sender: float | None
    # Size of the camera's frame
    source_width: int
    source_height: int
    # Size of this picture
    width: int
    height: int
    visual_tokens: int
    jpeg: bytes | None = None
    bgr: NDArray[np.uint8] | None = None
    # A JPEG of this picture, at most 320 px and 24 KiB; None unless requested
    thumbnail: bytes | None = None
    prepare_seconds: float = 0.0
    held: bool = False
    # Set if the picture shows an earlier frame, since which nothing has changed: capture time of that frame, monotonic
    # seconds. `captured` is then the time of the frame that was compared with it.
    unchanged_since: float | None = None
    # Scene at the time of the frame; None if unknown
    scene: Scene | None = None
    # The part of the frame that the picture shows; None for all of it
    region: Region | None = None
