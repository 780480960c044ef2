"""Facts about the models of one server, from its list, its own interface, and at most one test picture."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from server.core.frames import Geometry
from server.media.picture.encode import encode_jpeg, to_data_url
from server.models import families
from server.models.base import Capabilities
from server.models.families import Ability, Family
from server.models.files import clean
from server.models.openai import discovery
from server.models.openai.chat_client import ChatClient, Endpoint, NotChat
from server.models.openai.discovery import ModelInfo
from server.models.openai.upstream import AskFailed, Refused

# Time limit of a test picture (seconds): the server may load the model for it.
_SHOW_SECONDS = 8.0
# Side of the test picture in pixels: some servers refuse pictures smaller than two patches of 28.
_SIDE = 64
_MODELS = "/models"
# Statuses of a missing path
ABSENT = (404, 405, 501)


class ModelSurvey:
    """Facts about a server's models, kept between probes. `seconds` and `busy`: see `ModelServer`."""

    def __init__(
        self, client: ChatClient, endpoint: Endpoint, seconds: float, busy: Callable[[], bool]
    ) -> None:
        # Without credentials
        self.address = discovery.get_display_address(endpoint.base_url)
        self.root = self.address.removesuffix("/v1")
        # vLLM, llama.cpp and `transformers serve` have this path next to /v1, not below it.
        self._health_url = f"{self.root}/health"
        self._client, self._endpoint, self._seconds, self._busy = client, endpoint, seconds, busy
        # Name of the server program; "" if unknown
        self.server = ""
        # The listed names, and the HTTP status if the server refused to list them
        self.listed: list[str] = []
        self.refused = 0
        self.forget()

    def forget(self) -> None:
        """Forget the models, because another server may use the address now."""
        # Facts from its own interface, by model and path
        self._facts: dict[str, dict[str, ModelInfo]] = {}
        # The model that got the test picture, and whether it accepted the picture; None if it did not answer
        self._shown: tuple[str, bool | None] = ("", None)

    async def cards(self) -> list[dict[str, Any]]:
        """Return the entries of /v1/models: only the entry of the configured model, listed or not, else all.

        Raises AskFailed, and ValueError if there is no list.
        """
        cards, wanted = await self._get_listing(), self._endpoint.model
        self.server = discovery.identify_server(cards)
        self.listed = [card["id"] for card in cards]
        if not wanted:
            return cards[: discovery.MOST_LISTED]
        # An entry under an equivalent name describes the same model.
        alike = [card for card in cards if discovery.is_same_name(card["id"], wanted)]
        alike.sort(key=lambda card: card["id"] != wanted)
        return [{**next(iter(alike), {}), "id": wanted}]

    async def _get_listing(self) -> list[dict[str, Any]]:
        wanted, self.refused = self._endpoint.model, 0
        try:
            return discovery.parse_cards(json.loads(await self._client.get(_MODELS)))
        except (Refused, NotChat, ValueError, RecursionError) as exc:
            # A configured name suffices, unless the error is about more than a missing list.
            status = self.refused = exc.status if isinstance(exc, Refused) else 200
            told = status in (401, 429, 502, 503, 504)
            if isinstance(exc, Refused) and 300 <= status < 400:
                place = discovery.get_redirect_target(self.address, _MODELS, exc.location)
                told = place != self.address + _MODELS
            if not wanted or told or await self.health() >= 500:
                raise
            return []

    async def health(self) -> int:
        return await self._client.health(self._health_url)

    async def read(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """Return an object from the server's own interface; {} if the path does not exist, None after a failure.

        Raises AskFailed if there is no response.
        """
        try:
            found = json.loads(await self._client.get(self.root + path, body))
        except Refused as refusal:
            return {} if refusal.status in ABSENT else None
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    async def models(self, cards: list[dict[str, Any]], current: str) -> list[ModelInfo]:
        """Return the facts about each model; at most one gets a test picture. `current`: the model in use."""
        self._facts = {card["id"]: self._facts.get(card["id"], {}) for card in cards}
        # The next probe asks for the rest.
        with suppress(TimeoutError, AskFailed):
            async with asyncio.timeout(self._seconds):
                await self._ask_sources()
        models = [self._get_info(card) for card in cards]
        best = discovery.choose(models, current)
        known = best is None or best.sees is not None or self._shown[0] in self._facts
        if best is not None and not (known or self._endpoint.model or self._busy()):
            picture = to_data_url(encode_jpeg(np.full((_SIDE, _SIDE, 3), 128, np.uint8)))
            taken = await self._client.takes_picture(best.name, picture, _SHOW_SECONDS)
            self._shown = (best.name, taken)
            models = [self._get_info(card) for card in cards]
        return models

    async def _ask_sources(self) -> None:
        for source in discovery.SOURCES:
            if source.server != self.server:
                continue
            answer: dict[str, Any] | None = None
            changes, facts = source.changes, self._facts
            names = [name for name in facts if changes or source.path not in facts[name]]
            for name in names:
                if source.posts or name == names[0]:
                    body = {"model": name} if source.posts else None
                    answer = await self.read(source.path, body)
                # A failed source is read again at the next probe. An unloaded model keeps its known context length.
                if answer is not None:
                    known = facts[name].get(source.path, ModelInfo())
                    facts[name][source.path] = known | source.read(answer, name)

    def _get_info(self, card: Mapping[str, Any]) -> ModelInfo:
        info = discovery.parse_card(card)
        for facts in self._facts[info.name].values():
            info |= facts
        family, (shown, taken) = get_model_family(info)[0], self._shown
        known = (
            (taken if shown == info.name else None, "one was shown to it"),
            (info.sees, "its server says so"),
            (families.accepts_pictures(info.name), "by its name"),
            (family.answers if family is not None else None, "by its family"),
        )
        for sees, why in ((sees, why) for sees, why in known if sees is not None):
            why = f"takes {'' if sees else 'no '}pictures ({why})"
            return dataclasses.replace(info, sees=sees, why=why)
        return info

    @property
    def ends_in_v1(self) -> bool:
        """True if the configured address ends in /v1."""
        return self.root != self.address

    def find_warnings(self) -> list[str]:
        """Return warnings about the configured model or address."""
        wanted, names = self._endpoint.model, self._endpoint.names
        if not wanted or wanted in self.listed:
            return []
        if self.listed:
            listed = self.others(wanted)
            return [
                f"The server's list does not have {clean(wanted)} ({names.model}), but {listed}."
            ]
        if self.refused in ABSENT and not self.ends_in_v1:
            return [f"There is no list of models, and {names.url} does not end in /v1."]
        return []

    def others(self, model: str) -> str:
        """Return some of the other listed names, equivalent names first."""
        names = [one for one in self.listed if one != model]
        names.sort(key=lambda one: not discovery.is_same_name(one, model))
        return format_some(names)


def get_capabilities(info: ModelInfo, endpoint: Endpoint) -> Capabilities:
    """Return the capabilities of a model at this address."""
    known, geometry = get_model_family(info)
    family, vllm = known or families.NONE, info.vllm is True
    if endpoint.factor is not None:
        geometry = families.make_factor_geometry(endpoint.factor)
    return Capabilities(
        # vLLM accepts frames as JPEGs; whether other servers do is unknown.
        video=family.paired_frames and vllm,
        audio_in=Ability.AUDIO_IN in family.abilities if info.hears is None else info.hears,
        grounding=family.boxes is not None,
        boxes=family.boxes,
        # Constrains answers to a schema
        json_schema=vllm,
        # A server without support for tools refuses a request with tools.
        tools=True,
        calls_tools=bool(family.tool_parser) if info.calls is None else info.calls,
        picture_share=endpoint.picture_share,
        # On by default in vLLM
        prefix_cache=vllm or info.caches is True or (info.caches is False and not family.recurrent),
        caches_messages=info.caches is True and family.recurrent,
        geometry=geometry or family.geometry or families.DEFAULT_GEOMETRY,
        context_length=info.context,
        max_concurrency=info.slots,
    )


def get_model_family(info: ModelInfo) -> tuple[Family | None, Geometry | None]:
    """Return a model's family, and the geometry from its folder if the folder is on this machine."""
    return _read(info.name, info.root, info.model_type, info.kind)


@lru_cache(maxsize=1024)
def _read(
    name: str, root: str, model_type: str, kind: str
) -> tuple[Family | None, Geometry | None]:
    folder = next((Path(one) for one in (root, name) if one.startswith("/")), None)
    found = families.read_folder_type(folder) if folder is not None else None
    geometry = families.read_folder_geometry(folder) if folder is not None else None
    return families.find_family(found or model_type or None, root, name, kind), geometry


def format_some(names: list[str]) -> str:
    """Return some names from a list, for display."""
    return ", ".join(clean(name) for name in names[:3]) + (", …" if len(names) > 3 else "")
