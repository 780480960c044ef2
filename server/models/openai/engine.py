"""An OpenAI-compatible model server as an engine: vLLM from 0.9.2 on, and anything else that speaks
the interface.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import hashlib
import hmac
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing

import httpx2

from server.core.errors import EngineError, EngineFailed, EngineTimeout
from server.core.sound import NotPcm, PcmReader, VoiceChunk
from server.models.base import (
    Capabilities,
    Chunk,
    Delta,
    EngineRequest,
    EngineState,
    EngineStatus,
    Finished,
)
from server.models.openai import upstream
from server.models.openai.chat_client import TAIL_SECONDS, ChatClient, Endpoint, TimeLimits
from server.models.openai.chat_stream import BrokenStream, read_event
from server.models.openai.known_server import KnownServer
from server.models.openai.sender import Media, Opened, RequestFields, Sender
from server.models.openai.upstream import ATTEMPTS, Fault, Reason, Refused, Retries
from server.models.reply import Calls, Piece, Reply, UnexpectedThought, expected
from server.models.thinking import Mode, Thinking

log = logging.getLogger(__name__)


class OpenAIEngine:
    """One model server. Safe to use for many answers at a time.

    `session_key` makes the session's name, which goes with
    each question beside the request's own; None: neither does. `on_retry` gets the reason of each
    request that is sent again, and `on_busy` is called when the server refuses one since it has
    enough to do. `transport` replaces the network, in tests.
    """

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        *,
        limits: TimeLimits | None = None,
        session_key: Callable[[str], str] | None = None,
        on_retry: Callable[[Reason], None] = lambda _: None,
        on_busy: Callable[[], None] = lambda: None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.name = name
        self.limits = limits = limits or TimeLimits()
        self._thinking = Thinking(endpoint.thinking)
        self._session_key = session_key
        self._on_retry, self._on_busy = on_retry, on_busy
        self._client = ChatClient(endpoint, limits, transport)
        self._server = KnownServer(
            name,
            endpoint,
            self._client,
            seconds=limits.probe,
            busy=lambda: self._answering > 0,
            thinking=self._thinking,
        )
        # Without credentials
        self.address = self._server.address
        fields = RequestFields(name, endpoint)
        self._sender = Sender(self._client, self._server, fields, self._thinking)
        # Answers in work
        self._answering = 0

    @property
    def status(self) -> EngineStatus:
        return self._server.status

    async def probe(self) -> EngineStatus:
        """See `KnownServer.probe`. Never raises an error."""
        return await self._server.probe()

    def answer(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        """See `Engine.answer`.

        Before the first token a request that failed is sent again (`Retries` says when).
        """
        return asked([self], request, self.limits, on_fault=self._failed, on_retry=self._on_retry)

    def _failed(self, _: OpenAIEngine, fault: Fault) -> None:
        if fault.reason is Reason.BUSY:
            self._on_busy()

    def ask(
        self, request: EngineRequest, *, deadline: float, due: float | None, repeat: int, last: bool
    ) -> AsyncGenerator[Chunk, None]:
        """Ask once, and stream the answer.

        Times are the loop's: `deadline` of the whole answer, `due` of its first token, None for the
        server's own limit. `repeat`: 0 for the first attempt. `last`: nobody tries again when it
        refuses. Raises EngineError, and Fault before the first token.

        Before the first piece, a field that the server refuses is left out from then on, a model
        that is gone is looked up anew, and turns that do not fit are left out; then the request is
        sent again. So it is when a model is seen to think that was not expected to.
        """
        media = Media(request)
        names = self._names(request, repeat)
        return self._attempt(request, media, names, deadline, due, last)

    async def _attempt(
        self,
        request: EngineRequest,
        media: Media,
        names: dict[str, str],
        deadline: float,
        due: float | None,
        last: bool,
    ) -> AsyncGenerator[Chunk, None]:
        """Ask once.

        Thoughts of a model that was not expected to think come before any text, or not at all.
        """
        now = asyncio.get_running_loop().time
        due = min(deadline, due or now() + self.limits.first_token)
        coming = _Coming(request, self._server, self._thinking)
        self._answering += 1
        async with AsyncExitStack() as stack:
            stack.callback(self._answered)
            try:
                opened = await self._sender.open(request, media, names, stack, due, last)
                stream, event, speaks = opened.stream, opened.event, opened.sent.speak
                while event is not None and not coming.reply.enough:
                    piece = self._read(event, coming)
                    for part in piece.slices():
                        for chunk in coming.take(part, speaks):
                            yield chunk
                        if part is not piece:
                            # A whole answer in one event holds nobody else.
                            await asyncio.sleep(0)
                    if coming.finished and not speaks:
                        due = min(deadline, now() + TAIL_SECONDS)
                    elif coming.reply.began:
                        due = min(deadline, now() + self.limits.between_tokens)
                    event = await stream.next(due)
                coming.whole = stream.done
                if coming.finished:
                    await stream.drain()
            except (TimeoutError, BrokenStream) as exc:
                if not coming.finished:
                    raise self._broken(exc, coming, now() >= deadline) from None
        for chunk in self._end(coming, opened):
            yield coming.expected(chunk)

    def _answered(self) -> None:
        self._answering -= 1

    def _read(self, event: bytes, coming: _Coming) -> Piece:
        """Read an event of the stream. Raises the refusal that it may hold, EngineError or Fault."""
        piece = read_event(event)
        if piece.error is None:
            return piece
        refusal = Refused(upstream.event_status(piece.error), piece.error)
        raise self._sender.refusal(refusal, begun=coming.begun)

    def _end(self, coming: _Coming, opened: Opened) -> list[Chunk]:
        """Return the rest and the end of an answer. Raises as `_Coming.end` does."""
        chunks = coming.end()
        if silent := opened.sent.speak and not coming.spoken.begun:
            self._note_silence(coming.spoken)
        return [
            opened.end(one, silent=silent) if isinstance(one, Finished) else one for one in chunks
        ]

    async def close(self) -> None:
        """Close all connections; answers that still run fail."""
        await self._client.close()

    def _names(self, request: EngineRequest, repeat: int) -> dict[str, str]:
        """Return the headers by which a router and the server know the session and the request."""
        if self._session_key is None:
            return {}
        names = {SESSION_HEADER: self._session_key(request.session_id)}
        if request.id:
            # vLLM takes it for its own, and each of its own is another one.
            names[REQUEST_HEADER] = f"{request.id}-{repeat}" if repeat else request.id
        return names

    def _note_silence(self, spoken: SpokenAnswer) -> None:
        """Note that an answer came without the sound that was asked for."""
        if spoken.fault:
            self._server.speech_out.mute = True
        else:
            self._server.speech_out.silent()
        self._server.learned_speech()
        reason = f"The model server {spoken.fault or 'sent no sound'}."
        log.warning(
            "the model did not speak its answer", extra={"engine": self.name, "reason": reason}
        )

    # Errors in sentences

    def _broken(
        self, exc: TimeoutError | BrokenStream, coming: _Coming, total: bool
    ) -> EngineError | Fault:
        """Return the error of a stream without an end. `total`: the time of a whole answer is over."""
        if isinstance(exc, BrokenStream):
            check = f" Check that {self._server.names.url} names a model server."
            failed = EngineFailed(f"{exc}{'' if exc.connection else check}")
            return coming.broken(failed, connection=exc.connection)
        if total:
            why = f"The answer was not complete after {self.limits.total:g} s. Ask for something shorter."
        elif coming.reply.began:
            why = f"The model server fell silent in mid-answer for {self.limits.between_tokens:g} s. Ask again."
        else:
            why = f"The model server did not begin to answer within {self.limits.first_token:g} s. It may be overloaded; ask again."
        return EngineTimeout(why, public=True)


class _Coming:
    """One answer as it comes: its text and calls, and its sound."""

    def __init__(self, request: EngineRequest, server: KnownServer, thinking: Thinking) -> None:
        self._server = server
        self._thinking, self._asked = thinking, thinking.mode
        self.reply = Reply(
            server.control_tokens,
            inside=thinking.implied,
            # Beyond what the server counts are the tokens for thoughts, not the answer's to take.
            most=request.max_tokens if thinking.mode is Mode.BUDGET else None,
            calls=_calls(request),
            form=_wants_form(request),
        )
        self.spoken = SpokenAnswer()
        # The server showed in some way that the answer is complete.
        self.whole = False

    @property
    def begun(self) -> bool:
        """True once a person may have seen or heard some of it."""
        return self.reply.began or self.spoken.begun

    @property
    def finished(self) -> bool:
        return bool(self.reply.finish)

    def take(self, piece: Piece, speaks: bool) -> Iterator[Chunk]:
        """Yield what a piece holds. `speaks`: its sound was asked for."""
        if piece.sound and speaks:
            if (sound := self.spoken.take(piece.sound)) is not None:
                self._server.speech_out.spoke = True
                yield sound
        elif piece.sound:
            self._server.speech_out.heard = True
            self._server.learned_speech()
        answered = self.reply.answered or self.spoken.begun
        for chunk in self.reply.take(piece):
            # Another request in mid-answer would begin a second answer.
            if isinstance(chunk, Delta) or self._asked is Mode.BUDGET or not answered:
                yield self.expected(chunk)

    def expected(self, chunk: Chunk) -> Chunk:
        """Return the chunk. Raises UnexpectedThought."""
        return expected(chunk, self._thinking, self._asked)

    def end(self) -> list[Chunk]:
        """Return the rest. Raises EngineFailed, or Fault for an answer without a token: the model's
        process died, or a router lost it.
        """
        try:
            return self.reply.end(whole=self.whole)
        except EngineFailed as failure:
            raise self.broken(failure) from None
        finally:
            self.reply.teach(self._thinking, self._asked)

    def broken(self, failure: EngineFailed, *, connection: bool = True) -> EngineFailed | Fault:
        """Return a failure, or the fault that a repeat may mend: it broke off before a token."""
        if self.begun or not connection:
            return failure
        return Fault(Reason.BROKEN, lambda: failure)


class SpokenAnswer:
    """Turns the sound of one answer into chunks, as it comes beside its text.

    OpenAI's form is base64 PCM in `delta.audio.data`, vLLM-Omni's a base64 WAV file in `delta.content`
    of an event with `modality` "audio"; `chat_stream` finds both.
    """

    def __init__(self) -> None:
        self._reader = PcmReader()
        # Some sound has come.
        self.begun = False
        # The reason why none of it is played, the end of a sentence on the server; "" so far
        self.fault = ""

    def take(self, data: str) -> VoiceChunk | None:
        """Return the samples of a piece; None without any, and once there is a fault."""
        if self.fault:
            return None
        try:
            chunk = self._reader.take(base64.b64decode(data, validate=True))
        except ValueError as exc:
            self.fault = str(exc) if isinstance(exc, NotPcm) else "sends sound that is no base64"
            return None
        self.begun = self.begun or chunk is not None
        return chunk


def _calls(request: EngineRequest) -> Calls | None:
    """Return what puts a request's tool calls together; None for one without tools."""
    if request.conversation is not None:
        return Calls(lenient=False) if request.conversation.tools else None
    return Calls(lenient=True) if request.tools else None


def _wants_form(request: EngineRequest) -> bool:
    chat = request.conversation
    return request.schema is not None or (chat is not None and chat.form is not None)


# The name of a session for model servers and their router: a keyed hash of its id

# vLLM's router keeps requests with the same value at one server.
SESSION_HEADER = "X-Session-ID"
# vLLM makes its own id of a request of this, and its router passes it on.
REQUEST_HEADER = "X-Request-ID"
_PURPOSE = b"sessions at model servers"


class SessionKeys:
    """The names under one secret, JWT_SECRET_KEY: the same in all processes that share it."""

    def __init__(self, secret: str) -> None:
        self._key = hmac.new(secret.encode(), _PURPOSE, hashlib.sha256).digest()

    def of(self, session_id: str) -> str:
        """Return 32 hexadecimal digits, from which nobody finds the id."""
        said = session_id.encode("utf-8", "surrogatepass")
        return hmac.new(self._key, said, hashlib.sha256).hexdigest()[:32]


# Ask a model server, and another one or the same again while there is no token yet.


async def asked(
    servers: Sequence[OpenAIEngine],
    request: EngineRequest,
    limits: TimeLimits,
    *,
    on_fault: Callable[[OpenAIEngine, Fault], None],
    on_retry: Callable[[Reason], None],
    on_silence: Callable[[OpenAIEngine], None] = lambda _: None,
) -> AsyncGenerator[Chunk, None]:
    """Stream the answer of the first of `servers` that gives one; see `Engine.answer`.

    `on_fault` gets each failure before a token, `on_retry` the reason of each repeat;
    `on_silence` is called when no token came in time, which ends it.
    """
    now = asyncio.get_running_loop().time
    deadline, until = now() + limits.total, now() + limits.first_token
    retries = Retries(request.kind, until)
    due: float | None = None
    turn = 0
    begun = False
    while True:
        server = servers[turn % len(servers)]
        try:
            asking = server.ask(request, deadline=deadline, due=due, repeat=turn, last=retries.last)
            async with aclosing(asking) as chunks:
                async for chunk in chunks:
                    begun = True
                    yield chunk
            return
        except UnexpectedThought:
            continue
        except EngineTimeout:
            # A repeat has only what is left of the time.
            if not begun and turn == 0:
                on_silence(server)
            raise
        except Fault as fault:
            on_fault(server, fault)
            pause = retries.pause(fault, others=len(servers) > 1, now=now())
            if pause is None:
                raise fault.error() from None
            on_retry(fault.reason)
        if pause:
            await asyncio.sleep(pause)
        turn, due = turn + 1, until


# A server that failed though it seems well is asked last for so long.
_REST_SECONDS = 5.0
# The same of one that gave no token in time: each question there costs a person all that time.
_SILENT_SECONDS = 60.0
_RESTS_AFTER = (Reason.BROKEN, Reason.FAILED, Reason.LOADING)
# The order in which troubles are named when no server answers
_BEST_FIRST = (
    EngineState.BUSY,
    EngineState.LOADING,
    EngineState.MISCONFIGURED,
    EngineState.UNREACHABLE,
)


class EngineGroup:
    """Servers of one model, at different addresses.

    Those that answer with the model that most of them have are used, each session at the one that
    `by_preference` gives for its name, which `session_key` makes. Owner of the rest of those that
    failed.

    Bounds of servers of VLLM_BASE_URL that failed, of several: asked last for 5 s; VLLM_BASE_URL
    has 16 at most.
    """

    def __init__(
        self,
        name: str,
        members: Sequence[OpenAIEngine],
        *,
        session_key: Callable[[str], str],
        on_retry: Callable[[Reason], None] = lambda _: None,
        on_busy: Callable[[], None] = lambda: None,
    ) -> None:
        if len({one.address for one in members}) < max(1, len(members)):
            raise ValueError("A group needs servers, each with another address.")
        self.name = name
        self._members = {one.address: one for one in members}
        self.address = ", ".join(self._members)
        self._session_key = session_key
        self._limits = members[0].limits
        self._on_retry, self._on_busy = on_retry, on_busy
        # By address: the end of a server's rest, in loop time
        self._rests: dict[str, float] = {}
        # The members' statuses that `_status` was made of
        self._made_of: list[EngineStatus] = []
        self._status = EngineStatus(EngineState.UNREACHABLE)
        # The last state of each, for the log
        self._seen = {address: one.status for address, one in self._members.items()}

    @property
    def status(self) -> EngineStatus:
        found = [one.status for one in self._members.values()]
        if found != self._made_of:
            self._status = _joined(self._status.model, dict(zip(self._members, found, strict=True)))
            self._made_of = found
        return self._status

    def states(self) -> Counter[EngineState]:
        """Count the servers in each state."""
        return Counter(one.status.state for one in self._members.values())

    async def probe(self) -> EngineStatus:
        """Probe all. Never raises an error."""
        await asyncio.gather(*(one.probe() for one in self._members.values()))
        self._log_changes()
        return self.status

    def answer(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        """See `Engine.answer`.

        Before the first token a request that failed goes to the session's next server.
        """
        servers = self._order(request.session_id)
        full: set[str] = set()

        def failed(server: OpenAIEngine, fault: Fault) -> None:
            self._failed(server, fault)
            if fault.reason is Reason.BUSY:
                full.add(server.address)
                # While another one has room, there is enough for all.
                if len(full) == min(len(servers), ATTEMPTS):
                    self._on_busy()

        return asked(
            servers,
            request,
            self._limits,
            on_fault=failed,
            on_retry=self._on_retry,
            on_silence=lambda server: self._rest(server, _SILENT_SECONDS),
        )

    async def close(self) -> None:
        """Close all connections; answers that still run fail."""
        await asyncio.gather(*(one.close() for one in self._members.values()))

    def _order(self, session_id: str) -> list[OpenAIEngine]:
        """Return the servers that can answer a session, best first; all where none seems able."""
        model, now = self.status.model, asyncio.get_running_loop().time()
        able = [
            address
            for address, one in self._members.items()
            if one.status.model == model
            and one.status.state in (EngineState.READY, EngineState.BUSY)
        ]
        first = by_preference(self._session_key(session_id), able or list(self._members))
        # Stable: those that rest keep their order, behind the others.
        first.sort(key=lambda address: self._rests.get(address, 0.0) > now)
        return [self._members[address] for address in first]

    def _failed(self, server: OpenAIEngine, fault: Fault) -> None:
        if fault.reason is Reason.REFUSED:
            # Its status has it from now on, so that no session goes there until a probe finds it.
            fault.error()
        elif fault.reason in _RESTS_AFTER:
            self._rest(server, _REST_SECONDS)

    def _rest(self, server: OpenAIEngine, seconds: float) -> None:
        until = asyncio.get_running_loop().time() + seconds
        self._rests[server.address] = max(until, self._rests.get(server.address, 0.0))

    def _log_changes(self) -> None:
        for address, before in self._seen.items():
            status = self._seen[address] = self._members[address].status
            if status.state is before.state or (status.ready and not before.detail):
                continue
            log.log(
                logging.INFO if status.ready else logging.WARNING,
                "a model server's state changed",
                extra={
                    "engine": self.name,
                    "state": str(status.state),
                    "reason": status.detail or f"{address} answers.",
                },
            )


def _joined(model: str, found: dict[str, EngineStatus]) -> EngineStatus:
    """Join the statuses of all servers, by address. `model`: the one so far."""
    elsewhere = ", ".join(dict.fromkeys(one.elsewhere for one in found.values() if one.elsewhere))
    ready = [one for one in found.values() if one.ready]
    if not ready:
        worst = sorted(found.values(), key=lambda one: _BEST_FIRST.index(one.state))
        details = " ".join(dict.fromkeys(one.detail for one in worst))
        return dataclasses.replace(worst[0], detail=details, elsewhere=elsewhere)
    counts = Counter(one.model for one in ready)
    # Stable: the first server's model among equals.
    chosen = max(counts, key=lambda name: (counts[name], name == model))
    same = [one for one in ready if one.model == chosen]
    return dataclasses.replace(
        same[0],
        detail=_detail(same[0], chosen, found),
        capabilities=dataclasses.replace(
            _common([one.capabilities for one in same]),
            max_concurrency=_sum(one.capabilities.max_concurrency for one in same),
        ),
        elsewhere=elsewhere,
    )


def _detail(first: EngineStatus, model: str, found: dict[str, EngineStatus]) -> str:
    """Name the servers that are not asked, with the reason; else the first one's own words."""
    others = [
        f"{address} has {one.model_name} and is not asked" if one.ready else one.detail.rstrip(".")
        for address, one in found.items()
        if not (one.ready and one.model == model)
    ]
    if not others:
        return first.detail
    count = len(found) - len(others)
    named = ". ".join(others)
    return f"{count} of {len(found)} model servers answer, with {first.model_name}. {named}."


def _common(found: Sequence[Capabilities]) -> Capabilities:
    """Return what all can."""
    first = found[0]
    boxes = first.boxes if all(one.boxes == first.boxes for one in found) else None
    return dataclasses.replace(
        first,
        video=all(one.video for one in found),
        audio_in=all(one.audio_in for one in found),
        speech_out=all(one.speech_out for one in found),
        grounding=boxes is not None,
        boxes=boxes,
        json_schema=all(one.json_schema for one in found),
        calls_tools=all(one.calls_tools for one in found),
        prefix_cache=all(one.prefix_cache for one in found),
        context_length=min(
            (one.context_length for one in found if one.context_length), default=None
        ),
        max_pictures=min((one.max_pictures for one in found if one.max_pictures), default=None),
    )


def _sum(found: Iterable[int | None]) -> int | None:
    counts = list(found)
    return None if None in counts else sum(one or 0 for one in counts)


# Keep a session at one of several servers: rendezvous hashing. Each pair of session and
# server has a score, and the best server wins (Thaler and Ravishankar, 1998). When a server goes,
# its sessions spread over the others; no other session moves. Nothing is stored, so all processes
# with the same servers choose the same one.


def by_preference(session: str, servers: Sequence[str]) -> list[str]:
    """Return the servers as a session prefers them."""

    def score(server: str) -> tuple[bytes, str]:
        said = f"{session}\n{server}".encode()
        return hashlib.blake2b(said, digest_size=8).digest(), server

    return sorted(servers, key=score, reverse=True)
