"""Read a model server's answers about itself: its models, which of them takes pictures, its context length, its geometry,
and whether it speaks. Pure.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from server.core.frames import Geometry
from server.models import control_tokens, families
from server.models.base import Capabilities, EngineState, EngineStatus, Trouble
from server.models.control_tokens import ControlTokens
from server.models.openai import upstream
from server.models.openai.bounded_http import read_json
from server.models.openai.chat_client import SettingNames

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


NOTHING_TOLD = Told()


def _count(value: object, most: int = 10**9) -> int | None:
    return value if type(value) is int and 0 < value <= most else None


def of_props(props: Mapping[str, Any]) -> Told:
    """Read llama.cpp's answer to /props."""
    modalities, settings = props.get("modalities"), props.get("default_generation_settings")
    modalities = modalities if isinstance(modalities, dict) else {}
    settings = settings if isinstance(settings, dict) else {}
    sees, template = modalities.get("vision"), props.get("chat_template")
    return Told(
        "/props",
        sees if isinstance(sees, bool) else None,
        hears=modalities.get("audio") is True,
        thinks="enable_thinking" in str(template),
        kind=str(props.get("model_path") or ""),
        context=_count(settings.get("n_ctx")),
        slots=_count(props.get("total_slots"), 1_000),
        calls="tools" in str(template) if template else None,
    )


def of_show(shown: Mapping[str, Any]) -> Told:
    """Read Ollama's answer to /api/show. The context is the one of its parameters; else the server's settings decide."""
    capabilities, info = shown.get("capabilities"), shown.get("model_info")
    named = capabilities if isinstance(capabilities, list) else []
    words = str(shown.get("parameters")).split()
    context = words[words.index("num_ctx") + 1 :][:1] if "num_ctx" in words else []
    return Told(
        "/api/show",
        _takes_pictures(shown),
        hears="audio" in named,
        thinks="thinking" in named,
        kind=str(info.get("general.architecture") or "") if isinstance(info, dict) else "",
        context=_count(int(context[0][:10])) if context and context[0].isdecimal() else None,
        calls="tools" in named if named else None,
    )


def of_v0(data: Mapping[str, Any], name: str) -> Told:
    """Read a model of LM Studio's list (/api/v0/models)."""
    card = _own_list(data).get(name, {})
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
    sees = families.sees(name)
    return Listed(name, sees, "by its name" if sees is not None else "", loaded)


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
    parts = [card.get(part) for part in ("architecture", "modalities")]
    inner = [part for part in parts if isinstance(part, dict)]
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


def _own_list(data: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return LM Studio's own list, by names."""
    cards = data.get("data")
    return {
        one["id"]: one
        for one in (cards if isinstance(cards, list) else [])
        if isinstance(one, dict) and isinstance(one.get("id"), str)
    }


def of_lm_studio(data: Mapping[str, Any], before: list[Listed]) -> list[Listed]:
    """Add the details of LM Studio's own list (/api/v0/models)."""
    details = _own_list(data)
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


def of_llama_cpp(told: Told, before: Listed) -> Listed:
    """Add llama.cpp's own word (/props): older ones do not list what a model takes."""
    return before if told.sees is None else _known(before.name, told.sees, before.loaded)


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


# The status of a server that cannot list its models, and perhaps answers questions all the same
_LISTING_FAILS = (500, 501)
_LONGEST_NAME = 1024
_T = TypeVar("_T")


class Discovery:
    """Reads the answers of one server at `address` (as people are shown it).

    `wanted` is the model's name, "" for the first one listed; `factor` overrides the model's
    geometry factor.
    """

    def __init__(
        self, address: str, *, wanted: str, factor: int | None, names: SettingNames
    ) -> None:
        """`names`: the settings of this server."""
        self.address = address
        self.names = names
        # The health check of vLLM, llama.cpp and `transformers serve`: beside /v1, not below it
        self.health = f"{address.removesuffix('/v1')}/health"
        # The check of vLLM's router
        self.readiness = f"{address.removesuffix('/v1')}/readiness"
        self._wanted = wanted
        self._factor = factor
        # The model's card that the geometry was read from, so that files are read once.
        self._card: tuple[str, str] | None = None
        self._geometry: Geometry | None = None
        # The tokens of the model's own folder; None where it is not on this machine
        self.control_tokens: ControlTokens | None = None
        # The capabilities of that card's model that refusals have shown
        self._learned: dict[str, Any] = {}
        # None: of no known family
        self.family: families.Family | None = None
        self.speech_out = SpeechOut()

    def unreachable(self) -> str:
        return (
            f"Nothing answers at {self.address}: the model server is down, or still loading its model. "
            f"Start it, or set {self.names.url} to where it is."
        )

    def headless(self) -> str:
        return (
            f"The model server at {self.address} has lost the process that runs its model (its health: HTTP 503). "
            "It ends soon by itself, or has to be started again; its own log says why."
        )

    def not_openai(self) -> str:
        return (
            f"The program at {self.address} is not an OpenAI-compatible model server. "
            f"{self.names.url} must name one and end in /v1, like http://127.0.0.1:8001/v1."
        )

    def from_refusal(self, status: int, body: object, before: EngineStatus) -> EngineStatus:
        """Return the status of a server that answers with this error; `before`: the one so far."""
        if status in (401, 403):
            return _bad(
                before,
                EngineState.MISCONFIGURED,
                f"The model server at {self.address} did not accept our key (HTTP {status}). "
                f"Set {self.names.key} to the key it was started with.",
                Trouble.KEY,
            )
        if status == 429 or (status == 503 and upstream.is_busy(body)):
            return _bad(
                before,
                EngineState.BUSY,
                f"The model server at {self.address} takes no more requests for now (HTTP {status}).",
            )
        if status == 503 and upstream.is_without_servers(body):
            return _bad(
                before,
                EngineState.UNREACHABLE,
                f"The router at {self.address} has no model server that answers (HTTP 503). Start one of those in"
                " ROUTER_WORKERS.",
            )
        if status == 503:
            return _bad(
                before,
                EngineState.LOADING,
                f"The model server at {self.address} is loading its model (HTTP 503). It will be used when it is ready.",
            )
        if status >= 500:
            hint = (
                f" With {self.names.model} set, its list of models is not needed."
                if status in _LISTING_FAILS and not self._wanted
                else ""
            )
            return _bad(
                before,
                EngineState.UNREACHABLE,
                f"The model server at {self.address} fails (HTTP {status}). Its own log says why.{hint}",
            )
        return _bad(before, EngineState.MISCONFIGURED, self.not_openai(), Trouble.PROTOCOL)

    def may_be_unlisted(self, status: int) -> bool:
        """Find whether a server that fails to list its models may still answer questions: only if the
        model's name is set.

        `transformers serve` fails like this without a cache folder. A broken server does, too; the
        health check tells them apart.
        """
        return bool(self._wanted) and status in _LISTING_FAILS

    def blind(self, names: list[str], before: EngineStatus) -> EngineStatus:
        """Return the status of a server none of whose models takes pictures."""
        shown = ", ".join(_shown(name) for name in names[:3]) + (", …" if len(names) > 3 else "")
        return _bad(
            before,
            EngineState.MISCONFIGURED,
            f"No model at {self.address} takes pictures ({shown}). Load a vision-language model there,"
            f" or name one in {self.names.model} to use it all the same.",
        )

    def from_listing(
        self, raw: bytes, before: EngineStatus, chosen: str = "", told: Told = NOTHING_TOLD
    ) -> EngineStatus:
        """Read the body of /v1/models; `chosen` is the model to ask where none is set, else the
        first. `told`: of that model.

        Raises ValueError when it is no list of models.
        """
        listing = read_json(raw)
        data = listing.get("data") if isinstance(listing, dict) else None
        if not isinstance(data, list):
            raise ValueError("no list of models")
        cards = [card for card in data if isinstance(card, dict) and _is_name(card.get("id"))]
        names = [card["id"] for card in cards]
        if not names and not self._wanted:
            return _bad(
                before,
                EngineState.MISCONFIGURED,
                f"The model server at {self.address} lists no models. Set {self.names.model} to the one it serves.",
            )
        if names and self._wanted and self._wanted not in names:
            served = ", ".join(_shown(name) for name in names[:3])
            return _bad(
                before,
                EngineState.MISCONFIGURED,
                f"The model server at {self.address} does not serve {_shown(self._wanted)}; it serves {served}. "
                f"Set {self.names.model} to one of these, or leave it empty.",
                Trouble.MODEL,
                tuple(_shown(name) for name in names[:3]),
            )
        model = self._wanted or (chosen if chosen in names else names[0])
        card = next((card for card in cards if card["id"] == model), {})
        sizes = self._learn_geometry(model, card, told.kind)
        known = self.family or families.NONE
        hears = families.Ability.AUDIO_IN in known.abilities and told.sees is None
        capabilities = Capabilities(
            # vLLM takes the frames as JPEGs; of other servers it is not known.
            video=known.paired_frames and card.get("owned_by") == "vllm",
            audio_in=hears or told.hears or takes_sound(card),
            speech_out=self.speech_out.of_card(card),
            grounding=known.boxes is not None,
            boxes=known.boxes,
            # vLLM constrains answers to a schema; of other servers it is not known.
            json_schema=card.get("owned_by") == "vllm",
            # A server that takes none says so when it is asked.
            tools=True,
            calls_tools=bool(known.tool_parser) if told.calls is None else told.calls,
            # On by default there.
            prefix_cache=card.get("owned_by") == "vllm",
            geometry=sizes,
            context_length=_context_length(card) or told.context,
            max_concurrency=told.slots,
        )
        capabilities = dataclasses.replace(capabilities, **self._known(capabilities))
        return EngineStatus(EngineState.READY, "", model, capabilities, before.elsewhere)

    def learn(self, before: EngineStatus, **shown: Any) -> EngineStatus:
        """Learn capabilities from a refusal, until there is another model.

        Of contexts the smallest holds: no more tokens are counted on.
        """
        stated = self._learned.get("context_length")
        if stated and "context_length" in shown:
            shown["context_length"] = min(stated, shown["context_length"])
        self._learned |= shown
        return _able(before, **self._known(before.capabilities))

    def learn_speech(self, before: EngineStatus) -> EngineStatus:
        """Return the status with what is known now of the model's own speech."""
        return _able(before, speech_out=self.speech_out.speaks)

    def _known(self, stated: Capabilities) -> dict[str, Any]:
        """Return what was learned, beside what the server's list states."""
        found = dict(self._learned)
        if stated.context_length and "context_length" in found:
            found["context_length"] = min(stated.context_length, found["context_length"])
        return found

    def _learn_geometry(self, model: str, card: Mapping[str, Any], kind: str) -> Geometry:
        """Learn the model's family, and return its geometry. `kind`: another name of it."""
        root = card.get("root")
        key = (model, root if isinstance(root, str) else "")
        if key != self._card or self._geometry is None:
            names = (name for name in dict.fromkeys((key[1], model)) if name.startswith("/"))
            folders = [Path(name) for name in names]
            model_type = _first(families.folder_type(folder) for folder in folders)
            self.family = families.known(model_type or card.get("model_type"), key[1], model, kind)
            known = self.family or families.NONE
            self._geometry = (
                _first(families.folder_geometry(folder) for folder in folders)
                or known.geometry
                or families.DEFAULT_GEOMETRY
            )
            self._learned = {}
            self.speech_out.of_model(families.Ability.SPEECH_OUT in known.abilities)
            self.control_tokens = _first(control_tokens.of_folder(folder) for folder in folders)
            self._card = key
        if self._factor is not None:
            return families.factor_geometry(self._factor)
        return self._geometry


def _bad(
    before: EngineStatus,
    state: EngineState,
    detail: str,
    trouble: Trouble | None = None,
    served: tuple[str, ...] = (),
) -> EngineStatus:
    return dataclasses.replace(before, state=state, detail=detail, trouble=trouble, served=served)


def _able(before: EngineStatus, **capabilities: Any) -> EngineStatus:
    changed = dataclasses.replace(before.capabilities, **capabilities)
    return dataclasses.replace(before, capabilities=changed)


def _first(found: Iterable[_T | None]) -> _T | None:
    return next((one for one in found if one is not None), None)


def _context_length(card: Mapping[str, Any]) -> int | None:
    meta = card.get("meta")
    found = [card.get(name) for name in ("max_model_len", "context_length", "context_window")]
    found.append(meta.get("n_ctx") if isinstance(meta, dict) else None)
    return next((value for value in found if type(value) is int and value > 0), None)


def other_machine(base_url: str) -> str:
    """Return an address's host; "" for this machine's loopback (RFC 6761 section 6.3, RFC 6890)."""
    host = httpx2.URL(base_url).host.lower().rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return ""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    address = getattr(address, "ipv4_mapped", None) or address
    return "" if address.is_loopback or address.is_unspecified else host


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


def _is_name(id: object) -> bool:
    """Find whether this may be a model's name; a path may be long."""
    return isinstance(id, str) and 0 < len(id) <= _LONGEST_NAME and id.isprintable()


def _shown(name: str) -> str:
    """Shorten a model's name for a sentence."""
    return "".join(char for char in name if char.isprintable())[:80]
