"""The common part of recognisers and voices: their errors, a local model in a process of its own, and a speech server, by HTTP and
over a socket, within bounds.

The features `voice_in` and `voice_out` use it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidStatus, WebSocketException

from server.core.aio import TaskSet, supervise
from server.core.errors import QwenCameraError
from server.core.setting_text import other_machine
from server.core.sound import NotPcm
from server.models.openai import upstream
from server.models.openai.discovery import is_name, objects_in
from server.models.openai.events import BrokenStream
from server.models.openai.http import (
    ANSWER_BYTES,
    ResponseTooLarge,
    http_client,
    retry_after,
    trust,
    why_unreachable,
)
from server.shared.processes.process import ProcessFailed
from server.shared.processes.wire import WorkerMessage
from server.shared.processes.worker_process import (
    ROOT,
    ModelWorker,
    NotLoaded,
    WorkerEnded,
    WorkerJob,
)

T = TypeVar("T")


class SpeechWorker:
    """One model in one worker, with one job at a time: loaded once, and ready until its process ends.

    A subclass asks by `job`, and says what the worker's other messages mean: `on_loaded`, `on_message`.
    """

    name = "local"
    # Sound and texts stay on this machine.
    elsewhere = ""

    def __init__(
        self,
        what: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        *,
        load_seconds: float,
        remedy: str,
        again: str = "Start the server again.",
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`what`: "recogniser" or "voice"; `remedy`: for a process that cannot start; `again`: for one
        that has ended. `on_change` is called whenever it has become ready or has failed.
        """
        self.on_change = on_change
        self.ready = False
        # The reason why it is not ready and the remedy, for operators; "" while it is
        self.trouble = f"The local {what} is being loaded."
        self._what = what
        self._load_seconds = load_seconds
        self._remedy = remedy
        self._again = again
        self._worker = ModelWorker(argv, env, on_message=self.on_message, on_exit=self._on_exit)
        self._tasks = TaskSet(what)
        self._turn = asyncio.Lock()
        # Set once it is known whether it works.
        self._known = asyncio.Event()
        self._closed = False

    def cannot_load(self, reason: str) -> str:
        """Word the worker's refusal to load the model."""
        return reason

    def on_loaded(self, header: Mapping[str, Any]) -> None:
        """Take the worker's first message, just before it is ready."""

    def on_message(self, message: WorkerMessage) -> None:
        """Take a message that is about no job."""

    @property
    def pid(self) -> int | None:
        """The process id; None while there is none."""
        return self._worker.pid

    @property
    def loading(self) -> bool:
        """True until it is known whether it works."""
        return not self._known.is_set()

    def start(self) -> None:
        """Begin to load the model."""
        self._tasks.spawn(self._load(), name="load")

    async def wait(self) -> None:
        """Wait until it is loaded. Raises SpeechUnavailable with the reason when it cannot be."""
        await self._known.wait()
        if not self.ready:
            raise SpeechUnavailable(self.trouble)

    @asynccontextmanager
    async def job(
        self, header: Mapping[str, Any], payload: bytes = b""
    ) -> AsyncIterator[WorkerJob]:
        """Wait for its turn, and have the worker do a job, which is cancelled unless it has ended by then.

        Raises SpeechUnavailable.
        """
        async with self._turn:
            if not self.ready:
                raise SpeechUnavailable(self.trouble)
            job = self._worker.begin(header, payload)
            try:
                yield job
            finally:
                job.cancel()

    def kill(self) -> None:
        self._worker.kill()

    def failed(self, trouble: str) -> None:
        """Note that it does not work, and why."""
        self.ready, self.trouble = False, trouble
        log.error("a local speech model does not work", extra={"reason": trouble})
        self._known.set()
        self.on_change()

    async def close(self) -> None:
        """End the process and its memory. Safe to call twice."""
        self._closed = True
        self.ready = False
        self.trouble = f"The local {self._what} was stopped."
        await self._worker.stop()
        await self._tasks.close()
        self._known.set()

    async def _load(self) -> None:
        trouble, header = "", {}
        try:
            header = await self._worker.load(self._load_seconds)
        except ProcessFailed as error:
            trouble = f"{error.message} {self._remedy}"
        except NotLoaded as error:
            trouble = self.cannot_load(error.message)
        except TimeoutError:
            trouble = f"The local {self._what} was not loaded within {self._load_seconds:g} s."
        except WorkerEnded:
            trouble = self._how_it_ended()
        if self._closed:
            return  # It was loaded while it was being ended.
        if trouble:
            self.failed(trouble)
            self.kill()
            return
        self.on_loaded(header)
        self.ready, self.trouble = True, ""
        log.info("a local speech model is loaded", extra={"engine": self._what})
        self._known.set()
        self.on_change()

    def _on_exit(self) -> None:
        if self.ready:
            self.failed(self._how_it_ended())

    def _how_it_ended(self) -> str:
        return (
            f"The local {self._what}'s process ended (status {self._worker.status}). {self._again}"
        )


def models_python(chosen: Path | None) -> str:
    """Return the Python of the models' environment. `chosen`: one that the settings name."""
    own = ROOT / ".venv-models" / "bin" / "python"
    if chosen is not None:
        return str(chosen)
    return str(own) if own.is_file() else sys.executable


log = logging.getLogger(__name__)


class SpeechError(QwenCameraError):
    """Speech could not be recognised, or an answer not spoken. `message` is for operators and the log.

    `visitors`: the text for visitors in place of the usual one of its kind.
    """

    code = "speech_failed"
    status = 503
    retryable = True
    for_visitors = "Speech did not work this time. Say it again, or type it."


class SpeechUnavailable(SpeechError):
    """Nothing recognises or speaks now."""

    code = "speech_unavailable"
    for_visitors = "Speech is not available right now. Type your question, and read the answer."


class SpeechTimeout(SpeechError):
    """Recognising or speaking took too long."""

    code = "speech_timeout"
    for_visitors = "Speech took too long this time. Say it again, or type it."


class SpeechRefused(SpeechError):
    """The sound or the text was refused."""

    code = "speech_refused"
    retryable = False
    for_visitors = (
        "Speech does not work with this text or sound. Type your question, and read the answer."
    )


class SpeechFailed(SpeechError):
    """Recognising or speaking failed."""

    code = "speech_failed"


# Between two probes of a server that answers, and of one that does not
PROBE_SECONDS, _RETRY_SECONDS = 10.0, 5.0
# Optional fields are left out for so long after a refusal with one of these statuses.
_PLAIN_SECONDS = 600.0
_REFUSED = (400, 415, 422, 500, 501)
# The socket is not tried again for so long after it was not offered or failed.
_PAUSE_SECONDS = 60.0
# Words in the task or the name of a model, by its use: a server may have models for both.
_USES = {
    "recogniser": re.compile(
        r"whisper|parakeet|canary|transcri|\b(asr|stt)\b|speech-(to-text|recognition)", re.I
    ),
    "voice": re.compile(r"kokoro|piper|tts|text-to-(speech|audio)", re.I),
}
_POOL = httpx2.Limits(max_connections=64, keepalive_expiry=4.0)


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

    def from_status(self, status: int, retry_after: float | None = None) -> SpeechError:
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

    def unreachable(self, error: BaseException | None = None) -> SpeechError:
        """Return the error of a server that cannot be reached. `error`: what was raised, if anything."""
        host = httpx2.URL(self.address).host
        if error is not None and (why := why_unreachable(error, host)):
            return SpeechUnavailable(f"{self._server} cannot be reached: {why}.")
        return SpeechUnavailable(
            f"{self._server} does not answer. Start it, or set {self._settings}_BASE_URL to where it is."
        )

    def too_slow(self) -> SpeechError:
        return SpeechTimeout(f"{self._server} took too long.")

    def interrupted(self) -> SpeechError:
        return SpeechFailed(f"{self._server} broke off in the middle.")

    def failed(self) -> SpeechError:
        """Return the error for a failure that the server reports without a status."""
        return SpeechFailed(f"{self._server} failed. Its own log says why.")

    def event(self, raw: bytes | str) -> dict[str, Any]:
        """Read an event; an empty one says nothing. Raises the error of one that is no JSON, or that reports an error."""
        try:
            event = json.loads(raw)
        except (ValueError, RecursionError):
            raise self.invalid_answer() from None
        if not isinstance(event, dict):
            return {}
        if event.get("error") or event.get("type") in ("error", "speech.audio.error"):
            raise self.from_status(upstream.event_status(event.get("error")))
        return event

    def invalid_answer(self, why: str = "") -> SpeechError:
        """Return the error for an answer that is none. `why`: the end of a sentence on the server."""
        return SpeechFailed(
            f"{self._server} {why or f'sent something that is no answer of {self.path}'}."
            f" Check {self._settings}_BASE_URL."
        )


class SpeechServer:
    """A server that recognises or speaks, as far as both are the same, and the owner of its state.

    It is asked at the path of `refusals`. `model` "" takes the first one for its use that it lists. `socket`: its
    socket is wanted. `machines`: see `other_machine`. `on_change` is called whenever a probe finds that it answers again, or no more.
    """

    name = "server"
    # A server is asked, not loaded.
    loading = False
    # Its use, one of `_USES`
    what: ClassVar[str]
    # Bytes of one answer
    most_bytes: ClassVar[int]
    # Fields that it may refuse: then they are left out for ten minutes
    optional: ClassVar[frozenset[str]]

    def __init__(
        self,
        refusals: Refusals,
        api_key: str,
        limits: SpeechLimits,
        *,
        model: str,
        socket: bool,
        machines: Mapping[str, str],
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.refusals = refusals
        self.limits = limits
        self.model = self._wanted = model
        self.on_change = on_change
        self.ready = False
        # The reason why it is not ready and the remedy, for operators; "" while it is
        self.trouble = f"Not yet asked: the {refusals.what} at {refusals.address}."
        # The loop time until which the optional fields are left out
        self._plain_until = 0.0
        # Requests that it works on now
        self._asked = 0
        # One of them came too late since the last probe.
        self._late = False
        self._tasks = TaskSet(self.what)
        # The other machine that it is; "" for this one
        self.elsewhere = other_machine(refusals.address, machines)
        self._socket_wanted = socket
        # Loop time before which the socket is not tried
        self._not_before = 0.0
        self._client = http_client(
            limits=_POOL,
            connect=limits.connect,
            most=max(self.most_bytes, ANSWER_BYTES),
            most_streamed=self.most_bytes,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(address={self.refusals.address!r}, ready={self.ready})"

    def start(self) -> None:
        """Probe it from now on."""
        self._tasks.spawn(supervise(self.probe, name=self.what), name="probe")

    async def probe(self) -> float:
        """Return whether it answers, and its model. Returns the seconds until the next time; never raises an error."""
        before = self.ready
        late, self._late = self._late, False
        try:
            async with asyncio.timeout(self.limits.probe):
                status, names = await self.models()
            error = self.refusals.from_status(status)
        except (TimeoutError, httpx2.HTTPError) as exc:
            if self._asked and not late:
                # It may answer one request at a time, and works on ours.
                return PROBE_SECONDS
            status, names, error = 0, [], self.refusals.unreachable(exc)
        if before and not self.ready:
            # A request has failed since then.
            return _RETRY_SECONDS
        # Some list no models, and work all the same.
        ready = 0 < status < 500 and status not in (401, 403)
        if not self._wanted:
            self.model = names[0] if names else self.model
        if ready != self.ready:
            log.info(
                "a speech server's state",
                extra={
                    "engine": self.refusals.what,
                    "state": "ready" if ready else "unreachable",
                    "reason": f"HTTP {status}",
                },
            )
        self.ready = ready
        self.trouble = "" if ready else error.message
        if ready != before:
            self.on_change()
        return PROBE_SECONDS if ready else _RETRY_SECONDS

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
            extra={"engine": self.refusals.what, "error": type(error).__name__},
        )

    async def models(self) -> tuple[int, list[str]]:
        """List its models, those for this use first. Returns the HTTP status with the names; raises httpx2's errors."""
        try:
            answer = await self._client.get(f"{self.refusals.address}/models")
            data = answer.json() if answer.status_code == 200 else {}
        except (ValueError, RecursionError):
            return 200, []
        cards = [one for one in objects_in(data, "data") if is_name(one.get("id"))]
        return answer.status_code, [one["id"] for one in sorted(cards, key=self._unfit)]

    def _unfit(self, card: Mapping[str, Any]) -> int:
        """Rank a listed model by its task, else by its name: 0 of this use, 2 of another one."""
        for text in (str(card.get("task")), card["id"]):
            uses = [use for use, words in _USES.items() if words.search(text)]
            if uses:
                return 0 if self.what in uses else 2
        return 1

    async def send(
        self, fields: Mapping[str, Any], stack: AsyncExitStack, *, file: bytes | None = None
    ) -> httpx2.Response:
        """Send it as JSON, or as a form with a WAV file; a refused request once more without its optional fields, which
        are left out for ten minutes when that works. `stack` closes the answer.

        Raises SpeechError, and what `errors` turns into one.
        """
        now = asyncio.get_running_loop().time
        refused = False
        while True:
            plain = refused or now() < self._plain_until
            sent = {
                name: value
                for name, value in fields.items()
                if not (plain and name in self.optional)
            }
            answer = await self._client.send(self._request(sent, file), stream=True)
            status = answer.status_code
            if answer.is_success:
                if refused:
                    self._plain_until = now() + _PLAIN_SECONDS
                    log.warning(
                        "a speech server refused optional fields, which are left out for 10 minutes",
                        extra={"engine": self.refusals.what, "reason": f"HTTP {status}"},
                    )
                stack.push_async_callback(answer.aclose)
                return answer
            await answer.aclose()
            if (
                len(sent) == len(fields) - len(self.optional & fields.keys())
                or status not in _REFUSED
            ):
                raise self.refusals.from_status(status, retry_after(answer))
            refused = True

    @asynccontextmanager
    async def working_on(
        self, answer: AsyncGenerator[T, None]
    ) -> AsyncIterator[AsyncGenerator[T, None]]:
        """Note that it works on an answer until that is closed, and whether it came too late."""
        self._asked += 1
        try:
            async with aclosing(answer):
                yield answer
        except SpeechTimeout:
            self._late = True
            raise
        finally:
            self._asked -= 1

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn the errors of sending and of reading an answer into SpeechErrors."""
        try:
            yield
        except (TimeoutError, httpx2.ReadTimeout, httpx2.WriteTimeout):
            raise self.refusals.too_slow() from None
        except (NotPcm, ResponseTooLarge) as exc:
            raise self.refusals.invalid_answer(str(exc)) from None
        except (BrokenStream, httpx2.ReadError, httpx2.RemoteProtocolError):
            raise self.refusals.interrupted() from None
        except httpx2.HTTPError as exc:
            raise self.refusals.unreachable(exc) from None

    async def close(self) -> None:
        await self._tasks.close()
        await self._client.aclose()

    def _request(self, fields: Mapping[str, Any], file: bytes | None) -> httpx2.Request:
        url = f"{self.refusals.address}{self.refusals.path}"
        if file is None:
            return self._client.build_request("POST", url, json=fields)
        files = {"file": ("speech.wav", file, "audio/wav")}
        return self._client.build_request("POST", url, data=fields, files=files)


def describe_speech(one: SpeechServer | SpeechWorker | None) -> dict[str, str] | None:
    """Describe it for operators; None without one."""
    if one is None:
        return None
    state = "loading" if one.loading else "ready" if one.ready else "unreachable"
    return {"name": one.name, "state": state, "detail": one.trouble}


# Messages between which other tasks have their turn
_MESSAGES_AT_A_TIME = 64
# A message costs time, however small it is: it counts for at least so many bytes.
_LEAST_MESSAGE = 64
# Statuses of servers without this address; uvicorn answers 403 to a socket at an unknown one.
_NOT_OFFERED = (400, 403, 404, 405, 426, 501)


class SocketNotOffered(Exception):
    """The server has no such address. Outside the tree of errors: HTTP is used then."""


@dataclass(frozen=True, slots=True)
class SocketBounds:
    """The limits of one exchange: bytes of a message, messages, and bytes of all."""

    message_bytes: int
    messages: int
    total_bytes: int


class _Connect(connect):
    """A connection to the configured address and nowhere else."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class BoundedSocket:
    """One server's socket, at the address and path of `refusals`."""

    def __init__(
        self, refusals: Refusals, api_key: str, connect_seconds: float, bounds: SocketBounds
    ) -> None:
        self.refusals = refusals
        self._connect_seconds = connect_seconds
        self._bounds = bounds
        self._url = refusals.address.replace("http", "ws", 1) + refusals.path
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        # It logs messages at lower levels.
        logging.getLogger("websockets.client").setLevel(logging.WARNING)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Exchange]:
        """Connect. Raises SocketNotOffered and the errors of `Refusals`."""
        try:
            async with asyncio.timeout(self._connect_seconds):
                socket = await _Connect(
                    self._url,
                    additional_headers=self._headers,
                    user_agent_header=None,
                    compression=None,
                    proxy=None,
                    ssl=trust() if self._url.startswith("wss:") else None,
                    max_size=self._bounds.message_bytes,
                    max_queue=16,
                    open_timeout=None,
                    ping_interval=None,
                    close_timeout=1.0,
                )
        except InvalidStatus as exc:
            if exc.response.status_code in _NOT_OFFERED:
                raise SocketNotOffered from None
            raise self.refusals.from_status(exc.response.status_code) from None
        except InvalidHandshake:
            raise SocketNotOffered from None
        except TimeoutError:
            raise self.refusals.too_slow() from None
        except (OSError, WebSocketException) as exc:
            raise self.refusals.unreachable(exc) from None
        try:
            yield Exchange(socket, self.refusals, self._bounds)
        finally:
            # No closing handshake: it stops the work there at once, and holds nobody up.
            socket.transport.abort()
            await socket.wait_closed()


class Exchange:
    """The messages of one socket in both directions, within bounds."""

    def __init__(self, socket: ClientConnection, errors: Refusals, bounds: SocketBounds) -> None:
        self._socket = socket
        self._errors = errors
        self._bounds = bounds
        self._count = 0
        self._spent = 0

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send a message as JSON. Raises ConnectionClosed."""
        await self._socket.send(json.dumps(message, separators=(",", ":")))

    async def next(self) -> dict[str, Any] | bytes:
        """Return the next event, or the bytes of a binary message.

        Raises the errors of `Refusals` for an event of an error, for what is no event, and for
        too much of all; ConnectionClosed.
        """
        if self._count % _MESSAGES_AT_A_TIME == 0:
            await asyncio.sleep(0)
        raw = await self._socket.recv()
        self._count += 1
        self._spent += max(len(raw), _LEAST_MESSAGE)
        most = self._bounds
        if self._count > most.messages:
            raise self._errors.invalid_answer(f"sends more than {most.messages:,} messages")
        if self._spent > most.total_bytes:
            raise self._errors.invalid_answer(f"sends more than {most.total_bytes:,} bytes")
        return raw if isinstance(raw, bytes) else self._errors.event(raw)

    async def event(self) -> dict[str, Any]:
        """Return the next event as `next` does; a binary message is none."""
        found = await self.next()
        if isinstance(found, bytes):
            raise self._errors.invalid_answer()
        return found

    def abort(self) -> None:
        """Break the connection; a reader that waits gets ConnectionClosed."""
        self._socket.transport.abort()
