"""The addresses of pictures: those of the live camera, and no other place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.errors import BadRequest, UploadRefused
from server.features.openai_api.request import MOST_FRAMES, PictureChoice, read_url


def test_the_forms() -> None:
    assert read_url("camera://now") == PictureChoice("now")
    assert read_url("camera://held", "high") == PictureChoice("held", "high")
    assert read_url("camera://-30s..now?frames=8") == PictureChoice("past", "auto", 30.0, 8)
    assert read_url("camera://-2m..now") == PictureChoice("past", "auto", 120.0, 4)


@pytest.mark.parametrize(
    "url",
    [
        *("https://example.org/a.jpg", "http://127.0.0.1/a", "file:///etc/passwd", "ftp://x/y"),
        *("data:image/jpeg;base64,/9j/", "DATA:image/png;base64,AA", "", " camera://now", "now"),
        *("//camera://now", "blob:https://x/1", "rtsp://x/1"),
    ],
)
def test_no_other_place_is_looked_at(url: str) -> None:
    """Also none that is another scheme's with a camera in it; the error repeats nothing."""
    with pytest.raises(UploadRefused) as refused:
        read_url(url)
    for part in ("example", "passwd", "9j", "127"):
        assert part not in refused.value.message


@pytest.mark.parametrize(
    "url",
    [
        *("camera://", "camera:now", "camera://later", "camera://now?frames=2", "CAMERA://now"),
        *("camera://-30s..held", "camera://-30..now", "camera://-30h..now", "camera://30s..now"),
        *("camera://-30s..now?frames=", "camera://-30s..now&frames=2", "camera://-30s..now\n"),
        *("camera://-0s..now", "camera://-61m..now", "camera://-30s..now?frames=1"),
        *(f"camera://-30s..now?frames={MOST_FRAMES + 1}", "camera://-٣s..now"),
        "camera://-30s..now?frames=" + "9" * 5000,
    ],
)
def test_other_forms_say_what_is_allowed(url: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read_url(url)
    assert len(refused.value.message) < 300


@given(st.text(max_size=60))
def test_any_text_is_a_look_or_an_error(text: str) -> None:
    for url in (text, f"camera://{text}"):
        try:
            look = read_url(url)
        except (UploadRefused, BadRequest):
            continue
        assert 1 <= look.frames <= MOST_FRAMES
