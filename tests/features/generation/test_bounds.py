"""The bounds on requests to models that make videos or sound, one step inside and outside each."""

from __future__ import annotations

import re
from typing import Any

import pytest

from server.core.errors import BadRequest
from server.features.generation.bounds import (
    MAX_FRAMES,
    MAX_PIXELS,
    request_limits,
    validate_sound_request,
    validate_video_request,
)
from server.features.generation.rules import Rules

WAN = Rules("video", 16, 4, "never", ("negative", "guidance", "steps"))
FROM_PICTURE = Rules("video", 16, 4, "must", ("negative", "guidance", "steps"))
PLAIN = Rules("video", 32, 8, "may")
SPEECH = Rules("sound")
MUSIC = Rules("sound", takes=("negative", "guidance", "steps", "seconds"), sample_rate=44_100)


def refusal(given: dict[str, Any], rules: Rules = WAN) -> str:
    """Return the message of the refusal, which is a sentence with a full stop."""
    make = validate_video_request if rules.output == "video" else validate_sound_request
    with pytest.raises(BadRequest) as caught:
        make({"prompt": "a red ball", **given}, rules)
    assert re.fullmatch(r".+\.", caught.value.message)
    return caught.value.message


def test_many_frames_a_second_are_fewer_seconds_where_nobody_said_how_many() -> None:
    """Only what was asked for is refused; too little is distinguished from too much."""
    assert validate_video_request({"prompt": "x", "fps": 60}, WAN).frames == MAX_FRAMES
    assert "4.3 s" in refusal({"fps": 60, "seconds": 5})
    assert "0.062 to" in refusal({"seconds": 0.01})


@pytest.mark.parametrize("rules", [WAN, PLAIN, Rules("video", 28, 3), MUSIC, SPEECH])
def test_a_form_is_told_what_is_taken_for_what_is_left_out(rules: Rules) -> None:
    """The bounds and the values are those that a request is checked by."""
    told = request_limits(rules)
    usual = told["defaults"]
    if rules.output == "sound":
        asked = validate_sound_request({"prompt": "x"}, rules)
        assert (asked.seconds, asked.guidance, asked.steps) == (
            *(usual["seconds"], usual["guidance"], usual["steps"]),
        )
        return
    video = validate_video_request({"prompt": "x"}, rules)
    assert (video.width, video.height, video.fps) == (
        *(usual["width"], usual["height"], usual["fps"]),
    )
    assert (video.guidance, video.steps) == (usual["guidance"], usual["steps"])
    assert video.frames == rules.find_nearest_frames(usual["seconds"] * usual["fps"])
    for side in (told["min_side"], told["max_side"]):
        validate_video_request({"prompt": "x", "width": side, "height": told["min_side"]}, rules)
    assert "width" in refusal({"width": told["min_side"] - 1}, rules)
    assert "frames" in refusal({"frames": told["max_frames"] + 1}, rules)


def test_a_count_of_frames_has_to_be_one_that_the_model_makes() -> None:
    """The error names the one next to it."""
    assert validate_video_request({"prompt": "x", "frames": 77}, WAN).frames == 77
    said = refusal({"frames": 80})
    assert "80" in said
    assert "a multiple of 4 plus 1 for this model, such as 81" in said
    assert "one of them" in refusal({"frames": 81, "seconds": 5})


@pytest.mark.parametrize(
    ("field", "good", "bad", "words"),
    [
        ("width", 1920, 1936, "1920"),
        ("height", 32, 16, "32"),
        ("fps", 60, 61, "60"),
        ("fps", 1, 0, "equal to 1"),
        ("steps", 100, 101, "100"),
        ("steps", 1, 0, "equal to 1"),
        ("guidance", 20, 20.1, "20"),
        ("guidance", 0, -0.1, "equal to 0"),
        ("seed", 2**32 - 1, 2**32, "4294967295"),
        ("seed", 0, -1, "equal to 0"),
        ("frames", MAX_FRAMES, MAX_FRAMES + 4, str(MAX_FRAMES)),
        ("seconds", 16, 16.1, f"1 to {MAX_FRAMES}"),
        ("seconds", 0.0625, 0.01, f"1 to {MAX_FRAMES}"),
    ],
)
def test_each_bound_one_step_inside_and_outside(
    field: str, good: float, bad: float, words: str
) -> None:
    """The error names the field and its bound."""
    small = {"width": 64, "height": 64, field: good}
    validate_video_request(
        {"prompt": "x", **({"seconds": 2} if field == "fps" else {}), **small}, WAN
    )
    said = refusal({**small, field: bad})
    assert words in said
    assert field in said or f"{bad:g} s" in said


def test_pixels_are_bounded_together() -> None:
    """Two sides that are each allowed may be too much together."""
    validate_video_request({"prompt": "x", "width": 1920, "height": 1088}, WAN)
    assert str(MAX_PIXELS) in refusal({"width": 1920, "height": 1104})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"prompt": ""}, "prompt: "),
        ({"prompt": "  "}, "prompt: "),
        ({"prompt": 5}, "prompt: "),
        ({"prompt": "x" * 2001}, "at most 2000 characters"),
        ({"prompt": "half \ud83d"}, "prompt: "),
        ({"negative_prompt": "x" * 2001}, "at most 2000 characters"),
        ({"sound": True}, "sound: Extra inputs"),
    ],
)
def test_texts_and_unknown_fields(given: dict[str, Any], words: str) -> None:
    """An error says how long a text was, and never repeats it."""
    said = refusal(given)
    assert words in said
    assert "xxx" not in said
    assert validate_video_request({"prompt": "x" * 2000}, WAN).prompt


def test_a_first_frame_goes_with_the_model() -> None:
    """A model for words takes none, one for pictures needs one, one for both takes both."""
    assert "Leave it out" in refusal({"camera": "token"})
    assert "as `camera`" in refusal({}, FROM_PICTURE)
    assert validate_video_request({"prompt": "x", "camera": "token"}, FROM_PICTURE).camera
    assert not validate_video_request({"prompt": "x"}, PLAIN).camera
    assert validate_video_request({"prompt": "x", "camera": "token"}, PLAIN).camera


def test_what_a_model_does_not_take_is_refused_and_not_dropped() -> None:
    """Fields that would count for nothing get an error; those left out do not."""
    assert "takes no negative sentence" in refusal({"negative_prompt": "blue"}, PLAIN)
    assert "takes no guidance" in refusal({"guidance": 3}, PLAIN)
    assert "takes no length" in refusal({"seconds": 3}, SPEECH)
    assert validate_sound_request({"prompt": "hello"}, SPEECH).seconds is None


def test_sound_has_bounds_of_its_own() -> None:
    """Its length, and the form that it is handed over in."""
    asked = validate_sound_request(
        {"prompt": "rain", "seconds": 60, "format": "pcm", "seed": 1}, MUSIC
    )
    assert (asked.seconds, asked.format, asked.seed) == (60.0, "pcm", 1)
    assert "equal to 60" in refusal({"seconds": 60.1}, MUSIC)
    assert "'wav' or 'pcm'" in refusal({"format": "mp3"}, MUSIC)
    assert "fps: Extra inputs" in refusal({"fps": 16}, MUSIC)
