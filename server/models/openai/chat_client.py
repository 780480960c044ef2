"""The connections to one model server: requests, and the errors that keep an answer from arriving."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx2
from pydantic import SecretStr

from server.models.openai import bounded_http, chat_stream, upstream
from server.models.openai.bounded_http import Bounds
from server.models.openai.chat_stream import ChatStream
from server.models.openai.upstream import AskFailed, Refused
from server.models.thinking import ThinkingLimits

# After finish_reason the answer is whole; usage and [DONE] may take this long.
TAIL_SECONDS = 1.0
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
    # From sending the request to the first piece of the answer.
    first_token: float = 30.0
    between_tokens: float = 10.0
    # The whole answer.
    total: float = 120.0
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
    factor. `listed` False: it is known that `model` is served, so its health is asked for and not
    its list of models. `voice`: of answers that the model speaks itself; "" leaves the choice to it.
    `fields` go with each request while the server takes them. `machines`: see `other_machine`.
    """

    base_url: str
    api_key: SecretStr | str = ""
    model: str = ""
    factor: int | None = None
    listed: bool = True
    voice: str = ""
    thinking: ThinkingLimits = field(default_factory=ThinkingLimits)
    fields: Mapping[str, Any] = field(default_factory=lambda: {"temperature": 0.2})
    names: SettingNames = field(default_factory=SettingNames)
    machines: Mapping[str, str] = field(default_factory=dict)


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


class ChatClient:
    """One server. `transport` replaces the network, in tests."""

    def __init__(
        self, endpoint: Endpoint, limits: TimeLimits, transport: httpx2.AsyncBaseTransport | None
    ) -> None:
        self._limits = limits
        key = endpoint.api_key
        secret = key.get_secret_value() if isinstance(key, SecretStr) else key
        self._http = bounded_http.client(
            self._bounds,
            limits=_POOL,
            connect=limits.connect,
            headers={
                # vLLM's own placeholder for "no key".
                "Authorization": f"Bearer {secret or 'EMPTY'}",
                "Accept": "application/json",
            },
            base_url=endpoint.base_url,
            transport=transport,
        )

    async def _ask(
        self, method: str, url: str, *, stream: bool = False, **given: Any
    ) -> httpx2.Response:
        """Return the answer to a request, unread where it is a stream. Raises AskFailed."""
        request = self._http.build_request(method, url, **given)
        try:
            answer = await self._http.send(request, stream=stream)
        except bounded_http.AnswerRefused as exc:
            raise NotChat(str(exc)) from None
        except _DROPPED:
            raise Dropped from None
        except httpx2.TimeoutException:
            raise Slow from None
        except httpx2.RequestError as exc:
            reason = bounded_http.why_unreachable(exc, self._http.base_url.host)
            raise Unreachable(reason) from None
        if answer.is_success:
            return answer
        try:
            said: object = (await answer.aread()).decode("utf-8", "replace")
        except httpx2.HTTPError:
            raise NotChat from None
        with suppress(ValueError, RecursionError):
            said = bounded_http.read_json(answer.content)
        if isinstance(said, dict):
            said = said.get("error", said)
        raise Refused(answer.status_code, said, bounded_http.retry_after(answer))

    async def get(self, url: str, body: dict[str, Any] | None = None) -> bytes:
        """Return the body of an address, or of a path below the server's; a `body` is posted there. Raises AskFailed."""
        asked = self._ask("GET", url) if body is None else self._ask("POST", url, json=body)
        return (await asked).content

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
                await self._ask("POST", _CHAT, json=body)
        except Refused as refusal:
            return False if refusal.about(upstream.NO_PICTURE) else None
        except (TimeoutError, AskFailed):
            return None
        return True

    async def health(self, url: str) -> int:
        """Return the HTTP status of its health check at `url`; 0 when there is none."""
        # Twice: uvicorn closes the connection on which an application failed, with no word before.
        for _ in range(2):
            try:
                answer = await self._ask("GET", url)
            except Refused as refusal:
                return refusal.status
            except AskFailed:
                continue
            page = "text/html" in answer.headers.get("content-type", "")
            return 0 if page else answer.status_code
        return 0

    async def send(
        self,
        body: bytes,
        stack: AsyncExitStack,
        due: float,
        headers: Mapping[str, str] | None = None,
        *,
        spoken: bool = False,
    ) -> tuple[ChatStream, bytes | None]:
        """Send a question; return the stream with its first event, since a 200 alone is no success
        yet. `headers` are sent beside the usual ones. `spoken`: its events may have sound.

        Raises AskFailed, TimeoutError, BrokenStream.
        """
        async with AsyncExitStack() as attempt:
            async with asyncio.timeout_at(due):
                kinds = {"Content-Type": "application/json", **(headers or {})}
                opened = await self._ask("POST", _CHAT, headers=kinds, content=body, stream=True)
            attempt.push_async_callback(opened.aclose)
            kind = opened.headers.get("content-type", "")
            if "text/html" in kind:
                raise NotChat
            # Some never stream, whatever they are asked for.
            stream = ChatStream(
                opened.aiter_bytes(),
                whole=kind.startswith("application/json"),
                most=chat_stream.MAX_SOUND_EVENT_BYTES if spoken else chat_stream.MAX_EVENT_BYTES,
            )
            event = await stream.next(due)
            if event is not None and (piece := chat_stream.read_event(event)).error is not None:
                raise Refused(upstream.event_status(piece.error), piece.error)
            stack.push_async_exit(attempt.pop_all())
            return stream, event

    def _bounds(self, request: httpx2.Request) -> Bounds:
        """Return the bounds of a request's answer; read anew, since tests change the limits."""
        if request.url.path.endswith(_CHAT):
            return Bounds(bounded_http.STREAM_BYTES, self._limits.total + TAIL_SECONDS)
        return Bounds(seconds=self._limits.probe)

    async def close(self) -> None:
        await self._http.aclose()
