"""The knowledge of one model server: its state, its model, and what that can, by its own lists and by families."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import httpx2
import numpy as np

from server.core.errors import EngineError, EngineUnavailable
from server.core.frames import Geometry
from server.core.setting_text import other_machine
from server.media.picture.encode import data_url, jpeg
from server.models import families
from server.models.base import Capabilities, EngineState, EngineStatus, Trouble
from server.models.families import Ability, Family
from server.models.files import clean
from server.models.openai import discovery
from server.models.openai.chat_client import ChatClient, Endpoint, NotChat, Slow, Unreachable
from server.models.openai.discovery import LM_STUDIO, ModelInfo
from server.models.openai.upstream import AskFailed, Refused
from server.models.thinking import Thinking

log = logging.getLogger(__name__)

# For the answer to a test picture: the server may load the model for it.
_SHOW_SECONDS = 8.0
# The least side that all take: some refuse one below two patches of 28 pixels, such as 8.
_SIDE = 64
_KEY = "did not accept our key. Set {key} to the key it was started with."
_MODELS, _CHAT = "/models", "/chat/completions"
# Statuses of a path that is not there
_ABSENT = (404, 405, 501)
# By the status of a refused list
_TROUBLES = {
    401: (EngineState.MISCONFIGURED, Trouble.KEY, _KEY),
    403: (EngineState.MISCONFIGURED, Trouble.KEY, _KEY),
    429: (EngineState.BUSY, None, "takes no more requests for now."),
    503: (EngineState.LOADING, None, "is loading its model, or its ROUTER_WORKERS are down."),
}
_FAILS = (EngineState.UNREACHABLE, None, "fails. Its own log says why.")


class KnownServer:
    """Owner of a server's status.

    `seconds` bounds each part of a probe. `busy` returns True while answers are under way. `thinking` is told when the
    server has another model than before.
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
        # Beside /v1, not below it: of vLLM, llama.cpp and `transformers serve`
        self._health_url = f"{self._root}/health"
        # The settings that name this server
        self.names = endpoint.names
        remedy = f" If it lists no models, set {self.names.model} to the one it serves."
        self._remedy = "" if endpoint.model else remedy
        self._name, self._client, self._endpoint = name, client, endpoint
        self._seconds, self._busy, self._thinking = seconds, busy, thinking
        # The program that it is, and by model and path what its own interface says
        self._server = ""
        self._facts: dict[str, dict[str, ModelInfo]] = {}
        # The names that it lists, and the status of its refusal to list any
        self._listed: list[str] = []
        self._refused_list = 0
        # The model that was shown a picture, and whether it took it; None when it did not answer
        self._shown: tuple[str, bool | None] = ("", None)
        # What is known of the model that was taken up last
        self._model = ModelInfo()
        # The model speaks its answers, by its server's list, or by its family on a server that offers speech; then each
        # request states what is wanted, since it speaks unasked. None: its server was not asked.
        self.speech_out: bool | None = False
        # The context that a refusal has named; 0 for none
        self._learned = 0
        self.status = EngineStatus(
            EngineState.UNREACHABLE,
            f"Not yet asked: the model server at {self.address}.",
            elsewhere=other_machine(endpoint.base_url, endpoint.machines),
        )

    @property
    def model(self) -> str:
        """The model that is served, or else the one that the settings name; "" for none."""
        return self.status.model or self._endpoint.model

    async def probe(self) -> EngineStatus:
        """List the models and learn what the one that answers can. Never raises an error."""
        before = self.status
        try:
            async with asyncio.timeout(self._seconds):
                cards = await self._candidates()
                # Its list is there before its model.
                loads = self._server == discovery.LLAMA_CPP and await self._health() == 503
            if not cards:
                detail = f"The model server at {self.address} lists no models. Set {self.names.model} to the one it serves."
                status = self._bad(EngineState.MISCONFIGURED, detail)
            elif loads:
                status = dataclasses.replace(
                    self._from_refusal(Refused(503, None)), model=cards[0]["id"]
                )
            else:
                status = self._of_models(await self._models(cards))
                async with asyncio.timeout(self._seconds):
                    status = await self._checked(status)
            # A question or another probe may have changed the status meanwhile: keep that newer one.
            if (self.status.state, self.status.model) == (before.state, before.model):
                self.status = self._with_learned(status)
        except (TimeoutError, Slow):
            self.unreachable("it does not answer; it may be down, overloaded or behind a firewall")
        except Unreachable as exc:
            # Another may take its address.
            self._facts, self._shown = {}, ("", None)
            self.unreachable(str(exc))
        except Refused as refusal:
            self.status = self._from_refusal(refusal)
        except (NotChat, httpx2.InvalidURL, ValueError, RecursionError) as exc:
            self.status = self.not_chat(exc.why if isinstance(exc, NotChat) else "")
        return self.status

    async def _candidates(self) -> list[dict[str, Any]]:
        """Return the entries of /v1/models: of the model that the settings name, listed or not, else of all.

        Raises AskFailed, and ValueError for no list.
        """
        cards, wanted = await self._listing(), self._endpoint.model
        self._server = discovery.server_of(cards)
        self._listed = [card["id"] for card in cards]
        if not wanted:
            return cards[: discovery.MOST_LISTED]
        # The same one under another name describes it, too.
        alike = [card for card in cards if discovery.same_name(card["id"], wanted)]
        alike.sort(key=lambda card: card["id"] != wanted)
        return [{**next(iter(alike), {}), "id": wanted}]

    async def _listing(self) -> list[dict[str, Any]]:
        wanted, self._refused_list = self._endpoint.model, 0
        if wanted and not self._endpoint.listed:
            await self._client.get(self._health_url)
            return []
        try:
            return discovery.cards_in(json.loads(await self._client.get(_MODELS)))
        except (Refused, NotChat, ValueError, RecursionError) as exc:
            # A name does, unless the server says more of itself than that it has no list.
            status = self._refused_list = exc.status if isinstance(exc, Refused) else 200
            told = status in (401, 429, 502, 503, 504)
            if isinstance(exc, Refused) and 300 <= status < 400:
                place = discovery.moved_to(self.address, _MODELS, exc.location)
                told = place != self.address + _MODELS
            if not wanted or told or await self._health() >= 500:
                raise
            return []

    async def _health(self) -> int:
        return await self._client.health(self._health_url)

    async def _checked(self, status: EngineStatus) -> EngineStatus:
        """Return the status by what the server says of itself."""
        if status.ready and self.speech_out is None:
            with suppress(AskFailed):
                if (described := await self._read("/openapi.json")) is not None:
                    self.speech_out = discovery.speaks(described)
        # vLLM, which alone is known to have json_schema, lists its models for seconds after the process that runs them
        # has died (0.32.0: up to 5). Its router says so while any server is down, and has a check of its own.
        lost = status.capabilities.json_schema and await self._health() == 503
        if not lost or await self._client.health(f"{self._root}/readiness") == 200:
            return status
        return self._bad(
            EngineState.UNREACHABLE,
            f"The model server at {self.address} has lost the process that runs its model (its health: HTTP 503)."
            " It ends soon by itself, or has to be started again; its own log says why.",
        )

    async def _read(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """Return an object of the server's own interface; empty where there is none, None where it fails.

        Raises AskFailed for no answer.
        """
        try:
            found = json.loads(await self._client.get(self._root + path, body))
        except Refused as refusal:
            return {} if refusal.status in _ABSENT else None
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    async def _models(self, cards: list[dict[str, Any]]) -> list[ModelInfo]:
        """Return what is known of each, of whom one is shown a picture at most."""
        self._facts = {card["id"]: self._facts.get(card["id"], {}) for card in cards}
        # What is not said in time is asked for at the next probe.
        with suppress(TimeoutError, AskFailed):
            async with asyncio.timeout(self._seconds):
                await self._ask_sources()
        models = [self._info(card) for card in cards]
        best = discovery.choose(models, self.status.model)
        known = best is None or best.sees is not None or self._shown[0] in self._facts
        if best is not None and not (known or self._endpoint.model or self._busy()):
            picture = data_url(jpeg(np.full((_SIDE, _SIDE, 3), 128, np.uint8)))
            taken = await self._client.takes_picture(best.name, picture, _SHOW_SECONDS)
            self._shown = (best.name, taken)
            models = [self._info(card) for card in cards]
        return models

    async def _ask_sources(self) -> None:
        for source in discovery.SOURCES:
            if source.server != self._server:
                continue
            answer: dict[str, Any] | None = None
            changes, facts = source.changes, self._facts
            names = [name for name in facts if changes or source.path not in facts[name]]
            for name in names:
                if source.posts or name == names[0]:
                    body = {"model": name} if source.posts else None
                    answer = await self._read(source.path, body)
                # One that fails is asked again at the next probe. A model that is put away keeps the context it had.
                if answer is not None:
                    known = facts[name].get(source.path, ModelInfo())
                    facts[name][source.path] = known | source.read(answer, name)

    def _info(self, card: Mapping[str, Any]) -> ModelInfo:
        info = discovery.of_card(card)
        for facts in self._facts[info.name].values():
            info |= facts
        family, (shown, taken) = _known(info)[0], self._shown
        known = (
            (taken if shown == info.name else None, "one was shown to it"),
            (info.sees, "its server says so"),
            (families.sees(info.name), "by its name"),
            (family.answers if family is not None else None, "by its family"),
        )
        for sees, why in ((sees, why) for sees, why in known if sees is not None):
            why = f"takes {'' if sees else 'no '}pictures ({why})"
            return dataclasses.replace(info, sees=sees, why=why)
        return info

    def _of_models(self, models: list[ModelInfo]) -> EngineStatus:
        """Return the status with the model that the settings name, or else with the best one."""
        best = models[0]
        if not self._endpoint.model:
            best = discovery.choose(models, self.status.model) or best
        if (
            model := dataclasses.replace(best, why="", sees=None, loaded=None, loading=None)
        ) != self._model:
            self._model = model
            self._take_up(best)
        status = dataclasses.replace(
            self._bad(EngineState.READY, ""),
            model=best.name,
            capabilities=self._abilities(best),
            loaded=best.loaded,
        )
        if best.sees is False and not self._endpoint.model:
            detail = (
                f"No model at {self.address} takes pictures ({_listed([one.name for one in models])}). Load a vision-language model there,"
                f" or name one in {self.names.model} to use it all the same."
            )
            return dataclasses.replace(status, state=EngineState.MISCONFIGURED, detail=detail)
        name, details = status.model_name, self._doubts()
        if len(models) > 1:
            loaded = ", is loaded" if best.loaded else ""
            details.append(f"{name}: one of {len(models)} listed; {best.why}{loaded}.")
        if best.loading:
            details.append(f"{name} is being loaded in {self._server or 'its server'}.")
        elif best.loaded is False:
            details.append(f"{self._unloaded(name)}; load it there, or a question loads it.")
        return dataclasses.replace(status, detail=" ".join(details))

    def _doubts(self) -> list[str]:
        """Return what speaks against the model or the address of the settings; a question decides."""
        wanted, names = self._endpoint.model, self.names
        if not wanted or wanted in self._listed:
            return []
        if self._listed:
            listed = self._some_listed()
            return [
                f"The server's list does not have {clean(wanted)} ({names.model}), but {listed}."
            ]
        if self._refused_list in _ABSENT and not self._ends_in_v1:
            return [f"There is no list of models, and {names.url} does not end in /v1."]
        return []

    def _some_listed(self) -> str:
        """Return some of the other names that it lists, those first that are almost the present one."""
        model = self.model
        others = [one for one in self._listed if one != model]
        return _listed(sorted(others, key=lambda one: not discovery.same_name(one, model)))

    def _abilities(self, info: ModelInfo) -> Capabilities:
        known, geometry = _known(info)
        family, vllm = known or families.NONE, info.vllm is True
        if self._endpoint.factor is not None:
            geometry = families.factor_geometry(self._endpoint.factor)
        return Capabilities(
            # It takes the frames as JPEGs; of other servers this is not known.
            video=family.paired_frames and vllm,
            audio_in=Ability.AUDIO_IN in family.abilities if info.hears is None else info.hears,
            grounding=family.boxes is not None,
            boxes=family.boxes,
            # It constrains answers to a schema.
            json_schema=vllm,
            # A server that takes none says so when it is asked.
            tools=True,
            calls_tools=bool(family.tool_parser) if info.calls is None else info.calls,
            picture_share=self._endpoint.picture_share,
            # On by default there.
            prefix_cache=vllm
            or info.caches is True
            or (info.caches is False and not family.recurrent),
            caches_messages=info.caches is True and family.recurrent,
            geometry=geometry or family.geometry or families.DEFAULT_GEOMETRY,
            context_length=info.context,
            max_concurrency=info.slots,
        )

    def _take_up(self, info: ModelInfo) -> None:
        """Begin anew with another model, or with more that is known of it."""
        family, most = _known(info)[0], info.most_context
        speaks = family is not None and Ability.SPEECH_OUT in family.abilities
        # Of a family that speaks, its server decides.
        self.speech_out = info.speaks or (None if speaks else False)
        self._learned = 0
        self._thinking.served(family, thinks=bool(info.thinks))
        reason = f"{info.name[:80]}: {info.why}"
        reason += f"; of the family {family.title}" if family else "; of no known family"
        if info.context and most and info.context < most:
            reason += f"; {info.context:,} of {most:,} tokens (OLLAMA_CONTEXT_LENGTH sets more)"
        log.info("a model is served", extra={"engine": self._name, "reason": reason})

    def _unloaded(self, name: str) -> str:
        return f"{name} is not loaded in {self._server or 'its server'}"

    @property
    def _ends_in_v1(self) -> bool:
        return self._root != self.address

    # What refusals and answers show

    def learn(self, *, context_length: int) -> None:
        """Learn the context that a refusal names, until there is another model."""
        self._learned = context_length
        self.status = self._with_learned(self.status)

    def _with_learned(self, status: EngineStatus) -> EngineStatus:
        """Return a status with what was learned. Of contexts the smallest holds: no more tokens are counted on."""
        lengths = [one for one in (status.capabilities.context_length, self._learned) if one]
        able = dataclasses.replace(
            status.capabilities,
            speech_out=self.speech_out is True,
            context_length=min(lengths, default=None),
        )
        return dataclasses.replace(status, capabilities=able)

    # Errors in sentences

    def _from_refusal(self, refusal: Refused) -> EngineStatus:
        """Return the status of a server that answers with this error."""
        status, names = refusal.status, self.names
        if 300 <= status < 400:
            detail = self._moved(refusal, _MODELS)
            return self._bad(EngineState.MISCONFIGURED, detail, Trouble.PROTOCOL)
        if status not in _TROUBLES and status < 500:
            refused = f"refuses to list its models (HTTP {status}); {names.key} may be wrong"
            return self.not_chat("" if status in _ABSENT else refused)
        state, trouble, why = _TROUBLES.get(status, _FAILS)
        why = f"{self._answers(status)} it {why.format(key=names.key)}"
        return self._bad(state, why + (self._remedy if status in (403, 500, 501) else ""), trouble)

    def _answers(self, status: int) -> str:
        return f"The model server at {self.address} answers HTTP {status}:"

    def _moved(self, refusal: Refused, path: str) -> str:
        """Return the sentence on a redirect, which is never followed."""
        url, place = self.names.url, discovery.moved_to(self.address, path, refusal.location)
        if place == self.address + path:
            why = f"it wants another path than {path}."
        elif place.endswith(path):
            why = f"it sends us to {place.removesuffix(path)}. Set {url} to that."
        else:
            why = f"it sends us {f'to {place}' if place else 'elsewhere'}. Set {url} to a model server's address."
        return f"{self._answers(refusal.status)} {why}"

    def not_chat(self, why: str = "") -> EngineStatus:
        """Return the status of what is no model server. `why`: the end of a sentence on it; may be empty."""
        detail = (
            f"The program at {self.address} {why or 'is not an OpenAI-compatible model server'}. {self.names.url} must"
            f" name one and end in /v1, like http://127.0.0.1:8001/v1.{self._remedy}"
        )
        return self._bad(EngineState.MISCONFIGURED, detail, Trouble.PROTOCOL)

    def refusal(self, refusal: Refused, plain: bool = True) -> EngineError:
        """Return the error for a refused question, and note what it shows of the server. `plain`: see `Refused.error`."""
        status, names = refusal.status, self.names
        if status == 401 or status == self._refused_list == 403:
            # A 403 alone may be about the question.
            self.status = self._from_refusal(refusal)
            return EngineUnavailable(self.status.detail)
        if self._server == LM_STUDIO and self.status.loaded is False and status in (400, 404):
            # Loading for a question is switched off there.
            why = f"{self._unloaded(self.status.model_name)} (HTTP {status})."
            return EngineUnavailable(f"{why} Load a model there, then ask again.")
        if 300 <= status < 400:
            return EngineUnavailable(self._moved(refusal, _CHAT))
        elsewhere, listed = refusal.of_another_address, self.model in self._listed
        lacks = refusal.of_another_model and not (elsewhere and listed)
        if lacks or elsewhere:
            faults, todo = [], []
            if lacks:
                though = ", though it lists it" if listed else ""
                faults.append(f"does not serve {clean(self.model) or 'this model'}{though}")
                others = self._some_listed()
                todo.append(f"{names.model} to one that it serves{f': {others}' if others else ''}")
            if elsewhere or not (self._listed or self._ends_in_v1):
                faults.append("takes no questions at this address")
                todo.append(f"{names.url} to one that ends in /v1, as a rule")
            why = f"{self._answers(status)} it {', or '.join(faults)}."
            return EngineUnavailable(f"{why} Set {', or '.join(todo)}.")
        context = self.status.capabilities.context_length
        return refusal.error(context_length=context, plain=plain)

    def unreachable(self, why: str = "") -> EngineUnavailable:
        """Note that nothing answers, and return the error. `why`: the end of a sentence on it; may be empty."""
        said = f"The model server at {self.address} is not reached: {why}."
        if not why:
            said = f"Nothing answers at {self.address}: the model server is down, or still loading its model."
        detail = f"{said} Start it, or set {self.names.url} to where it is."
        self.status = self._bad(EngineState.UNREACHABLE, detail)
        return EngineUnavailable(detail)

    def _bad(self, state: EngineState, detail: str, trouble: Trouble | None = None) -> EngineStatus:
        return dataclasses.replace(
            self.status, state=state, detail=detail, trouble=trouble, loaded=None
        )


def _known(info: ModelInfo) -> tuple[Family | None, Geometry | None]:
    """Return a model's family, by its folder if that is on this machine, and that one's geometry."""
    return _read(info.name, info.root, info.model_type, info.kind)


@lru_cache(maxsize=1024)
def _read(
    name: str, root: str, model_type: str, kind: str
) -> tuple[Family | None, Geometry | None]:
    folder = next((Path(one) for one in (root, name) if one.startswith("/")), None)
    found = families.folder_type(folder) if folder is not None else None
    geometry = families.folder_geometry(folder) if folder is not None else None
    return families.known(found or model_type or None, root, name, kind), geometry


def _listed(names: list[str]) -> str:
    return ", ".join(clean(name) for name in names[:3]) + (", …" if len(names) > 3 else "")
