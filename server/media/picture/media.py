"""The number of frames of a video for a Qwen vision model.

Published with Qwen2-VL and its successors: qwen-vl-utils 0.0.14, `vision_process.py` (`smart_nframes`).
Frames are used in pairs, because the model's patches are two frames deep.
"""

from __future__ import annotations

import math

from server.core.frames import FRAME_FACTOR

MIN_FRAMES = 4
MAX_FRAMES = 768
# Frames a second
DEFAULT_FPS = 2.0


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


def _rate(value: float, what: str) -> float:
    if not (math.isfinite(value) and 0 < value <= 1000):
        raise ValueError(
            f"{what} {value:g} frames a second was given; more than 0 and at most 1000 is allowed"
        )
    return value
