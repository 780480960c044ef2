"""The rate of a voice's sound, as its server's Content-Type has it."""

from __future__ import annotations

import pytest

from server.core.sound import NotPcm
from server.features.voice_out.voices import parse_rate


@pytest.mark.parametrize(
    ("kind", "rate"),
    [
        ("audio/pcm", 24_000),
        ("audio/pcm;rate=22050", 22_050),
        ('Audio/L16; rate="16000"; channels=1', 16_000),
        ("audio/wav", 24_000),
        ("application/octet-stream", 24_000),
        ("", 24_000),
    ],
)
def test_the_rate_of_a_content_type(kind: str, rate: int) -> None:
    assert parse_rate(kind) == rate


@pytest.mark.parametrize(
    "kind", ["audio/mpeg", "text/html", "application/json", "audio/pcm;rate=4000"]
)
def test_a_content_type_that_is_no_pcm(kind: str) -> None:
    with pytest.raises(NotPcm):
        parse_rate(kind)


@pytest.mark.parametrize(
    "kind",
    ["text/\x1b[31mred", "audio/mp\r\nx", "audio/" + "m" * 500, "audio/mp\xe9g", "\u202emp3"],
)
def test_a_content_type_that_is_none_is_not_repeated(kind: str) -> None:
    """The sentence goes into the log: nothing that a server made up does."""
    with pytest.raises(NotPcm) as raised:
        parse_rate(kind)
    assert str(raised.value) == "sends another sound format instead of the requested PCM"
