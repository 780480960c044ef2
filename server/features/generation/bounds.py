"""Check a request to a generating model: every value against fixed bounds and the model's own
rules.

Each error says what was given and what is allowed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server.core.errors import BadRequest
from server.features.generation.rules import Rules

MAX_TEXT_CHARS = 2000
MIN_SIDE = 32
MAX_SIDE = 1920
MAX_PIXELS = 1920 * 1088
MAX_FRAMES = 257
MAX_FPS = 60
MAX_SECONDS = 60.0
MAX_STEPS = 100
MAX_GUIDANCE = 20.0
# The largest that a page's numbers and torch's generators agree about.
MAX_SEED = 2**32 - 1
# The defaults of fields that are left out
_WIDTH, _HEIGHT = 832, 480
_SECONDS, _FPS, _STEPS = 5.0, 16, 50
_VIDEO_GUIDANCE, _SOUND_GUIDANCE = 5.0, 7.0
_VIDEO = (
    *("prompt", "negative_prompt", "width", "height", "seconds", "fps", "frames"),
    *("guidance", "steps", "seed", "camera"),
)
_SOUND = ("prompt", "negative_prompt", "seconds", "guidance", "steps", "seed", "format")


# What a model may not take: a request's field, its word in `Rules.takes`, and its name in errors
_OPTIONAL = (
    ("negative_prompt", "negative", "negative sentence"),
    ("guidance", "guidance", "guidance"),
    ("steps", "steps", "number of steps"),
)


@dataclass(frozen=True, slots=True)
class _Request:
    """The fields of every request."""

    # What to make, 1 to 2000 characters; required
    prompt: str
    # Things to leave out, 2000 characters at most
    negative_prompt: str
    # 0 to 20; 5 for a video, 7 for sound
    guidance: float
    # 1 to 100; 50
    steps: int
    # 0 to 4294967295; without it one is drawn.
    seed: int | None


@dataclass(frozen=True, slots=True)
class VideoRequest(_Request):
    """The request for a video.

    `seconds`, 5 of them, to 60, may stand in place of `frames`: with `fps` they are rounded to the
    nearest count that the model makes.
    """

    # 32 to 1920, a multiple of the model's `factor`, 1920 × 1088 pixels at most; 832
    width: int
    # As `width`; 480
    height: int
    # 1 to 257, a count that the model makes (Wan: 4k+1), in place of `seconds`
    frames: int
    # Frames a second, 1 to 60; 16
    fps: int
    # It begins with a picture of a camera: in a request the token of that camera's session.
    camera: bool

    @property
    def seconds(self) -> float:
        return self.frames / self.fps


@dataclass(frozen=True, slots=True)
class SoundRequest(_Request):
    """The request for speech, or sound of another kind."""

    # 0.1 to 60; without it the model decides.
    seconds: float | None
    # `wav` (as without it), or `pcm`: 16 bit, little endian, no header
    format: str


def video_request(given: Mapping[str, Any], rules: Rules) -> VideoRequest:
    """Check a client's request.

    `seconds` * `fps` is taken to the nearest count that the model makes; `frames` instead of
    `seconds` has to be such a count. Raises BadRequest.
    """
    _only(given, _VIDEO, "A video")
    factor = rules.factor
    width, height = (
        _side(given, name, default, factor)
        for name, default in (("width", _WIDTH), ("height", _HEIGHT))
    )
    if width * height > MAX_PIXELS:
        raise BadRequest(
            f"{width}x{height} are {width * height} pixels; at most {MAX_PIXELS} are allowed. Ask for a smaller video."
        )
    fps = _whole(given, "fps", _FPS, 1, MAX_FPS)
    camera = given.get("camera") is not None
    if camera and rules.first_frame == "never":
        raise BadRequest(
            "`camera` names a first frame, and the loaded model begins with words alone. "
            "Leave it out, or load a model for image-to-video."
        )
    if not camera and rules.first_frame == "must":
        raise BadRequest(
            "The model that is loaded begins with a picture, and none was given. Send `camera` with a session's token "
            "to begin with what its camera shows, or load a model for text-to-video."
        )
    return VideoRequest(
        **_common(given, _VIDEO_GUIDANCE, rules),
        width=width,
        height=height,
        frames=_frames(given, fps, rules),
        fps=fps,
        camera=camera,
    )


def sound_request(given: Mapping[str, Any], rules: Rules) -> SoundRequest:
    """Check a client's request. Raises BadRequest."""
    _only(given, _SOUND, "Speech or sound")
    seconds = None
    if given.get("seconds") is not None:
        _taken("seconds", "length", rules)
        seconds = _number(given, "seconds", 0.0, 0.1, MAX_SECONDS)
    form = given.get("format", "wav")
    if form not in ("wav", "pcm"):
        raise BadRequest(
            f"format is {_shown(form)}; allowed are wav and pcm (16 bit, little endian)."
        )
    return SoundRequest(**_common(given, _SOUND_GUIDANCE, rules), seconds=seconds, format=form)


def _common(given: Mapping[str, Any], guidance: float, rules: Rules) -> dict[str, Any]:
    """Check the fields of every request; `guidance` is the one of a request without."""
    prompt, negative = _text(given, "prompt", needed=True), _text(given, "negative_prompt")
    for name, field, what in _OPTIONAL:
        if given.get(name) not in (None, ""):
            _taken(field, what, rules)
    return {
        "prompt": prompt,
        "negative_prompt": negative,
        "guidance": _number(given, "guidance", guidance, 0.0, MAX_GUIDANCE),
        "steps": _whole(given, "steps", _STEPS, 1, MAX_STEPS),
        "seed": None if given.get("seed") is None else _whole(given, "seed", 0, 0, MAX_SEED),
    }


def limits(rules: Rules) -> dict[str, Any]:
    """The bounds for this model and what it takes for what is left out, for a page's form."""
    factor, video = rules.factor, rules.output == "video"
    return {
        "fields": list(rules.takes),
        "first_frame": rules.first_frame,
        "factor": factor,
        "frame_step": rules.frame_step,
        "min_side": _least_side(factor),
        "max_side": _most_side(factor),
        "max_pixels": MAX_PIXELS,
        "max_frames": _most_frames(rules),
        "max_fps": MAX_FPS,
        "max_seconds": MAX_SECONDS,
        "max_steps": MAX_STEPS,
        "max_guidance": MAX_GUIDANCE,
        "max_text": MAX_TEXT_CHARS,
        "sample_rate": rules.sample_rate,
        "defaults": {
            "width": _usual_side(_WIDTH, factor),
            "height": _usual_side(_HEIGHT, factor),
            "seconds": _SECONDS if video else None,
            "fps": _FPS,
            "steps": _STEPS,
            "guidance": _VIDEO_GUIDANCE if video else _SOUND_GUIDANCE,
        },
    }


def _frames(given: Mapping[str, Any], fps: int, rules: Rules) -> int:
    step, most = rules.frame_step, _most_frames(rules)
    if given.get("frames") is not None:
        if given.get("seconds") is not None:
            raise BadRequest(
                "Both seconds and frames were given; allowed is one of them (seconds * fps are the frames)."
            )
        frames = _whole(given, "frames", most, 1, most)
        if (frames - 1) % step:
            below = (frames - 1) // step * step + 1
            raise BadRequest(
                f"frames is {frames}; the model that is loaded makes {step}k+1 of them, such as {below} or "
                f"{min(most, below + step)}."
            )
        return frames
    # With many frames a second fewer seconds, where the client gave none.
    seconds = _number(given, "seconds", min(_SECONDS, most / fps), 0.0, MAX_SECONDS)
    if round(seconds * fps) > MAX_FRAMES or seconds * fps < 1:
        instead = (
            f"{most / fps:.1f} s at most, or for fewer frames a second"
            if seconds * fps > 1
            else f"{1 / fps:.2g} s at least"
        )
        raise BadRequest(
            f"{seconds:g} s at {fps} frames/s are {seconds * fps:g} frames; allowed are 1 to {most}. Ask for {instead}."
        )
    return min(most, rules.nearest_frames(seconds * fps))


def _most_frames(rules: Rules) -> int:
    return (MAX_FRAMES - 1) // rules.frame_step * rules.frame_step + 1


def _only(given: Mapping[str, Any], allowed: tuple[str, ...], what: str) -> None:
    for name in given:
        if name not in allowed:
            raise BadRequest(f"{what} has no field {_shown(name)}. Allowed: {', '.join(allowed)}.")


def _text(given: Mapping[str, Any], name: str, *, needed: bool = False) -> str:
    text = given.get(name)
    if text is None and not needed:
        return ""
    if not isinstance(text, str):
        raise BadRequest(f"{name} is {_shown(text)}; allowed is text of up to {MAX_TEXT_CHARS} characters.")  # fmt: skip
    if needed and not text.strip():
        raise BadRequest(f"{name} is empty; say in a sentence what is to be made.")
    if len(text) > MAX_TEXT_CHARS:
        raise BadRequest(
            f"{name} has {len(text)} characters; at most {MAX_TEXT_CHARS} are allowed. Say it in fewer words."
        )
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadRequest(f"{name} holds half a character (a lone surrogate). Send whole ones.") from None  # fmt: skip
    return text


def _taken(field: str, what: str, rules: Rules) -> None:
    if field not in rules.takes:
        raise BadRequest(f"The model that is loaded takes no {what}. Leave it out.")


def _side(given: Mapping[str, Any], name: str, default: int, factor: int) -> int:
    least, most = _least_side(factor), _most_side(factor)
    side = _whole(given, name, _usual_side(default, factor), least, most)
    if side % factor:
        below = max(least, side // factor * factor)
        raise BadRequest(
            f"{name} is {side}; the model that is loaded needs multiples of {factor}, such as {below} or "
            f"{min(most, below + factor)}."
        )
    return side


def _least_side(factor: int) -> int:
    return -(-MIN_SIDE // factor) * factor


def _most_side(factor: int) -> int:
    return MAX_SIDE // factor * factor


def _usual_side(usual: int, factor: int) -> int:
    """The multiple of `factor` next to it."""
    return min(_most_side(factor), max(_least_side(factor), round(usual / factor) * factor))


def _whole(given: Mapping[str, Any], name: str, default: int, least: int, most: int) -> int:
    value = given.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadRequest(
            f"{name} is {_shown(value)}; allowed are whole numbers from {least} to {most}."
        )
    return value


def _number(
    given: Mapping[str, Any], name: str, default: float, least: float, most: float
) -> float:
    value = given.get(name)
    if value is None:
        return default
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not least <= value <= most:
        raise BadRequest(
            f"{name} is {_shown(value)}; allowed are numbers from {least:g} to {most:g}."
        )
    return float(value)


def _shown(value: object) -> str:
    """A value as an error may repeat it: numbers and short words; of anything else, its kind."""
    if isinstance(value, bool | int | float):
        text = "true" if value is True else "false" if value is False else str(value)
        return text if len(text) <= 24 else "a number of many digits"
    if isinstance(value, str) and len(value) <= 24 and value.isprintable():
        return f'"{value}"'
    kinds = {str: "a text", list: "a list", dict: "an object", type(None): "not there"}
    return kinds.get(type(value), "something else")
