"""HTTP client of one model server, on top of the `openai` package; maps failures to AskFailed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx2
from pydantic import SecretStr

from server.models.openai.events import ChatStream
from server.models.openai.http import (
    ResponseTooLarge,
    explain_unreachable,
    make_http_client,
    retry_after,
)
from server.models.openai.upstream import AskFailed, Refused
from server.models.thinking import ThinkingLimits

if TYPE_CHECKING:
    from openai import AsyncOpenAI

# Idle connections are kept for less than 5 s, the limit of uvicorn and vLLM, so that no connection is used
# while the server closes it.
_POOL = httpx2.Limits(max_connections=256, max_keepalive_connections=32, keepalive_expiry=4.0)
_CHAT = "/chat/completions"
# The connection broke before a response, usually a kept one that the server had closed
_DROPPED = (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError)


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Time limits in seconds.

    All but `connect` count data events only: a hung model server still sends keep-alive comments.
    """

    connect: float = 3.0
    # From the request to the first piece of the answer, including the loading of the model
    first_token: float = 300.0
    # The same limit for background work, which is repeated anyway
    background: float = 30.0
    between_tokens: float = 60.0
    # From the first piece to the end of the answer
    total: float = 120.0
    # From finish_reason to usage and [DONE]
    tail: float = 1.0
    probe: float = 5.0


@dataclass(frozen=True, slots=True)
class SettingNames:
    """The names of a model server's settings, for messages to operators."""

    url: str = "VLLM_BASE_URL"
    key: str = "VLLM_API_KEY"
    model: str = "MODEL_NAME"

    @classmethod
    def of(cls, role: str) -> SettingNames:
        """Return the names for a role's server."""
        return cls(*(f"{role.upper()}_{what}" for what in ("BASE_URL", "API_KEY", "MODEL")))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model server's address and settings.

    `model`: "" for the first model that the server lists. `factor` overrides the model's geometry factor. `voice`: voice
    of spoken answers; "" for the model's default. `fields`: added to each request while the server accepts them.
    `machines`: see `get_other_machine`. `picture_share`: see `Capabilities`.
    """

    base_url: str
    api_key: SecretStr | str = ""
    model: str = ""
    factor: int | None = None
    voice: str = ""
    thinking: ThinkingLimits = field(default_factory=ThinkingLimits)
    fields: Mapping[str, Any] = field(default_factory=lambda: {"temperature": 0.2})
    names: SettingNames = field(default_factory=SettingNames)
    machines: Mapping[str, str] = field(default_factory=dict)
    picture_share: float = 1.0


class Unreachable(AskFailed):
    """No response. The text is the cause, in lower case; empty if unknown."""


class Dropped(Unreachable):
    """A connection that broke before a response."""


class Slow(Unreachable):
    """No response in time."""


class NotChat(AskFailed):
    """A response that no model server sends. `why`: a predicate about the program; empty if unknown."""

    def __init__(self, why: str = "") -> None:
        super().__init__(why)
        self.why = why


def load() -> type[AsyncOpenAI]:
    """Import `openai`, which takes 0.4 s. Call it in a thread."""
    from openai import AsyncOpenAI

    return AsyncOpenAI


class ChatClient:
    """Client of one server. `transport` replaces the network in tests."""

    def __init__(
        self, endpoint: Endpoint, limits: TimeLimits, transport: httpx2.AsyncBaseTransport | None
    ) -> None:
        self._limits = limits
        self._url = endpoint.base_url
        # Ends with a slash if the server redirects to such a path
        self._chat = _CHAT
        key = endpoint.api_key
        # vLLM's placeholder for "no key"
        self._key = (key.get_secret_value() if isinstance(key, SecretStr) else key) or "EMPTY"
        self._http = make_http_client(
            limits=_POOL,
            connect=limits.connect,
            headers={"Authorization": f"Bearer {self._key}"},
            base_url=self._url,
            transport=transport,
        )
        self._sdk: AsyncOpenAI | None = None

    async def _ask(self, url: str, body: Mapping[str, Any] | None = None) -> httpx2.Response:
        """Return the response to a request other than chat; POST if there is a `body`. Raises AskFailed."""
        method = "GET" if body is None else "POST"
        try:
            answer = await self._http.request(method, url, json=body)
        except httpx2.HTTPError as error:
            raise self._to_ask_failed(error) from None
        if not answer.is_success:
            raise _read_refusal(answer)
        return answer

    def _to_ask_failed(self, error: BaseException) -> AskFailed:
        if isinstance(error, ResponseTooLarge):
            return NotChat(str(error))
        if isinstance(error, _DROPPED):
            return Dropped()
        if isinstance(error, httpx2.TimeoutException):
            return Slow()
        return Unreachable(explain_unreachable(error, self._http.base_url.host))

    async def get(self, url: str, body: Mapping[str, Any] | None = None) -> bytes:
        """Return the response body for a URL or for a path below the base URL; POST if there is a `body`.

        Raises AskFailed.
        """
        try:
            async with asyncio.timeout(self._limits.probe):
                return (await self._ask(url, body)).content
        except TimeoutError:
            raise Slow from None

    async def takes_picture(self, model: str, url: str, seconds: float) -> bool | None:
        """Return whether a model accepts a picture, tested with an answer of one token; None after a failure."""
        content = [
            {"type": "image_url", "image_url": {"url": url}},
            {"type": "text", "text": "What colour is this?"},
        ]
        messages = [{"role": "user", "content": content}]
        body = {"model": model, "messages": messages, "max_tokens": 1, "stream": False}
        try:
            async with asyncio.timeout(seconds):
                await self._ask(_CHAT, body)
        except Refused as refusal:
            return False if refusal.of_request and refusal.status < 500 else None
        except (TimeoutError, AskFailed):
            return None
        return True

    async def health(self, url: str) -> int:
        """Return the HTTP status of the health check at `url`, or 0 if there is no health check or no response."""
        # Twice, because uvicorn closes a connection without notice after an application error.
        for _ in range(2):
            try:
                answer = await self._ask(url)
            except Refused as refusal:
                return refusal.status
            except AskFailed:
                continue
            page = "text/html" in answer.headers.get("content-type", "")
            return 0 if page else answer.status_code
        return 0

    async def chat(self, body: bytes, headers: Mapping[str, str], due: float) -> ChatStream:
        """Post a chat request, and return its stream, which may still fail.

        `due`: loop time. Raises AskFailed, TimeoutError.
        """
        async with asyncio.timeout_at(due):
            return ChatStream(await self._post(body, headers))

    async def _post(self, body: bytes, headers: Mapping[str, str]) -> httpx2.Response:
        """Return the unread response to a chat request. Raises AskFailed."""
        if self._sdk is None:
            make = await asyncio.to_thread(load)
            self._sdk = make(
                api_key=self._key,
                base_url=self._url,
                max_retries=0,
                timeout=self._http.timeout,
                http_client=self._http,
            )
            # Environment variables may set these for OpenAI's own service.
            self._sdk.organization = self._sdk.project = None
        from openai import APIConnectionError, APIStatusError

        try:
            return await self._sdk.post(
                self._chat,
                cast_to=httpx2.Response,
                content=body,
                options={"headers": {"Content-Type": "application/json", **headers}},
                stream=bool(body),
            )
        except APIStatusError as error:
            refusal, url = _read_refusal(error.response), error.response.url
            if refusal.location in (f"{url}/", f"{url.path}/") and self._chat == _CHAT:
                self._chat += "/"
                return await self._post(body, headers)
            raise refusal from None
        except (APIConnectionError, httpx2.HTTPError) as error:
            raise self._to_ask_failed(error.__cause__ or error) from None

    async def close(self) -> None:
        await self._http.aclose()


def _read_refusal(answer: httpx2.Response) -> Refused:
    said: object = answer.text
    with suppress(ValueError, RecursionError):
        said = answer.json()
    if isinstance(said, list) and said:
        # Gemini sends a list.
        said = said[0]
    if isinstance(said, dict) and isinstance(said.get("error"), dict):
        said = said["error"]
    wait = retry_after(answer)
    return Refused(answer.status_code, said, wait, answer.headers.get("location", ""))
