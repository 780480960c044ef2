"""The connections to one model server: its requests, which the `openai` package carries, and their failures."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx2
from pydantic import SecretStr

from server.models.openai.events import ChatStream
from server.models.openai.http import ResponseTooLarge, http_client, retry_after, why_unreachable
from server.models.openai.upstream import AskFailed, Refused
from server.models.thinking import ThinkingLimits

if TYPE_CHECKING:
    from openai import AsyncOpenAI

# An unused connection is kept for less than uvicorn's 5 s (vLLM's, too), so that it is not used
# while it is closed.
_POOL = httpx2.Limits(max_connections=256, max_keepalive_connections=32, keepalive_expiry=4.0)
_CHAT = "/chat/completions"
# The connection broke before anything came back: the server had closed a kept connection meanwhile.
_DROPPED = (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError)


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Seconds.

    All but `connect` count data events only: keep-alive comments go on when a model server is dead.
    """

    connect: float = 3.0
    # From sending a question to the first piece of its answer: the server may load the model meanwhile.
    first_token: float = 300.0
    # The same of background work, which comes again by itself
    background: float = 30.0
    between_tokens: float = 60.0
    # From the first piece to the end of the answer
    total: float = 120.0
    # From the finish_reason to usage and [DONE]
    tail: float = 1.0
    probe: float = 5.0


@dataclass(frozen=True, slots=True)
class SettingNames:
    """The settings that name a model server, as operators are told what to mend."""

    url: str = "VLLM_BASE_URL"
    key: str = "VLLM_API_KEY"
    model: str = "MODEL_NAME"

    @classmethod
    def of(cls, role: str) -> SettingNames:
        """Return those of a role's server."""
        return cls(*(f"{role.upper()}_{what}" for what in ("BASE_URL", "API_KEY", "MODEL")))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model server's address, and what is known of it beforehand.

    `model` "" takes the first one that the server lists. `factor` overrides the model's geometry
    factor. `voice`: of answers that the model speaks itself; "" leaves the choice to it.
    `fields` go with each request while the server takes them. `machines`: see `other_machine`. `picture_share`: see
    `Capabilities`.
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
    """Nothing answers. Its text is the end of a sentence on why, empty where nothing is known."""


class Dropped(Unreachable):
    """The connection broke before the server had answered."""


class Slow(Unreachable):
    """Nothing answers in time."""


class NotChat(AskFailed):
    """The other end is no model server.

    `why`: the end of a sentence on it, empty where nothing more is known.
    """

    def __init__(self, why: str = "") -> None:
        super().__init__(why)
        self.why = why


def load() -> type[AsyncOpenAI]:
    """Import `openai`, which takes 0.4 s, in a thread."""
    from openai import AsyncOpenAI

    return AsyncOpenAI


class ChatClient:
    """One server. `transport` replaces the network, in tests."""

    def __init__(
        self, endpoint: Endpoint, limits: TimeLimits, transport: httpx2.AsyncBaseTransport | None
    ) -> None:
        self._limits = limits
        self._url = endpoint.base_url
        # With a slash at its end where the server wants that
        self._chat = _CHAT
        key = endpoint.api_key
        # vLLM's own placeholder for "no key"
        self._key = (key.get_secret_value() if isinstance(key, SecretStr) else key) or "EMPTY"
        self._http = http_client(
            limits=_POOL,
            connect=limits.connect,
            headers={"Authorization": f"Bearer {self._key}"},
            base_url=self._url,
            transport=transport,
        )
        self._sdk: AsyncOpenAI | None = None

    async def _ask(self, url: str, body: Mapping[str, Any] | None = None) -> httpx2.Response:
        """Return the answer to a request beside the chat; a `body` is posted. Raises AskFailed."""
        method = "GET" if body is None else "POST"
        try:
            answer = await self._http.request(method, url, json=body)
        except httpx2.HTTPError as error:
            raise self._error_of(error) from None
        if not answer.is_success:
            raise _refusal_of(answer)
        return answer

    def _error_of(self, error: BaseException) -> AskFailed:
        if isinstance(error, ResponseTooLarge):
            return NotChat(str(error))
        if isinstance(error, _DROPPED):
            return Dropped()
        if isinstance(error, httpx2.TimeoutException):
            return Slow()
        return Unreachable(why_unreachable(error, self._http.base_url.host))

    async def get(self, url: str, body: Mapping[str, Any] | None = None) -> bytes:
        """Return the body of an address, or of a path below the server's; a `body` is posted there.

        Raises AskFailed.
        """
        try:
            async with asyncio.timeout(self._limits.probe):
                return (await self._ask(url, body)).content
        except TimeoutError:
            raise Slow from None

    async def takes_picture(self, model: str, url: str, seconds: float) -> bool | None:
        """Try whether a model takes a picture with a question for one token; None when that fails."""
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
        """Return the HTTP status of its health check at `url`; 0 when there is none."""
        # Twice: uvicorn closes the connection on which an application failed, with no word before.
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
        """Send a question, and return its answer. A 200 alone is no success yet.

        `due` is loop time. Raises AskFailed, TimeoutError.
        """
        async with asyncio.timeout_at(due):
            return ChatStream(await self._post(body, headers))

    async def _post(self, body: bytes, headers: Mapping[str, str]) -> httpx2.Response:
        """Return the answer to a question, unread. Raises AskFailed."""
        if self._sdk is None:
            make = await asyncio.to_thread(load)
            self._sdk = make(
                api_key=self._key,
                base_url=self._url,
                max_retries=0,
                timeout=self._http.timeout,
                http_client=self._http,
            )
            # Those of the environment are for OpenAI's own service.
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
            refusal, url = _refusal_of(error.response), error.response.url
            if refusal.location in (f"{url}/", f"{url.path}/") and self._chat == _CHAT:
                self._chat += "/"
                return await self._post(body, headers)
            raise refusal from None
        except (APIConnectionError, httpx2.HTTPError) as error:
            raise self._error_of(error.__cause__ or error) from None

    async def close(self) -> None:
        await self._http.aclose()


def _refusal_of(answer: httpx2.Response) -> Refused:
    said: object = answer.text
    with suppress(ValueError, RecursionError):
        said = answer.json()
    if isinstance(said, list) and said:
        # Gemini's
        said = said[0]
    if isinstance(said, dict) and isinstance(said.get("error"), dict):
        said = said["error"]
    wait = retry_after(answer)
    return Refused(answer.status_code, said, wait, answer.headers.get("location", ""))
