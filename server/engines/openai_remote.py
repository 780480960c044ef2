"""An OpenAI-compatible model server as an engine: vLLM from 0.9.2 on, and anything else that speaks the interface."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import math
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx2
import openai
from pydantic import SecretStr

from server import prompts
from server.engines import upstream
from server.engines.base import (
    Chunk,
    Delta,
    EngineRequest,
    EngineState,
    EngineStatus,
    Finished,
    Trouble,
    Usage,
)
from server.engines.bounded_http import (
    STREAM_BYTES,
    AnswerRefused,
    BoundedTransport,
    Bounds,
)
from server.engines.chat_stream import BrokenStream, ChatStream, read_event
from server.engines.discovery import Discovery, address_of
from server.engines.own_machine import Whereabouts
from server.errors import (
    EngineError,
    EngineFailed,
    EngineTimeout,
    EngineUnavailable,
)
from server.vision.encode import data_url

log = logging.getLogger(__name__)

# After finish_reason the answer is whole; usage and [DONE] may take this long.
_TAIL_SECONDS = 1.0
# An unused connection is kept for less than uvicorn's 5 s (vLLM's, too), so that it is not used while it is closed.
_KEEP_ALIVE_SECONDS = 4.0
_CHAT = "/chat/completions"
# The connection broke before anything came back: what a server does to a kept one that it has closed meanwhile.
_DROPPED = (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError)


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Seconds. All but `connect` count data events only: keep-alive comments go on when a model server is dead."""

    connect: float = 3.0
    # From sending the request to the first piece of the answer.
    first_token: float = 30.0
    between_tokens: float = 10.0
    # The whole answer.
    total: float = 120.0
    probe: float = 5.0

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(
                    f"The time limit {name} is {value}; it must be more than 0 seconds."
                )


class _Refused(Exception):
    """The server said no before the first piece. `body` is compared, never shown."""

    def __init__(self, status: int, body: object, retry_after: float | None) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.retry_after = retry_after


class _Dropped(Exception):
    """The connection broke before the server had answered."""


class OpenAIEngine:
    """One model server. Safe to use for many answers at a time.

    `model` "" takes the first one that the server lists. `factor` overrides the model's geometry factor.
    `priority` is sent with each request while the server takes it. `listed` False: it is known that `model` is served, so its health is
    asked for and not its list of models. `transport` replaces the network, in tests.
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
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.name = name
        self._limits = limits or TimeLimits()
        self._wanted = model
        self._listed = listed or not model
        self._address = address_of(base_url)
        self._discovery = Discovery(self._address, wanted=model, factor=factor)
        self._fields: dict[str, Any] = {"stream_options": {"include_usage": True}}
        if temperature is not None:
            self._fields["temperature"] = temperature
        if priority is not None:
            self._fields["priority"] = priority
        # Some servers know only the newer name.
        self._max_tokens_field = "max_tokens"
        self._whereabouts = Whereabouts(base_url)
        self._status = EngineStatus(
            EngineState.UNREACHABLE,
            f"Not yet asked: the model server at {self._address}.",
            elsewhere=self._whereabouts.other,
        )
        # These libraries log addresses, headers and bodies at lower levels.
        for library in ("openai", "httpx2", "httpcore2"):
            logging.getLogger(library).setLevel(logging.WARNING)
        secret = api_key.get_secret_value() if isinstance(api_key, SecretStr) else api_key
        omit: Any = openai.omit
        self._client = openai.AsyncOpenAI(
            # vLLM's own placeholder for "no key".
            api_key=secret or "EMPTY",
            base_url=base_url,
            max_retries=0,
            # Names of somebody else's account must not travel to this server.
            default_headers={"OpenAI-Organization": omit, "OpenAI-Project": omit},
            http_client=httpx2.AsyncClient(
                transport=BoundedTransport(transport or _network(), self._bounds),
                # Pictures go to the configured address and nowhere else: no proxy, no redirect.
                trust_env=False,
                follow_redirects=False,
                timeout=httpx2.Timeout(None, connect=self._limits.connect, write=10.0, pool=1.0),
            ),
        )

    def __repr__(self) -> str:
        return f"OpenAIEngine(name={self.name!r}, address={self._address!r}, state={self._status.state.value!r})"

    @property
    def status(self) -> EngineStatus:
        return self._status

    async def probe(self) -> EngineStatus:
        """List the models and learn the served one's context length and geometry; vLLM is asked for its health, too.

        Never raises an error.
        """
        elsewhere = await self._whereabouts.look()
        self._status = dataclasses.replace(self._status, elsewhere=elsewhere)
        try:
            async with asyncio.timeout(self._limits.probe):
                listing = await self._listing()
                status = self._discovery.from_listing(listing, self._status)
                # vLLM, which alone is known to have json_schema, lists its models for seconds after the process that runs
                # them has died (0.32.0: up to 5).
                if status.capabilities.json_schema and await self._health() == 503:
                    status = self._bad(EngineState.UNREACHABLE, self._discovery.headless())
            self._status = status
        except (TimeoutError, openai.APITimeoutError):
            self._status = self._bad(
                EngineState.UNREACHABLE,
                f"The model server at {self._address} does not answer. It may be down, overloaded or behind a firewall.",
            )
        except openai.APIConnectionError as exc:
            if isinstance(exc.__cause__, AnswerRefused):
                self._status = self._refused_answer(exc.__cause__)
            else:
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

    async def _listing(self) -> bytes:
        """The body of /v1/models; an empty list of a server that is not asked or can not tell, and is well otherwise."""
        if not self._listed:
            await self._client.get(self._discovery.health, cast_to=httpx2.Response)
            return b'{"data": []}'
        try:
            return (await self._client.models.with_raw_response.list()).content
        except openai.APIStatusError as exc:
            if (
                self._discovery.may_be_unlisted(exc.status_code)
                and 200 <= await self._health() < 300
            ):
                return b'{"data": []}'
            raise

    async def _health(self) -> int:
        """HTTP status of its /health; 0 when there is none."""
        # Twice: uvicorn closes the connection on which an application failed, with no word before.
        for _ in range(2):
            try:
                answer = await self._client.get(self._discovery.health, cast_to=httpx2.Response)
            except openai.APIStatusError as exc:
                return exc.status_code
            except openai.APIConnectionError:
                continue
            except openai.APIError:
                return 0
            page = "text/html" in answer.headers.get("content-type", "")
            return 0 if page else answer.status_code
        return 0

    async def answer(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        """See `Engine.answer`.

        Before the first piece, a field that the server refuses is left out from then on, and a model that is gone
        is looked up anew; then the request is sent again. So it is, once, when the connection broke before an answer.
        """
        now = asyncio.get_running_loop().time
        deadline = now() + self._limits.total
        due = min(deadline, now() + self._limits.first_token)
        finish, usage, began = "", Usage(), False
        async with AsyncExitStack() as stack:
            try:
                stream, event = await self._open(request, stack, due)
                while event is not None:
                    piece = read_event(event)
                    if piece.error is not None:
                        raise self._refusal(upstream.event_status(piece.error), piece.error)
                    usage = piece.usage or usage
                    finish = finish or piece.finish
                    began = began or piece.began
                    if piece.text:
                        yield Delta(piece.text)
                    if finish:
                        due = min(deadline, now() + _TAIL_SECONDS)
                    elif began:
                        due = min(deadline, now() + self._limits.between_tokens)
                    event = await stream.next(due)
                if finish:
                    await stream.drain()
            except TimeoutError:
                if not finish:
                    raise self._too_slow(began, now() >= deadline) from None
            except BrokenStream as exc:
                if not finish:
                    raise EngineFailed(str(exc)) from None
        if not finish:
            raise EngineFailed(
                "The model server ended the answer before it was complete. Ask again.", public=True
            )
        yield Finished("length" if finish == "length" else "stop", usage)

    def forget(self, session_id: str) -> None:
        """Nothing is remembered."""

    async def close(self) -> None:
        """Close all connections; answers that still run fail."""
        await self._client.close()

    # Sending

    async def _open(
        self, request: EngineRequest, stack: AsyncExitStack, due: float
    ) -> tuple[ChatStream, bytes | None]:
        """Send until it is taken; the stream with its first event, since a 200 alone is no success yet.

        Raises EngineError, TimeoutError, BrokenStream.
        """
        if not (self._status.model or self._wanted):
            await self.probe()
        if request.picture.jpeg is None:
            raise EngineFailed("The frame was not encoded for this engine. Ask again.")
        url = data_url(request.picture.jpeg)
        looked_up = dropped = False
        while True:
            try:
                return await self._send(request, url, stack, due)
            except _Dropped:
                if dropped:
                    raise self._unreachable() from None
                dropped = True
            except _Refused as refusal:
                model = self._status.model
                if refusal.status in (400, 422) and self._drop(refusal.body):
                    continue
                if upstream.is_other_model(refusal.status, refusal.body) and not looked_up:
                    looked_up = True
                    if (await self.probe()).ready and self._status.model != model:
                        continue
                raise self._refusal(refusal.status, refusal.body, refusal.retry_after) from None

    async def _send(
        self, request: EngineRequest, url: str, stack: AsyncExitStack, due: float
    ) -> tuple[ChatStream, bytes | None]:
        body = self._body(request, url)
        async with AsyncExitStack() as attempt:
            try:
                async with asyncio.timeout_at(due):
                    # As bytes: what `chat.completions.create` does to a message takes as long again as sending it.
                    opened = await self._client.post(
                        _CHAT,
                        cast_to=object,
                        content=body,
                        options={"headers": {"Content-Type": "application/json"}},
                        stream=True,
                        stream_cls=openai.AsyncStream[object],
                    )
                attempt.push_async_callback(opened.close)
            except openai.APIStatusError as exc:
                wait = _seconds(exc.response.headers.get("retry-after"))
                raise _Refused(exc.status_code, exc.body, wait) from None
            except openai.APIConnectionError as exc:
                if isinstance(exc.__cause__, AnswerRefused):
                    raise EngineFailed(self._refused_answer(exc.__cause__).detail) from None
                if isinstance(exc.__cause__, _DROPPED):
                    raise _Dropped from None
                raise self._unreachable() from None
            except (openai.OpenAIError, httpx2.HTTPError):
                raise EngineFailed(self._discovery.not_openai()) from None
            if "text/html" in opened.response.headers.get("content-type", ""):
                raise EngineFailed(self._discovery.not_openai())
            stream = ChatStream(opened.response.aiter_bytes())
            event = await stream.next(due)
            if event is not None and (piece := read_event(event)).error is not None:
                raise _Refused(upstream.event_status(piece.error), piece.error, None)
            stack.push_async_exit(attempt.pop_all())
            return stream, event

    def _body(self, request: EngineRequest, url: str) -> bytes:
        body = {
            "model": self._status.model or self._wanted,
            "messages": prompts.messages(request, url, tokens=self._discovery.control_tokens),
            "stream": True,
            self._max_tokens_field: request.max_tokens,
            **self._fields,
        }
        return json.dumps(body, separators=(",", ":")).encode("ascii")

    def _drop(self, body: object) -> bool:
        """Leave out what a refusal names, for good; whether anything changed. Ends, since there is ever less to drop."""
        named = upstream.refused_fields(body, tuple(self._fields))
        for name in named:
            del self._fields[name]
            log.info("the model server refuses a field", extra={"engine": self.name, "field": name})
        newer = "max_completion_tokens"
        if self._max_tokens_field != newer and upstream.refused_fields(body, (newer,)):
            self._max_tokens_field = newer
            return True
        return bool(named)

    def _bounds(self, request: httpx2.Request) -> Bounds:
        """Of a request's answer; read anew each time, since tests change the limits."""
        if request.url.path.endswith(_CHAT):
            return Bounds(STREAM_BYTES, self._limits.total + _TAIL_SECONDS)
        return Bounds(seconds=self._limits.probe)

    # What went wrong, in sentences

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

    def _refused_answer(self, why: AnswerRefused) -> EngineStatus:
        detail = (
            f"What answers at {self._address} {why}. Check that VLLM_BASE_URL names a model server."
        )
        return self._bad(EngineState.MISCONFIGURED, detail)

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


def _network() -> httpx2.AsyncHTTPTransport:
    limits = httpx2.Limits(
        max_connections=256, max_keepalive_connections=32, keepalive_expiry=_KEEP_ALIVE_SECONDS
    )
    return httpx2.AsyncHTTPTransport(trust_env=False, limits=limits)


def _seconds(header: str | None) -> float | None:
    """Retry-After in seconds; None when it is absent or a date."""
    try:
        value = float(header) if header is not None else math.nan
    except ValueError:
        return None
    return min(value, 600.0) if value >= 0 else None
