"""The knowledge of one model server: its state, model and abilities, as probes and refusals show them."""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import logging
import socket
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import httpx2
import ifaddr
import numpy as np

from server.core.addresses import parse_address
from server.core.errors import EngineError, EngineUnavailable
from server.media.picture.encode import data_url, jpeg
from server.models import families
from server.models.base import EngineState, EngineStatus, Trouble
from server.models.control_tokens import ControlTokens
from server.models.openai import discovery, upstream
from server.models.openai.bounded_http import AnswerRefused, read_json
from server.models.openai.chat_client import ChatClient, Endpoint, SettingNames, Unreachable, openai
from server.models.openai.discovery import (
    NOTHING_TOLD,
    Discovery,
    Listed,
    SpeechOut,
    Told,
    address_of,
    other_machine,
)
from server.models.thinking import OFF_FIELDS
from server.models.weights import ModelFolderError
from server.models.weights import read_json as read_file

log = logging.getLogger(__name__)

# Find whether an address leads to this machine. Of names only its own counts, and only while that resolves to own
# addresses alone: others decide where any other name leads tomorrow.
Address = IPv4Address | IPv6Address
_RESOLVE_SECONDS = 2.0
# A name server that does not answer holds a thread: it is not asked again for so long.
_PAUSE_SECONDS = 60.0


def own_addresses() -> frozenset[Address]:
    """Return the addresses of all interfaces now. Blocking for about a millisecond."""
    found = set()
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            text = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
            found.add(ipaddress.ip_address(text.partition("%")[0]))
    return frozenset(found)


def own_names() -> frozenset[str]:
    """Return the machine's own names, for DNS and for multicast DNS (RFC 6762); nothing is sent."""
    name = socket.gethostname().strip().rstrip(".").lower()
    first = name.partition(".")[0]
    return frozenset({name, first, f"{first}.local"} - {"", "localhost", ".local"})


def is_own(address: Address, own: Iterable[Address]) -> bool:
    return address.is_loopback or address.is_unspecified or address in own


class Whereabouts:
    """The machine behind one engine's address; looked up each time, because networks change."""

    def __init__(
        self,
        base_url: str,
        *,
        addresses: Callable[[], frozenset[Address]] = own_addresses,
        names: Callable[[], frozenset[str]] = own_names,
    ) -> None:
        # The other machine as people know it, "" for none; before `find` it is read from the address
        # alone.
        self.other = self._host = other_machine(base_url)
        self._addresses, self._names = addresses, names
        self._not_before = 0.0

    async def find(self) -> str:
        """Look the machine up, without blocking the event loop; "" while it is this one."""
        if self._host:
            self.other = "" if await self._leads_here() else self._host
        return self.other

    async def _leads_here(self) -> bool:
        loop = asyncio.get_running_loop()
        literal = parse_address(f"[{self._host}]" if ":" in self._host else self._host)
        if literal is not None:
            return is_own(literal, await self._own())
        if self._host not in self._names() or loop.time() < self._not_before:
            return False
        try:
            async with asyncio.timeout(_RESOLVE_SECONDS):
                found = await loop.getaddrinfo(self._host, None, type=socket.SOCK_STREAM)
        except TimeoutError:
            self._not_before = loop.time() + _PAUSE_SECONDS
            return False
        except (OSError, UnicodeError):
            return False
        meant = {parse_address(str(one[4][0])) for one in found}
        own = await self._own()
        return bool(meant) and all(one is not None and is_own(one, own) for one in meant)

    async def _own(self) -> frozenset[Address]:
        try:
            return await asyncio.to_thread(self._addresses)
        except OSError:
            # The system gives none: then no address is known to be ours.
            return frozenset()


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

    def forget(self) -> None:
        """Start again: the server is gone, and another may take its address."""
        self._asked.clear()
        self._shown.clear()
        self._told.clear()
        self._files.clear()
        self.blind.clear()

    async def models(self, raw: bytes, *, busy: bool) -> list[Listed]:
        """Return the models of the body of /v1/models with their abilities; none for no list.

        `busy`: no model is asked.

        Never raises an error.
        """
        data, cards = _cards(raw)
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
            return discovery.of_lm_studio(await self._get("/api/v0/models"), models)
        if _is_ollama(cards):
            for one in models[:_MOST_SHOWN]:
                if one.name not in self._shown:
                    self._shown[one.name] = await self._get("/api/show", {"model": one.name})
            return discovery.of_ollama(self._shown, await self._get("/api/ps"), models)
        if "llamacpp" in owners and len(models) == 1:
            return [discovery.of_llama_cpp(await self.told(models[0].name, cards), models[0])]
        return models

    async def told(self, name: str, cards: list[dict[str, Any]]) -> Told:
        """Return what the server tells of a served model beside its list; it is asked once for each.

        One that has several loads those that it is asked about, or not: llama.cpp is asked for its only one.
        """
        if name not in self._told:
            told, owners = NOTHING_TOLD, {card.get("owned_by") for card in cards}
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
            value = read_json(raw)
        except (
            *(TimeoutError, openai.OpenAIError, httpx2.HTTPError),
            *(ValueError, RecursionError),
        ):
            return {}
        return value if isinstance(value, dict) else {}

    def _by_files(self, one: Listed, card: Mapping[str, Any]) -> Listed:
        root = card.get("root")
        if one.why == "its server says so" or not isinstance(root, str) or root[:1] != "/":
            return one
        if root not in self._files:
            while len(self._files) >= _MOST_LISTED:
                del self._files[next(iter(self._files))]
            config = _config(Path(root))
            family = families.of_config(config) if config is not None else None
            self._files[root] = None if config is None else family is not None and family.answers
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


def _cards(raw: bytes) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    try:
        data = read_json(raw)
    except (ValueError, RecursionError):
        return {}, []
    listed = data.get("data") if isinstance(data, dict) else None
    if not isinstance(listed, list):
        return {}, []
    cards = [one for one in listed if isinstance(one, dict) and isinstance(one.get("id"), str)]
    return data, cards[:_MOST_LISTED]


def _config(folder: Path) -> dict[str, Any] | None:
    try:
        return read_file(folder / "config.json", _CONFIG_BYTES)
    except ModelFolderError:
        return None


@cache
def _picture() -> str:
    return data_url(jpeg(np.full((_SIDE, _SIDE, 3), 128, np.uint8)))


class KnownServer:
    """Owner of a server's status.

    `seconds` bounds a probe. `busy` returns True while answers are under way. `on_model` gets the fields that switch
    thinking off, as far as they are known, when the server has another model than before.
    """

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        client: ChatClient,
        *,
        seconds: float,
        busy: Callable[[], bool],
        on_model: Callable[[Mapping[str, Any]], None],
    ) -> None:
        # Without credentials
        self.address = address_of(endpoint.base_url)
        self._name = name
        self._client = client
        self._wanted = endpoint.model
        self._listed = endpoint.listed or not endpoint.model
        self._seconds = seconds
        self._busy = busy
        self._on_model = on_model
        self._discovery = Discovery(
            self.address, wanted=endpoint.model, factor=endpoint.factor, names=endpoint.names
        )
        self._whereabouts = Whereabouts(endpoint.base_url)
        self._sight = Sight(client, self.address.removesuffix("/v1"))
        self.status = EngineStatus(
            EngineState.UNREACHABLE,
            f"Not yet asked: the model server at {self.address}.",
            elsewhere=self._whereabouts.other,
        )

    @property
    def model(self) -> str:
        """The model that is served, or else the one that the settings name; "" for none."""
        return self.status.model or self._wanted

    @property
    def control_tokens(self) -> ControlTokens | None:
        """The tokens of the model's own folder; None where it is not on this machine."""
        return self._discovery.control_tokens

    async def probe(self) -> EngineStatus:
        """List the models and learn the served one's context length and geometry; vLLM is asked for
        its health, too.

        Never raises an error.
        """
        elsewhere = await self._whereabouts.find()
        self.status = dataclasses.replace(self.status, elsewhere=elsewhere)
        try:
            async with asyncio.timeout(self._seconds):
                listing = await self._listing()
            models: list[Listed] = []
            if not self._wanted:
                # Within limits of its own: a server may have to load a model for it.
                models = await self._sight.models(listing, busy=self._busy())
            chosen = discovery.choose(models, self.status.model)
            told = await self._told(listing, chosen)
            async with asyncio.timeout(self._seconds):
                status = self._seeing(listing, models, chosen, told)
                if status.model != self.status.model:
                    self._recognised(status, told)
                if status.ready and self._discovery.speech_out.asks:
                    if (paths := await self._paths()) is not None:
                        self._discovery.speech_out.offered(paths)
                    status = self._discovery.learn_speech(status)
                # vLLM, which alone is known to have json_schema, lists its models for seconds after
                # the process that runs them has died (0.32.0: up to 5).
                if status.capabilities.json_schema and await self._headless():
                    status = self._bad(EngineState.UNREACHABLE, self._discovery.headless())
            self.status = status
        except Unreachable:
            self.status = self._nobody()
        except (TimeoutError, openai.APITimeoutError):
            self.status = self._bad(
                EngineState.UNREACHABLE,
                f"The model server at {self.address} does not answer. It may be down, overloaded or behind a firewall.",
            )
        except openai.APIConnectionError as exc:
            if isinstance(exc.__cause__, AnswerRefused):
                self.status = self._refused_answer(str(exc.__cause__))
            else:
                self.status = self._nobody()
        except openai.APIStatusError as exc:
            self.status = self._discovery.from_refusal(exc.status_code, exc.body, self.status)
        except (
            *(openai.OpenAIError, httpx2.HTTPError, httpx2.InvalidURL),
            *(ValueError, RecursionError),
        ):
            self.status = self._bad(
                EngineState.MISCONFIGURED, self._discovery.not_openai(), Trouble.PROTOCOL
            )
        return self.status

    async def _headless(self) -> bool:
        """Find whether the process that runs the model has died.

        vLLM's router says that it has while any of its servers is down; it has a check of its own
        for whether one answers, which vLLM has not.
        """
        if await self._client.health(self._discovery.health) != 503:
            return False
        return await self._client.health(self._discovery.readiness) != 200

    async def _told(self, listing: bytes, chosen: Listed | None) -> Told:
        """Return what the server tells of the model that it will be asked for."""
        _, cards = _cards(listing)
        name = self._wanted or (chosen.name if chosen is not None else "")
        there = any(card["id"] == name for card in cards)
        return await self._sight.told(name, cards) if there else NOTHING_TOLD

    def _recognised(self, status: EngineStatus, told: Told) -> None:
        """Take up another model, and log what is known of it."""
        family = self._discovery.family
        off = family.thinking_off if family is not None else {}
        self._on_model(off or (OFF_FIELDS if told.thinks else {}))
        named = f"of the family {family.title}" if family is not None else "of no known family"
        said = "; ".join(one for one in (named, told.words) if one)
        log.info(
            "a model is served",
            extra={"engine": self._name, "reason": f"{status.model_name[:80]}: {said}."},
        )

    def _seeing(
        self, listing: bytes, models: list[Listed], chosen: Listed | None, told: Told
    ) -> EngineStatus:
        """Read the list for the model that takes pictures.

        MODEL_NAME wins over anything known of it.
        """
        status = self._discovery.from_listing(
            listing, self.status, chosen.name if chosen is not None else "", told
        )
        wanted_blind = bool(self._wanted) and self._wanted in self._sight.blind
        if status.ready and (wanted_blind or (models and chosen is None)):
            names = [self._wanted] if wanted_blind else [one.name for one in models]
            return self._discovery.blind(names, status)
        if status.ready and chosen is not None and len(models) > 1:
            why = discovery.words(chosen, len(models))
            if status.model != self.status.model:
                log.info(
                    "a model was chosen",
                    extra={"engine": self._name, "reason": f"{chosen.name[:80]}: {why}"},
                )
            return dataclasses.replace(status, detail=f"{status.model_name}: {why}.")
        return status

    async def _listing(self) -> bytes:
        """Return the body of /v1/models; an empty list for a server that is not asked for it, or
        that cannot list its models and is well otherwise.
        """
        health = self._discovery.health
        if not self._listed:
            await self._client.get(health)
            return b'{"data": []}'
        try:
            return await self._client.models()
        except openai.APIStatusError as exc:
            if (
                self._discovery.may_be_unlisted(exc.status_code)
                and 200 <= await self._client.health(health) < 300
            ):
                return b'{"data": []}'
            raise

    def learn_context(self, refusal: object) -> None:
        stated = upstream.stated_context(refusal)
        if stated is not None:
            self.learn(context_length=stated)

    def learn(self, **shown: Any) -> None:
        """Note capabilities that a refusal has shown."""
        self.status = self._discovery.learn(self.status, **shown)

    @property
    def speech_out(self) -> SpeechOut:
        """The knowledge of the model's own speech; `learned_speech` after a change."""
        return self._discovery.speech_out

    def learned_speech(self) -> None:
        self.status = self._discovery.learn_speech(self.status)

    async def _paths(self) -> list[str] | None:
        """Return the paths of the server's interface, as FastAPI describes it; none where it does
        not, and None when it does not answer.
        """
        try:
            raw = await self._client.get(self.address.removesuffix("/v1") + "/openapi.json")
            described = read_json(raw)
        except (openai.APIStatusError, ValueError, RecursionError):
            return []
        except (openai.OpenAIError, httpx2.HTTPError):
            return None
        paths = described.get("paths") if isinstance(described, dict) else None
        return [path for path in paths if isinstance(path, str)] if isinstance(paths, dict) else []

    def no_pictures(self, model: str) -> None:
        """Note that a model refused the picture of a question."""
        self._sight.blind.add(model)

    def not_chat(self, why: str) -> str:
        """Say why a reply is no answer. `why`: the part of the request that was refused; may be empty."""
        return self._refused_answer(why).detail if why else self._discovery.not_openai()

    def refusal(self, status: int, body: object, retry_after: float | None = None) -> EngineError:
        if status in (401, 403):
            self.status = self._discovery.from_refusal(status, body, self.status)
        return upstream.error_for(
            status,
            body,
            context_length=self.status.capabilities.context_length,
            retry_after=retry_after,
            key=self.names.key,
            model=self.names.model,
        )

    @property
    def names(self) -> SettingNames:
        """The settings that name this server."""
        return self._discovery.names

    def _nobody(self) -> EngineStatus:
        """Take the server for gone: another may take its address."""
        self._sight.forget()
        return self._bad(EngineState.UNREACHABLE, self._discovery.unreachable())

    def unreachable(self) -> EngineUnavailable:
        self.status = self._bad(EngineState.UNREACHABLE, self._discovery.unreachable())
        return EngineUnavailable(self.status.detail)

    def _refused_answer(self, why: str) -> EngineStatus:
        detail = f"The program at {self.address} {why}. Check that {self.names.url} names a model server."
        return self._bad(EngineState.MISCONFIGURED, detail, Trouble.PROTOCOL)

    def _bad(self, state: EngineState, detail: str, trouble: Trouble | None = None) -> EngineStatus:
        return dataclasses.replace(
            self.status, state=state, detail=detail, trouble=trouble, served=()
        )
