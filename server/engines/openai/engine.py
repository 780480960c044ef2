"""An OpenAI-compatible model server as an engine: vLLM from 0.9.2 on, and anything else that speaks
the interface.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass

import httpx2
import openai
from pydantic import SecretStr

from server.core.errors import EngineError, EngineFailed, EngineTimeout, EngineUnavailable
from server.core.frames import Picture
from server.engines.base import (
    Chunk,
    Delta,
    EngineRequest,
    EngineState,
    EngineStatus,
    Finished,
    Trouble,
)
from server.engines.openai import model_choice, upstream
from server.engines.openai.bounded_http import AnswerRefused
from server.engines.openai.chat_client import (
    TAIL_SECONDS,
    ChatClient,
    Dropped,
    NotChat,
    Refused,
    TimeLimits,
    Unreachable,
)
from server.engines.openai.chat_request import RequestFields, fewer_pictures, fewer_turns
from server.engines.openai.chat_stream import BrokenStream, ChatStream, read_event
from server.engines.openai.discovery import Discovery, address_of
from server.engines.openai.model_choice import Listed
from server.engines.openai.own_machine import Whereabouts
from server.engines.openai.sight import Sight
from server.engines.reply import Reply, attempts
from server.engines.thinking import Mode, Thinking, ThinkingLimits
from server.vision.encode import data_url

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Opened:
    stream: ChatStream
    # The first, None where there is none
    event: bytes | None
    # Turns and earlier pictures that did not fit
    left_out: int
    pictures_left_out: int


class OpenAIEngine:
    """One model server. Safe to use for many answers at a time.

    `model` "" takes the first one that the server lists. `factor` overrides the model's geometry
    factor. `priority` is sent with each request while the server takes it. `listed` False: it is
    known that `model` is served, so its health is asked for and not its list of models. `transport`
    replaces the network, in tests.
    """

    def __init__(
        self,
        *,
        name: str,
        base_url: str,
        api_key: SecretStr | str = "",
        model: str = "",
        limits: TimeLimits | None = None,
        temperature: float | None = 0.2,
        factor: int | None = None,
        priority: int | None = None,
        listed: bool = True,
        thinking: ThinkingLimits | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.name = name
        self._limits = limits or TimeLimits()
        self._wanted = model
        self._listed = listed or not model
        self._address = address_of(base_url)
        self._discovery = Discovery(self._address, wanted=model, factor=factor)
        self._fields = RequestFields(name, temperature=temperature, priority=priority)
        self._thinking = Thinking(thinking or ThinkingLimits())
        self._whereabouts = Whereabouts(base_url)
        self._status = EngineStatus(
            EngineState.UNREACHABLE,
            f"Not yet asked: the model server at {self._address}.",
            elsewhere=self._whereabouts.other,
        )
        self._client = ChatClient(base_url, api_key, lambda: self._limits, transport)
        self._sight = Sight(self._client, self._address.removesuffix("/v1"))
        # Answers in work
        self._answering = 0

    def __repr__(self) -> str:
        return f"OpenAIEngine(name={self.name!r}, address={self._address!r}, state={self._status.state.value!r})"

    @property
    def address(self) -> str:
        """The server's address, without credentials."""
        return self._address

    @property
    def status(self) -> EngineStatus:
        return self._status

    async def probe(self) -> EngineStatus:
        """List the models and learn the served one's context length and geometry; vLLM is asked for
        its health, too.

        Never raises an error.
        """
        elsewhere = await self._whereabouts.find()
        self._status = dataclasses.replace(self._status, elsewhere=elsewhere)
        try:
            async with asyncio.timeout(self._limits.probe):
                listing = await self._listing()
            models: list[Listed] = []
            if not self._wanted:
                # Within limits of its own: a server may have to load a model for it.
                models = await self._sight.models(listing, busy=self._answering > 0)
            async with asyncio.timeout(self._limits.probe):
                status = self._seeing(listing, models)
                if status.model != self._status.model:
                    self._thinking.forget()
                # vLLM, which alone is known to have json_schema, lists its models for seconds after
                # the process that runs them has died (0.32.0: up to 5).
                if (
                    status.capabilities.json_schema
                    and await self._client.health(self._discovery.health) == 503
                ):
                    status = self._bad(EngineState.UNREACHABLE, self._discovery.headless())
            self._status = status
        except (TimeoutError, openai.APITimeoutError):
            self._status = self._bad(
                EngineState.UNREACHABLE,
                f"The model server at {self._address} does not answer. It may be down, overloaded or behind a firewall.",
            )
        except openai.APIConnectionError as exc:
            if isinstance(exc.__cause__, AnswerRefused):
                self._status = self._refused_answer(str(exc.__cause__))
            else:
                self._sight.forget()
                self._status = self._bad(EngineState.UNREACHABLE, self._discovery.unreachable())
        except openai.APIStatusError as exc:
            self._status = self._discovery.from_refusal(exc.status_code, exc.body, self._status)
        except (
            *(openai.OpenAIError, httpx2.HTTPError, httpx2.InvalidURL),
            *(ValueError, RecursionError),
        ):
            self._status = self._bad(
                EngineState.MISCONFIGURED, self._discovery.not_openai(), Trouble.PROTOCOL
            )
        return self._status

    def _seeing(self, listing: bytes, models: list[Listed]) -> EngineStatus:
        """Read the list for the model that takes pictures.

        MODEL_NAME wins over anything known of it.
        """
        chosen = model_choice.choose(models, self._status.model)
        status = self._discovery.from_listing(
            listing, self._status, chosen.name if chosen is not None else ""
        )
        wanted_blind = bool(self._wanted) and self._sight.is_blind(self._wanted)
        if status.ready and (wanted_blind or (models and chosen is None)):
            names = [self._wanted] if wanted_blind else [one.name for one in models]
            return self._discovery.blind(names, status)
        if status.ready and chosen is not None and len(models) > 1:
            why = model_choice.words(chosen, len(models))
            if status.model != self._status.model:
                log.info(
                    "a model was chosen",
                    extra={"engine": self.name, "reason": f"{chosen.name[:80]}: {why}"},
                )
            return dataclasses.replace(status, detail=f"{status.model_name}: {why}.")
        return status

    async def _listing(self) -> bytes:
        """The body of /v1/models; an empty list of a server that is not asked or cannot tell, and
        is well otherwise.
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

    async def answer(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        """See `Engine.answer`.

        Before the first piece, a field that the server refuses is left out from then on, a model
        that is gone is looked up anew, and turns that do not fit are left out; then the request is
        sent again. So it is, once, when the connection broke before an answer, and when a model is
        seen to think that was not expected to.
        """
        self._answering += 1
        try:
            deadline = asyncio.get_running_loop().time() + self._limits.total
            asking = attempts(self._thinking, lambda: self._attempt(request, deadline))
            async with aclosing(asking) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            self._answering -= 1

    async def _attempt(
        self, request: EngineRequest, deadline: float
    ) -> AsyncGenerator[Chunk, None]:
        """Ask once.

        Thoughts of a model that was not expected to think come before any text, or not at all.
        """
        now = asyncio.get_running_loop().time
        thinking, asked = self._thinking, self._thinking.mode
        due = min(deadline, now() + self._limits.first_token)
        reply = Reply(
            self._discovery.control_tokens,
            inside=thinking.implied,
            # Beyond what the server counts are the tokens for thoughts, which the answer may not
            # take.
            most=request.max_tokens if asked is Mode.BUDGET else None,
        )
        async with AsyncExitStack() as stack:
            whole = False
            left_out = pictures_left_out = 0
            try:
                opened = await self._open(request, stack, due)
                stream, event = opened.stream, opened.event
                left_out, pictures_left_out = opened.left_out, opened.pictures_left_out
                while event is not None and not reply.enough:
                    piece = read_event(event)
                    if piece.error is not None:
                        raise self._refusal(upstream.event_status(piece.error), piece.error)
                    answered = reply.answered
                    for chunk in reply.take(piece):
                        # Asked anew in mid-answer it would begin a second one.
                        if isinstance(chunk, Delta) or asked is Mode.BUDGET or not answered:
                            yield chunk
                    if reply.finish:
                        due = min(deadline, now() + TAIL_SECONDS)
                    elif reply.began:
                        due = min(deadline, now() + self._limits.between_tokens)
                    event = await stream.next(due)
                whole = stream.done
                if reply.finish:
                    await stream.drain()
            except TimeoutError:
                if not reply.finish:
                    raise self._too_slow(reply.began, now() >= deadline) from None
            except BrokenStream as exc:
                if not reply.finish:
                    raise EngineFailed(str(exc)) from None
        try:
            chunks = reply.end(whole=whole)
        finally:
            thinking.ended(asked, reply)
        for chunk in chunks:
            yield (
                dataclasses.replace(chunk, left_out=left_out, pictures_left_out=pictures_left_out)
                if isinstance(chunk, Finished)
                else chunk
            )

    def forget(self, session_id: str) -> None:
        """Nothing is remembered."""

    async def close(self) -> None:
        """Close all connections; answers that still run fail."""
        await self._client.close()

    # Sending

    async def _open(self, request: EngineRequest, stack: AsyncExitStack, due: float) -> _Opened:
        """Send until it is taken; the stream with its first event, since a 200 alone is no success
        yet.

        Raises EngineError, TimeoutError, BrokenStream.
        """
        if not (self._status.model or self._wanted):
            await self.probe()
        url = _url(request.picture)
        earlier = [_url(one.picture) for one in request.earlier]
        turns = len(request.turns)
        looked_up = dropped = False
        while True:
            try:
                body = self._fields.body(
                    request,
                    url,
                    earlier[len(earlier) - len(request.earlier) :],
                    model=self._status.model or self._wanted,
                    context=self._status.capabilities.context_length,
                    json_schema=self._status.capabilities.json_schema,
                    tokens=self._discovery.control_tokens,
                    thinking=self._thinking,
                )
                stream, event = await self._client.send(body, stack, due)
                return _Opened(
                    stream,
                    event,
                    turns - len(request.turns),
                    len(earlier) - len(request.earlier),
                )
            except Unreachable:
                raise self._unreachable() from None
            except NotChat as exc:
                detail = (
                    self._refused_answer(exc.why).detail
                    if exc.why
                    else self._discovery.not_openai()
                )
                raise EngineFailed(detail) from None
            except Dropped:
                if dropped:
                    raise self._unreachable() from None
                dropped = True
            except Refused as refusal:
                model = self._status.model
                if refusal.status in (400, 422) and self._fields.drop(refusal.body, self._thinking):
                    continue
                if self._fields.drop_schema(request, refusal.body):
                    continue
                most = upstream.most_pictures(refusal.status, refusal.body)
                if most is not None and most <= len(request.earlier):
                    self._status = self._discovery.learn_pictures(most, self._status)
                    request = fewer_pictures(request, most)
                    continue
                if upstream.is_context_refusal(refusal.status, refusal.body):
                    self._learn_context(refusal.body)
                    if request.turns:
                        request = fewer_turns(request)
                        continue
                    if request.earlier:
                        request = fewer_pictures(request)
                        continue
                elif upstream.is_no_picture(refusal.status, refusal.body):
                    self._sight.refused(model or self._wanted)
                    if (await self.probe()).ready and self._status.model != model:
                        continue
                    if not self._status.ready:
                        # The next engine may answer.
                        raise EngineUnavailable(self._status.detail) from None
                elif upstream.is_other_model(refusal.status, refusal.body) and not looked_up:
                    looked_up = True
                    if (await self.probe()).ready and self._status.model != model:
                        continue
                elif refusal.status in (400, 422) and self._thinking.refused():
                    continue
                raise self._refusal(refusal.status, refusal.body, refusal.retry_after) from None

    def _learn_context(self, refusal: object) -> None:
        stated = upstream.stated_context(refusal)
        if stated is not None:
            self._status = self._discovery.learn_context(stated, self._status)

    # Errors in sentences

    def _refusal(self, status: int, body: object, retry_after: float | None = None) -> EngineError:
        if status in (401, 403):
            self._status = self._discovery.from_refusal(status, body, self._status)
        return upstream.error_for(
            status,
            body,
            context_length=self._status.capabilities.context_length,
            retry_after=retry_after,
        )

    def _unreachable(self) -> EngineUnavailable:
        self._status = self._bad(EngineState.UNREACHABLE, self._discovery.unreachable())
        return EngineUnavailable(self._status.detail)

    def _refused_answer(self, why: str) -> EngineStatus:
        detail = (
            f"What answers at {self._address} {why}. Check that VLLM_BASE_URL names a model server."
        )
        return self._bad(EngineState.MISCONFIGURED, detail, Trouble.PROTOCOL)

    def _too_slow(self, began: bool, total: bool) -> EngineTimeout:
        if total:
            return EngineTimeout(
                f"The answer was not complete after {self._limits.total:g} s. Ask for something shorter.",
                public=True,
            )
        if began:
            return EngineTimeout(
                f"The model server fell silent in mid-answer for {self._limits.between_tokens:g} s. Ask again.",
                public=True,
            )
        return EngineTimeout(
            f"The model server did not begin to answer within {self._limits.first_token:g} s. It may be overloaded; ask again.",
            public=True,
        )

    def _bad(self, state: EngineState, detail: str, trouble: Trouble | None = None) -> EngineStatus:
        return dataclasses.replace(
            self._status, state=state, detail=detail, trouble=trouble, served=()
        )


def _url(picture: Picture) -> str:
    if picture.jpeg is None:
        raise EngineFailed("The frame was not encoded for this engine. Ask again.")
    return data_url(picture.jpeg)
