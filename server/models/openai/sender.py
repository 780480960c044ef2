"""One request to a model server: in other forms, and with less in it, until the server takes it."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import math
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from server.core.errors import EngineError, EngineFailed, EngineRefused, EngineUnavailable
from server.core.frames import Picture
from server.core.sound import SoundUse
from server.media.picture.encode import data_url
from server.models.base import EngineRequest, Finished
from server.models.openai import upstream
from server.models.openai.chat_client import ChatClient, Dropped, NotChat, Refused, Unreachable
from server.models.openai.chat_request import (
    RequestFields,
    as_pictures,
    fewer_pictures,
    fewer_turns,
)
from server.models.openai.chat_stream import ChatStream
from server.models.openai.known_server import KnownServer
from server.models.openai.retry import Fault, Reason
from server.models.prompts import audio_part, checked, fault, without_sound
from server.models.thinking import Thinking

# Statuses of servers that take no video or no sound, or not in this form; 0 is an event without a
# status.
_NOT_TAKEN = (400, 415, 422, 500, 501, 0)


@dataclass(frozen=True, slots=True)
class Opened:
    """An answer that has begun to come."""

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
        """Return the end of its answer with the fields that were left out."""
        return dataclasses.replace(
            finished,
            left_out=self.left_out,
            pictures_left_out=self.pictures_left_out,
            video_refused=self.video_refused,
            sound_refused=self.sound_refused,
            speech_refused=self.speech_refused,
        )


class Media:
    """The pictures and the sound of a request in the form that goes out; made once, however often it is
    sent.
    """

    def __init__(self, request: EngineRequest) -> None:
        self.url = _url(request.picture)
        self.earlier = [_url(one.picture) for one in request.earlier]
        sound = request.sound
        self.audio = audio_part(sound) if sound is not None and fault(sound) is None else None


class Sender:
    """Sends the requests of one engine, and learns from refusals what its server takes.

    `model`: the one that the settings name; "" for that which the server lists first.
    """

    def __init__(
        self,
        client: ChatClient,
        server: KnownServer,
        fields: RequestFields,
        thinking: Thinking,
        model: str,
    ) -> None:
        self._client = client
        self._server = server
        self._fields = fields
        self._thinking = thinking
        self._model = model

    async def open(
        self,
        request: EngineRequest,
        media: Media,
        names: dict[str, str],
        stack: AsyncExitStack,
        due: float,
        last: bool,
    ) -> Opened:
        """Send until it is taken; the stream with its first event, since a 200 alone is no success
        yet.

        Raises EngineError, Fault, TimeoutError, BrokenStream.
        """
        if not (self._server.status.model or self._model):
            await self._server.probe()
        earlier, sound = media.earlier, request.sound
        # A refusal may have shown since the request was built that nobody hears here.
        request = checked(request, self._server.status.capabilities.audio_in)
        speak = request.speak
        # It may have shown that it does not, too.
        request = dataclasses.replace(
            request, speak=speak and self._server.status.capabilities.speech_out
        )
        turns, video = len(request.turns), request.video
        fields, thinking = self._fields, self._thinking
        if request.conversation is not None:
            # A refusal may repeat what a program wrote: it counts for this request alone.
            fields, thinking = copy.deepcopy((fields, thinking))
        looked_up = False
        while True:
            try:
                build = partial(
                    fields.body,
                    request,
                    media.url,
                    earlier[len(earlier) - len(request.earlier) :],
                    audio=media.audio,
                    model=self._server.status.model or self._model,
                    context=self._server.status.capabilities.context_length,
                    json_schema=self._server.status.capabilities.json_schema,
                    speech_out=self._server.speech_out.states,
                    tokens=self._server.control_tokens,
                    thinking=thinking,
                )
                # A program's conversation may be long: others must not wait while it is cleaned.
                beside = request.conversation is not None
                body = await asyncio.to_thread(build) if beside else build()
                stream, event = await self._client.send(
                    body, stack, due, names, spoken=request.speak
                )
                return Opened(
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
                model = self._server.status.model
                passing = not last and upstream.is_passing(refusal.status, refusal.body)
                if passing and not request.speak:
                    # Before a failure without a word about it is taken for one of the media; without
                    # the answer's sound it is asked again at once.
                    raise self.refusal(refusal) from None
                other = not looked_up and upstream.is_other_model(refusal.status, refusal.body)
                if request.conversation is not None and not other:
                    request = self._of_program(request, refusal, fields, thinking)
                    continue
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
                    request = as_pictures(request, self._server.status.capabilities.max_pictures)
                    continue
                elif upstream.is_no_picture(refusal.status, refusal.body):
                    self._server.no_pictures(model or self._model)
                    if (await self._server.probe()).ready and self._server.status.model != model:
                        continue
                    if not self._server.status.ready:
                        # The next engine may answer.
                        raise EngineUnavailable(self._server.status.detail) from None
                elif other:
                    looked_up = True
                    if (await self._server.probe()).ready and self._server.status.model != model:
                        continue
                elif refusal.status in (400, 422) and self._thinking.refused():
                    continue
                raise self.refusal(refusal) from None

    def _of_program(
        self, request: EngineRequest, refusal: Refused, fields: RequestFields, thinking: Thinking
    ) -> EngineRequest:
        """Return a refused request of a program as it is sent again. Raises its refusal, EngineError or Fault.

        Nothing is learned of the server: the refusal's words may be the program's own.
        """
        status, body = refusal.status, refusal.body
        if status in (400, 422) and fields.drop(body, thinking):
            return request
        most = upstream.most_pictures(status, body)
        if most is not None and most <= len(request.earlier):
            return fewer_pictures(request, most)
        if upstream.is_context_refusal(status, body):
            if request.earlier:
                return fewer_pictures(request)
            raise self.refusal(refusal) from None
        given = request.conversation.fields if request.conversation is not None else ()
        if wish := upstream.refused_wish(status, body, given):
            # Never without it: the program counts on the form of its answer.
            raise EngineRefused(
                f'The present model does not take "{wish}" as it was given. Leave it out, or tell whoever runs'
                " this server.",
                public=True,
            ) from None
        if status in (400, 422) and thinking.refused():
            return request
        raise self.refusal(refusal) from None

    def refusal(self, refusal: Refused, *, begun: bool = False) -> EngineError | Fault:
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


def _url(picture: Picture) -> str:
    if picture.jpeg is None:
        raise EngineFailed("The frame was not encoded for this engine. Ask again.")
    return data_url(picture.jpeg)
