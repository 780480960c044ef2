"""An OpenAI-compatible model server as an engine: vLLM from 0.9.2 on, and anything else that speaks
the interface.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial

import httpx2

from server.core.errors import EngineError, EngineFailed, EngineRefused, EngineTimeout
from server.core.frames import Kind
from server.core.sound import NotPcm, PcmReader, VoiceChunk
from server.models import prompts
from server.models.base import (
    Chunk,
    Delta,
    EngineRequest,
    EngineState,
    EngineStatus,
    Finished,
    ProgramFields,
)
from server.models.openai.chat_client import (
    ChatClient,
    Dropped,
    Endpoint,
    NotChat,
    TimeLimits,
    Unreachable,
)
from server.models.openai.events import BrokenStream, ChatStream
from server.models.openai.known_server import KnownServer
from server.models.openai.request import (
    APART,
    FIELDS,
    SPEECH,
    SWITCH,
    THOUGHTS,
    Media,
    PlainForm,
    body,
    extras,
    optional,
    restrict,
    shorter,
    without,
)
from server.models.openai.upstream import LONGEST_WAIT, Reason, Refused, loading
from server.models.reply import Calls, Piece, Reply
from server.models.thinking import Thinking

log = logging.getLogger(__name__)
# Seconds before the first and the second repeat of a failed question. The second one comes after a router's next health
# check (scripts/start_router.sh: each second): a lone question whose stream broke at a server that died is sent there
# again until then.
_PAUSES = (0.1, 1.2)
# Statuses of servers and proxies that have no time for a request
_BUSY = (408, 429, 502, 503, 504, 529)
# Those whose answer somebody waits for
_WAITED_FOR = (Kind.CHAT, Kind.PROGRAM)


class OpenAIEngine:
    """One model server. Safe to use for many answers at a time.

    `session_key` makes the session's name, which goes with each question beside the request's own; None: neither does.
    `on_retry` gets the reason of each request that is sent again. `transport` replaces the network, in tests.
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
        self._plain = PlainForm(name)
        # Without credentials
        self.address = self._server.address
        # The model that has begun an answer, that has spoken one, and whose context was full
        self._begun = self._spoke = self._full = ""
        # Answers in work
        self._answering = 0

    @property
    def status(self) -> EngineStatus:
        found, left_out = self._server.status, self._left_out()
        able, context = found.capabilities, found.capabilities.context_length
        reserved = self._thinking.budget(context) if context else 0
        if not left_out and able.reserved_tokens == reserved:
            return found
        able = replace(restrict(able, left_out), reserved_tokens=reserved)
        return replace(found, capabilities=able, left_out=tuple(sorted(left_out)))

    def _left_out(self) -> frozenset[str]:
        return self._plain.names(self._server.model, time.monotonic())

    async def probe(self) -> EngineStatus:
        """See `KnownServer.probe`. Never raises an error."""
        await self._server.probe()
        return self.status

    async def answer(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        """See `Engine.answer`.

        Before the first token a request that failed is sent again, and a refused one in its plain form.
        """
        now = asyncio.get_running_loop().time
        async with AsyncExitStack() as stack:
            self._answering += 1
            stack.callback(self._answered)
            answer, piece = await self._begin(request, stack)
            reply, stream = answer.reply, answer.stream
            deadline = now() + self.limits.first_token
            thinks, ended = True, False
            try:
                while piece is not None and not reply.enough:
                    for chunk in answer.take(piece):
                        if thinks and isinstance(chunk, Delta):
                            thinks, deadline = False, now() + self.limits.total
                        yield chunk
                    # Some name an end with each piece, and sound may come behind the text.
                    ended = (ended or bool(piece.finish)) and not piece.began
                    tail = ended and not answer.asking.request.speak
                    pause = self.limits.tail if tail else self.limits.between_tokens
                    piece = await stream.piece(min(deadline, now() + pause))
                    if piece is not None and piece.error is not None:
                        if reply.finish:
                            break
                        raise self._server.refusal(Refused.of_event(piece.error), plain=False)
            except (TimeoutError, BrokenStream) as error:
                if not reply.finish:
                    raise self._broken(error, now() >= deadline) from None
        for chunk in reply.end(whole=stream.done):
            yield self._finished(chunk, answer) if isinstance(chunk, Finished) else chunk

    def _answered(self) -> None:
        self._answering -= 1

    async def close(self) -> None:
        """Close all connections; answers that still run fail."""
        await self._client.close()

    # Before the first token

    async def _begin(
        self, wanted: EngineRequest, stack: AsyncExitStack
    ) -> tuple[_Answer, Piece | None]:
        """Send a request until its answer begins; return that with its first piece, None where nothing came.

        `stack` closes the answer. Raises EngineError.
        """
        loop = asyncio.get_running_loop()
        if not self._server.model:
            await self._server.probe()
        waited_for = wanted.kind in _WAITED_FOR
        # A server may begin to load anew when nobody waits for it any more.
        loads = self._server.status.loaded is False or self._begun != self._server.model
        seconds = self.limits.first_token if waited_for or loads else self.limits.background
        able, left_out = self.status.capabilities, self._left_out()
        request = without(prompts.checked(wanted, able.audio_in), left_out)
        asking = _Asking(
            wanted,
            replace(request, speak=request.speak and able.speech_out),
            Media(wanted),
            until=loop.time() + seconds,
            left_out=left_out | ({THOUGHTS} if wanted.kind is Kind.PREFILL else frozenset()),
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
                reason, pause = await self._refused(refusal, asking)
            except (Unreachable, BrokenStream) as error:
                reason, pause = self._lost(error, asking)
            except NotChat as error:
                raise EngineFailed(self._server.not_chat(error.why).detail) from None
            if loop.time() + pause >= asking.until:
                raise asking.failure()
            asking.repeats += 1
            self._on_retry(reason)
            await asyncio.sleep(pause)

    async def _send(self, asking: _Asking, stack: AsyncExitStack) -> tuple[_Answer, Piece | None]:
        """Send it once, and read until the answer begins.

        Raises AskFailed, BrokenStream, TimeoutError.
        """
        request, server = asking.request, self._server
        asking.newer_name = self._plain.newer_name
        build = partial(
            body,
            request,
            asking.media,
            server,
            self._endpoint,
            self._thinking,
            asking.left_out,
            asking.newer_name,
        )
        # A program's conversation may be long: others must not wait while it is cleaned.
        of_program = request.extra(ProgramFields) is not None
        made = await asyncio.to_thread(build) if of_program else build()
        async with AsyncExitStack() as attempt:
            stream = await self._client.chat(
                made, self._names(request, asking.repeats), asking.until
            )
            attempt.push_async_callback(stream.aclose)
            switched = SWITCH not in asking.left_out
            thinking = self._thinking if switched else self._thinking.unswitched()
            answer = _Answer(asking, stream, thinking)
            while True:
                first = await stream.piece(asking.until)
                if first is None or first.began or first.finish:
                    break
                if first.error is not None:
                    raise Refused.of_event(first.error)
                answer.reply.usage = first.usage or answer.reply.usage
            if first is None and not stream.done:
                # The model's process died, or a router lost it.
                raise BrokenStream(_BROKE_OFF, connection=True)
            stack.push_async_exit(attempt.pop_all())
        self._begun = server.model
        if not of_program:
            self._plain.accepted(self._extras(request) - asking.left_out)
            if asking.beyond and len(request.turns) == len(asking.wanted.turns):
                self._plain.refused(asking.beyond, time.monotonic())
        return answer, first

    async def _refused(self, refusal: Refused, asking: _Asking) -> tuple[Reason, float]:
        """Change a refused request for its repeat; return the reason of the repeat and the seconds before it.

        Raises EngineError.
        """
        server, request = self._server, asking.request
        asking.failure = partial(server.refusal, refusal, plain=bool(asking.beyond))
        if refusal.status in _BUSY:
            return await self._busy(refusal, asking)
        if refusal.of_another_model and not asking.looked_up:
            asking.looked_up, model = True, server.model
            if (await server.probe()).ready and server.model != model:
                return Reason.FAILED, 0.0
        # A refusal of the limit's older name may name it in words alone, or repeat what a program wrote.
        named = asking.fields is None and "max_completion_tokens" in str(refusal.body)
        if (named or "max_tokens" in refusal.fields) and self._other_limit(asking):
            return Reason.PLAIN, 0.0
        if refusal.context is not None and self._shortened(asking, refusal.context):
            return Reason.PLAIN, 0.0
        if refusal.status >= 500 and not refusal.of_server and asking.pauses:
            return Reason.FAILED, asking.pause()
        of_request = refusal.of_request or refusal.status == 404
        beyond = self._extras(request) - asking.left_out
        if of_request and beyond:
            blamed = {
                extra
                for extra, fields in (
                    (FIELDS, optional(self._endpoint)),
                    (SWITCH, self._thinking.fields()),
                )
                if refusal.fields & fields.keys()
            }
            if "alternate" in str(refusal.body):
                # The message of a chat template that wants an answer between two of the user's
                blamed.add(APART)
            beyond = beyond & blamed or beyond
            asking.beyond, asking.left_out = asking.beyond | beyond, asking.left_out | beyond
            asking.request = without(request, asking.left_out)
            return Reason.PLAIN, 0.0
        if refusal.of_request and request.turns:
            # It may be too long, whatever it says.
            asking.request = request.with_newest_turns(0)
            return Reason.PLAIN, 0.0
        given = set(asking.fields.all if asking.fields is not None else ())
        if given and refusal.of_request and refusal.status < 500:
            # Never without them: the program counts on the form of its answer.
            raise EngineRefused(
                f"The present model refused the request (HTTP {refusal.status}): it may not take"
                f" {_listed(refusal.fields & given or given)} as given. Leave that out, or tell whoever runs this server.",
                public=True,
            )
        raise asking.failure()

    def _extras(self, request: EngineRequest) -> frozenset[str]:
        return extras(request, self.status.capabilities, self._thinking)

    def _other_limit(self, asking: _Asking) -> bool:
        """Ask for the answer's tokens alone, then by the limit's newer name; return whether that changes anything."""
        if THOUGHTS not in asking.left_out and self._thinking.budget(None):
            asking.beyond, asking.left_out = (
                asking.beyond | {THOUGHTS},
                asking.left_out | {THOUGHTS},
            )
            return True
        self._plain.newer_name = True
        return not asking.newer_name

    def _shortened(self, asking: _Asking, context: int) -> bool:
        """Leave out what does not fit into so many tokens; return whether there was something."""
        if asking.fields is None:
            # A refusal may repeat what a program wrote.
            self._server.learn(context_length=context)
        if THOUGHTS not in asking.left_out and self._thinking.budget(context):
            asking.left_out |= {THOUGHTS}
        elif (less := shorter(asking.request)) is not None:
            asking.request = less
        else:
            return False
        return True

    async def _busy(self, refusal: Refused, asking: _Asking) -> tuple[Reason, float]:
        """Return the reason and the pause after a server had no time for a request. Raises EngineError."""
        wait = refusal.retry_after
        if refusal.status == 503:
            loads = refusal.of_loading or (await self._server.probe()).state is EngineState.LOADING
            if loads:
                asking.failure = partial(loading, wait)
            if loads and asking.waited_for:
                return Reason.LOADING, _LOADING_PAUSE
        # After a 429 without a time nobody but a person tries again here.
        hopeless = wait > LONGEST_WAIT if wait is not None else refusal.status == 429
        if hopeless or not asking.waited_for:
            raise asking.failure()
        pause = asking.pause()
        return Reason.BUSY, pause if wait is None else wait

    def _lost(self, error: Unreachable | BrokenStream, asking: _Asking) -> tuple[Reason, float]:
        """Return the reason and the pause after a connection failed or broke. Raises EngineError."""
        if isinstance(error, BrokenStream):
            asking.failure = partial(self._broken, error)
            if not error.connection:
                raise asking.failure()
        elif asking.repeats == 0 or not isinstance(error, Dropped):
            # Some close a connection on which they have refused something.
            asking.failure = partial(self._server.unreachable, str(error))
        broke = isinstance(error, BrokenStream | Dropped)
        first, pause = asking.repeats == 0, asking.pause()
        # As a rule a kept connection that the server has closed meanwhile
        return (Reason.BROKEN, 0.0 if first else pause) if broke else (Reason.REFUSED, pause)

    def _broken(self, error: TimeoutError | BrokenStream, total: bool = False) -> EngineError:
        """Return the error of an answer without an end. `total`: the time of a whole answer is over."""
        if isinstance(error, BrokenStream):
            check = f" Check that {self._server.names.url} names a model server."
            return EngineFailed(f"{error}{'' if error.connection else check}")
        if total:
            why = f"The answer was not complete after {self.limits.total:g} s. Ask for something shorter."
        else:
            why = f"The model server fell silent in mid-answer for {self.limits.between_tokens:g} s. Ask again."
        return EngineTimeout(why, public=True)

    def _names(self, request: EngineRequest, repeat: int) -> dict[str, str]:
        """Return the headers by which a router and the server know the session and the request."""
        if self._session_key is None:
            return {}
        names = {SESSION_HEADER: self._session_key(request.session_id)}
        if request.id:
            # vLLM takes it for its own, and each of its own is another one.
            names[REQUEST_HEADER] = f"{request.id}-{repeat}" if repeat else request.id
        return names

    # After the answer

    def _finished(self, finished: Finished, answer: _Answer) -> Finished:
        """Return the end of an answer with what of the request was left out."""
        sent, wanted, spoken = answer.asking.request, answer.asking.wanted, answer.spoken
        silent = sent.speak and not spoken.begun
        if spoken.begun:
            self._spoke = self._server.model
        elif silent and self._spoke != self._server.model:
            # One that has spoken before has had nothing to say.
            reason = f"The model server {spoken.fault or 'sent no sound'}."
            log.warning(
                "the model did not speak its answer", extra={"engine": self.name, "reason": reason}
            )
            self._plain.keep(frozenset((SPEECH,)), time.monotonic())
        made = finished.usage.completion_tokens
        cut = finished.finish_reason == "length" and made is not None and made < sent.max_tokens
        if cut and self._full != self._server.model:
            self._full = self._server.model
            log.warning(
                "the model's context is full, which cut an answer; give its server a larger one (OLLAMA_CONTEXT_LENGTH)",
                extra={"engine": self.name},
            )
        return replace(
            finished,
            left_out=len(wanted.turns) - len(sent.turns),
            pictures_left_out=len(wanted.earlier) - len(sent.earlier),
            video_refused=wanted.video and not sent.video,
            sound_refused=wanted.sound is not None and sent.sound is None,
            speech_refused=wanted.speak and (silent or not sent.speak),
        )


# Seconds between two tries while the server loads its model
_LOADING_PAUSE = 1.0
_BROKE_OFF = "The model server ended the answer before it began. Ask again."


@dataclass(slots=True)
class _Asking:
    """A request on its way: `wanted` by the caller, `request` as it is sent now.

    `left_out`: extras that are not sent; `beyond`: those of them that this request's refusal took away. `pauses`: those
    before the repeats that are left. `until`: the loop time by which the answer must begin. `newer_name`: see `PlainForm`.
    """

    wanted: EngineRequest
    request: EngineRequest
    media: Media
    until: float
    left_out: frozenset[str]
    pauses: list[float]
    beyond: frozenset[str] = frozenset()
    newer_name: bool = False
    looked_up: bool = False
    repeats: int = 0
    # Makes the error to raise when there is no repeat any more
    failure: Callable[[], EngineError] = lambda: EngineFailed(_BROKE_OFF)

    @property
    def waited_for(self) -> bool:
        return self.wanted.kind in _WAITED_FOR

    @property
    def fields(self) -> ProgramFields | None:
        """The fields that a program counts on; None for a person's question."""
        return self.wanted.extra(ProgramFields)

    def pause(self) -> float:
        """Return the seconds before the next repeat. Raises `failure` when none is left."""
        if not self.pauses:
            raise self.failure()
        return self.pauses.pop(0)


class _Answer:
    """One answer as it comes: its text and calls, and its sound."""

    def __init__(self, asking: _Asking, stream: ChatStream, thinking: Thinking) -> None:
        self.asking, self.stream = asking, stream
        request, chat = asking.request, asking.fields
        tools, form = (chat.tools, chat.form) if chat is not None else (request.tools, None)
        self.reply = Reply(
            thinking,
            request.max_tokens,
            calls=Calls(lenient=chat is None) if tools else None,
            form=form is not None or request.schema is not None,
            unread=request.kind is Kind.PREFILL,
        )
        self.spoken = SpokenAnswer()

    def take(self, piece: Piece) -> Iterator[Chunk]:
        """Yield what a piece holds."""
        sound = self.spoken.take(piece.sound) if self.asking.request.speak else None
        if sound is not None:
            yield sound
        yield from self.reply.take(piece)


class SpokenAnswer:
    """Turns the sound of one answer into chunks, as it comes beside its text."""

    def __init__(self) -> None:
        self._reader = PcmReader()
        # Some sound has come.
        self.begun = False
        # The reason why none of it is played, the end of a sentence on the server; "" so far
        self.fault = ""

    def take(self, data: str) -> VoiceChunk | None:
        """Return the samples of a piece; None without any, and once there is a fault."""
        if not data or self.fault:
            return None
        try:
            chunk = self._reader.take(base64.b64decode(data, validate=True))
        except ValueError as exc:
            self.fault = str(exc) if isinstance(exc, NotPcm) else "sends sound that is no base64"
            return None
        self.begun = self.begun or chunk is not None
        return chunk


def _listed(names: Iterable[str]) -> str:
    return " and ".join(f'"{name}"' for name in sorted(names))


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
