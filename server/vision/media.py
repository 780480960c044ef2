"""Select and size the frames of a video for a Qwen vision model, and count their tokens. One picture: `resize.py`.

Published with Qwen2-VL and its successors: qwen-vl-utils 0.0.14, `vision_process.py` (`smart_nframes`, `fetch_video`).
Frames are used in pairs, because the model's patches are two frames deep.
"""

from __future__ import annotations

import math

from server.core.frames import FRAME_FACTOR, Geometry
from server.vision.resize import smart_resize

MIN_FRAMES = 4
MAX_FRAMES = 768
# Frames a second
DEFAULT_FPS = 2.0
# Visual tokens of one frame
FRAME_MIN_TOKENS = 128
FRAME_MAX_TOKENS = 768
# Visual tokens of a whole video: nine tenths of a context of 128,000
VIDEO_TOKENS = 115_200
# vLLM's default limit per video (`--media-io-kwargs`, num_frames); it silently drops the newest frames beyond it.
VLLM_MAX_FRAMES = 32


def smart_nframes(
    total_frames: int,
    video_fps: float,
    *,
    fps: float | None = None,
    nframes: int | None = None,
    min_frames: int = MIN_FRAMES,
    max_frames: int = MAX_FRAMES,
) -> int:
    """Return the number of frames to take: even, at least 4, at most `max_frames` and `total_frames`.

    `fps` (default 2 per second) selects by rate, `nframes` by number, rounded to an even one. This is the published
    behaviour, except that videos of 2 or 3 frames are refused. Raises ValueError.
    """
    if total_frames < MIN_FRAMES:
        raise ValueError(
            f"a video of {total_frames} frames was given; at least {MIN_FRAMES} are needed"
        )
    _rate(video_fps, "a video with")
    if fps is not None and nframes is not None:
        raise ValueError(
            f"{fps:g} frames a second and {nframes} frames were both asked for; give one of them"
        )
    if not MIN_FRAMES <= min_frames <= max_frames <= MAX_FRAMES:
        raise ValueError(
            f"{min_frames} to {max_frames} frames were asked for; {MIN_FRAMES} to {MAX_FRAMES} are allowed"
        )
    least = math.ceil(min_frames / FRAME_FACTOR) * FRAME_FACTOR
    most = min(max_frames, total_frames) // FRAME_FACTOR * FRAME_FACTOR
    if nframes is not None:
        # Python's round: halves go to the even neighbour, as published.
        count = round(nframes / FRAME_FACTOR) * FRAME_FACTOR
        if not MIN_FRAMES <= count <= most:
            raise ValueError(
                f"{nframes} frames of a video of {total_frames} were asked for; {MIN_FRAMES} to {most} are allowed"
            )
        return count
    wanted = total_frames / video_fps * _rate(DEFAULT_FPS if fps is None else fps, "a rate of")
    return int(min(max(wanted, least), most)) // FRAME_FACTOR * FRAME_FACTOR


def frame_indices(total_frames: int, count: int) -> tuple[int, ...]:
    """Return the indices of `count` frames: first, last, and equally spaced ones, rounded. Raises ValueError."""
    if not 1 <= count <= total_frames:
        raise ValueError(
            f"{count} of {total_frames} frames were asked for; 1 to {max(1, total_frames)} are allowed"
        )
    if count == 1:
        return (0,)
    step = (total_frames - 1) / (count - 1)
    return tuple(round(at * step) for at in range(count))


def frame_size(
    height: int, width: int, count: int, geometry: Geometry, *, tokens: int = VIDEO_TOKENS
) -> tuple[int, int]:
    """Return the (height, width) for each of `count` frames, so that the video costs at most about `tokens`.

    A frame has 128 to 768 tokens, so many frames may cost more than `tokens`. Raises ValueError.
    """
    if count < 1 or tokens < 1:
        raise ValueError(
            f"{count} frames for {tokens} tokens were asked for; each must be at least 1"
        )
    area = geometry.factor**2
    least = FRAME_MIN_TOKENS * area
    most = max(
        min(FRAME_MAX_TOKENS * area, tokens * area / count * FRAME_FACTOR), int(least * 1.05)
    )
    bounds = Geometry(geometry.factor, least, math.ceil(most))
    return smart_resize(height, width, bounds, most)


def video_tokens(height: int, width: int, count: int, geometry: Geometry) -> int:
    """Return the visual tokens of `count` frames; sides are multiples of the factor, an odd last frame counts twice."""
    pairs = math.ceil(count / FRAME_FACTOR)
    return pairs * (height // geometry.factor) * (width // geometry.factor)


def _rate(value: float, what: str) -> float:
    if not (math.isfinite(value) and 0 < value <= 1000):
        raise ValueError(
            f"{what} {value:g} frames a second was given; more than 0 and at most 1000 is allowed"
        )
    return value
