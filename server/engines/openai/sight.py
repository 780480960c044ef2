"""Find the models of a server that take pictures: by its own words, by their files, and else by
showing them one.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import numpy as np

from server.catalogue import families
from server.engines.openai import model_choice
from server.engines.openai.bounded_http import read_json
from server.engines.openai.chat_client import ChatClient
from server.engines.openai.library import openai
from server.engines.openai.model_choice import Listed
from server.vision.encode import data_url, jpeg

log = logging.getLogger(__name__)

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
        # By folder, so that files are read once: the model takes pictures; None where its files do
        # not say
        self._files: dict[str, bool | None] = {}
        # Models that refused the picture of a question
        self._blind: set[str] = set()

    def forget(self) -> None:
        """Start again: the server is gone, and another may take its address."""
        self._asked.clear()
        self._shown.clear()
        self._files.clear()
        self._blind.clear()

    def refused(self, model: str) -> None:
        """Note that a model refused a picture."""
        self._blind.add(model)

    def is_blind(self, model: str) -> bool:
        return model in self._blind

    async def models(self, raw: bytes, *, busy: bool) -> list[Listed]:
        """Return the models of the body of /v1/models with their abilities; none for no list.

        `busy`: no model is asked.

        Never raises an error.
        """
        data, cards = _cards(raw)
        names = {card["id"] for card in cards}
        for kept in (self._asked, self._shown):
            for gone in set(kept) - names:
                del kept[gone]
        self._blind &= names
        models = model_choice.listed(data, cards)
        if len(models) > 1 or any(one.sees is None for one in models):
            models = await self._with_details(cards, models)
        models = [self._by_files(one, card) for one, card in zip(models, cards, strict=True)]
        models = self._tried(models)
        if busy:
            return models
        for name in model_choice.to_ask(models)[:_MOST_ASKED]:
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
            if one.name in self._blind:
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
        """Add the details that a server gives beside that list; the owner in the list names its
        kind.
        """
        owners = {card.get("owned_by") for card in cards}
        if "organization_owner" in owners:
            return model_choice.of_lm_studio(await self._get("/api/v0/models"), models)
        if "library" in owners:
            for one in models[:_MOST_SHOWN]:
                if one.name not in self._shown:
                    self._shown[one.name] = await self._get("/api/show", {"model": one.name})
            return model_choice.of_ollama(self._shown, await self._get("/api/ps"), models)
        return models

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
        path = folder / "config.json"
        if not path.is_file() or path.stat().st_size > _CONFIG_BYTES:
            return None
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


@cache
def _picture() -> str:
    return data_url(jpeg(np.full((_SIDE, _SIDE, 3), 128, np.uint8)))
