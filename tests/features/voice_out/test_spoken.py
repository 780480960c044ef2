"""Words for a voice: what of an answer is read out, and what is not."""

from __future__ import annotations

import pytest

from server.features.voice_out.sentences import spoken


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Press `Save as` or `a == b`.", "Press Save as or."),
        ("![a cat](cat.png) sleeps", "a cat sleeps"),
        ("5 * 3 = 15, 20 °C", "5 3 = 15, 20 °C"),
        ("key sk-" + "a1" * 40, "key"),
        ("<b>bold</b> 3 < 5", "bold 3 < 5"),
        ("** --- 🙂", ""),
    ],
)
def test_words_for_a_voice(text: str, said: str) -> None:
    assert spoken(text) == said
