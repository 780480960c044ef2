"""The wire messages of the core and of all features."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from types import ModuleType

from server.app.features import installed
from server.core import messages


def message_modules() -> list[ModuleType]:
    """The modules with messages; afterwards the base classes know all as their subclasses."""
    names = [f"server.features.{name}.messages" for name in installed()]
    return [messages, *(importlib.import_module(name) for name in names if find_spec(name))]
