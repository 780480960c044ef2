"""The tests' questions and conditions in each language."""

import tomllib
from pathlib import Path
from typing import Any


def _read(name: str) -> dict[str, dict[str, Any]]:
    return tomllib.loads(Path(__file__).with_name(name).read_text("utf-8"))


WORDS = _read("words.toml")
