"""Validate a request to a generating model against fixed bounds and the model's rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

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
# Largest seed that JavaScript numbers and torch's generators both represent
MAX_SEED = 2**32 - 1
# Defaults of omitted fields
_WIDTH, _HEIGHT = 832, 480
_SECONDS, _FPS, _STEPS = 5.0, 16, 50
_VIDEO_GUIDANCE, _SOUND_GUIDANCE = 5.0, 7.0
# Optional features of models: field of the request, name in `Rules.takes`, name in errors
_OPTIONAL = (
    ("negative_prompt", "negative", "negative sentence"),
    ("guidance", "guidance", "guidance"),
    ("steps", "steps", "number of steps"),
)


class _Request(BaseModel):
    """Fields of every request."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
    # Description of the result; not only spaces
    prompt: str = Field(max_length=MAX_TEXT_CHARS, pattern=r"\S")
    # Content to avoid
    negative_prompt: str = Field(default="", max_length=MAX_TEXT_CHARS)
    # Denoising steps
    steps: int = Field(default=_STEPS, ge=1, le=MAX_STEPS)
    # Absent: a random one
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED)


class VideoRequest(_Request):
    """Request for a video.

    Give `frames` or `seconds`; `seconds` times `fps` is rounded to the nearest number of frames that the model makes.
    """

    # Weight of the prompt
    guidance: float = Field(default=_VIDEO_GUIDANCE, ge=0, le=MAX_GUIDANCE)
    # A multiple of the model's `factor`; 1920 × 1088 pixels at most
    width: int = Field(default=_WIDTH, ge=MIN_SIDE, le=MAX_SIDE)
    # As `width`
    height: int = Field(default=_HEIGHT, ge=MIN_SIDE, le=MAX_SIDE)
    # A number of frames that the model makes (Wan: 4k+1), instead of `seconds`
    frames: int = Field(default=0, ge=1, le=MAX_FRAMES)
    # Length, instead of `frames`
    seconds: float = Field(default=_SECONDS, gt=0, le=MAX_SECONDS)
    # Frames a second
    fps: int = Field(default=_FPS, ge=1, le=MAX_FPS)
    # Token of the session whose camera provides the first frame; empty: none
    camera: str = Field(default="", repr=False)


class SoundRequest(_Request):
    """Request for speech or other sound."""

    # Weight of the prompt
    guidance: float = Field(default=_SOUND_GUIDANCE, ge=0, le=MAX_GUIDANCE)
    # Absent: the model decides
    seconds: float | None = Field(default=None, ge=0.1, le=MAX_SECONDS)
    # WAV, or `pcm`: 16 bit, little endian, no header
    format: Literal["wav", "pcm"] = "wav"


R = TypeVar("R", VideoRequest, SoundRequest)


def validate_video_request(given: Mapping[str, Any], rules: Rules) -> VideoRequest:
    """Validate a request, and return it with `frames` and `seconds` set. Raises BadRequest.

    `seconds` * `fps` is rounded to the nearest number of frames that the model makes; a given `frames` has to be one.
    """
    factor, step, most = rules.factor, rules.frame_step, _get_max_frames(rules)
    defaults = {
        "width": _get_default_side(_WIDTH, factor),
        "height": _get_default_side(_HEIGHT, factor),
    }
    request = _validate(VideoRequest, given, rules, **defaults)
    for name, side in (("width", request.width), ("height", request.height)):
        if side % factor:
            raise BadRequest(f"{name} is {side}; the loaded model needs multiples of {factor}.")
    if (pixels := request.width * request.height) > MAX_PIXELS:
        raise BadRequest(
            f"{request.width}x{request.height} are {pixels} pixels; at most {MAX_PIXELS} are allowed. Ask for a smaller video."
        )
    if request.camera and rules.first_frame == "never":
        raise BadRequest(
            "`camera` asks for a first frame, but the loaded model makes videos from text only. "
            "Leave it out, or load a model for image-to-video."
        )
    if not request.camera and rules.first_frame == "must":
        raise BadRequest(
            "The loaded model needs a first frame, and none was given. Send a session's token as `camera` to use the picture of "
            "its camera, or load a model for text-to-video."
        )
    if request.frames and "seconds" in request.model_fields_set:
        raise BadRequest("Both seconds and frames were given. Give one of them.")
    if (request.frames - 1) % step and request.frames:
        raise BadRequest(
            f"frames is {request.frames}, but must be a multiple of {step} plus 1 for this model, such as "
            f"{min(most, rules.find_nearest_frames(request.frames))}."
        )
    frames, fps = request.frames, request.fps
    if not frames:
        # At a high frame rate shorten the default length.
        given_seconds = "seconds" in request.model_fields_set
        wanted = fps * (request.seconds if given_seconds else min(_SECONDS, most / fps))
        if not wanted >= 1 or round(wanted) > MAX_FRAMES:
            raise BadRequest(
                f"{request.seconds:g} s at {fps} frames/s are {wanted:g} frames; allowed are 1 to {most}. "
                f"Ask for {1 / fps:.2g} to {most / fps:.1f} s."
            )
        frames = min(most, rules.find_nearest_frames(wanted))
    return request.model_copy(update={"frames": frames, "seconds": frames / fps})


def validate_sound_request(given: Mapping[str, Any], rules: Rules) -> SoundRequest:
    """Validate a request. Raises BadRequest."""
    request = _validate(SoundRequest, given, rules)
    if request.seconds is not None:
        _require_field("seconds", "length", rules)
    return request


def _validate(kind: type[R], given: Mapping[str, Any], rules: Rules, **defaults: int) -> R:
    """Validate each field of a request. Raises BadRequest, whose text repeats no value of the request."""
    try:
        request = kind.model_validate(
            defaults | {name: value for name, value in given.items() if value is not None}
        )
    except ValidationError as exc:
        problem = exc.errors(include_input=False, include_url=False, include_context=False)[0]
        name = ascii(str(problem["loc"][0])[:24])[1:-1]
        raise BadRequest(f"{name}: {problem['msg']}.") from None
    for name, field, what in _OPTIONAL:
        if name in request.model_fields_set and getattr(request, name) != "":
            _require_field(field, what, rules)
    return request


def _require_field(field: str, what: str, rules: Rules) -> None:
    if field not in rules.takes:
        raise BadRequest(f"The loaded model takes no {what}. Leave it out.")


def request_limits(rules: Rules) -> dict[str, Any]:
    """Return the bounds and defaults of this model for the page's form."""
    factor, video = rules.factor, rules.output == "video"
    return {
        "fields": list(rules.takes),
        "first_frame": rules.first_frame,
        "factor": factor,
        "frame_step": rules.frame_step,
        "min_side": _get_min_side(factor),
        "max_side": _get_max_side(factor),
        "max_pixels": MAX_PIXELS,
        "max_frames": _get_max_frames(rules),
        "max_fps": MAX_FPS,
        "max_seconds": MAX_SECONDS,
        "max_steps": MAX_STEPS,
        "max_guidance": MAX_GUIDANCE,
        "max_text": MAX_TEXT_CHARS,
        "sample_rate": rules.sample_rate,
        "defaults": {
            "width": _get_default_side(_WIDTH, factor),
            "height": _get_default_side(_HEIGHT, factor),
            "seconds": _SECONDS if video else None,
            "fps": _FPS,
            "steps": _STEPS,
            "guidance": _VIDEO_GUIDANCE if video else _SOUND_GUIDANCE,
        },
    }


def _get_max_frames(rules: Rules) -> int:
    return (MAX_FRAMES - 1) // rules.frame_step * rules.frame_step + 1


def _get_min_side(factor: int) -> int:
    return -(-MIN_SIDE // factor) * factor


def _get_max_side(factor: int) -> int:
    return MAX_SIDE // factor * factor


def _get_default_side(usual: int, factor: int) -> int:
    """Return the allowed multiple of `factor` nearest to a default side, in pixels."""
    return min(_get_max_side(factor), max(_get_min_side(factor), round(usual / factor) * factor))
