"""Read a model server's answers about itself: its models, which of them takes pictures, its context length, and
whether it speaks. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import httpx2

from server.core.addresses import parse_address
from server.core.setting_text import server_address
from server.models import families
from server.models.files import object_in

_LONGEST_NAME = 1024
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

    def seeing(self, sees: bool | None) -> Listed:
        """Return it with its server's own word, unless that is None."""
        return self if sees is None else replace(self, sees=sees, why="its server says so")


@dataclass(frozen=True, slots=True)
class Told:
    """The things that a server tells of a model beside its list.

    `by`: the path that was asked; "" for none. `kind`: its architecture or its file, for its family. `slots`: answers
    at a time. `calls`: it calls tools.
    """

    by: str = ""
    sees: bool | None = None
    hears: bool = False
    thinks: bool = False
    kind: str = ""
    context: int | None = None
    slots: int | None = None
    calls: bool | None = None

    @property
    def words(self) -> str:
        """The same for operators; "" for nothing."""
        found = [
            {True: "takes pictures", False: "takes no pictures", None: ""}[self.sees],
            "hears" if self.hears else "",
            "has a switch for thinking" if self.thinks else "",
            f"a context of {self.context:,} tokens" if self.context else "",
            f"{self.slots} at a time" if self.slots else "",
            "calls tools" if self.calls else "",
        ]
        said = ", ".join(one for one in found if one)
        return f"{said} (by {self.by})" if said else ""


def objects_in(data: object, key: str) -> list[dict[str, Any]]:
    """Return the objects of a list that an answer has under a key; none where there is no such list."""
    listed = data.get(key) if isinstance(data, Mapping) else None
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def _count(value: object, most: int = 10**9) -> int | None:
    return value if type(value) is int and 0 < value <= most else None


def of_props(props: Mapping[str, Any]) -> Told:
    """Read llama.cpp's answer to /props."""
    modalities = object_in(props, "modalities")
    sees, template = modalities.get("vision"), props.get("chat_template")
    return Told(
        "/props",
        sees if isinstance(sees, bool) else None,
        hears=modalities.get("audio") is True,
        thinks="enable_thinking" in str(template),
        kind=str(props.get("model_path") or ""),
        context=_count(object_in(props, "default_generation_settings").get("n_ctx")),
        slots=_count(props.get("total_slots"), 1_000),
        calls="tools" in str(template) if template else None,
    )


def of_show(shown: Mapping[str, Any]) -> Told:
    """Read Ollama's answer to /api/show. The context is the one of its parameters; else the server's settings decide."""
    capabilities = shown.get("capabilities")
    named = capabilities if isinstance(capabilities, list) else []
    words = str(shown.get("parameters")).split()
    context = words[words.index("num_ctx") + 1 :][:1] if "num_ctx" in words else []
    return Told(
        "/api/show",
        _takes_pictures(shown),
        hears="audio" in named,
        thinks="thinking" in named,
        kind=str(object_in(shown, "model_info").get("general.architecture") or ""),
        context=_count(int(context[0][:10])) if context and context[0].isdecimal() else None,
        calls="tools" in named if named else None,
    )


def of_v0(data: Mapping[str, Any], name: str) -> Told:
    """Read a model of LM Studio's list (/api/v0/models)."""
    card = own_list(data).get(name, {})
    lengths = (card.get("loaded_context_length"), card.get("max_context_length"))
    abilities = card.get("capabilities")
    return Told(
        "/api/v0/models",
        _takes_pictures(card),
        kind=str(card.get("arch") or ""),
        context=next((one for one in map(_count, lengths) if one), None),
        calls="tool_use" in abilities if isinstance(abilities, list) else None,
    )


def listed(data: Mapping[str, Any], cards: Iterable[Mapping[str, Any]]) -> list[Listed]:
    """Read a list of models, and the abilities that it or the name states.

    `cards`: the valid entries of its `data`.
    """
    # llama.cpp has a second list beside it, by file names.
    details = {str(one.get("name")): one for one in objects_in(data, "models")}
    found = []
    for card in cards:
        name = str(card["id"])
        sees = _takes_pictures(card)
        if sees is None and name in details:
            sees = _takes_pictures(details[name])
        named = families.sees(name)
        why = "by its name" if named is not None else ""
        found.append(Listed(name, named, why, _loaded(card)).seeing(sees))
    return found


def takes_sound(card: Mapping[str, Any]) -> bool:
    """Find whether a card says that the model takes sound. Nothing said means no."""
    capabilities = card.get("capabilities")
    if isinstance(capabilities, dict):
        capabilities = [name for name in ("audio",) if capabilities.get(name) is True]
    named = modalities(card, "input")
    if isinstance(capabilities, list):
        named.append(capabilities)
    return names_sound(named)


def names_sound(lists: Iterable[Iterable[object]]) -> bool:
    return any(isinstance(one, str) and one.lower() == "audio" for names in lists for one in names)


def modalities(card: Mapping[str, Any], way: str) -> list[list[object]]:
    """Return the lists of a card that name what a model takes (`way`: input) or gives (output)."""
    inner = [object_in(card, part) for part in ("architecture", "modalities")]
    found = [part.get(key) for part in inner for key in (f"{way}_modalities", way)]
    found.append(card.get(f"{way}_modalities"))
    return [one for one in found if isinstance(one, list)]


def _takes_pictures(card: Mapping[str, Any]) -> bool | None:
    """Find whether a card says that the model takes pictures; None when it says nothing."""
    capabilities = card.get("capabilities")
    if isinstance(capabilities, dict) and isinstance(capabilities.get("vision"), bool):
        return bool(capabilities["vision"])
    # LM Studio, whose list of capabilities is about other things
    kind = {"vlm": True, "llm": False, "embeddings": False, "embedding": False}.get(
        str(card.get("type"))
    )
    if isinstance(capabilities, list) and capabilities and kind is None:
        return _names_pictures(capabilities)
    named = modalities(card, "input")
    return _names_pictures(named[0]) if named else kind


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


def own_list(data: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return LM Studio's own list, by names."""
    return {one["id"]: one for one in objects_in(data, "data") if isinstance(one.get("id"), str)}


def running(data: Mapping[str, Any]) -> set[str]:
    """Return the names of the models that Ollama has loaded (/api/ps)."""
    return {str(one.get("name")) for one in objects_in(data, "models")}


def detailed(one: Listed, details: Mapping[str, Any], loaded: bool | None = None) -> Listed:
    """Add what another interface of the server says of a model; what it does not say stays."""
    loaded = _loaded(details) if loaded is None else loaded
    if loaded is not None:
        one = replace(one, loaded=loaded)
    return one.seeing(_takes_pictures(details))


def to_ask(models: list[Listed]) -> list[str]:
    """List the models to show a picture, best first; none where one is known to take them."""
    if any(one.sees for one in models):
        return []
    unknown = [one for one in models if one.sees is None]
    return [one.name for one in sorted(unknown, key=lambda one: not one.loaded)]


def choose(models: list[Listed], current: str) -> Listed | None:
    """Choose a model that takes pictures, else an unknown one; loaded ones first, then `current`."""
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


# Paths of servers whose models speak in their answers: plain vLLM has none of them.
_SPEAKING_PATHS = frozenset(("/v1/audio/speech", "/v1/audio/voices"))


class SpeechOut:
    """The knowledge of whether a server's model speaks its answers itself."""

    def __init__(self) -> None:
        # The model can, by its files or its name; None before a model is known
        self._able = False
        # The server's interface has speech; None while it was not asked
        self._offered: bool | None = None
        # Its card says so.
        self._named = False
        # It sent sound that nobody asked for: it speaks unless it is asked for text alone.
        self.heard = False
        # It spoke when it was asked to, and did not.
        self.spoke = self.mute = False
        # It does not take the field `modalities`.
        self.unasked = False

    def of_model(self, able: bool) -> None:
        """Start again with another model."""
        self._able, self._offered = able, None
        self.heard = self.mute = self.spoke = self.unasked = False

    @property
    def asks(self) -> bool:
        """True when the server's interface would tell."""
        return self._able and self._offered is None

    def offered(self, paths: Iterable[str]) -> None:
        """Learn the paths of the server's interface; none where it does not show them."""
        self._offered = not _SPEAKING_PATHS.isdisjoint(paths)

    def silent(self) -> None:
        """Note an answer without sound: one that has spoken before has had nothing to say."""
        self.mute = self.mute or not self.spoke

    def of_card(self, card: Mapping[str, Any]) -> bool:
        """Read the model's card, as the server lists it, where nothing said means no; return `speaks`."""
        self._named = names_sound(modalities(card, "output"))
        return self.speaks

    @property
    def speaks(self) -> bool:
        """True when the model speaks its answers if it is asked to."""
        return self.states and not self.mute

    @property
    def states(self) -> bool:
        """True when each request states what is wanted: a model that speaks does it unasked."""
        known = self.heard or self._named or (self._able and self._offered is True)
        return known and not self.unasked


def context_length(card: Mapping[str, Any]) -> int | None:
    found = [card.get(name) for name in ("max_model_len", "context_length", "context_window")]
    found.append(object_in(card, "meta").get("n_ctx"))
    return next((one for one in map(_count, found) if one), None)


def other_machine(base_url: str, machines: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return the other machine at an address, as people know it; "" for this one.

    `machines`: those that the operator names, by host and port. Else this one is loopback alone (RFC 6761 section 6.3,
    RFC 6890): where a name leads, others may change.
    """
    if (named := machines.get(server_address(base_url))) is not None:
        return named
    host = httpx2.URL(base_url).host.lower().rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return ""
    address = parse_address(host)
    return "" if address and (address.is_loopback or address.is_unspecified) else host


def address_of(base_url: str) -> str:
    """Return the address without credentials, for people. Raises ValueError."""
    try:
        url = httpx2.URL(base_url)
    except (httpx2.InvalidURL, TypeError):
        url = httpx2.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(
            "The model server's address must be a URL like http://127.0.0.1:8001/v1, with http or https."
        )
    port = f":{url.port}" if url.port is not None else ""
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{url.scheme}://{host}{port}{url.path.rstrip('/')}"


def is_name(id: object) -> bool:
    """Find whether this may be a model's name; a path may be long."""
    return isinstance(id, str) and 0 < len(id) <= _LONGEST_NAME and id.isprintable()
