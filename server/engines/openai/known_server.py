"""The knowledge of one model server: its state, model and abilities, as probes and refusals show them."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable

import httpx2

from server.catalogue.control_tokens import ControlTokens
from server.core.errors import EngineError, EngineUnavailable
from server.engines.base import EngineState, EngineStatus, Trouble
from server.engines.openai import model_choice, upstream
from server.engines.openai.bounded_http import AnswerRefused, read_json
from server.engines.openai.chat_client import ChatClient, Unreachable
from server.engines.openai.discovery import Discovery, address_of
from server.engines.openai.library import openai
from server.engines.openai.model_choice import Listed
from server.engines.openai.own_machine import Whereabouts
from server.engines.openai.sight import Sight
from server.engines.openai.spoken_answer import SpeechOut

log = logging.getLogger(__name__)


class KnownServer:
    """Owner of a server's status.

    `model`, `factor` and `listed` as in `OpenAIEngine`. `seconds` bounds a probe. `busy`
    returns True while answers are under way. `on_other_model` is called when the server has another
    model than before.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        client: ChatClient,
        *,
        model: str,
        factor: int | None,
        listed: bool,
        seconds: float,
        busy: Callable[[], bool],
        on_other_model: Callable[[], None],
    ) -> None:
        # Without credentials
        self.address = address_of(base_url)
        self._name = name
        self._client = client
        self._wanted = model
        self._listed = listed or not model
        self._seconds = seconds
        self._busy = busy
        self._on_other_model = on_other_model
        self._discovery = Discovery(self.address, wanted=model, factor=factor)
        self._whereabouts = Whereabouts(base_url)
        self._sight = Sight(client, self.address.removesuffix("/v1"))
        self.status = EngineStatus(
            EngineState.UNREACHABLE,
            f"Not yet asked: the model server at {self.address}.",
            elsewhere=self._whereabouts.other,
        )

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
            async with asyncio.timeout(self._seconds):
                status = self._seeing(listing, models)
                if status.model != self.status.model:
                    self._on_other_model()
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

    def _seeing(self, listing: bytes, models: list[Listed]) -> EngineStatus:
        """Read the list for the model that takes pictures.

        MODEL_NAME wins over anything known of it.
        """
        chosen = model_choice.choose(models, self.status.model)
        status = self._discovery.from_listing(
            listing, self.status, chosen.name if chosen is not None else ""
        )
        wanted_blind = bool(self._wanted) and self._sight.is_blind(self._wanted)
        if status.ready and (wanted_blind or (models and chosen is None)):
            names = [self._wanted] if wanted_blind else [one.name for one in models]
            return self._discovery.blind(names, status)
        if status.ready and chosen is not None and len(models) > 1:
            why = model_choice.words(chosen, len(models))
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
            self.status = self._discovery.learn_context(stated, self.status)

    def learn_pictures(self, most: int) -> None:
        self.status = self._discovery.learn_pictures(most, self.status)

    def learn_no_video(self) -> None:
        self.status = self._discovery.learn_no_video(self.status)

    def learn_no_sound(self) -> None:
        self.status = self._discovery.learn_no_sound(self.status)

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
        self._sight.refused(model)

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
        )

    def _nobody(self) -> EngineStatus:
        """Take the server for gone: another may take its address."""
        self._sight.forget()
        return self._bad(EngineState.UNREACHABLE, self._discovery.unreachable())

    def unreachable(self) -> EngineUnavailable:
        self.status = self._bad(EngineState.UNREACHABLE, self._discovery.unreachable())
        return EngineUnavailable(self.status.detail)

    def _refused_answer(self, why: str) -> EngineStatus:
        detail = (
            f"The program at {self.address} {why}. Check that VLLM_BASE_URL names a model server."
        )
        return self._bad(EngineState.MISCONFIGURED, detail, Trouble.PROTOCOL)

    def _bad(self, state: EngineState, detail: str, trouble: Trouble | None = None) -> EngineStatus:
        return dataclasses.replace(
            self.status, state=state, detail=detail, trouble=trouble, served=()
        )
