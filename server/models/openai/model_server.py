"""The state of one model server: reachability, model and capabilities, from its lists and the known families."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from contextlib import suppress

import httpx2

from server.core.errors import EngineError, EngineUnavailable
from server.core.setting_text import get_other_machine
from server.models.base import EngineState, EngineStatus, Trouble
from server.models.families import Ability
from server.models.files import clean
from server.models.openai import discovery
from server.models.openai.chat_client import ChatClient, Endpoint, NotChat, Slow, Unreachable
from server.models.openai.discovery import LM_STUDIO, ModelInfo
from server.models.openai.survey import (
    ABSENT,
    ModelSurvey,
    format_some,
    get_capabilities,
    get_model_family,
)
from server.models.openai.upstream import AskFailed, Refused
from server.models.thinking import ThinkingPolicy

log = logging.getLogger(__name__)

_KEY = "did not accept our key. Set {key} to the key it was started with."
_MODELS, _CHAT = "/models", "/chat/completions"
# State by the HTTP status of the model list
_TROUBLES = {
    401: (EngineState.MISCONFIGURED, Trouble.KEY, _KEY),
    403: (EngineState.MISCONFIGURED, Trouble.KEY, _KEY),
    429: (EngineState.BUSY, None, "takes no more requests for now."),
    503: (EngineState.LOADING, None, "is loading its model, or its ROUTER_WORKERS are down."),
}
_FAILS = (EngineState.UNREACHABLE, None, "fails. Its own log says why.")


class ModelServer:
    """The client's view of a model server: its status, and the model that it serves.

    `seconds`: time limit of each request of a probe. `busy()`: whether answers are running. `thinking`: a policy,
    updated when the model changes.
    """

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        client: ChatClient,
        *,
        seconds: float,
        busy: Callable[[], bool],
        thinking: ThinkingPolicy,
    ) -> None:
        self._survey = survey = ModelSurvey(client, endpoint, seconds, busy)
        # URL without credentials
        self.address = survey.address
        # The settings that name this server
        self.names = endpoint.names
        remedy = f" If it lists no models, set {self.names.model} to the one it serves."
        self._remedy = "" if endpoint.model else remedy
        self._name, self._client, self._endpoint = name, client, endpoint
        self._seconds, self._thinking = seconds, thinking
        # Facts about the model in use
        self._model = ModelInfo()
        # Whether the model speaks its answers, according to its server's list, or its family on a server with speech.
        # If so, each request states its modalities, because the default includes speech. None: not yet known.
        self.speech_out: bool | None = False
        # Context length that a refusal stated (tokens); 0 if none did
        self._learned = 0
        self.status = EngineStatus(
            EngineState.UNREACHABLE,
            f"Not yet asked: the model server at {self.address}.",
            elsewhere=get_other_machine(endpoint.base_url, endpoint.machines),
        )

    @property
    def model(self) -> str:
        """The model that is served, else the configured model; "" if there is neither."""
        return self.status.model or self._endpoint.model

    async def probe(self) -> EngineStatus:
        """List the models, read the capabilities of the model in use, and return the updated status. Never raises."""
        before, survey = self.status, self._survey
        try:
            async with asyncio.timeout(self._seconds):
                cards = await survey.cards()
                # llama.cpp lists its model before it is loaded.
                loads = survey.server == discovery.LLAMA_CPP and await survey.health() == 503
            if not cards:
                detail = f"The model server at {self.address} lists no models. Set {self.names.model} to the one it serves."
                status = self._make_error_status(EngineState.MISCONFIGURED, detail)
            elif loads:
                status = dataclasses.replace(
                    self._from_refusal(Refused(503, None)), model=cards[0]["id"]
                )
            else:
                status = self._make_status(await survey.models(cards, self.status.model))
                async with asyncio.timeout(self._seconds):
                    status = await self._check_health(status)
            # Keep a status that a question or another probe has changed meanwhile.
            if (self.status.state, self.status.model) == (before.state, before.model):
                self.status = self._with_learned(status)
        except (TimeoutError, Slow):
            self.mark_unreachable(
                "it does not answer; it may be down, overloaded or behind a firewall"
            )
        except Unreachable as exc:
            survey.forget()
            self.mark_unreachable(str(exc))
        except Refused as refusal:
            self.status = self._from_refusal(refusal)
        except (NotChat, httpx2.InvalidURL, ValueError, RecursionError) as exc:
            self.status = self.make_not_chat_status(exc.why if isinstance(exc, NotChat) else "")
        return self.status

    async def _check_health(self, status: EngineStatus) -> EngineStatus:
        """Return the status after the server's own health check; also determine whether the server speaks."""
        if status.ready and self.speech_out is None:
            with suppress(AskFailed):
                if (described := await self._survey.read("/openapi.json")) is not None:
                    self.speech_out = discovery.speaks(described)
        # vLLM (identified by json_schema) lists its models for up to 5 s after its engine process has died (0.32.0).
        # Its router reports 503 while any server is down, and has a readiness check of its own.
        lost = status.capabilities.json_schema and await self._survey.health() == 503
        if not lost or await self._client.health(f"{self._survey.root}/readiness") == 200:
            return status
        return self._make_error_status(
            EngineState.UNREACHABLE,
            f"The model server at {self.address} has lost the process that runs its model (its health: HTTP 503)."
            " It ends soon by itself, or has to be started again; its own log says why.",
        )

    def _make_status(self, models: list[ModelInfo]) -> EngineStatus:
        """Return the status with the configured model, else with the best model."""
        best = models[0]
        if not self._endpoint.model:
            best = discovery.choose(models, self.status.model) or best
        model = dataclasses.replace(best, why="", sees=None, loaded=None, loading=None)
        if model != self._model:
            self._model = model
            self._take_up(best)
        status = dataclasses.replace(
            self._make_error_status(EngineState.READY, ""),
            model=best.name,
            capabilities=get_capabilities(best, self._endpoint),
            loaded=best.loaded,
        )
        if best.sees is False and not self._endpoint.model:
            detail = (
                f"No model at {self.address} takes pictures ({format_some([one.name for one in models])}). Load a vision-language model there,"
                f" or name one in {self.names.model} to use it all the same."
            )
            return dataclasses.replace(status, state=EngineState.MISCONFIGURED, detail=detail)
        name, details = status.model_name, self._survey.find_warnings()
        if len(models) > 1:
            loaded = ", is loaded" if best.loaded else ""
            details.append(f"{name}: one of {len(models)} listed; {best.why}{loaded}.")
        if best.loading:
            details.append(f"{name} is being loaded in {self._survey.server or 'its server'}.")
        elif best.loaded is False:
            details.append(
                f"{self._make_not_loaded_notice(name)}; load it there, or a question loads it."
            )
        return dataclasses.replace(status, detail=" ".join(details))

    def _take_up(self, info: ModelInfo) -> None:
        """Switch to another model, or to new facts about the current model."""
        family, most = get_model_family(info)[0], info.most_context
        speaks = family is not None and Ability.SPEECH_OUT in family.abilities
        # If the family speaks, it depends on the server.
        self.speech_out = info.speaks or (None if speaks else False)
        self._learned = 0
        self._thinking.use_family(family, thinks=bool(info.thinks))
        reason = f"{info.name[:80]}: {info.why}"
        reason += f"; of the family {family.title}" if family else "; of no known family"
        if info.context and most and info.context < most:
            reason += f"; {info.context:,} of {most:,} tokens (OLLAMA_CONTEXT_LENGTH sets more)"
        log.info("model served", extra={"engine": self._name, "reason": reason})

    def _make_not_loaded_notice(self, name: str) -> str:
        return f"{name} is not loaded in {self._survey.server or 'its server'}"

    # Facts from refusals

    def learn(self, *, context_length: int) -> None:
        """Use the context length that a refusal stated, until the model changes."""
        self._learned = context_length
        self.status = self._with_learned(self.status)

    def _with_learned(self, status: EngineStatus) -> EngineStatus:
        """Return a status with the learned facts. The smallest context length applies."""
        lengths = [one for one in (status.capabilities.context_length, self._learned) if one]
        able = dataclasses.replace(
            status.capabilities,
            speech_out=self.speech_out is True,
            context_length=min(lengths, default=None),
        )
        return dataclasses.replace(status, capabilities=able)

    # Error messages

    def _from_refusal(self, refusal: Refused) -> EngineStatus:
        """Return the status for a refused model list."""
        status, names = refusal.status, self.names
        if 300 <= status < 400:
            detail = self._explain_redirect(refusal, _MODELS)
            return self._make_error_status(EngineState.MISCONFIGURED, detail, Trouble.PROTOCOL)
        if status not in _TROUBLES and status < 500:
            refused = f"refuses to list its models (HTTP {status}); {names.key} may be wrong"
            return self.make_not_chat_status("" if status in ABSENT else refused)
        state, trouble, why = _TROUBLES.get(status, _FAILS)
        why = f"{self._get_status_prefix(status)} it {why.format(key=names.key)}"
        return self._make_error_status(
            state, why + (self._remedy if status in (403, 500, 501) else ""), trouble
        )

    def _get_status_prefix(self, status: int) -> str:
        return f"The model server at {self.address} answers HTTP {status}:"

    def _explain_redirect(self, refusal: Refused, path: str) -> str:
        """Return the message about a redirect, which is never followed."""
        url = self.names.url
        place = discovery.get_redirect_target(self.address, path, refusal.location)
        if place == self.address + path:
            why = f"it wants another path than {path}."
        elif place.endswith(path):
            why = f"it sends us to {place.removesuffix(path)}. Set {url} to that."
        else:
            why = f"it sends us {f'to {place}' if place else 'elsewhere'}. Set {url} to a model server's address."
        return f"{self._get_status_prefix(refusal.status)} {why}"

    def make_not_chat_status(self, why: str = "") -> EngineStatus:
        """Return the status of a program that is not a model server. `why`: a predicate about the program; may be empty."""
        detail = (
            f"The program at {self.address} {why or 'is not an OpenAI-compatible model server'}. {self.names.url} must"
            f" name one and end in /v1, like http://127.0.0.1:8001/v1.{self._remedy}"
        )
        return self._make_error_status(EngineState.MISCONFIGURED, detail, Trouble.PROTOCOL)

    def refusal(self, refusal: Refused, plain: bool = True) -> EngineError:
        """Return the error for a refused question, and update the status. `plain`: see `Refused.error`."""
        status, names = refusal.status, self.names
        if status == 401 or status == self._survey.refused == 403:
            # A 403 for the question only may be about its content.
            self.status = self._from_refusal(refusal)
            return EngineUnavailable(self.status.detail)
        if (
            self._survey.server == LM_STUDIO
            and self.status.loaded is False
            and status in (400, 404)
        ):
            # Just-in-time loading is switched off there.
            why = f"{self._make_not_loaded_notice(self.status.model_name)} (HTTP {status})."
            return EngineUnavailable(f"{why} Load a model there, then ask again.")
        if 300 <= status < 400:
            return EngineUnavailable(self._explain_redirect(refusal, _CHAT))
        elsewhere, listed = refusal.of_another_address, self.model in self._survey.listed
        lacks = refusal.of_another_model and not (elsewhere and listed)
        if lacks or elsewhere:
            faults, todo = [], []
            if lacks:
                though = ", though it lists it" if listed else ""
                faults.append(f"does not serve {clean(self.model) or 'this model'}{though}")
                others = self._survey.others(self.model)
                todo.append(f"{names.model} to one that it serves{f': {others}' if others else ''}")
            if elsewhere or not (self._survey.listed or self._survey.ends_in_v1):
                faults.append("takes no questions at this address")
                todo.append(f"{names.url} to one that ends in /v1, as a rule")
            why = f"{self._get_status_prefix(status)} it {', or '.join(faults)}."
            return EngineUnavailable(f"{why} Set {', or '.join(todo)}.")
        context = self.status.capabilities.context_length
        return refusal.error(context_length=context, plain=plain)

    def mark_unreachable(self, why: str = "") -> EngineUnavailable:
        """Set the status to unreachable, and return the error to raise. `why`: the cause, in lower case; may be empty."""
        said = f"The model server at {self.address} cannot be reached: {why}."
        if not why:
            said = f"Nothing answers at {self.address}: the model server is down, or still loading its model."
        detail = f"{said} Start it, or set {self.names.url} to where it is."
        self.status = self._make_error_status(EngineState.UNREACHABLE, detail)
        return EngineUnavailable(detail)

    def _make_error_status(
        self, state: EngineState, detail: str, trouble: Trouble | None = None
    ) -> EngineStatus:
        return dataclasses.replace(
            self.status, state=state, detail=detail, trouble=trouble, loaded=None
        )
