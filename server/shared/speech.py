"""Common parts of recognisers and voices: errors, a local model in a worker, and a speech server by HTTP and WebSocket.

Used by the features `voice_in` and `voice_out`.
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
from server.core.setting_text import get_other_machine
from server.core.sound import NotPcm
from server.models.openai import upstream
from server.models.openai.discovery import get_objects, is_name
from server.models.openai.events import BrokenStream
from server.models.openai.http import (
    ANSWER_BYTES,
    ResponseTooLarge,
    explain_unreachable,
    get_tls_context,
    make_http_client,
    retry_after,
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
    """A model in a worker, with one job at a time: loaded once, and ready until its process ends.

    Subclasses send requests by `job`, and handle other messages in `on_loaded` and `on_message`.
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
        """Prepare a process. `what`: "recogniser" or "voice"; `remedy`: for a process that cannot start; `again`: for a
        process that has ended. `on_change` is called whenever it has become ready or has failed.
        """
        self.on_change = on_change
        self.ready = False
        # Reason why it is not ready, and the remedy, for operators; "" while it is ready
        self.trouble = f"The local {what} is being loaded."
        self._what = what
        self._load_seconds = load_seconds
        self._remedy = remedy
        self._again = again
        self._worker = ModelWorker(argv, env, on_message=self.on_message, on_exit=self._on_exit)
        self._tasks = TaskSet(what)
        self._turn = asyncio.Lock()
        # Set once it is ready or has failed
        self._known = asyncio.Event()
        self._closed = False

    def explain_load_failure(self, reason: str) -> str:
        """Return the message about the worker's failure to load the model."""
        return reason

    def on_loaded(self, header: Mapping[str, Any]) -> None:
        """Handle the worker's first message, just before it is ready."""

    def on_message(self, message: WorkerMessage) -> None:
        """Handle a message that belongs to no job."""

    @property
    def pid(self) -> int | None:
        """The process id; None if there is no process."""
        return self._worker.pid

    @property
    def loading(self) -> bool:
        """True until it is ready or has failed."""
        return not self._known.is_set()

    def start(self) -> None:
        """Start to load the model."""
        self._tasks.spawn(self._load(), name="load")

    async def wait(self) -> None:
        """Wait until the model is loaded. Raises SpeechUnavailable with the reason if that fails."""
        await self._known.wait()
        if not self.ready:
            raise SpeechUnavailable(self.trouble)

    @asynccontextmanager
    async def job(
        self, header: Mapping[str, Any], payload: bytes = b""
    ) -> AsyncIterator[WorkerJob]:
        """Run a job in its turn; cancel it on exit unless it has ended. Raises SpeechUnavailable."""
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
        """Set the state to failed, with the reason."""
        self.ready, self.trouble = False, trouble
        log.error("local speech model failed", extra={"reason": trouble})
        self._known.set()
        self.on_change()

    async def close(self) -> None:
        """Stop the process. It may be called twice."""
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
            trouble = self.explain_load_failure(error.message)
        except TimeoutError:
            trouble = f"The local {self._what} was not loaded within {self._load_seconds:g} s."
        except WorkerEnded:
            trouble = self._explain_end()
        if self._closed:
            return  # It was loaded while it was being stopped.
        if trouble:
            self.failed(trouble)
            self.kill()
            return
        self.on_loaded(header)
        self.ready, self.trouble = True, ""
        log.info("local speech model loaded", extra={"engine": self._what})
        self._known.set()
        self.on_change()

    def _on_exit(self) -> None:
        if self.ready:
            self.failed(self._explain_end())

    def _explain_end(self) -> str:
        return (
            f"The local {self._what}'s process ended (status {self._worker.status}). {self._again}"
        )


def find_models_python(chosen: Path | None) -> str:
    """Return the Python of the models' environment. `chosen`: the Python from the settings, if set."""
    own = ROOT / ".venv-models" / "bin" / "python"
    if chosen is not None:
        return str(chosen)
    return str(own) if own.is_file() else sys.executable


log = logging.getLogger(__name__)


class SpeechError(QwenCameraError):
    """Speech could not be recognised, or an answer could not be spoken. `message` is for operators and the log.

    `visitors`: text for visitors in place of the default one.
    """

    code = "speech_failed"
    status = 503
    retryable = True
    for_visitors = "Speech did not work this time. Say it again, or type it."


class SpeechUnavailable(SpeechError):
    """Recognition or speech is not available now."""

    code = "speech_unavailable"
    for_visitors = "Speech is not available right now. Type your question, and read the answer."


class SpeechTimeout(SpeechError):
    """Recognition or speech took too long."""

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
    """Recognition or speech failed."""

    code = "speech_failed"


# Seconds between two probes of an available server, and of an unavailable one
PROBE_SECONDS, _RETRY_SECONDS = 10.0, 5.0
# Time without optional fields after a refusal with one of these statuses
_PLAIN_SECONDS = 600.0
_REFUSED = (400, 415, 422, 500, 501)
# Time without a socket after it was not offered or failed
_PAUSE_SECONDS = 60.0
# Words in the task or name of a model, by its use, because a server may have models for both uses
_USES = {
    "recogniser": re.compile(
        r"whisper|parakeet|canary|transcri|\b(asr|stt)\b|speech-(to-text|recognition)", re.I
    ),
    "voice": re.compile(r"kokoro|piper|tts|text-to-(speech|audio)", re.I),
}
_POOL = httpx2.Limits(max_connections=64, keepalive_expiry=4.0)


@dataclass(frozen=True, slots=True)
class SpeechLimits:
    """Time limits in seconds; the defaults are for a recogniser."""

    connect: float = 3.0
    # From sending the request, or the end of the speech, to the first piece
    first: float = 20.0
    between: float = 10.0
    # The whole answer
    total: float = 60.0
    probe: float = 5.0


class Refusals:
    """The errors of a speech server, in our own words. Pure.

    They contain nothing from the server's text, which may include the spoken words or the key.
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
                f"{server} refused the API key (HTTP {status}). Set {settings}_API_KEY to the key of that server."
            )
        if status in (404, 405, 501):
            return SpeechUnavailable(
                f"{server} does not have {self.path} or the model (HTTP {status}). Check {settings}_BASE_URL and"
                f" {settings}_MODEL."
            )
        if status in (429, 503):
            return SpeechUnavailable(
                f"{server} accepts no more requests for now (HTTP {status}).",
                retry_after=retry_after,
            )
        if status >= 500:
            return SpeechFailed(f"{server} failed (HTTP {status}). See its log for the reason.")
        if 300 <= status < 400:
            return SpeechUnavailable(
                f"{server} redirects (HTTP {status}), and redirects are not followed. Set {settings}_BASE_URL to"
                " its final address."
            )
        return SpeechRefused(
            f"{server} refused a request (HTTP {status}). See its log for the reason."
        )

    def unreachable(self, error: BaseException | None = None) -> SpeechError:
        """Return the error for a server that cannot be reached. `error`: the raised exception, if any."""
        host = httpx2.URL(self.address).host
        if error is not None and (why := explain_unreachable(error, host)):
            return SpeechUnavailable(f"{self._server} cannot be reached: {why}.")
        return SpeechUnavailable(
            f"{self._server} does not respond. Start it, or set {self._settings}_BASE_URL to its address."
        )

    def make_timeout_error(self) -> SpeechError:
        return SpeechTimeout(f"{self._server} took too long.")

    def interrupted(self) -> SpeechError:
        return SpeechFailed(f"{self._server} closed the connection during an answer.")

    def failed(self) -> SpeechError:
        """Return the error for a failure reported by the server without a status."""
        return SpeechFailed(f"{self._server} failed. See its log for the reason.")

    def event(self, raw: bytes | str) -> dict[str, Any]:
        """Parse an event. Raises an error for an event that is not JSON, or that reports an error."""
        try:
            event = json.loads(raw)
        except (ValueError, RecursionError):
            raise self.make_invalid_answer_error() from None
        if not isinstance(event, dict):
            return {}
        if event.get("error") or event.get("type") in ("error", "speech.audio.error"):
            raise self.from_status(upstream.get_event_status(event.get("error")))
        return event

    def make_invalid_answer_error(self, why: str = "") -> SpeechError:
        """Return the error for an invalid answer. `why`: the predicate of a sentence about the server."""
        return SpeechFailed(
            f"{self._server} {why or f'sent an invalid answer for {self.path}'}."
            f" Check {self._settings}_BASE_URL."
        )


class SpeechServer:
    """A server for recognition or speech: the common part of both, and its state.

    Requests use the path of `refusals`. `model` "" chooses the first listed one for its use. `socket`: its socket is
    wanted. `machines`: see `get_other_machine`. `on_change` is called when a probe finds that its availability changed.
    """

    name = "server"
    # A server is not loaded by this program.
    loading = False
    # Its use, one of `_USES`
    what: ClassVar[str]
    # Maximum bytes of an answer
    most_bytes: ClassVar[int]
    # Fields that the server may refuse; they are then omitted for ten minutes.
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
        # Reason why it is not ready, and the remedy, for operators; "" while it is ready
        self.trouble = f"The {refusals.what} at {refusals.address} was not probed yet."
        # Loop time until which the optional fields are omitted
        self._plain_until = 0.0
        # Number of running requests
        self._asked = 0
        # True if a request was too late since the last probe
        self._late = False
        self._tasks = TaskSet(self.what)
        # Name of the server's machine; "" for this one
        self.elsewhere = get_other_machine(refusals.address, machines)
        self._socket_wanted = socket
        # Loop time before which the socket is not tried
        self._not_before = 0.0
        self._client = make_http_client(
            limits=_POOL,
            connect=limits.connect,
            most=max(self.most_bytes, ANSWER_BYTES),
            most_streamed=self.most_bytes,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(address={self.refusals.address!r}, ready={self.ready})"

    def start(self) -> None:
        """Start to probe the server."""
        self._tasks.spawn(supervise(self.probe, name=self.what), name="probe")

    async def probe(self) -> float:
        """Update its availability and model. Return the seconds until the next probe. Never raises."""
        before = self.ready
        late, self._late = self._late, False
        try:
            async with asyncio.timeout(self.limits.probe):
                status, names = await self.models()
            error = self.refusals.from_status(status)
        except (TimeoutError, httpx2.HTTPError) as exc:
            if self._asked and not late:
                # The server may process one request at a time, and is processing ours.
                return PROBE_SECONDS
            status, names, error = 0, [], self.refusals.unreachable(exc)
        if before and not self.ready:
            # A request failed since then.
            return _RETRY_SECONDS
        # Some servers list no models, but work.
        ready = 0 < status < 500 and status not in (401, 403)
        if not self._wanted:
            self.model = names[0] if names else self.model
        if ready != self.ready:
            log.info(
                "speech server state changed",
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
        """Set the state to failed after a request, until a probe succeeds."""
        self.ready, self.trouble = False, trouble

    @property
    def tries_socket(self) -> bool:
        return self._socket_wanted and asyncio.get_running_loop().time() >= self._not_before

    def socket_failed(self, error: Exception) -> None:
        """Disable the socket for a while."""
        self._not_before = asyncio.get_running_loop().time() + _PAUSE_SECONDS
        log.info(
            "speech server socket disabled",
            extra={"engine": self.refusals.what, "error": type(error).__name__},
        )

    async def models(self) -> tuple[int, list[str]]:
        """Return the HTTP status and the names of its models, those for this use first. Raises httpx2's errors."""
        try:
            answer = await self._client.get(f"{self.refusals.address}/models")
            data = answer.json() if answer.status_code == 200 else {}
        except (ValueError, RecursionError):
            return 200, []
        cards = [one for one in get_objects(data, "data") if is_name(one.get("id"))]
        return answer.status_code, [one["id"] for one in sorted(cards, key=self._rank_card)]

    def _rank_card(self, card: Mapping[str, Any]) -> int:
        """Rank a listed model by its task, else by its name: 0 for this use, 2 for another use."""
        for text in (str(card.get("task")), card["id"]):
            uses = [use for use, words in _USES.items() if words.search(text)]
            if uses:
                return 0 if self.what in uses else 2
        return 1

    async def send(
        self, fields: Mapping[str, Any], stack: AsyncExitStack, *, file: bytes | None = None
    ) -> httpx2.Response:
        """Send a request as JSON, or as a form with a WAV file. `stack` closes the response.

        A refused request is repeated without its optional fields, which are omitted for ten minutes if that works.
        Raises SpeechError, or a lower-level error that the `errors` context manager converts to SpeechError.
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
                        "optional speech fields refused",
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
        """Count a running request until its answer is closed, and note whether it was too late."""
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
        """Convert errors of sending a request and of reading its answer to SpeechErrors."""
        try:
            yield
        except (TimeoutError, httpx2.ReadTimeout, httpx2.WriteTimeout):
            raise self.refusals.make_timeout_error() from None
        except (NotPcm, ResponseTooLarge) as exc:
            raise self.refusals.make_invalid_answer_error(str(exc)) from None
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
    """Return the state for operators, or None if there is neither a server nor a worker."""
    if one is None:
        return None
    state = "loading" if one.loading else "ready" if one.ready else "unreachable"
    return {"name": one.name, "state": state, "detail": one.trouble}


# Number of messages after which other tasks get a turn
_MESSAGES_AT_A_TIME = 64
# Minimum bytes for which a message counts, because small ones cost time, too
_LEAST_MESSAGE = 64
# HTTP statuses of servers without this path; uvicorn responds with 403 to a socket at an unknown path.
_NOT_OFFERED = (400, 403, 404, 405, 426, 501)


class SocketNotOffered(Exception):
    """The server does not have this path. Not a QwenCameraError: HTTP is used instead."""


@dataclass(frozen=True, slots=True)
class SocketBounds:
    """The limits of an exchange: bytes of a message, number of messages, and total bytes."""

    message_bytes: int
    messages: int
    total_bytes: int


class _Connect(connect):
    """A connection to the configured address, without redirects."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class BoundedSocket:
    """The socket of a server, at the address and path of `refusals`."""

    def __init__(
        self, refusals: Refusals, api_key: str, connect_seconds: float, bounds: SocketBounds
    ) -> None:
        self.refusals = refusals
        self._connect_seconds = connect_seconds
        self._bounds = bounds
        self._url = refusals.address.replace("http", "ws", 1) + refusals.path
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        # At lower levels it logs messages.
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
                    ssl=get_tls_context() if self._url.startswith("wss:") else None,
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
            raise self.refusals.make_timeout_error() from None
        except (OSError, WebSocketException) as exc:
            raise self.refusals.unreachable(exc) from None
        try:
            yield Exchange(socket, self.refusals, self._bounds)
        finally:
            # Without a closing handshake the server's work stops immediately, and nothing waits.
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

        Raises the errors of `Refusals` for an error event, an invalid event and exceeded limits, and
        ConnectionClosed.
        """
        if self._count % _MESSAGES_AT_A_TIME == 0:
            await asyncio.sleep(0)
        raw = await self._socket.recv()
        self._count += 1
        self._spent += max(len(raw), _LEAST_MESSAGE)
        most = self._bounds
        if self._count > most.messages:
            raise self._errors.make_invalid_answer_error(
                f"sends more than {most.messages:,} messages"
            )
        if self._spent > most.total_bytes:
            raise self._errors.make_invalid_answer_error(
                f"sends more than {most.total_bytes:,} bytes"
            )
        return raw if isinstance(raw, bytes) else self._errors.event(raw)

    async def event(self) -> dict[str, Any]:
        """Return the next event as `next` does. Raises an error for a binary message."""
        found = await self.next()
        if isinstance(found, bytes):
            raise self._errors.make_invalid_answer_error()
        return found

    def abort(self) -> None:
        """Abort the connection; a waiting reader gets ConnectionClosed."""
        self._socket.transport.abort()
