"""The nouns that travel from the camera to the model. Pure data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import av
    import numpy as np
    from numpy.typing import NDArray


class Kind(StrEnum):
    """What a piece of inference work is for, most urgent first."""

    CHAT = "chat"
    WATCH = "watch"
    DESCRIBE = "describe"


class Detail(StrEnum):
    """How many pixels of a frame a question needs."""

    AUTO = "auto"
    LOW = "low"
    HIGH = "high"


class BoxUnit(StrEnum):
    """What the numbers of a model's boxes count."""

    # Pixels of the picture that the model got
    PIXELS = "pixels"
    # Thousandths of its width and height
    THOUSANDTHS = "thousandths"


class CameraState(StrEnum):
    STARTING = "starting"
    LIVE = "live"
    STALLED = "stalled"
    FROZEN = "frozen"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded camera picture, as it came; nothing was converted or filtered yet."""

    id: str
    # Planar YUV 4:2:0 at the camera's own resolution. Read only: a frame may be looked at by several at once.
    image: av.VideoFrame
    width: int
    height: int
    # Estimated capture time, seconds on this machine's monotonic clock (short by the path's shortest delay).
    captured: float
    # Capture time in seconds since the epoch by the *sender's* clock; None before its first sender
    # report, while its reports are not believed, and for a camera that is not the page's.
    captured_sender: float | None
    # When the first packet of the frame arrived, monotonic seconds.
    arrived: float
    # RTP timestamp, unwrapped, in 1/90,000 s: grows with capture time within one stream.
    rtp_time: int
    # Whether what the sender says of its clock contradicts itself or the frames' arrival, and is not used.
    clock_doubted: bool = False


@dataclass(frozen=True, slots=True)
class Scene:
    """What a small luma picture of the frame tells (0 to 1 each), read before any filter and kept as numbers only."""

    brightness: float
    # Relative sharpness: 0 is a plain surface or a thorough blur.
    sharpness: float
    # Mean difference to the luma picture of about a second before; None for the first.
    motion: float | None
    dark: bool
    blurred: bool


@dataclass(frozen=True, slots=True)
class Tiles:
    """How an image processor cuts a picture of any size into squares, and looks at all of it once more (Idefics3, SmolVLM)."""

    # Pixels of a square's side
    side: int
    # Visual tokens of one
    tokens: int
    # Pixels that it makes of the longer side first, whatever the picture has
    longest: int
    # Whether whoever gives it the picture keeps that to as many squares as the picture fills
    filled: bool = False


@dataclass(frozen=True, slots=True)
class Geometry:
    """What sizes a model's image processor takes as they are."""

    # Both sides are multiples of it: patch size times merge size.
    factor: int
    min_pixels: int
    max_pixels: int
    # None: what a picture costs goes by its size
    tiles: Tiles | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A frame as the model gets it: filtered, resized once, encoded once.

    Exactly one of `jpeg` and `bgr` is there, as the engine asked for it.
    """

    frame_id: str
    # Monotonic seconds; see `Frame.captured`.
    captured: float
    captured_sender: float | None
    # Size of the camera's frame.
    source_width: int
    source_height: int
    # Size of this picture: the model's own pixels.
    width: int
    height: int
    visual_tokens: int
    jpeg: bytes | None
    bgr: NDArray[np.uint8] | None
    # A JPEG of at most 320 px and 24 KiB, made from this very picture; None when nobody asked for it.
    thumbnail: bytes | None
    prepare_seconds: float
    held: bool = False
    # Dark and blurred hints and the like at the time of the frame; None when unknown.
    scene: Scene | None = None
