"""The knowledge of one model server: its state, model and abilities, as probes and refusals show them."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import numpy as np

from server.core.errors import EngineError, EngineUnavailable
from server.core.frames import Geometry
from server.media.picture.encode import data_url, jpeg
from server.models import families
from server.models.base import Capabilities, EngineState, EngineStatus, Trouble
from server.models.files import ModelFolderError, clean
from server.models.files import read_json as read_file
from server.models.openai import discovery
from server.models.openai.chat_client import ChatClient, Endpoint, NotChat, Slow, Unreachable
from server.models.openai.discovery import Listed, SpeechOut, Told
from server.models.openai.upstream import AskFailed, Refused
from server.models.thinking import Thinking

log = logging.getLogger(__name__)

# Find a server's models that take pictures: by its words, by their files, else by showing them one.

# A hub lists some hundred; more are ignored.
_MOST_LISTED = 1000
# Models of Ollama's that are looked up one by one; unknown models that are shown a picture. A
# server may load each for it.
_MOST_SHOWN = 32
_MOST_ASKED = 3
_DETAIL_SECONDS = 3.0
_ASK_SECONDS = 8.0
# The least that all take: some refuse a side below two patches of 28 pixels, such as 8.
_SIDE = 64
_CONFIG_BYTES = 1024 * 1024


class Sight:
    """The knowledge of one server at `root` (its address without /v1).

    A model is shown a picture once, whatever the result.
    """

    def __init__(self, client: ChatClient, root: str) -> None:
        self._client = client
        self._root = root
        # By name: it took a picture; None when the trial failed
        self._asked: dict[str, bool | None] = {}
        # Ollama's description of each
        self._shown: dict[str, Mapping[str, Any]] = {}
        # What the server tells of each model that was served
        self._told: dict[str, Told] = {}
        # By folder, so that files are read once: takes pictures; None where its files do not say
        self._files: dict[str, bool | None] = {}
        # Models that refused the picture of a question
        self.blind: set[str] = set()

    async def models(
        self, data: Mapping[str, Any], cards: list[dict[str, Any]], *, busy: bool
    ) -> list[Listed]:
        """Return the models of the server's list, whose valid entries are `cards`, with their abilities.

        `busy`: no model is asked.

        Never raises an error.
        """
        cards = cards[:_MOST_LISTED]
        names = {card["id"] for card in cards}
        for kept in (self._asked, self._shown, self._told):
            for gone in set(kept) - names:
                del kept[gone]
        self.blind &= names
        models = discovery.listed(data, cards)
        if len(models) > 1 or any(one.sees is None for one in models):
            models = await self._with_details(cards, models)
        models = [self._by_files(one, card) for one, card in zip(models, cards, strict=True)]
        models = self._tried(models)
        if busy:
            return models
        for name in discovery.to_ask(models)[:_MOST_ASKED]:
            if name not in self._asked:
                self._asked[name] = await self._client.takes_picture(name, _picture(), _ASK_SECONDS)
                log.info(
                    "a model was shown a picture",
                    extra={"reason": f"{name[:80]}: {_WORDS[self._asked[name]]}"},
                )
            if self._asked[name]:
                break
        return self._tried(models)

    def _tried(self, models: list[Listed]) -> list[Listed]:
        found = []
        for one in models:
            if one.name in self.blind:
                one = dataclasses.replace(one, sees=False, why="it refused one")
            elif one.sees is None and self._asked.get(one.name) is not None:
                one = dataclasses.replace(
                    one, sees=self._asked[one.name], why="one was shown to it"
                )
            found.append(one)
        return found

    async def _with_details(
        self, cards: list[dict[str, Any]], models: list[Listed]
    ) -> list[Listed]:
        """Add what a server tells beside that list; the owner in the list names its kind."""
        owners = {card.get("owned_by") for card in cards}
        if "organization_owner" in owners:
            details = discovery.own_list(await self._get("/api/v0/models"))
            return [discovery.detailed(one, details.get(one.name, {})) for one in models]
        if _is_ollama(cards):
            for one in models[:_MOST_SHOWN]:
                if one.name not in self._shown:
                    self._shown[one.name] = await self._get("/api/show", {"model": one.name})
            loaded = discovery.running(await self._get("/api/ps"))
            return [
                discovery.detailed(one, self._shown.get(one.name, {}), one.name in loaded)
                for one in models
            ]
        if "llamacpp" in owners and len(models) == 1:
            # Older ones do not list what a model takes.
            return [models[0].seeing((await self.told(models[0].name, cards)).sees)]
        return models

    async def told(self, name: str, cards: list[dict[str, Any]]) -> Told:
        """Return what the server tells of a served model beside its list; it is asked once for each.

        One that has several loads those that it is asked about, or not: llama.cpp is asked for its only one.
        """
        if all(card["id"] != name for card in cards):
            return Told()
        if name not in self._told:
            told, owners = Told(), {card.get("owned_by") for card in cards}
            if "llamacpp" in owners and len(cards) == 1:
                told = discovery.of_props(await self._get("/props"))
            elif _is_ollama(cards):
                shown = self._shown.get(name)
                told = discovery.of_show(shown or await self._get("/api/show", {"model": name}))
            elif "organization_owner" in owners:
                told = discovery.of_v0(await self._get("/api/v0/models"), name)
            self._told[name] = told
        return self._told[name]

    async def _get(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return an object of the server's own interface; empty where there is none."""
        try:
            async with asyncio.timeout(_DETAIL_SECONDS):
                raw = await self._client.get(self._root + path, body)
            value = json.loads(raw)
        except (TimeoutError, AskFailed, ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}

    def _by_files(self, one: Listed, card: Mapping[str, Any]) -> Listed:
        root = card.get("root")
        if one.why == "its server says so" or not isinstance(root, str) or root[:1] != "/":
            return one
        if root not in self._files:
            while len(self._files) >= _MOST_LISTED:
                del self._files[next(iter(self._files))]
            self._files[root] = None
            with suppress(ModelFolderError):
                family = families.of_config(read_file(Path(root, "config.json"), _CONFIG_BYTES))
                self._files[root] = family is not None and family.answers
        sees = self._files[root]
        return one if sees is None else dataclasses.replace(one, sees=sees, why="by its own files")


_WORDS = {True: "it takes them", False: "it takes none", None: "the trial failed"}


def _is_ollama(cards: list[dict[str, Any]]) -> bool:
    """Find whether a list is Ollama's: each model has a tag, and its namespace for its owner."""
    return any(
        card.get("owned_by") == "library"
        or (":" in card["id"] and card.get("owned_by") in card["id"].split("/")[-2:-1])
        for card in cards
    )


@cache
def _picture() -> str:
    return data_url(jpeg(np.full((_SIDE, _SIDE, 3), 128, np.uint8)))


# The status of a server that cannot list its models, and perhaps answers questions all the same
_LISTING_FAILS = (500, 501)
_T = TypeVar("_T")


class KnownServer:
    """Owner of a server's status.

    `seconds` bounds a probe. `busy` returns True while answers are under way. `thinking` is told when the server has
    another model than before.
    """

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        client: ChatClient,
        *,
        seconds: float,
        busy: Callable[[], bool],
        thinking: Thinking,
    ) -> None:
        # Without credentials
        self.address = discovery.address_of(endpoint.base_url)
        self._root = self.address.removesuffix("/v1")
        # The settings that name this server
        self.names = endpoint.names
        self._name = name
        self._client = client
        self._endpoint = endpoint
        self._seconds = seconds
        self._busy = busy
        self._thinking = thinking
        self._sight = Sight(client, self._root)
        # The model's card that the geometry was read from, so that files are read once.
        self._card: tuple[str, str] | None = None
        self._geometry = families.DEFAULT_GEOMETRY
        # The capabilities of that card's model that refusals have shown
        self._learned: dict[str, Any] = {}
        # None: of no known family
        self._family: families.Family | None = None
        # The knowledge of the model's own speech; `learned_speech` after a change
        self.speech_out = SpeechOut()
        self.status = EngineStatus(
            EngineState.UNREACHABLE,
            f"Not yet asked: the model server at {self.address}.",
            elsewhere=discovery.other_machine(endpoint.base_url, endpoint.machines),
        )

    @property
    def model(self) -> str:
        """The model that is served, or else the one that the settings name; "" for none."""
        return self.status.model or self._endpoint.model

    async def probe(self) -> EngineStatus:
        """List the models and learn the served one's context length and geometry; vLLM is asked for
        its health, too.

        Never raises an error.
        """
        before = self.status
        try:
            async with asyncio.timeout(self._seconds):
                data, cards = await self._listing()
            models: list[Listed] = []
            if not self._endpoint.model:
                # Within limits of its own: a server may have to load a model for it.
                models = await self._sight.models(data, cards, busy=self._busy())
            chosen = discovery.choose(models, self.status.model)
            name = chosen.name if chosen is not None else self._endpoint.model
            told = await self._sight.told(name, cards)
            async with asyncio.timeout(self._seconds):
                status = self._seeing(cards, models, chosen, told)
                if status.model != self.status.model:
                    self._recognised(status, told)
                asks = status.ready and self.speech_out.asks
                if asks and (paths := await self._paths()) is not None:
                    self.speech_out.offered(paths)
                # vLLM, which alone is known to have json_schema, lists its models for seconds after
                # the process that runs them has died (0.32.0: up to 5).
                if status.capabilities.json_schema and await self._headless():
                    status = self._bad(
                        EngineState.UNREACHABLE,
                        f"The model server at {self.address} has lost the process that runs its model (its health: HTTP 503)."
                        " It ends soon by itself, or has to be started again; its own log says why.",
                    )
            # A question or another probe may have changed the status meanwhile: keep that newer one.
            if (self.status.state, self.status.model) == (before.state, before.model):
                status = _able(status, speech_out=self.speech_out.speaks)
                self.status = self._with_learned(status)
        except (TimeoutError, Slow):
            self.status = self._bad(
                EngineState.UNREACHABLE,
                f"The model server at {self.address} does not answer. It may be down, overloaded or behind a firewall.",
            )
        except Unreachable as exc:
            # Another may take its address.
            self._sight = Sight(self._client, self._root)
            self.unreachable(str(exc))
        except Refused as refusal:
            self.status = self._from_refusal(refusal)
        except NotChat as exc:
            self.status = self.not_chat(exc.why)
        except (httpx2.InvalidURL, ValueError, RecursionError):
            self.status = self.not_chat()
        return self.status

    async def _headless(self) -> bool:
        """Find whether the process that runs the model has died.

        vLLM's router says that it has while any of its servers is down; it has a check of its own
        for whether one answers, which vLLM has not.
        """
        if await self._client.health(f"{self._root}/health") != 503:
            return False
        return await self._client.health(f"{self._root}/readiness") != 200

    def _recognised(self, status: EngineStatus, told: Told) -> None:
        """Take up another model, and log what is known of it."""
        family = self._family
        self._thinking.served(family, thinks=told.thinks)
        named = f"of the family {family.title}" if family is not None else "of no known family"
        said = "; ".join(one for one in (named, told.words) if one)
        log.info(
            "a model is served",
            extra={"engine": self._name, "reason": f"{status.model_name[:80]}: {said}."},
        )

    def _seeing(
        self, cards: list[dict[str, Any]], models: list[Listed], chosen: Listed | None, told: Told
    ) -> EngineStatus:
        """Read the list for the model that takes pictures.

        MODEL_NAME wins over anything known of it.
        """
        wanted = self._endpoint.model
        status = self._of_list(cards, chosen.name if chosen is not None else "", told)
        wanted_blind = bool(wanted) and wanted in self._sight.blind
        if status.ready and (wanted_blind or (models and chosen is None)):
            names = [wanted] if wanted_blind else [one.name for one in models]
            shown = _listed(names) + (", …" if len(names) > 3 else "")
            return self._bad(
                EngineState.MISCONFIGURED,
                f"No model at {self.address} takes pictures ({shown}). Load a vision-language model there,"
                f" or name one in {self.names.model} to use it all the same.",
                before=status,
            )
        if status.ready and chosen is not None and len(models) > 1:
            why = discovery.words(chosen, len(models))
            if status.model != self.status.model:
                log.info(
                    "a model was chosen",
                    extra={"engine": self._name, "reason": f"{chosen.name[:80]}: {why}"},
                )
            return dataclasses.replace(status, detail=f"{status.model_name}: {why}.")
        return status

    def _of_list(self, cards: list[dict[str, Any]], chosen: str, told: Told) -> EngineStatus:
        """Read the entries of /v1/models; `chosen` is the model to ask where none is set, else the
        first. `told`: of that model.
        """
        wanted, names = self._endpoint.model, [card["id"] for card in cards]
        if not names and not wanted:
            return self._bad(
                EngineState.MISCONFIGURED,
                f"The model server at {self.address} lists no models. Set {self.names.model} to the one it serves.",
            )
        if names and wanted and wanted not in names:
            return self._bad(
                EngineState.MISCONFIGURED,
                f"The model server at {self.address} does not serve {clean(wanted)}; it serves {_listed(names)}. "
                f"Set {self.names.model} to one of these, or leave it empty.",
                Trouble.MODEL,
                served=tuple(clean(name) for name in names[:3]),
            )
        model = wanted or (chosen if chosen in names else names[0])
        card = next((card for card in cards if card["id"] == model), {})
        sizes = self._learn_geometry(model, card, told.kind)
        known = self._family or families.NONE
        hears = families.Ability.AUDIO_IN in known.abilities and told.sees is None
        # Of other servers than vLLM some abilities are not known.
        vllm = card.get("owned_by") == "vllm"
        capabilities = Capabilities(
            # It takes the frames as JPEGs.
            video=known.paired_frames and vllm,
            audio_in=hears or told.hears or discovery.takes_sound(card),
            speech_out=self.speech_out.of_card(card),
            grounding=known.boxes is not None,
            boxes=known.boxes,
            # It constrains answers to a schema.
            json_schema=vllm,
            # A server that takes none says so when it is asked.
            tools=True,
            calls_tools=bool(known.tool_parser) if told.calls is None else told.calls,
            # On by default there.
            prefix_cache=vllm,
            geometry=sizes,
            context_length=discovery.context_length(card) or told.context,
            max_concurrency=told.slots,
        )
        status = EngineStatus(EngineState.READY, "", model, capabilities, self.status.elsewhere)
        return self._with_learned(status)

    def _learn_geometry(self, model: str, card: Mapping[str, Any], kind: str) -> Geometry:
        """Learn the model's family, and return its geometry. `kind`: another name of it."""
        root = card.get("root")
        key = (model, root if isinstance(root, str) else "")
        if key != self._card:
            names = (name for name in dict.fromkeys((key[1], model)) if name.startswith("/"))
            folders = [Path(name) for name in names]
            model_type = _first(families.folder_type(folder) for folder in folders)
            self._family = families.known(model_type or card.get("model_type"), key[1], model, kind)
            known = self._family or families.NONE
            self._geometry = (
                _first(families.folder_geometry(folder) for folder in folders)
                or known.geometry
                or families.DEFAULT_GEOMETRY
            )
            self._learned = {}
            self.speech_out.of_model(families.Ability.SPEECH_OUT in known.abilities)
            self._card = key
        factor = self._endpoint.factor
        return self._geometry if factor is None else families.factor_geometry(factor)

    async def _listing(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Return the object of /v1/models and its valid entries; none for a server that is not asked for it, or
        that cannot list its models and is well otherwise.

        `transformers serve` fails to list without a cache folder. A broken server does, too; the health check tells them
        apart. Raises ValueError for no list.
        """
        # The health check of vLLM, llama.cpp and `transformers serve`: beside /v1, not below it
        health, wanted = f"{self._root}/health", self._endpoint.model
        if wanted and not self._endpoint.listed:
            await self._client.get(health)
            return {}, []
        try:
            data = json.loads(await self._client.get("/models"))
        except Refused as refusal:
            # Questions name the model that the settings name.
            unlisted = wanted and refusal.status in _LISTING_FAILS
            if not unlisted or not 200 <= await self._client.health(health) < 300:
                raise
            return {}, []
        listed = data.get("data") if isinstance(data, dict) else None
        if not isinstance(listed, list):
            raise ValueError("no list of models")
        return data, [
            one for one in listed if isinstance(one, dict) and discovery.is_name(one.get("id"))
        ]

    async def _paths(self) -> list[str] | None:
        """Return the paths of the server's interface, as FastAPI describes it; none where it does
        not, and None when it does not answer.
        """
        try:
            described = json.loads(await self._client.get(f"{self._root}/openapi.json"))
        except (Refused, ValueError, RecursionError):
            return []
        except AskFailed:
            return None
        paths = described.get("paths") if isinstance(described, dict) else None
        return [path for path in paths if isinstance(path, str)] if isinstance(paths, dict) else []

    # What refusals and answers show

    def learn(self, **shown: Any) -> None:
        """Learn capabilities from a refusal, until there is another model.

        Of contexts the smallest holds: no more tokens are counted on.
        """
        stated = self._learned.get("context_length")
        if stated and "context_length" in shown:
            shown["context_length"] = min(stated, shown["context_length"])
        self._learned |= shown
        self.status = self._with_learned(self.status)

    def _with_learned(self, status: EngineStatus) -> EngineStatus:
        """Return a status with what was learned beside what the server's list states."""
        found, stated = dict(self._learned), status.capabilities.context_length
        if stated and "context_length" in found:
            found["context_length"] = min(stated, found["context_length"])
        return _able(status, **found)

    def learned_speech(self) -> None:
        self.status = _able(self.status, speech_out=self.speech_out.speaks)

    def no_pictures(self, model: str) -> None:
        """Note that a model refused the picture of a question."""
        self._sight.blind.add(model)

    # Errors in sentences

    def _from_refusal(self, refusal: Refused) -> EngineStatus:
        """Return the status of a server that answers with this error."""
        status, server, trouble = refusal.status, f"The model server at {self.address}", None
        if status in (401, 403):
            state, trouble = EngineState.MISCONFIGURED, Trouble.KEY
            detail = f"{server} did not accept our key (HTTP {status}). Set {self.names.key} to the key it was started with."
        elif status == 429:
            state = EngineState.BUSY
            detail = f"{server} takes no more requests for now (HTTP {status})."
        elif False:
            state = EngineState.UNREACHABLE
            detail = f"The router at {self.address} has no model server that answers (HTTP 503). Start one of those in ROUTER_WORKERS."
        elif status == 503:
            state = EngineState.LOADING
            detail = f"{server} is loading its model (HTTP 503). It will be used when it is ready."
        elif status >= 500:
            state = EngineState.UNREACHABLE
            detail = f"{server} fails (HTTP {status}). Its own log says why."
            if status in _LISTING_FAILS and not self._endpoint.model:
                detail += f" With {self.names.model} set, its list of models is not needed."
        else:
            return self.not_chat()
        return self._bad(state, detail, trouble)

    def not_chat(self, why: str = "") -> EngineStatus:
        """Return the status of what is no model server. `why`: the end of a sentence on it; may be empty."""
        detail = (
            f"The program at {self.address} {why}. Check that {self.names.url} names a model server."
            if why
            else f"The program at {self.address} is not an OpenAI-compatible model server. "
            f"{self.names.url} must name one and end in /v1, like http://127.0.0.1:8001/v1."
        )
        return self._bad(EngineState.MISCONFIGURED, detail, Trouble.PROTOCOL)

    def refusal(self, refusal: Refused) -> EngineError:
        if refusal.status in (401, 403):
            self.status = self._from_refusal(refusal)
        context = self.status.capabilities.context_length
        return refusal.error(
            context_length=context,
            url=self.names.url,
            key=self.names.key,
            model=self.names.model,
        )

    def unreachable(self, why: str = "") -> EngineUnavailable:
        """Note that nothing answers, and return the error. `why`: the end of a sentence on it; may be empty."""
        detail = (
            f"The model server at {self.address} is not reached: {why}. Check {self.names.url}."
            if why
            else f"Nothing answers at {self.address}: the model server is down, or still loading its model. "
            f"Start it, or set {self.names.url} to where it is."
        )
        self.status = self._bad(EngineState.UNREACHABLE, detail)
        return EngineUnavailable(self.status.detail)

    def _bad(
        self,
        state: EngineState,
        detail: str,
        trouble: Trouble | None = None,
        *,
        served: tuple[str, ...] = (),
        before: EngineStatus | None = None,
    ) -> EngineStatus:
        """`before`: the status so far, where it is not the server's own."""
        return dataclasses.replace(
            before or self.status, state=state, detail=detail, trouble=trouble, served=served
        )


def _able(before: EngineStatus, **capabilities: Any) -> EngineStatus:
    changed = dataclasses.replace(before.capabilities, **capabilities)
    return dataclasses.replace(before, capabilities=changed)


def _listed(names: list[str]) -> str:
    return ", ".join(clean(name) for name in names[:3])


def _first(found: Iterable[_T | None]) -> _T | None:
    return next((one for one in found if one is not None), None)
