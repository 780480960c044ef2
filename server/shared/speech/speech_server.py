"""One speech server: its state, requests over HTTP within bounds, and its refusals in our own words."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from server.media.sound.pcm import NotPcm
from server.models.openai import upstream
from server.models.openai.bounded_http import (
    AnswerRefused,
    BoundedTransport,
    Bounds,
    network,
    read_json,
)
from server.models.openai.chat_stream import BrokenStream
from server.models.openai.own_machine import Whereabouts
from server.shared.speech.errors import (
    SpeechError,
    SpeechFailed,
    SpeechRefused,
    SpeechTimeout,
    SpeechUnavailable,
)
from server.shared.speech.local_worker import SpeechWorker

log = logging.getLogger(__name__)
# The socket is not tried again for so long after it was not offered or failed.
_PAUSE_SECONDS = 60.0
# A server lists some hundred models; their names are short.
_MOST_NAME = 1024
_MOST_WAIT_SECONDS = 600.0
_POOL = httpx2.Limits(max_connections=64, keepalive_expiry=4.0)


class SpeechHttp:
    """One server, asked at one path below its address.

    `most_bytes`: of one answer. `optional`: fields that it may refuse, which are left out from then
    on. `guess`: a refusal without names counts for all of them, once.
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
    ) -> None:
        self.refusals = refusals
        self.limits = limits
        self._most_bytes = most_bytes
        self._known_optional = frozenset(optional)
        self._optional = set(self._known_optional)
        self._guess = guess
        # They log addresses and headers at lower levels.
        for library in ("httpx2", "httpcore2"):
            logging.getLogger(library).setLevel(logging.WARNING)
        self._client = httpx2.AsyncClient(
            transport=BoundedTransport(network(_POOL), self._bounds),
            # Speech goes to the configured address and nowhere else: no proxy, no redirect.
            trust_env=False,
            follow_redirects=False,
            timeout=httpx2.Timeout(None, connect=limits.connect, write=10.0, pool=1.0),
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
        )

    async def models(self) -> tuple[int, list[str]]:
        """List its models. Returns the HTTP status with the names, 0 when nothing answers."""
        try:
            answer = await self._client.get(f"{self.refusals.address}/models")
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
        error = self.refusals.of_status(status) if status else self.refusals.unreachable()
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
                raise self.refusals.of_status(
                    answer.status_code, _seconds(answer.headers.get("retry-after", ""))
                )
            self._optional -= named
            for name in named:
                log.info(
                    "a speech server refuses a field",
                    extra={"reason": self.refusals.what, "field": name},
                )

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn the errors of sending and of reading an answer into SpeechErrors."""
        try:
            yield
        except (TimeoutError, httpx2.ReadTimeout, httpx2.WriteTimeout):
            raise self.refusals.too_slow() from None
        except (NotPcm, AnswerRefused) as exc:
            raise self.refusals.garbage(str(exc)) from None
        except (BrokenStream, httpx2.ReadError, httpx2.RemoteProtocolError):
            raise self.refusals.broken() from None
        except httpx2.HTTPError:
            raise self.refusals.unreachable() from None

    async def close(self) -> None:
        await self._client.aclose()

    def _request(self, fields: Mapping[str, Any], file: bytes | None) -> httpx2.Request:
        url = f"{self.refusals.address}{self.refusals.path}"
        if file is None:
            return self._client.build_request("POST", url, json=fields)
        files = {"file": ("speech.wav", file, "audio/wav")}
        return self._client.build_request("POST", url, data=fields, files=files)

    def _bounds(self, request: httpx2.Request) -> Bounds:
        if request.url.path.endswith(self.refusals.path):
            return Bounds(self._most_bytes, self.limits.total)
        return Bounds(seconds=self.limits.probe)


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


@dataclass(frozen=True, slots=True)
class SpeechLimits:
    """Seconds; the defaults are those of a recogniser."""

    connect: float = 3.0
    # From sending the request, or the end of the speech, to the first piece
    first: float = 20.0
    between: float = 10.0
    # The whole answer
    total: float = 60.0
    probe: float = 5.0


class Refusals:
    """The errors of one speech server, in sentences of ours. Pure.

    Nothing of the server's own text goes into them: it may hold the spoken words, or the key.
    `what`: its kind, such as "transcription server"; `settings`: the prefix of its settings, such
    as "TRANSCRIPTION"; `path`: the requested path below its base address.
    """

    def __init__(self, what: str, settings: str, address: str, path: str) -> None:
        self.what = what
        self.address = address
        self.path = path
        self._server = f"The {what} at {address}"
        self._settings = settings

    def of_status(self, status: int, retry_after: float | None = None) -> SpeechError:
        """Return the error for an HTTP status."""
        server, settings = self._server, self._settings
        if status < 300:
            return self.failed()
        if status in (401, 403):
            return SpeechUnavailable(
                f"{server} did not accept our key (HTTP {status}). Set {settings}_API_KEY to the key it was started with."
            )
        if status in (404, 405, 501):
            return SpeechUnavailable(
                f"{server} has no {self.path} or no such model (HTTP {status}). Check {settings}_BASE_URL and"
                f" {settings}_MODEL."
            )
        if status in (429, 503):
            return SpeechUnavailable(
                f"{server} takes no more requests for now (HTTP {status}).", retry_after=retry_after
            )
        if status >= 500:
            return SpeechFailed(f"{server} fails (HTTP {status}). Its own log says why.")
        if 300 <= status < 400:
            return SpeechUnavailable(
                f"{server} sends us elsewhere (HTTP {status}), where nothing is sent. Set {settings}_BASE_URL to"
                " where it is."
            )
        return SpeechRefused(f"{server} refused a request (HTTP {status}). Its own log says why.")

    def unreachable(self) -> SpeechError:
        return SpeechUnavailable(
            f"{self._server} does not answer. Start it, or set {self._settings}_BASE_URL to where it is."
        )

    def too_slow(self) -> SpeechError:
        return SpeechTimeout(f"{self._server} took too long.")

    def broken(self) -> SpeechError:
        return SpeechFailed(f"{self._server} broke off in the middle.")

    def failed(self) -> SpeechError:
        """Return the error for a failure that the server reports without a status."""
        return SpeechFailed(f"{self._server} failed. Its own log says why.")

    def garbage(self, why: str = "") -> SpeechError:
        """Return the error for an answer that is none. `why`: the end of a sentence on the server."""
        return SpeechFailed(
            f"{self._server} {why or f'sent something that is no answer of {self.path}'}."
            f" Check {self._settings}_BASE_URL."
        )


class SpeechServer:
    """Owner of the state of a server that recognises or speaks, as far as both are the same.

    `model` "" takes the first one that it lists. `socket`: its socket is wanted.
    """

    name = "server"

    def __init__(self, http: SpeechHttp, *, model: str, socket: bool) -> None:
        self.model = model
        self.ready = False
        self._what, self._address = http.refusals.what, http.refusals.address
        # The reason why it is not ready and the remedy, for operators; "" while it is
        self.trouble = f"Not yet asked: the {self._what} at {self._address}."
        self._listing = http
        self._wanted = model
        self._whereabouts = Whereabouts(self._address)
        self._socket_wanted = socket
        # Loop time before which the socket is not tried
        self._not_before = 0.0

    def __repr__(self) -> str:
        return f"{type(self).__name__}(address={self._address!r}, ready={self.ready})"

    @property
    def loading(self) -> bool:
        """Always False: a server is asked, not loaded."""
        return False

    @property
    def elsewhere(self) -> str:
        """The other machine that it is; "" for this one."""
        return self._whereabouts.other

    async def answers(self) -> bool:
        """Find whether it answers, and its model; never raises an error."""
        await self._whereabouts.find()
        try:
            async with asyncio.timeout(self._listing.limits.probe):
                status, names = await self._listing.models()
        except TimeoutError:
            status, names = 0, []
        # Some list no models, and work all the same.
        ready = 0 < status < 500 and status not in (401, 403)
        if not self._wanted:
            self.model = names[0] if names else self.model
        if ready != self.ready:
            log.info(
                "a speech server's state",
                extra={
                    "engine": self._what,
                    "state": "ready" if ready else "unreachable",
                    "reason": f"HTTP {status}",
                },
            )
        self.ready = ready
        self.trouble = "" if ready else self._listing.trouble(status)
        return ready

    def failed(self, trouble: str) -> None:
        """Note that it did not answer a request: it is not ready until a probe finds it again."""
        self.ready, self.trouble = False, trouble

    @property
    def tries_socket(self) -> bool:
        return self._socket_wanted and asyncio.get_running_loop().time() >= self._not_before

    def socket_failed(self, error: Exception) -> None:
        """Do without the socket for a while."""
        self._not_before = asyncio.get_running_loop().time() + _PAUSE_SECONDS
        log.info(
            "a speech server's socket is not used",
            extra={"engine": self._what, "error": type(error).__name__},
        )

    async def close(self) -> None:
        await self._listing.close()


def described(one: SpeechServer | SpeechWorker | None) -> dict[str, str] | None:
    """Describe it for operators; None without one."""
    if one is None:
        return None
    state = "loading" if one.loading else "ready" if one.ready else "unreachable"
    return {"name": one.name, "state": state, "detail": one.trouble}
