"""The features: each a package of `server/features/`, which stands for itself and can be left out."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from types import ModuleType

from server.app.api import Api
from server.core.feature_settings import FeatureSettings

log = logging.getLogger(__name__)

# In the order in which they start; each may use those above it.
FEATURES = {
    "rtsp": "fixed cameras, which need no browser: RTSP, JPEGs over HTTP, devices",
    "webhooks": "alerts to other programs, signed and tried again",
    "mqtt": "cameras as devices of Home Assistant and others",
    "generation": "videos and sound from words",
}
# On where FEATURES names them
EXAMPLES = {"sample": "the feature that a new one is copied from"}


def installed() -> tuple[str, ...]:
    """The features whose packages are there."""
    return tuple(name for name in FEATURES if find_spec(f"server.features.{name}"))


def wanted(setting: str) -> tuple[str, ...]:
    """Read the setting FEATURES: names with commas between, or all.

    Raises ValueError for a name that is not known.
    """
    if setting.strip().lower() == "all":
        return installed()
    names = {name.strip().lower() for name in setting.split(",")} - {""}
    known = {*installed(), *EXAMPLES}
    if unknown := sorted(names - known):
        raise ValueError(
            f"FEATURES has {unknown[0][:40]}. Allowed: all, or a comma-separated list of"
            f" {', '.join(sorted(known - set(EXAMPLES)))}."
        )
    return tuple(name for name in (*FEATURES, *EXAMPLES) if name in names)


def settings_of(names: Iterable[str]) -> list[type[FeatureSettings]]:
    """Return the settings that these features bring."""
    found = []
    for name in names:
        if find_spec(f"server.features.{name}.settings"):
            module = importlib.import_module(f"server.features.{name}.settings")
            found.append(module.SETTINGS)
    return found


def register(names: Sequence[str], api: Api) -> tuple[str, ...]:
    """Have each feature add itself. Returns those that did: one whose package is missing is left out."""
    on = []
    for name in names:
        try:
            _module(name).register(api)
        except ModuleNotFoundError as error:
            missing = error.name or "server"
            if missing.partition(".")[0] == "server":
                raise
            log.warning(
                "a feature is off: a package that it needs is not installed",
                extra={"task": name, "reason": missing},
            )
        else:
            on.append(name)
    return tuple(on)


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"server.features.{name}")
