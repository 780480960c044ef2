"""Parse model servers' descriptions of their models: abilities, context length, loaded state. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from server.models.files import clean, get_object

_LONGEST_NAME = 1024
# Maximum listed models to choose from
MOST_LISTED = 1000
_PICTURES = frozenset(("image", "images", "vision", "multimodal"))


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model as its server describes it; None and "" mean unknown.

    `sees`, `hears`, `speaks`, `thinks`, `calls`: whether it supports pictures, sound, speech, reasoning and tools.
    `why`: `sees` and its source, for operators. `kind`: architecture or file; `root`: folder, file or repository.
    `context`: configured context in tokens; `most_context`: the model's maximum. `slots`: concurrent answers.
    `caches`: prefix caching; True if its template allows two messages of the same role. `loading`: loading has begun,
    and is not complete.
    """

    name: str = ""
    sees: bool | None = None
    why: str = "may take pictures"
    hears: bool | None = None
    speaks: bool | None = None
    thinks: bool | None = None
    calls: bool | None = None
    caches: bool | None = None
    loaded: bool | None = None
    loading: bool | None = None
    kind: str = ""
    root: str = ""
    model_type: str = ""
    vllm: bool | None = None
    context: int | None = None
    most_context: int | None = None
    slots: int | None = None

    def __or__(self, later: ModelInfo) -> ModelInfo:
        """Return a copy updated with the known fields of `later`."""
        said = {one.name: getattr(later, one.name) for one in fields(later)}
        return replace(self, **{name: said[name] for name in said if said[name] not in (None, "")})


def choose(models: Iterable[ModelInfo], current: str) -> ModelInfo | None:
    """Return the best model: one that accepts pictures, else one that may; among those a loaded one, then `current`.

    Return None if no model accepts pictures.
    """
    able = [one for one in models if one.sees is not False]
    # The server's order decides between models of equal rank.
    rank = lambda one: (not one.sees, not one.loaded, one.name != current)  # noqa: E731
    return min(able, key=rank, default=None)


def get_objects(data: object, key: str) -> list[dict[str, Any]]:
    """Return the objects in the list under a key, or [] if there is no list."""
    listed = data.get(key) if isinstance(data, Mapping) else None
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def is_name(id: object) -> bool:
    """Return whether this is a valid model name (which may be a long path)."""
    return isinstance(id, str) and 0 < len(id) <= _LONGEST_NAME and id.isprintable()


def is_same_name(one: object, other: str) -> bool:
    """Return whether two names are equal, ignoring case, Gemini's folder, and Ollama's default tag."""
    names = (str(name).casefold() for name in (one, other))
    return len({name.removeprefix("models/").removesuffix(":latest") for name in names}) == 1


def parse_cards(data: object) -> list[dict[str, Any]]:
    """Return the valid entries of a model list. Raises ValueError if there is no list."""
    data = data if isinstance(data, dict) else {"data": data}
    if "data" in data and data["data"] is None:
        return []
    key = "data" if isinstance(data.get("data"), list) else "models"
    if not isinstance(data.get(key), list):
        raise ValueError("no list of models")
    # llama.cpp has a second list, with file names.
    beside = {str(one.get("name")): one for one in get_objects(data, "models")}
    cards = [one for one in get_objects(data, key) if is_name(one.get("id"))]
    return [{**beside.get(one["id"], {}), **one} for one in cards]


# Fields for the context length, by precedence; the later ones are used by LiteLLM, llama.cpp and others.
_LENGTHS = (
    "max_model_len",
    "context_length",
    "context_window",
    "max_context_length",
    "max_input_tokens",
    "max_context_window_tokens",
    "n_ctx",
)


def parse_card(card: Mapping[str, Any]) -> ModelInfo:
    """Return the facts in a list entry. Missing information about sound stays unknown."""
    root, model_type = (str(card.get(name) or "") for name in ("root", "model_type"))
    parts = [card, *(get_object(card, part) for part in ("top_provider", "limits", "meta"))]
    return ModelInfo(
        str(card["id"]),
        _takes_pictures(card),
        hears="audio" in _get_inputs(card) or None,
        speaks="audio" in _get_modalities(card, "output") or None,
        loaded=_is_loaded(card),
        loading=_get_state(card) == "loading",
        root=root,
        model_type=model_type,
        vllm=card.get("owned_by") == "vllm",
        context=_get_first_count(*(part.get(name) for part in parts for name in _LENGTHS)),
    )


def _get_first_count(*values: object, most: int = 10**9) -> int | None:
    return next((one for one in map(_parse_integer, values) if 0 < one <= most), None)


def _parse_integer(value: object) -> int:
    """Return the value as an integer, also if it is text or an integral float; 0 for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _get_modalities(card: Mapping[str, Any], way: str) -> set[str]:
    """Return the modalities of an entry. `way`: input or output."""
    parts = (card, get_object(card, "architecture"), get_object(card, "modalities"))
    lists = [part.get(key) for part in parts for key in (f"{way}_modalities", way)]
    # OpenRouter's older format: text+image->text
    takes, _, gives = str(parts[1].get("modality")).partition("->")
    lists += [(takes if way == "input" else gives).split("+")] if gives else []
    return {str(one).lower() for found in lists if isinstance(found, list) for one in found}


# LM Studio's types; its lists of capabilities describe other abilities
_TYPES = {"vlm": True, "llm": False, "embeddings": False, "embedding": False}


def _get_inputs(card: Mapping[str, Any]) -> set[str]:
    found = card.get("capabilities")
    if isinstance(found, dict):
        found = (
            ["text", *(name for name in found if found[name] is True)] if "vision" in found else []
        )
    if str(card.get("type")) in _TYPES or not isinstance(found, list):
        found = []
    return {str(one).lower() for one in found} | _get_modalities(card, "input")


def _takes_pictures(card: Mapping[str, Any]) -> bool | None:
    # Some gateways report False for unknown models.
    if True in (card.get("supports_vision"), card.get("supports_image_in")):
        return True
    named = _get_inputs(card)
    return not _PICTURES.isdisjoint(named) if named else _TYPES.get(str(card.get("type")))


def _get_state(card: Mapping[str, Any]) -> object:
    # llama.cpp with several models uses `status`.
    return get_object(card, "status").get("value", card.get("state"))


def _is_loaded(card: Mapping[str, Any]) -> bool | None:
    state = _get_state(card)
    return state == "loaded" if isinstance(state, str) else None


# Sources in addition to the model list

LM_STUDIO, LLAMA_CPP = "LM Studio", "llama.cpp"


def identify_server(cards: Sequence[Mapping[str, Any]]) -> str:
    """Return the server program, identified by the owners in its list; "" for a program without other sources."""
    owners = [card.get("owned_by") for card in cards]
    if "organization_owner" in owners:
        return LM_STUDIO
    # With several models, a query would load each one.
    if "llamacpp" in owners and len(cards) == 1:
        return LLAMA_CPP
    # In Ollama, other models have a tag and their namespace as owner.
    spaces = [card["id"].split("/")[-2:-1] if ":" in card["id"] else [] for card in cards]
    named = any(owner in space for owner, space in zip(owners, spaces, strict=True))
    return "Ollama" if "library" in owners or named else ""


def parse_props(props: Mapping[str, Any], _: str) -> ModelInfo:
    """Return the facts in llama.cpp's /props."""
    takes, template = get_object(props, "modalities"), props.get("chat_template")
    sees, hears = (
        one if isinstance(one := takes.get(way), bool) else None for way in ("vision", "audio")
    )
    return ModelInfo(
        sees=sees,
        hears=hears,
        thinks="enable_thinking" in str(template),
        calls="tools" in str(template) if template else None,
        # A template that requires alternating roles allows no separate message for the picture.
        caches="alternate" not in str(template),
        kind=str(props.get("model_path") or ""),
        context=_get_first_count(
            get_object(props, "default_generation_settings").get("n_ctx"), props.get("n_ctx")
        ),
        slots=_get_first_count(props.get("total_slots"), most=1_000),
    )


def parse_show(shown: Mapping[str, Any], _: str) -> ModelInfo:
    """Return the facts in Ollama's /api/show. The context length is the one in its parameters, else unknown."""
    named, model = _get_inputs(shown), get_object(shown, "model_info")
    context = re.search(r'^num_ctx\s+"?(\d{1,9})\b', str(shown.get("parameters")), re.MULTILINE)
    kind = str(model.get("general.architecture") or "")
    return ModelInfo(
        sees=_takes_pictures(shown),
        hears="audio" in named if named else None,
        thinks="thinking" in named,
        calls="tools" in named if named else None,
        kind=kind,
        context=_get_first_count(int(context[1])) if context else None,
        most_context=_get_first_count(model.get(f"{kind}.context_length")),
    )


def parse_ps(data: Mapping[str, Any], name: str) -> ModelInfo:
    """Return the facts in Ollama's /api/ps: whether the model is loaded, and its context length."""
    if not isinstance(data.get("models"), list):
        return ModelInfo()
    found = [
        one
        for one in get_objects(data, "models")
        if is_same_name(one.get("name", one.get("model")), name)
    ]
    return ModelInfo(
        loaded=bool(found), context=_get_first_count(*(one.get("context_length") for one in found))
    )


def parse_v0(data: Mapping[str, Any], name: str) -> ModelInfo:
    """Return the facts in LM Studio's /api/v0/models."""
    card = next((one for one in get_objects(data, "data") if is_same_name(one.get("id"), name)), {})
    abilities, lengths = card.get("capabilities"), [card.get("loaded_context_length")]
    if _is_loaded(card) is not False:
        # A model that is not loaded may be loaded with another context.
        lengths.append(card.get("max_context_length"))
    return ModelInfo(
        sees=_takes_pictures(card),
        hears=False if card else None,
        calls="tool_use" in abilities if isinstance(abilities, list) else None,
        loaded=_is_loaded(card),
        loading=_get_state(card) == "loading",
        kind=str(card.get("arch") or ""),
        context=_get_first_count(*lengths),
    )


class Source(NamedTuple):
    """A path of a server's own interface. `posts`: POST once for each model. `changes`: read at each probe."""

    server: str
    path: str
    read: Callable[[Mapping[str, Any], str], ModelInfo]
    posts: bool = False
    changes: bool = False


# Later sources take precedence.
SOURCES = (
    Source(LLAMA_CPP, "/props", parse_props),
    Source(LM_STUDIO, "/api/v0/models", parse_v0, changes=True),
    Source("Ollama", "/api/show", parse_show, posts=True),
    Source("Ollama", "/api/ps", parse_ps, changes=True),
)
# Paths of servers whose models speak; plain vLLM has none of them.
_SPEAKING_PATHS = frozenset(("/v1/audio/speech", "/v1/audio/voices"))


def speaks(described: Mapping[str, Any]) -> bool:
    """Return whether models speak their answers, according to the server's OpenAPI description."""
    return not _SPEAKING_PATHS.isdisjoint(get_object(described, "paths"))


def get_display_address(base_url: str) -> str:
    """Return a URL without credentials, for display. Raises ValueError."""
    url = urlsplit(base_url)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError(
            "The model server's address must be a URL like http://127.0.0.1:8001/v1, with http or https."
        )
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path.rstrip('/')}"


def get_redirect_target(address: str, path: str, location: str) -> str:
    """Return the target URL of a redirect, for display; "" if there is none."""
    with suppress(ValueError):
        if location:
            return clean(get_display_address(urljoin(address + path, location)))
    return ""
