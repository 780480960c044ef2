"""An OpenAI-compatible model server as an engine: vLLM from 0.9.2 on, and anything else that speaks
the interface.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AsyncExitStack, aclosing

import httpx2

from server.core.errors import EngineError, EngineFailed, EngineTimeout
from server.core.sound import NotPcm, PcmReader, VoiceChunk
from server.models.base import (
    Chunk,
    EngineRequest,
    EngineStatus,
    Finished,
)
from server.models.openai import upstream
from server.models.openai.chat_client import TAIL_SECONDS, ChatClient, Endpoint, TimeLimits
from server.models.openai.chat_stream import BrokenStream, read_event
from server.models.openai.known_server import KnownServer
from server.models.openai.sender import Media, Opened, RequestFields, Sender
from server.models.openai.upstream import Fault, Reason, Refused, Retries
from server.models.reply import Calls, Piece, Reply
from server.models.thinking import Thinking

log = logging.getLogger(__name__)


class OpenAIEngine:
    """One model server. Safe to use for many answers at a time.

    `session_key` makes the session's name, which goes with
    each question beside the request's own; None: neither does. `on_retry` gets the reason of each
    request that is sent again. `transport` replaces the network, in tests.
    """

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        *,
        limits: TimeLimits | None = None,
        session_key: Callable[[str], str] | None = None,
        on_retry: Callable[[Reason], None] = lambda _: None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.name = name
        self.limits = limits = limits or TimeLimits()
        self._thinking = Thinking(endpoint.thinking)
        self._session_key = session_key
        self._on_retry = on_retry
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
        return asked(self, request, self._on_retry)

    def ask(
        self, request: EngineRequest, *, deadline: float, due: float | None, repeat: int, last: bool
    ) -> AsyncGenerator[Chunk, None]:
        """Ask once, and stream the answer.

        Times are the loop's: `deadline` of the whole answer, `due` of its first token, None for the
        server's own limit. `repeat`: 0 for the first attempt. `last`: nobody tries again when it
        refuses. Raises EngineError, and Fault before the first token.

        Before the first piece, a field that the server refuses is left out from then on, a model
        that is gone is looked up anew, and turns that do not fit are left out; then the request is
        sent again.
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
        """Ask once."""
        now = asyncio.get_running_loop().time
        due = min(deadline, due or now() + self.limits.first_token)
        if not self._server.model:
            await self._server.probe()
        coming = _Coming(request, self._server, self._thinking)
        self._answering += 1
        async with AsyncExitStack() as stack:
            stack.callback(self._answered)
            try:
                opened = await self._sender.open(request, media, names, stack, due, last)
                stream, event, speaks = opened.stream, opened.event, opened.sent.speak
                while event is not None and not coming.reply.enough:
                    for chunk in coming.take(self._read(event, coming), speaks):
                        yield chunk
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
            yield chunk

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
        self.reply = Reply(
            thinking, request.max_tokens, calls=_calls(request), form=_wants_form(request)
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
        yield from self.reply.take(piece)

    def end(self) -> list[Chunk]:
        """Return the rest. Raises EngineFailed, or Fault for an answer without a token: the model's
        process died, or a router lost it.
        """
        try:
            return self.reply.end(whole=self.whole)
        except EngineFailed as failure:
            raise self.broken(failure) from None

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


# Ask a model server, and again while there is no token yet.


async def asked(
    server: OpenAIEngine, request: EngineRequest, on_retry: Callable[[Reason], None]
) -> AsyncGenerator[Chunk, None]:
    """Stream an answer; see `Engine.answer`. `on_retry` gets the reason of each repeat."""
    now = asyncio.get_running_loop().time
    deadline, until = now() + server.limits.total, now() + server.limits.first_token
    retries = Retries(request.kind, until)
    due: float | None = None
    turn = 0
    while True:
        try:
            asking = server.ask(request, deadline=deadline, due=due, repeat=turn, last=retries.last)
            async with aclosing(asking) as chunks:
                async for chunk in chunks:
                    yield chunk
            return
        except Fault as fault:
            pause = retries.pause(fault, now=now())
            if pause is None:
                raise fault.error() from None
            on_retry(fault.reason)
        if pause:
            await asyncio.sleep(pause)
        # A repeat has only what is left of the time.
        turn, due = turn + 1, until
