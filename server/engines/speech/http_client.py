"""The HTTP connections to one speech server: its models, and requests within bounds."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import httpx2

from server.engines.openai import upstream
from server.engines.openai.bounded_http import (
    AnswerRefused,
    BoundedTransport,
    Bounds,
    network,
    read_json,
)
from server.engines.openai.chat_stream import BrokenStream
from server.engines.speech.limits import SpeechLimits
from server.engines.speech.refusals import Refusals
from server.voice.pcm import NotPcm

log = logging.getLogger(__name__)

# A server lists some hundred models; their names are short.
_MOST_NAME = 1024
_MOST_WAIT_SECONDS = 600.0
_POOL = httpx2.Limits(max_connections=64, keepalive_expiry=4.0)


class SpeechHttp:
    """One server, asked at one path below its address.

    `most_bytes`: of one answer. `optional`: fields that it may refuse, which are left out from then
    on. `guess`: a refusal without names counts for all of them, once. `transport` replaces the
    network, in tests.
    """

    def __init__(
        self,
        refusals: Refusals,
        api_key: str,
        limits: SpeechLimits,
        *,
        most_bytes: int,
        optional: Iterable[str],
        guess: bool = False,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._refusals = refusals
        self._limits = limits
        self._most_bytes = most_bytes
        self._known_optional = frozenset(optional)
        self._optional = set(self._known_optional)
        self._guess = guess
        # They log addresses and headers at lower levels.
        for library in ("httpx2", "httpcore2"):
            logging.getLogger(library).setLevel(logging.WARNING)
        self._client = httpx2.AsyncClient(
            transport=BoundedTransport(transport or network(_POOL), self._bounds),
            # Speech goes to the configured address and nowhere else: no proxy, no redirect.
            trust_env=False,
            follow_redirects=False,
            timeout=httpx2.Timeout(None, connect=limits.connect, write=10.0, pool=1.0),
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
        )

    async def models(self) -> tuple[int, list[str]]:
        """List its models. Returns the HTTP status with the names, 0 when nothing answers."""
        try:
            answer = await self._client.get(f"{self._refusals.address}/models")
            data = read_json(answer.content) if answer.status_code == 200 else {}
        except httpx2.HTTPError:
            return 0, []
        except (ValueError, RecursionError):
            return 200, []
        listed = data.get("data") if isinstance(data, dict) else None
        cards = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        names = [one["id"] for one in cards if isinstance(one.get("id"), str) and one["id"]]
        return answer.status_code, [name for name in names if len(name) <= _MOST_NAME]

    def trouble(self, status: int) -> str:
        """Say for operators what an HTTP status means and what to do; 0: nothing answers."""
        error = self._refusals.of_status(status) if status else self._refusals.unreachable()
        return error.message

    async def send(
        self, fields: Mapping[str, Any], stack: AsyncExitStack, *, file: bytes | None = None
    ) -> httpx2.Response:
        """Send until it is taken: as JSON, or as a form with a WAV file. `stack` closes the answer.

        Raises SpeechError, and what `errors` turns into one.
        """
        guessed: set[str] = set()
        while True:
            sent = {
                name: value
                for name, value in fields.items()
                if name in self._optional or name not in self._known_optional
            }
            answer = await self._client.send(self._request(sent, file), stream=True)
            if answer.status_code < 300:
                stack.push_async_callback(answer.aclose)
                return answer
            try:
                body = await _body(answer)
            finally:
                await answer.aclose()
            droppable = self._optional & sent.keys()
            named: set[str] = set()
            if answer.status_code in (400, 422):
                named = upstream.refused_fields(body, droppable)
                if self._guess and not named and not guessed:
                    # Some do not say what they refuse.
                    named = guessed = droppable
            if not named:
                self._optional |= guessed
                raise self._refusals.of_status(
                    answer.status_code, _seconds(answer.headers.get("retry-after", ""))
                )
            self._optional -= named
            for name in named:
                log.info(
                    "a speech server refuses a field",
                    extra={"reason": self._refusals.what, "field": name},
                )

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn the errors of sending and of reading an answer into SpeechErrors."""
        try:
            yield
        except (TimeoutError, httpx2.ReadTimeout, httpx2.WriteTimeout):
            raise self._refusals.too_slow() from None
        except (NotPcm, AnswerRefused) as exc:
            raise self._refusals.garbage(str(exc)) from None
        except (BrokenStream, httpx2.ReadError, httpx2.RemoteProtocolError):
            raise self._refusals.broken() from None
        except httpx2.HTTPError:
            raise self._refusals.unreachable() from None

    async def close(self) -> None:
        await self._client.aclose()

    def _request(self, fields: Mapping[str, Any], file: bytes | None) -> httpx2.Request:
        url = f"{self._refusals.address}{self._refusals.path}"
        if file is None:
            return self._client.build_request("POST", url, json=fields)
        files = {"file": ("speech.wav", file, "audio/wav")}
        return self._client.build_request("POST", url, data=fields, files=files)

    def _bounds(self, request: httpx2.Request) -> Bounds:
        if request.url.path.endswith(self._refusals.path):
            return Bounds(self._most_bytes, self._limits.total)
        return Bounds(seconds=self._limits.probe)


async def _body(answer: httpx2.Response) -> object:
    """Return the body of a refusal, for comparing only."""
    try:
        return read_json(await answer.aread())
    except (ValueError, RecursionError):
        return None


def _seconds(header: str) -> float | None:
    """Return Retry-After in seconds; None when it is absent or a date."""
    if not (header.isascii() and header.isdecimal()):
        return None
    return min(float(header), _MOST_WAIT_SECONDS)
