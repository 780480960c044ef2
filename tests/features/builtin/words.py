"""The tests' questions, answers and conditions in each language, from `words.toml` and `answers.toml`."""

import tomllib
from pathlib import Path
from typing import Any


def _read(name: str) -> dict[str, dict[str, Any]]:
    return tomllib.loads(Path(__file__).with_name(name).read_text("utf-8"))


WORDS, ANSWERS = _read("words.toml"), _read("answers.toml")
