"""The library `openai`, imported when one of its names is first used: that takes a third of a second."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import openai
else:

    class _Library:
        def __getattr__(self, name: str) -> Any:
            return getattr(importlib.import_module("openai"), name)

    openai = _Library()

__all__ = ["is_loaded", "load", "openai"]


def is_loaded() -> bool:
    return "openai" in sys.modules


def load() -> None:
    """Import it. Blocks."""
    importlib.import_module("openai")
