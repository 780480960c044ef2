"""The list of features, each an optional package of `server/features/`."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from importlib.util import find_spec

from server.core.settings import FeatureSettings

# In the order in which they start; each feature may use the features above it. The first ready engine answers.
FEATURES = {
    "cluster": "several processes and machines that share limits and hand sessions over",
    "pairing": "phones that get in by a QR code on the terminal, and again without a code",
    "cameras": "other devices as cameras: WHIP, and further cameras that join a session",
    "relays": "the check of the TURN relays, for operators",
    "hosting": "models that an operator chooses and runs on this machine, or elsewhere",
    "local_models": "models that this server loads itself, with torch",
    "builtin": "the engine that answers without a model: things, text, codes, colours, faces, changes",
    "prefill": "pictures that the model has before their question, and again while nothing changes",
    "watches": "conditions to watch for, and alerts when they hold",
    "describe": "the running description of what changes",
    "recall": "the recent past: pictures of some minutes, and questions about them",
    "guidance": "hints how to move the camera",
    "pointing": "where something is: boxes, and a second look",
    "reading": "a text that is read over several pictures",
    "voice_out": "spoken answers: voices of speech servers and local models",
    "voice_in": "the microphone and spoken questions: turns, recognisers, barge-in",
    "rtsp": "fixed cameras, which need no browser: RTSP, JPEGs over HTTP, devices",
    "grants": "access that people give to other programs: MCP, looks, watches",
    "openai_api": "OpenAI's chat interface on the live camera",
    "realtime": "OpenAI's Realtime protocol on the live camera",
    "webhooks": "alerts to other programs, signed and tried again",
    "mqtt": "cameras as devices of Home Assistant and others",
    "push": "alerts to a visitor's own device, also while it is locked",
    "generation": "videos and sound from words",
}
# Enabled only if FEATURES names them
EXAMPLES = {"sample": "the feature that a new one is copied from"}


def list_installed_features() -> tuple[str, ...]:
    """Return the features whose packages are installed."""
    return tuple(name for name in FEATURES if find_spec(f"server.features.{name}"))


def parse_features(setting: str) -> tuple[str, ...]:
    """Parse the setting FEATURES, a comma-separated list; `all`: all features except the examples.

    Raises ValueError for an unknown name.
    """
    names = {name.strip().lower() for name in setting.split(",")} - {""}
    if "all" in names:
        names = names - {"all"} | set(list_installed_features())
    known = {*list_installed_features(), *EXAMPLES}
    if unknown := sorted(names - known):
        raise ValueError(
            f"FEATURES has {unknown[0][:40]}. Allowed: all, or a comma-separated list of"
            f" {', '.join(sorted(known - set(EXAMPLES)))}."
        )
    return tuple(name for name in (*FEATURES, *EXAMPLES) if name in names)


def get_settings_classes(names: Iterable[str]) -> list[type[FeatureSettings]]:
    """Return the settings classes of these features."""
    found = []
    for name in names:
        if find_spec(f"server.features.{name}.settings"):
            module = importlib.import_module(f"server.features.{name}.settings")
            found.append(module.SETTINGS)
    return found
