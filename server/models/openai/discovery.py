"""Read a model server's answers about itself: its model, its context length and its geometry.

Pure.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from server.core.frames import Geometry
from server.models import control_tokens, families, geometry
from server.models.base import Capabilities, EngineState, EngineStatus, Trouble
from server.models.control_tokens import ControlTokens
from server.models.openai import model_choice, upstream
from server.models.openai.bounded_http import read_json
from server.models.openai.chat_client import SettingNames
from server.models.openai.model_choice import NOTHING_TOLD, Told
from server.models.openai.spoken_answer import SpeechOut

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
            audio_in=hears or told.hears or model_choice.takes_sound(card),
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
            model_type = _first(geometry.model_type(folder) for folder in folders)
            self.family = families.known(model_type or card.get("model_type"), key[1], model, kind)
            known = self.family or families.NONE
            self._geometry = (
                _first(geometry.from_folder(folder) for folder in folders)
                or known.geometry
                or geometry.DEFAULT
            )
            self._learned = {}
            self.speech_out.of_model(families.Ability.SPEECH_OUT in known.abilities)
            self.control_tokens = _first(control_tokens.of_folder(folder) for folder in folders)
            self._card = key
        if self._factor is not None:
            return geometry.from_factor(self._factor)
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
