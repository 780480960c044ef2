"""An OpenAI-compatible model server as an engine: vLLM from 0.9.2 on, and anything else that speaks
the interface.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass

import httpx2
from pydantic import SecretStr

from server.core.errors import EngineError, EngineFailed, EngineTimeout, EngineUnavailable
from server.core.frames import Picture
from server.core.sound import SoundUse
from server.engines.base import (
    Chunk,
    Delta,
    EngineRequest,
    EngineStatus,
    Finished,
)
from server.engines.hearing import audio_part, checked, fault, without_sound
from server.engines.openai import upstream
from server.engines.openai.asking import asked
from server.engines.openai.chat_client import (
    TAIL_SECONDS,
    ChatClient,
    Dropped,
    NotChat,
    Refused,
    TimeLimits,
    Unreachable,
)
from server.engines.openai.chat_request import (
    RequestFields,
    as_pictures,
    fewer_pictures,
    fewer_turns,
)
from server.engines.openai.chat_stream import BrokenStream, ChatStream, read_event
from server.engines.openai.known_server import KnownServer
from server.engines.openai.retry import Fault, Reason
from server.engines.openai.session_key import REQUEST_HEADER, SESSION_HEADER
from server.engines.openai.spoken_answer import SpokenAnswer
from server.engines.reply import Reply, attempts
from server.engines.thinking import Mode, Thinking, ThinkingLimits
from server.vision.encode import data_url

log = logging.getLogger(__name__)

# Statuses of servers that take no video or no sound, or not in this form; 0 is an event without a
# status.
_NOT_TAKEN = (400, 415, 422, 500, 501, 0)


@dataclass(frozen=True, slots=True)
class _Opened:
    stream: ChatStream
    # The first, None where there is none
    event: bytes | None
    # Turns and earlier pictures that did not fit
    left_out: int
    pictures_left_out: int
    video_refused: bool
    sound_refused: bool
    # The answer's sound was asked for, and is to come.
    speaks: bool
    speech_refused: bool

    def end(self, finished: Finished) -> Finished:
        """Return the end of its answer with what was left out."""
        return dataclasses.replace(
            finished,
            left_out=self.left_out,
            pictures_left_out=self.pictures_left_out,
            video_refused=self.video_refused,
            sound_refused=self.sound_refused,
            speech_refused=self.speech_refused,
        )


class _Media:
    """The pictures and the sound of a request in the form that goes out; made once, however often it is
    sent.
    """

    def __init__(self, request: EngineRequest) -> None:
        self.url = _url(request.picture)
        self.earlier = [_url(one.picture) for one in request.earlier]
        sound = request.sound
        self.audio = audio_part(sound) if sound is not None and fault(sound) is None else None


class OpenAIEngine:
    """One model server. Safe to use for many answers at a time.

    `model` "" takes the first one that the server lists. `factor` overrides the model's geometry
    factor. `priority` is sent with each request while the server takes it. `voice`: of answers that
    the model speaks itself. `listed` False: it is known that `model` is served, so its health is
    asked for and not its list of models. `session_key` makes the session's name, which goes with
    each question beside the request's own; None: neither does. `on_retry` gets the reason of each
    request that is sent again, and `on_busy` is called when the server refuses one since it has
    enough to do. `transport` replaces the network, in tests.
    """

    def __init__(
        self,
        *,
        name: str,
        base_url: str,
        api_key: SecretStr | str = "",
        model: str = "",
        limits: TimeLimits | None = None,
        temperature: float | None = 0.2,
        factor: int | None = None,
        priority: int | None = None,
        voice: str = "",
        listed: bool = True,
        thinking: ThinkingLimits | None = None,
        session_key: Callable[[str], str] | None = None,
        on_retry: Callable[[Reason], None] = lambda _: None,
        on_busy: Callable[[], None] = lambda: None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.name = name
        self._limits = limits or TimeLimits()
        self._wanted = model
        self._fields = RequestFields(name, temperature=temperature, priority=priority, voice=voice)
        self._thinking = Thinking(thinking or ThinkingLimits())
        self._session_key = session_key
        self._on_retry, self._on_busy = on_retry, on_busy
        self._client = ChatClient(base_url, api_key, lambda: self._limits, transport)
        self._server = KnownServer(
            name,
            base_url,
            self._client,
            model=model,
            factor=factor,
            listed=listed,
            seconds=self._limits.probe,
            busy=lambda: self._answering > 0,
            on_other_model=self._thinking.forget,
        )
        # Answers in work
        self._answering = 0

    def __repr__(self) -> str:
        return f"OpenAIEngine(name={self.name!r}, address={self.address!r}, state={self.status.state.value!r})"

    @property
    def address(self) -> str:
        """The server's address, without credentials."""
        return self._server.address

    @property
    def status(self) -> EngineStatus:
        return self._server.status

    async def probe(self) -> EngineStatus:
        """See `KnownServer.probe`. Never raises an error."""
        return await self._server.probe()

    async def answer(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        """See `Engine.answer`.

        Before the first token a request that failed is sent again (`retry.py` says when).
        """
        asking = asked(
            [self], request, self._limits, on_fault=self._failed, on_retry=self._on_retry
        )
        async with aclosing(asking) as chunks:
            async for chunk in chunks:
                yield chunk

    def _failed(self, _: OpenAIEngine, fault: Fault) -> None:
        if fault.reason is Reason.BUSY:
            self._on_busy()

    async def ask(
        self,
        request: EngineRequest,
        *,
        deadline: float,
        due: float | None,
        repeat: int,
        last: bool,
    ) -> AsyncGenerator[Chunk, None]:
        """See `asking.Server.ask`.

        Before the first piece, a field that the server refuses is left out from then on, a model
        that is gone is looked up anew, and turns that do not fit are left out; then the request is
        sent again. So it is when a model is seen to think that was not expected to.
        """
        self._answering += 1
        try:
            media = _Media(request)
            names = self._names(request, repeat)
            asking = attempts(
                self._thinking, lambda: self._attempt(request, media, names, deadline, due, last)
            )
            async with aclosing(asking) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            self._answering -= 1

    async def _attempt(
        self,
        request: EngineRequest,
        media: _Media,
        names: dict[str, str],
        deadline: float,
        due: float | None,
        last: bool,
    ) -> AsyncGenerator[Chunk, None]:
        """Ask once.

        Thoughts of a model that was not expected to think come before any text, or not at all.
        """
        now = asyncio.get_running_loop().time
        thinking, asked = self._thinking, self._thinking.mode
        due = min(deadline, due or now() + self._limits.first_token)
        reply = Reply(
            self._server.control_tokens,
            inside=thinking.implied,
            # Beyond what the server counts are the tokens for thoughts, which the answer may not
            # take.
            most=request.max_tokens if asked is Mode.BUDGET else None,
        )
        async with AsyncExitStack() as stack:
            whole = False
            opened = None
            spoken = SpokenAnswer()
            try:
                opened = await self._open(request, media, names, stack, due, last)
                stream, event = opened.stream, opened.event
                while event is not None and not reply.enough:
                    piece = read_event(event)
                    if piece.error is not None:
                        refusal = Refused(upstream.event_status(piece.error), piece.error, None)
                        raise self._refusal(refusal, begun=reply.began or spoken.begun)
                    if piece.sound and opened.speaks:
                        if (sound := spoken.take(piece.sound)) is not None:
                            self._server.speech_out.spoke()
                            yield sound
                    elif piece.sound:
                        self._server.speech_out.heard()
                        self._server.learned_speech()
                    answered = reply.answered or spoken.begun
                    for chunk in reply.take(piece):
                        # Asked anew in mid-answer it would begin a second one.
                        if isinstance(chunk, Delta) or asked is Mode.BUDGET or not answered:
                            yield chunk
                    if reply.finish and not opened.speaks:
                        due = min(deadline, now() + TAIL_SECONDS)
                    elif reply.began:
                        due = min(deadline, now() + self._limits.between_tokens)
                    event = await stream.next(due)
                whole = stream.done
                if reply.finish:
                    await stream.drain()
            except TimeoutError:
                if not reply.finish:
                    raise self._too_slow(reply.began, now() >= deadline) from None
            except BrokenStream as exc:
                if not reply.finish:
                    failure = EngineFailed(str(exc))
                    raise (
                        _broken(failure)
                        if exc.connection and not (reply.began or spoken.begun)
                        else failure
                    ) from None
        try:
            chunks = reply.end(whole=whole)
        except EngineFailed as failure:
            # It ended well below, and here without a token: the model's process died, or a router
            # lost it.
            begun = reply.began or spoken.begun
            raise (failure if begun else _broken(failure)) from None
        finally:
            thinking.ended(asked, reply)
        if opened is not None and opened.speaks and not spoken.begun:
            opened = self._silent(opened, spoken)
        for chunk in chunks:
            yield opened.end(chunk) if opened is not None and isinstance(chunk, Finished) else chunk

    def forget(self, session_id: str) -> None:
        """Nothing is remembered."""

    async def close(self) -> None:
        """Close all connections; answers that still run fail."""
        await self._client.close()

    # Sending

    async def _open(
        self,
        request: EngineRequest,
        media: _Media,
        names: dict[str, str],
        stack: AsyncExitStack,
        due: float,
        last: bool,
    ) -> _Opened:
        """Send until it is taken; the stream with its first event, since a 200 alone is no success
        yet.

        Raises EngineError, Fault, TimeoutError, BrokenStream.
        """
        if not (self.status.model or self._wanted):
            await self.probe()
        earlier, sound = media.earlier, request.sound
        # A refusal may have shown since the request was built that nobody hears here.
        request = checked(request, self.status.capabilities.audio_in)
        speak = request.speak
        # It may have shown that it does not, too.
        request = dataclasses.replace(request, speak=speak and self.status.capabilities.speech_out)
        turns, video = len(request.turns), request.video
        looked_up = False
        while True:
            try:
                body = self._fields.body(
                    request,
                    media.url,
                    earlier[len(earlier) - len(request.earlier) :],
                    audio=media.audio,
                    model=self.status.model or self._wanted,
                    context=self.status.capabilities.context_length,
                    json_schema=self.status.capabilities.json_schema,
                    speech_out=self._server.speech_out.states,
                    tokens=self._server.control_tokens,
                    thinking=self._thinking,
                )
                stream, event = await self._client.send(
                    body, stack, due, names, spoken=request.speak
                )
                return _Opened(
                    stream,
                    event,
                    turns - len(request.turns),
                    len(earlier) - len(request.earlier),
                    video and not request.video,
                    sound is not None and request.sound is None,
                    request.speak,
                    speak and not request.speak,
                )
            except Unreachable:
                raise Fault(Reason.REFUSED, self._server.unreachable) from None
            except NotChat as exc:
                raise EngineFailed(self._server.not_chat(exc.why)) from None
            except Dropped:
                raise Fault(Reason.BROKEN, self._server.unreachable) from None
            except Refused as refusal:
                model = self.status.model
                passing = not last and upstream.is_passing(refusal.status, refusal.body)
                if passing and not request.speak:
                    # Before a failure without a word about it is taken for one of the media; without
                    # the answer's sound it is asked again at once.
                    raise self._refusal(refusal) from None
                if refusal.status in (400, 422) and self._fields.drop(refusal.body, self._thinking):
                    continue
                if self._fields.drop_schema(request, refusal.body):
                    continue
                most = upstream.most_pictures(refusal.status, refusal.body)
                if most is not None and most <= len(request.earlier) and not request.video:
                    self._server.learn_pictures(most)
                    request = fewer_pictures(request, most)
                    continue
                if upstream.is_context_refusal(refusal.status, refusal.body):
                    self._server.learn_context(refusal.body)
                    if request.turns:
                        request = fewer_turns(request)
                        continue
                    if request.earlier:
                        request = fewer_pictures(request)
                        continue
                elif request.speak and self._may_be_speech(refusal, request):
                    # The text alone is the surer form.
                    if not self._fields.other_sound_form(refusal.body):
                        if upstream.is_no_speech(refusal.status, refusal.body):
                            self._server.speech_out.mute()
                            self._server.learned_speech()
                        request = dataclasses.replace(request, speak=False)
                    continue
                elif self._server.speech_out.states and upstream.refused_fields(
                    refusal.body, ("modalities",)
                ):
                    self._server.speech_out.unasked()
                    self._server.learned_speech()
                    continue
                elif request.sound is not None and self._may_be_sound(refusal, request):
                    if upstream.is_no_sound(refusal.status, refusal.body):
                        self._server.learn_no_sound()
                    request = without_sound(request, SoundUse.REFUSED)
                    continue
                elif request.video and refusal.status in _NOT_TAKEN:
                    # Whatever it says of it: pictures are the surer form.
                    self._server.learn_no_video()
                    request = as_pictures(request, self.status.capabilities.max_pictures)
                    continue
                elif upstream.is_no_picture(refusal.status, refusal.body):
                    self._server.no_pictures(model or self._wanted)
                    if (await self.probe()).ready and self.status.model != model:
                        continue
                    if not self.status.ready:
                        # The next engine may answer.
                        raise EngineUnavailable(self.status.detail) from None
                elif upstream.is_other_model(refusal.status, refusal.body) and not looked_up:
                    looked_up = True
                    if (await self.probe()).ready and self.status.model != model:
                        continue
                elif refusal.status in (400, 422) and self._thinking.refused():
                    continue
                raise self._refusal(refusal) from None

    def _names(self, request: EngineRequest, repeat: int) -> dict[str, str]:
        """Return the headers by which a router and the server know the session and the request."""
        if self._session_key is None:
            return {}
        names = {SESSION_HEADER: self._session_key(request.session_id)}
        if request.id:
            # vLLM takes it for its own, and each of its own is another one.
            names[REQUEST_HEADER] = f"{request.id}-{repeat}" if repeat else request.id
        return names

    def _silent(self, opened: _Opened, spoken: SpokenAnswer) -> _Opened:
        """Note that an answer came without the sound that was asked for."""
        if spoken.fault:
            self._server.speech_out.mute()
        else:
            self._server.speech_out.silent()
        self._server.learned_speech()
        reason = f"The model server {spoken.fault or 'sent no sound'}."
        log.warning(
            "the model did not speak its answer", extra={"engine": self.name, "reason": reason}
        )
        return dataclasses.replace(opened, speech_refused=True)

    def _may_be_speech(self, refusal: Refused, request: EngineRequest) -> bool:
        """Find whether a refusal is about the speech that was asked for, or may be."""
        status, body = refusal.status, refusal.body
        return upstream.is_no_speech(status, body) or (
            status in _NOT_TAKEN
            and not (request.sound is not None and upstream.is_no_sound(status, body))
            and not upstream.is_no_picture(status, body)
            and not upstream.is_other_model(status, body)
        )

    def _may_be_sound(self, refusal: Refused, request: EngineRequest) -> bool:
        """Find whether a refusal is about the request's sound, or may be as far as it says."""
        if upstream.is_no_sound(refusal.status, refusal.body):
            return True
        return (
            refusal.status in _NOT_TAKEN
            and not request.video
            and not upstream.is_no_picture(refusal.status, refusal.body)
            and not upstream.is_other_model(refusal.status, refusal.body)
        )

    def _refusal(self, refusal: Refused, *, begun: bool = False) -> EngineError | Fault:
        """Return the error of a refusal, or the fault that another attempt may mend.

        `begun`: there was a token.
        """
        status, body, wait = refusal.status, refusal.body, refusal.retry_after
        reason = None if begun else upstream.reason(status, body)
        if reason is None:
            return self._server.refusal(status, body, wait)
        # After a 429 without a time nobody but a person tries again here.
        pause = math.inf if status == 429 and wait is None else wait
        return Fault(reason, lambda: self._server.refusal(status, body, wait), pause)

    # Errors in sentences

    def _too_slow(self, began: bool, total: bool) -> EngineTimeout:
        if total:
            return EngineTimeout(
                f"The answer was not complete after {self._limits.total:g} s. Ask for something shorter.",
                public=True,
            )
        if began:
            return EngineTimeout(
                f"The model server fell silent in mid-answer for {self._limits.between_tokens:g} s. Ask again.",
                public=True,
            )
        return EngineTimeout(
            f"The model server did not begin to answer within {self._limits.first_token:g} s. It may be overloaded; ask again.",
            public=True,
        )


def _broken(failure: EngineFailed) -> Fault:
    return Fault(Reason.BROKEN, lambda: failure)


def _url(picture: Picture) -> str:
    if picture.jpeg is None:
        raise EngineFailed("The frame was not encoded for this engine. Ask again.")
    return data_url(picture.jpeg)
