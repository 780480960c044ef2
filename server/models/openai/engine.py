"""The engine for OpenAI-compatible model servers: vLLM from 0.9.2 on, and others with the same interface."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace

import httpx2

from server.core.errors import EngineError, EngineFailed, EngineTimeout
from server.core.frames import JobKind
from server.core.sound import NotPcm, PcmReader, VoiceChunk
from server.models import prompts
from server.models.answer_parser import AnswerParser, Calls, Piece
from server.models.base import Chunk, Delta, EngineRequest, EngineStatus, Finished
from server.models.openai.chat_client import ChatClient, Endpoint, NotChat, TimeLimits, Unreachable
from server.models.openai.events import BrokenStream, ChatStream
from server.models.openai.model_server import ModelServer
from server.models.openai.negotiation import BROKE_OFF, Negotiation
from server.models.openai.request import SPEECH, THOUGHTS, Media, PlainForm, remove_extras, restrict
from server.models.openai.upstream import Reason, Refused
from server.models.thinking import ThinkingPolicy

log = logging.getLogger(__name__)
# Seconds before the first and the second retry of a failed question. The second comes after a router's next health
# check (scripts/start_router.sh: each second), until which the router may choose a dead server again.
_PAUSES = (0.1, 1.2)
# Kinds of jobs for whose answer somebody waits
_WAITED_FOR = (JobKind.CHAT, JobKind.PROGRAM)


class OpenAIEngine:
    """The engine of one model server, for any number of concurrent answers.

    `session_key` returns the session's name for the server, sent with the request's id; None: neither is sent.
    `on_retry(reason)` is called for each retry. `transport` replaces the network in tests.
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
        self._endpoint = endpoint
        self._thinking = ThinkingPolicy(endpoint.thinking)
        self._session_key = session_key
        self._on_retry = on_retry
        self._client = ChatClient(endpoint, limits, transport)
        self._server = ModelServer(
            name,
            endpoint,
            self._client,
            seconds=limits.probe,
            busy=lambda: self._answering > 0,
            thinking=self._thinking,
        )
        self._plain = PlainForm(name)
        # URL without credentials
        self.address = self._server.address
        # The last model that began an answer, that spoke an answer, and whose context was full
        self._begun = self._spoke = self._full = ""
        # Number of running answers
        self._answering = 0

    @property
    def status(self) -> EngineStatus:
        found, left_out = self._server.status, self._get_left_out()
        able, context = found.capabilities, found.capabilities.context_length
        reserved = self._thinking.budget(context) if context else 0
        if not left_out and able.reserved_tokens == reserved:
            return found
        able = replace(restrict(able, left_out), reserved_tokens=reserved)
        return replace(found, capabilities=able, left_out=tuple(sorted(left_out)))

    def _get_left_out(self) -> frozenset[str]:
        return self._plain.names(self._server.model, time.monotonic())

    async def probe(self) -> EngineStatus:
        """Update and return the status. Never raises."""
        await self._server.probe()
        return self.status

    async def answer(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        """Stream the answer, see `Engine.answer`. Before the first token, retry failed and refused requests."""
        now = asyncio.get_running_loop().time
        async with AsyncExitStack() as stack:
            self._answering += 1
            stack.callback(self._end_answer)
            answer, piece = await self._begin(request, stack)
            parser, stream = answer.parser, answer.stream
            deadline = now() + self.limits.first_token
            thinks, ended = True, False
            try:
                while piece is not None and not parser.enough:
                    for chunk in answer.take(piece):
                        if thinks and isinstance(chunk, Delta):
                            thinks, deadline = False, now() + self.limits.total
                        yield chunk
                    # Some servers send finish_reason with each piece, and sound may follow the text.
                    ended = (ended or bool(piece.finish)) and not piece.began
                    tail = ended and not answer.asking.request.speak
                    pause = self.limits.tail if tail else self.limits.between_tokens
                    piece = await stream.piece(min(deadline, now() + pause))
                    if piece is not None and piece.error is not None:
                        if parser.finish:
                            break
                        raise self._server.refusal(Refused.of_event(piece.error), plain=False)
            except TimeoutError:
                if not parser.finish:
                    raise self._make_timeout_error(now() >= deadline) from None
            except BrokenStream as error:
                if not parser.finish:
                    raise answer.asking.make_broken_error(error) from None
        for chunk in parser.end(whole=stream.done):
            yield self._complete(chunk, answer) if isinstance(chunk, Finished) else chunk

    def _end_answer(self) -> None:
        self._answering -= 1

    async def close(self) -> None:
        """Close all connections; running answers fail."""
        await self._client.close()

    # Before the first token

    async def _begin(
        self, wanted: EngineRequest, stack: AsyncExitStack
    ) -> tuple[_Answer, Piece | None]:
        """Send a request with retries; return its answer and first piece (None for an empty answer).

        `stack` closes the answer. Raises EngineError.
        """
        loop = asyncio.get_running_loop()
        if not self._server.model:
            await self._server.probe()
        waited_for = wanted.kind in _WAITED_FOR
        # An abandoned request may make the server restart loading, so background work waits as long.
        loads = self._server.status.loaded is False or self._begun != self._server.model
        seconds = self.limits.first_token if waited_for or loads else self.limits.background
        able, left_out = self.status.capabilities, self._get_left_out()
        request = remove_extras(prompts.without_unusable_sound(wanted, able.audio_in), left_out)
        asking = Negotiation(
            wanted,
            replace(request, speak=request.speak and able.speech_out),
            *(self._server, self._plain, self._endpoint, self._thinking, Media(wanted)),
            until=loop.time() + seconds,
            left_out=left_out | ({THOUGHTS} if wanted.kind is JobKind.PREFILL else frozenset()),
            waited_for=waited_for,
            pauses=list(_PAUSES if waited_for else _PAUSES[:1]),
        )
        while True:
            try:
                return await self._send(asking, stack)
            except TimeoutError:
                raise EngineTimeout(
                    f"The model server did not begin to answer within {seconds:g} s. It may be overloaded; ask again.",
                    public=True,
                ) from None
            except Refused as refusal:
                reason, pause = await asking.on_refused(refusal)
            except (Unreachable, BrokenStream) as error:
                reason, pause = asking.on_lost(error)
            except NotChat as error:
                raise EngineFailed(self._server.make_not_chat_status(error.why).detail) from None
            if loop.time() + pause >= asking.until:
                raise asking.failure()
            asking.repeats += 1
            self._on_retry(reason)
            await asyncio.sleep(pause)

    async def _send(
        self, asking: Negotiation, stack: AsyncExitStack
    ) -> tuple[_Answer, Piece | None]:
        """Send the request once, and read until the answer begins.

        Raises AskFailed, BrokenStream, TimeoutError.
        """
        # A program's conversation may be long, and encoding it would block the event loop.
        of_program = asking.fields is not None
        made = await asyncio.to_thread(asking.body) if of_program else asking.body()
        names = self._make_headers(asking.request, asking.repeats)
        async with AsyncExitStack() as attempt:
            stream = await self._client.chat(made, names, asking.until)
            attempt.push_async_callback(stream.aclose)
            answer = _Answer(asking, stream)
            while True:
                first = await stream.piece(asking.until)
                if first is None or first.began or first.finish:
                    break
                if first.error is not None:
                    raise Refused.of_event(first.error)
                answer.parser.usage = first.usage or answer.parser.usage
            if first is None and not stream.done:
                # The engine process died, or a router lost its server.
                raise BrokenStream(BROKE_OFF, connection=True)
            stack.push_async_exit(attempt.pop_all())
        self._begun = self._server.model
        asking.on_accepted()
        return answer, first

    def _make_timeout_error(self, total: bool) -> EngineError:
        """Return the error for an answer that timed out. `total`: the limit of the whole answer."""
        if total:
            why = f"The answer was not complete after {self.limits.total:g} s. Ask for something shorter."
        else:
            why = f"The model server fell silent in mid-answer for {self.limits.between_tokens:g} s. Ask again."
        return EngineTimeout(why, public=True)

    def _make_headers(self, request: EngineRequest, repeat: int) -> dict[str, str]:
        """Return the headers by which a router and the server identify the session and the request."""
        if self._session_key is None:
            return {}
        names = {SESSION_HEADER: self._session_key(request.session_id)}
        if request.id:
            # vLLM uses this id as its own, so retries need distinct ids.
            names[REQUEST_HEADER] = f"{request.id}-{repeat}" if repeat else request.id
        return names

    # After the answer

    def _complete(self, finished: Finished, answer: _Answer) -> Finished:
        """Return the end of an answer, with the parts that were omitted from the request."""
        sent, wanted, spoken = answer.asking.request, answer.asking.wanted, answer.spoken
        silent = sent.speak and not spoken.begun
        if spoken.begun:
            self._spoke = self._server.model
        elif silent and self._spoke != self._server.model:
            # A model that has spoken before may omit the sound once.
            reason = f"The model server {spoken.fault or 'sent no sound'}."
            log.warning("model sent no speech", extra={"engine": self.name, "reason": reason})
            self._plain.keep(frozenset((SPEECH,)), time.monotonic())
        made = finished.usage.completion_tokens
        cut = finished.finish_reason == "length" and made is not None and made < sent.max_tokens
        if cut and self._full != self._server.model:
            self._full = self._server.model
            log.warning(
                "answer truncated: model context full",
                extra={
                    "engine": self.name,
                    "reason": "configure a larger context on the model server (OLLAMA_CONTEXT_LENGTH)",
                },
            )
        return replace(
            finished,
            left_out=len(wanted.turns) - len(sent.turns),
            pictures_left_out=len(wanted.earlier) - len(sent.earlier),
            video_refused=wanted.video and not sent.video,
            sound_refused=wanted.sound is not None and sent.sound is None,
            speech_refused=wanted.speak and (silent or not sent.speak),
        )


class _Answer:
    """A running answer: its negotiation, stream, parser and sound."""

    def __init__(self, asking: Negotiation, stream: ChatStream) -> None:
        self.asking, self.stream = asking, stream
        request, chat = asking.request, asking.fields
        tools, form = (chat.tools, chat.form) if chat is not None else (request.tools, None)
        self.parser = AnswerParser(
            asking.thinking,
            request.max_tokens,
            calls=Calls(lenient=chat is None) if tools else None,
            json_requested=form is not None or request.schema is not None,
            unread=request.kind is JobKind.PREFILL,
        )
        self.spoken = SpokenAnswerDecoder()

    def take(self, piece: Piece) -> Iterator[Chunk]:
        """Yield the chunks of a piece of the answer."""
        sound = self.spoken.take(piece.sound) if self.asking.request.speak else None
        if sound is not None:
            yield sound
        yield from self.parser.take(piece)


class SpokenAnswerDecoder:
    """Decoder of the sound of one answer."""

    def __init__(self) -> None:
        self._reader = PcmReader()
        # True after the first sound
        self.begun = False
        # Why the sound is not played, as a predicate about the server; "" if there is no fault
        self.fault = ""

    def take(self, data: str) -> VoiceChunk | None:
        """Return the samples in a base64 piece of sound, or None if there are none or the sound is invalid."""
        if not data or self.fault:
            return None
        try:
            chunk = self._reader.take(base64.b64decode(data, validate=True))
        except ValueError as exc:
            self.fault = str(exc) if isinstance(exc, NotPcm) else "sends sound that is no base64"
            return None
        self.begun = self.begun or chunk is not None
        return chunk


# Names of sessions for model servers and routers: keyed hashes of their ids

# vLLM's router sends requests with the same value to the same server.
SESSION_HEADER = "X-Session-ID"
# vLLM derives its request id from this, and its router passes it on.
REQUEST_HEADER = "X-Request-ID"
_PURPOSE = b"sessions at model servers"


class SessionKeys:
    """Session names derived from JWT_SECRET_KEY, equal in all processes that share it."""

    def __init__(self, secret: str) -> None:
        self._key = hmac.new(secret.encode(), _PURPOSE, hashlib.sha256).digest()

    def of(self, session_id: str) -> str:
        """Return 32 hexadecimal digits that do not reveal the id."""
        said = session_id.encode("utf-8", "surrogatepass")
        return hmac.new(self._key, said, hashlib.sha256).hexdigest()[:32]
