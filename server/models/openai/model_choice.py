"""Choose among the models that a server lists: one that takes pictures, loaded ones first. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

# Names of kinds that take pictures, and of those that answer no questions at all; other names say
# nothing.
_SEES = re.compile(
    r"(?<![a-z])(vl|vlm|vision|omni|multimodal|llava|bakllava|pixtral|internvl|minicpm-?[vo]|moondream|smolvlm|idefics"
    r"|paligemma|gemma-?3n|molmo|ovis|cogvlm|florence|kimi-vl|llama-?4|gpt-4o|gpt-4\.1|gpt-5|claude|gemini)(?![a-z])"
    r"|qwen[\d.]*-?vl|gemma-?3[-:](4|12|27)b|gemma-?4|mistral-small-?3\.[12]|glm-4(\.\d)?v|deepseek-vl",
    re.I,
)
_NO_CHAT = re.compile(
    r"embed|rerank|(?<![a-z])(bge|gte|e5|minilm|whisper|tts|asr|guard|clip|siglip)(?![a-z])", re.I
)
_PICTURES = frozenset(("image", "images", "vision", "multimodal"))


@dataclass(frozen=True, slots=True)
class Listed:
    """A model of a server's list.

    `sees`: None when unknown. `why`: the source of `sees`, the end of a sentence. `loaded`: None when
    the server does not say.
    """

    name: str
    sees: bool | None = None
    why: str = ""
    loaded: bool | None = None


def listed(data: Mapping[str, Any], cards: Iterable[Mapping[str, Any]]) -> list[Listed]:
    """Read a list of models, and the abilities that it or the name states.

    `cards`: the valid entries of its `data`.
    """
    # llama.cpp has a second list beside it, by file names.
    others = data.get("models")
    details = {
        str(one.get("name")): one
        for one in (others if isinstance(others, list) else [])
        if isinstance(one, dict)
    }
    found = []
    for card in cards:
        name = str(card["id"])
        sees = _takes_pictures(card)
        if sees is None and name in details:
            sees = _takes_pictures(details[name])
        found.append(_known(name, sees, _loaded(card)))
    return found


def _known(name: str, sees: bool | None, loaded: bool | None) -> Listed:
    if sees is not None:
        return Listed(name, sees, "its server says so", loaded)
    if _NO_CHAT.search(name):
        return Listed(name, False, "by its name", loaded)
    if _SEES.search(name.rpartition("/")[2]):
        return Listed(name, True, "by its name", loaded)
    return Listed(name, loaded=loaded)


def takes_sound(card: Mapping[str, Any]) -> bool:
    """Find whether a card says that the model takes sound. Nothing said means no."""
    return any(
        "audio" in {name.lower() for name in names if isinstance(name, str)}
        for names in _inputs_named(card)
    )


def _inputs_named(card: Mapping[str, Any]) -> list[list[object]]:
    """Return the lists of a card that name what a model takes; not what it gives."""
    found = [card.get("input_modalities")]
    for part in ("architecture", "modalities"):
        inner = card.get(part)
        if isinstance(inner, dict):
            found += [inner.get("input_modalities"), inner.get("input")]
    capabilities = card.get("capabilities")
    if isinstance(capabilities, dict):
        found.append([name for name in ("audio",) if capabilities.get(name) is True])
    else:
        found.append(capabilities)
    return [one for one in found if isinstance(one, list)]


def _takes_pictures(card: Mapping[str, Any]) -> bool | None:
    """Find whether a card says that the model takes pictures; None when it says nothing."""
    capabilities = card.get("capabilities")
    if isinstance(capabilities, dict) and isinstance(capabilities.get("vision"), bool):
        return bool(capabilities["vision"])
    if isinstance(capabilities, list) and capabilities:
        return _names_pictures(capabilities)
    for part in ("architecture", "modalities"):
        inner = card.get(part)
        if isinstance(inner, dict):
            for key in ("input_modalities", "input"):
                if isinstance(inner.get(key), list):
                    return _names_pictures(inner[key])
    if isinstance(card.get("input_modalities"), list):
        return _names_pictures(card["input_modalities"])
    kind = card.get("type")
    # LM Studio
    return {"vlm": True, "llm": False, "embeddings": False, "embedding": False}.get(str(kind))


def _names_pictures(names: Iterable[object]) -> bool:
    return any(isinstance(name, str) and name.lower() in _PICTURES for name in names)


def _loaded(card: Mapping[str, Any]) -> bool | None:
    state = card.get("state")
    status = card.get("status")
    if isinstance(status, dict):
        # llama.cpp with several models
        state = status.get("value")
    if isinstance(card.get("loaded_instances"), list):
        return bool(card["loaded_instances"])
    return state == "loaded" if isinstance(state, str) else None


def of_lm_studio(data: Mapping[str, Any], before: list[Listed]) -> list[Listed]:
    """Add the details of LM Studio's own list (/api/v0/models)."""
    cards = data.get("data")
    details = {
        one["id"]: one
        for one in (cards if isinstance(cards, list) else [])
        if isinstance(one, dict) and isinstance(one.get("id"), str)
    }
    return [
        (
            _known(one.name, _takes_pictures(details[one.name]), _loaded(details[one.name]))
            if one.name in details
            else one
        )
        for one in before
    ]


def of_ollama(
    shown: Mapping[str, Mapping[str, Any]], running: Mapping[str, Any], before: list[Listed]
) -> list[Listed]:
    """Add Ollama's details of each model (/api/show), and the loaded ones (/api/ps)."""
    models = running.get("models")
    loaded = {
        one.get("name")
        for one in (models if isinstance(models, list) else [])
        if isinstance(one, dict)
    }
    found = []
    for one in before:
        sees = _takes_pictures(shown[one.name]) if one.name in shown else None
        known = _known(one.name, sees, one.name in loaded)
        found.append(known if sees is not None else replace(one, loaded=one.name in loaded))
    return found


def to_ask(models: list[Listed]) -> list[str]:
    """List the models to show a picture, best first; none where one is known to take them."""
    if any(one.sees for one in models):
        return []
    unknown = [one for one in models if one.sees is None]
    return [one.name for one in sorted(unknown, key=lambda one: not one.loaded)]


def choose(models: list[Listed], current: str) -> Listed | None:
    """Choose a model that takes pictures, else an unknown one; loaded ones first, then the current
    one. None: there is none.
    """
    able = [one for one in models if one.sees is not False]
    # Stable: the server's own order decides between equals.
    able.sort(key=lambda one: (not one.sees, not one.loaded, one.name != current))
    return able[0] if able else None


def words(one: Listed, count: int) -> str:
    """Give the reason of the choice, for operators."""
    sees = {True: "takes pictures", False: "takes no pictures", None: "may take pictures"}[one.sees]
    known = f" ({one.why})" if one.why else ""
    loaded = ", is loaded" if one.loaded else ""
    among = f"one of {count} listed" if count > 1 else "the only one listed"
    return f"{among}; {sees}{known}{loaded}"
