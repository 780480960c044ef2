"""Prepare a camera's frame for a model: filter, resize once, encode once."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from server.core.errors import BadRequest
from server.core.frames import Detail, Frame, Geometry, Picture, Region, Scene, Tiles
from server.media.picture import encode
from server.media.picture.encode import Bgr
from server.media.picture.planes import SceneAnalyser
from server.media.picture.privacy import PrivacyFilter

if TYPE_CHECKING:
    import av

# Maximum fraction of the model's context for the picture; the rest is for the system text, earlier turns, the question
# and the answer.
CONTEXT_SHARE = 0.5
# JPEG quality of a frame that will be cropped and encoded again
FULL_QUALITY = 92


class Needs(Protocol):
    """The properties of an engine that determine its pictures."""

    @property
    def geometry(self) -> Geometry: ...

    @property
    def context_length(self) -> int | None: ...

    @property
    def wants_pixels(self) -> bool: ...

    @property
    def picture_share(self) -> float: ...


class PicturePreparer:
    """Creates pictures from frames. Thread-safe.

    `low_tokens`: visual tokens for `Detail.LOW` (VISUAL_TOKEN_BUDGET).
    """

    def __init__(self, filters: Sequence[PrivacyFilter], low_tokens: int) -> None:
        self._filters = tuple(filters)
        self._low_tokens = low_tokens
        # One scaler per thread, because it reuses its tables
        self._scalers = threading.local()

    def budget(self, needs: Needs, detail: Detail) -> int:
        """Return the maximum visual tokens of a picture; `detail` is low or high."""
        tokens = self._low_tokens if detail is Detail.LOW else HIGH_TOKENS
        tokens = max(1, round(tokens * needs.picture_share))
        if needs.context_length is not None:
            tokens = min(tokens, max(1, int(needs.context_length * CONTEXT_SHARE)))
        return tokens

    def make(
        self,
        frame: Frame,
        needs: Needs,
        detail: Detail,
        *,
        thumbnail: bool = False,
        held: bool = False,
        scene: Scene | None = None,
        region: Region | None = None,
    ) -> Picture:
        """Create a picture for an engine: a JPEG of the model's size, or BGR pixels at the camera's resolution.

        `region`: the part of the frame to show, at the camera's resolution if the budget allows.

        BGR pixels cost no visual tokens. The thumbnail shows the same pixels that the engine gets. `scene`: the camera's
        last measurement. Its motion is used unless the frame is held. With filters all its values are used, because
        only the camera may read unfiltered frames; without filters the other values are measured on this frame.

        Raises BadRequest for an aspect ratio over 200, FrameWithheld from the filters, ValueError for a region outside
        the frame.
        """
        began = time.perf_counter()
        seen = region or Region(0, 0, frame.width, frame.height)
        if not (0 <= seen.left < seen.right <= frame.width) or not (
            0 <= seen.top < seen.bottom <= frame.height
        ):
            raise ValueError(f"{seen} is outside a frame of {frame.width}x{frame.height}")
        width, height, tokens = seen.width, seen.height, 0
        if not needs.wants_pixels:
            most = get_budget_pixels(self.budget(needs, detail), needs.geometry)
            try:
                height, width = smart_resize(seen.height, seen.width, needs.geometry, most)
            except ValueError as exc:
                raise BadRequest(f"The camera's picture cannot be used: {exc}.") from None
            tokens = count_visual_tokens(height, width, needs.geometry)
        if not self._filters:
            motion = scene.motion if scene is not None and not held else None
            scene = replace(SceneAnalyser().read(frame.image, frame.captured), motion=motion)
        elif scene is not None and held:
            scene = None
        bgr = self._filter_frame(frame, width, height, region)
        return Picture(
            frame_id=frame.id,
            captured=frame.captured,
            captured_sender=frame.captured_sender,
            source_width=frame.width,
            source_height=frame.height,
            width=width,
            height=height,
            visual_tokens=tokens,
            jpeg=None if needs.wants_pixels else encode.encode_jpeg(bgr),
            # A contiguous copy, because the decoder's rows may be padded.
            bgr=np.ascontiguousarray(bgr) if needs.wants_pixels else None,
            thumbnail=encode.encode_thumbnail(bgr) if thumbnail else None,
            prepare_seconds=time.perf_counter() - began,
            held=held,
            scene=scene,
            region=region,
        )

    def make_still(self, frame: Frame) -> bytes:
        """Create a small JPEG of a frame (see `encode.encode_still`), filtered as any picture. Raises the errors of `make`."""
        scale = min(1.0, encode.STILL_SIDE / max(frame.width, frame.height))
        # Even sides, because chroma has half the resolution.
        width, height = (
            max(2, round(side * scale) // 2 * 2) for side in (frame.width, frame.height)
        )
        return encode.encode_still(self._filter_frame(frame, width, height))

    def make_full(self, frame: Frame) -> bytes:
        """Create a JPEG of a frame at the camera's resolution, filtered like every other picture. Raises the errors of `make`."""
        return encode.encode_jpeg(
            self._filter_frame(frame, frame.width, frame.height), FULL_QUALITY
        )

    def make_again(
        self, jpeg: bytes, frame: Frame, needs: Needs, detail: Detail, region: Region | None
    ) -> Picture | None:
        """Create a picture of an earlier frame from its `make_full` JPEG, showing a region of `frame`.

        Return None if the earlier frame had another size. Not for engines that take pixels.
        """
        decoded = encode.decode(jpeg)
        if decoded is None or decoded.shape[:2] != (frame.height, frame.width):
            return None
        seen = region or Region(0, 0, frame.width, frame.height)
        bgr = decoded[seen.top : seen.bottom, seen.left : seen.right]
        stored = Stored("", frame.captured, None, frame.width, frame.height, b"")
        picture = _make_picture(stored, bgr, needs.geometry, self.budget(needs, detail))
        return replace(picture, region=region)

    def _filter_frame(
        self, frame: Frame, width: int, height: int, region: Region | None = None
    ) -> Bgr:
        """Return the filtered frame, or a region of it, in BGR at this size. Rows may be padded. Raises FrameWithheld."""
        if not self._filters and region is None:
            return self._scale_frame(frame.image, width, height)
        # Filters get the full resolution, in order to find small faces.
        bgr = np.ascontiguousarray(self._scale_frame(frame.image, frame.width, frame.height))
        for privacy_filter in self._filters:
            bgr = privacy_filter.apply(bgr)
        if region is not None:
            bgr = bgr[region.top : region.bottom, region.left : region.right]
        return encode.scale_to(bgr, width, height)

    def _scale_frame(self, image: av.VideoFrame, width: int, height: int) -> Bgr:
        """Scale and convert the frame to BGR in one step. Rows may be padded.

        Two threads may do this with the same frame: swscale only reads its pixels, and both set the same colour tags.
        """
        scaler: VideoReformatter | None = getattr(self._scalers, "scaler", None)
        if scaler is None:
            scaler = self._scalers.scaler = VideoReformatter()
        # Bicubic, as in the models' own processors; one thread, because there are several callers.
        bgr = scaler.reformat(
            image, width, height, "bgr24", interpolation=Interpolation.BICUBIC, threads=1
        )
        return np.asarray(bgr.to_ndarray(), np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """A picture stored as JPEG after filtering, with the metadata of its frame: see `Frame`."""

    id: str
    captured: float
    captured_sender: float | None
    source_width: int
    source_height: int
    jpeg: bytes


def make_stored_picture(
    stored: Stored, geometry: Geometry, tokens: int | None, *, thumbnail: bool = False
) -> Picture:
    """Create a picture for an engine from a stored one. Raises ValueError for a broken JPEG.

    `tokens`: approximate limit of visual tokens; None to keep the stored size, for an engine without visual tokens.
    """
    began = time.perf_counter()
    bgr = encode.decode(stored.jpeg)
    if bgr is None:
        raise ValueError("a stored picture cannot be decoded")
    return replace(
        _make_picture(stored, bgr, geometry, tokens),
        thumbnail=encode.encode_small(bgr) if thumbnail else None,
        prepare_seconds=time.perf_counter() - began,
    )


def _make_picture(stored: Stored, bgr: Bgr, geometry: Geometry, tokens: int | None) -> Picture:
    height, width = bgr.shape[:2]
    if tokens is not None:
        height, width = smart_resize(height, width, geometry, get_budget_pixels(tokens, geometry))
    return Picture(
        frame_id=stored.id,
        captured=stored.captured,
        captured_sender=stored.captured_sender,
        source_width=stored.source_width,
        source_height=stored.source_height,
        width=width,
        height=height,
        visual_tokens=count_visual_tokens(height, width, geometry) if tokens is not None else 0,
        jpeg=encode.encode_jpeg(encode.scale_to(bgr, width, height)),
    )


# The picture size for a Qwen vision model, and its visual tokens: `smart_resize` as published with
# Qwen2-VL (qwen-vl-utils, `vision_process.py`; transformers, `image_processing_qwen2_vl.py`). The
# model does not resize a picture of that size again, so its boxes are in pixels of this picture.

# Maximum ratio of the longer to the shorter side, from `smart_resize`
MAX_RATIO = 200
# Visual tokens of `detail: high`: enough for 1280×720 without shrinking (1,196 tokens at factor 28)
HIGH_TOKENS = 1_280


def smart_resize(
    height: int, width: int, geometry: Geometry, max_pixels: float | None = None
) -> tuple[int, int]:
    """Return the (height, width) to resize to: multiples of the factor, with about the same aspect ratio.

    `max_pixels` lowers the geometry's own maximum (see `get_budget_pixels`), but not below its minimum.
    This is the published behaviour with two additions. The longer side is shortened to keep the maximum if the other
    side is a single factor already, or if rounding up to the minimum exceeds the maximum. A shrunk picture never falls
    below the minimum, which takes precedence if no size fits both.

    Raises ValueError for sides below 1 and for an aspect ratio over `MAX_RATIO`.
    """
    if height < 1 or width < 1:
        raise ValueError(f"its size is {width}x{height}; each side must be at least 1")
    ratio = max(height, width) / min(height, width)
    if ratio > MAX_RATIO:
        raise ValueError(
            f"its size is {width}x{height}, an aspect ratio of {ratio:.1f}; "
            f"at most {MAX_RATIO} is allowed"
        )
    factor, least = geometry.factor, geometry.min_pixels
    most: float = geometry.max_pixels
    if max_pixels is not None:
        most = max(least, min(most, max_pixels))
    # Python's round, with halves to the even neighbour, as published.
    high = max(factor, round(height / factor) * factor)
    wide = max(factor, round(width / factor) * factor)
    if high * wide > most:
        shrink = math.sqrt(height * width / most)
        high = max(factor, math.floor(height / shrink / factor) * factor)
        wide = max(factor, math.floor(width / shrink / factor) * factor)
    elif high * wide < least:
        grow = math.sqrt(least / (height * width))
        high = math.ceil(height * grow / factor) * factor
        wide = math.ceil(width * grow / factor) * factor
    if high * wide > most:
        short = min(high, wide)
        long = max(factor, int(most // (short * factor)) * factor)
        high, wide = (short, long) if high <= wide else (long, short)
    if high * wide < least:
        # Rounding made it smaller than the minimum: the model would enlarge it, and scale its boxes.
        grow = math.sqrt(least / (height * width))
        high = math.ceil(height * grow / factor) * factor
        wide = math.ceil(width * grow / factor) * factor
    return high, wide


def count_visual_tokens(height: int, width: int, geometry: Geometry) -> int:
    """Return the visual tokens of a picture; its sides are multiples of the factor."""
    if geometry.tiles is not None:
        return _count_tiled_tokens(height, width, geometry.tiles)
    if geometry.tokens is not None:
        return geometry.tokens
    return (height // geometry.factor) * (width // geometry.factor)


def _count_tiled_tokens(height: int, width: int, tiles: Tiles) -> int:
    """Count tokens as transformers' `image_processing_idefics3.py` does, which stretches both sides to whole squares."""
    side, longest = tiles.side, tiles.longest
    if tiles.filled:
        longest = min(longest, math.ceil(max(height, width) / side) * side)
    # In the published order, rounding at each step: the longer side, the other one to an even number, both to squares.
    aspect = width / height
    lying = width >= height
    short = int(longest / aspect if lying else longest * aspect)
    short = max(1, short + short % 2)
    aspect = longest / short if lying else short / longest
    along = math.ceil(longest / side) * side
    across = int(along / aspect if lying else along * aspect)
    along, across = along // side, math.ceil(across / side)
    squares = along * across
    return tiles.tokens * (squares + 1 if squares > 1 else 1)


def get_budget_pixels(tokens: int, geometry: Geometry) -> int:
    """Return the maximum number of pixels for this many tokens; no limit if each picture costs the same."""
    return geometry.max_pixels if geometry.tokens is not None else tokens * geometry.factor**2
