"""The library `openai`, imported when it is first needed: that takes a third of a second."""

from __future__ import annotations

import importlib
import socket
import sys
from typing import TYPE_CHECKING, Any

import httpx2

if TYPE_CHECKING:
    import openai
else:

    class _Library:
        def __getattr__(self, name: str) -> Any:
            return getattr(importlib.import_module("openai"), name)

    openai = _Library()

__all__ = ["is_loaded", "load", "load_for", "openai", "place"]
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def is_loaded() -> bool:
    return "openai" in sys.modules


def load() -> None:
    """Import it. Blocks."""
    importlib.import_module("openai")


def load_for(url: str) -> None:
    """Import it before a start, so that the first probe need not. Blocks.

    Not where nothing listens on this machine, as without a model server.
    """
    if is_loaded():
        return
    host, port = place(url)
    if host in _LOOPBACK:
        try:
            socket.create_connection((host, port), timeout=0.2).close()
        except OSError:
            return
    load()


def place(url: str) -> tuple[str, int]:
    """Return the host and the port of a URL."""
    parsed = httpx2.URL(url)
    return parsed.host, parsed.port or (443 if parsed.scheme == "https" else 80)
