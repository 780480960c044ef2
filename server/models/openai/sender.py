"""One request to a model server: in other forms, and with less in it, until the server takes it."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import math
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from server.core.errors import EngineError, EngineFailed, EngineRefused, EngineUnavailable
from server.core.sound import SoundUse
from server.models.base import EngineRequest, Finished
from server.models.openai import upstream
from server.models.openai.chat_client import ChatClient, Dropped, NotChat, Refused, Unreachable
from server.models.openai.chat_request import (
    Media,
    RequestFields,
    as_pictures,
    fewer_pictures,
    fewer_turns,
)
from server.models.openai.chat_stream import ChatStream
from server.models.openai.known_server import KnownServer
from server.models.openai.retry import Fault, Reason
from server.models.prompts import checked, without_sound
from server.models.thinking import Thinking

# Statuses of servers without video or sound, or not in this form; 0: an event without a status.
_NOT_TAKEN = (400, 415, 422, 500, 501, 0)


@dataclass(frozen=True, slots=True)
class Opened:
    """An answer that has begun to come."""

    stream: ChatStream
    # The first, None where there is none
    event: bytes | None
    # The answer's sound was asked for, and is to come.
    speaks: bool
    # The fields of `Finished` on what of the request was left out
    missing: Mapping[str, Any]

    @classmethod
    def of(
        cls, stream: ChatStream, event: bytes | None, *, sent: EngineRequest, wanted: EngineRequest
    ) -> Opened:
        """Compare the request as it was taken with the one that was asked for."""
        missing = {
            "left_out": len(wanted.turns) - len(sent.turns),
            "pictures_left_out": len(wanted.earlier) - len(sent.earlier),
            "video_refused": wanted.video and not sent.video,
            "sound_refused": wanted.sound is not None and sent.sound is None,
            "speech_refused": wanted.speak and not sent.speak,
        }
        return cls(stream, event, sent.speak, missing)

    def silent(self) -> Opened:
        """Return it as one that came without the sound that was asked for."""
        return dataclasses.replace(self, missing={**self.missing, "speech_refused": True})

    def end(self, finished: Finished) -> Finished:
        """Return the end of its answer with the fields that were left out."""
        return dataclasses.replace(finished, **self.missing)


class Sender:
    """Sends the requests of one engine, and learns from refusals what its server takes."""

    def __init__(
        self, client: ChatClient, server: KnownServer, fields: RequestFields, thinking: Thinking
    ) -> None:
        self._client = client
        self._server = server
        self._fields = fields
        self._thinking = thinking

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
        if not self._server.model:
            await self._server.probe()
        wanted = request
        # A refusal may have shown since the request was built that nobody hears or speaks here.
        able = self._server.status.capabilities
        request = checked(request, able.audio_in)
        request = dataclasses.replace(request, speak=request.speak and able.speech_out)
        fields, thinking = self._fields, self._thinking
        if request.conversation is not None:
            # A refusal may repeat what a program wrote: it counts for this request alone.
            fields, thinking = copy.deepcopy((fields, thinking))
        looked_up = False
        while True:
            build = partial(
                fields.body,
                request,
                media,
                self._server.status,
                speech_out=self._server.speech_out.states,
                tokens=self._server.control_tokens,
                thinking=thinking,
            )
            # A program's conversation may be long: others must not wait while it is cleaned.
            beside = request.conversation is not None
            body = await asyncio.to_thread(build) if beside else build()
            try:
                begun = await self._client.send(body, stack, due, names, spoken=request.speak)
                return Opened.of(*begun, sent=request, wanted=wanted)
            except Unreachable:
                raise Fault(Reason.REFUSED, self._server.unreachable) from None
            except NotChat as exc:
                raise EngineFailed(self._server.not_chat(exc.why)) from None
            except Dropped:
                raise Fault(Reason.BROKEN, self._server.unreachable) from None
            except Refused as refusal:
                passing = not last and upstream.is_passing(refusal.status, refusal.body)
                if passing and not request.speak:
                    # Before a failure without a word about it is taken for one of the media; without
                    # the answer's sound it is asked again at once.
                    raise self.refusal(refusal) from None
                other = not looked_up and upstream.is_other_model(refusal.status, refusal.body)
                if request.conversation is not None and not other:
                    request = self._of_program(request, refusal, fields, thinking)
                else:
                    request = await self._again(request, refusal, other)
                    looked_up = other or looked_up

    async def _again(self, request: EngineRequest, refusal: Refused, other: bool) -> EngineRequest:
        """Return a refused request as it is sent again, and learn from its refusal.

        `other`: it says that the model is another one. Raises its refusal, EngineError or Fault.
        """
        for mend in (
            self._without_a_field,
            self._without_named_tools,
            self._with_fewer_pictures,
            self._shortened,
            self._unspoken,
            self._unheard,
            self._without_video,
            self._without_tools,
        ):
            if (mended := mend(request, refusal)) is not None:
                return mended
        model = self._server.status.model
        if blind := upstream.is_no_picture(refusal.status, refusal.body):
            self._server.no_pictures(self._server.model)
        if blind or other:
            if (await self._server.probe()).ready and self._server.status.model != model:
                return request
            if blind and not self._server.status.ready:
                # The next engine may answer.
                raise EngineUnavailable(self._server.status.detail) from None
        elif refusal.status in (400, 422) and self._thinking.refused():
            return request
        raise self.refusal(refusal) from None

    # What a refusal may be about, in the order in which it is tried. Each returns the request as it
    # is sent again, or None when the refusal is about something else.

    def _without_a_field(self, request: EngineRequest, refusal: Refused) -> EngineRequest | None:
        dropped = refusal.status in (400, 422) and self._fields.drop(refusal.body, self._thinking)
        return request if dropped or self._fields.drop_schema(request, refusal.body) else None

    def _without_named_tools(
        self, request: EngineRequest, refusal: Refused
    ) -> EngineRequest | None:
        named = upstream.is_no_tools(refusal.status, refusal.body)
        return self._without_tools(request, refusal) if named else None

    def _with_fewer_pictures(
        self, request: EngineRequest, refusal: Refused
    ) -> EngineRequest | None:
        most = upstream.most_pictures(refusal.status, refusal.body)
        if most is None or most > len(request.earlier) or request.video:
            return None
        self._server.learn(max_pictures=most)
        return fewer_pictures(request, most)

    def _shortened(self, request: EngineRequest, refusal: Refused) -> EngineRequest | None:
        if not upstream.is_context_refusal(refusal.status, refusal.body):
            return None
        self._server.learn_context(refusal.body)
        if request.turns:
            return fewer_turns(request)
        if request.earlier:
            return fewer_pictures(request)
        raise self.refusal(refusal) from None

    def _unspoken(self, request: EngineRequest, refusal: Refused) -> EngineRequest | None:
        """Ask for another form of the answer's sound, for the text alone, or say nothing of either."""
        status, body = refusal.status, refusal.body
        if request.speak and self._may_be_speech(refusal, request):
            if self._fields.other_sound_form(body):
                return request
            # The text alone is the surer form.
            if upstream.is_no_speech(status, body):
                self._server.speech_out.mute = True
                self._server.learned_speech()
            return dataclasses.replace(request, speak=False)
        if self._server.speech_out.states and upstream.refused_fields(body, ("modalities",)):
            self._server.speech_out.unasked = True
            self._server.learned_speech()
            return request
        return None

    def _unheard(self, request: EngineRequest, refusal: Refused) -> EngineRequest | None:
        if request.sound is None or not self._may_be_sound(refusal, request):
            return None
        if upstream.is_no_sound(refusal.status, refusal.body):
            self._server.learn(audio_in=False)
        return without_sound(request, SoundUse.REFUSED)

    def _without_video(self, request: EngineRequest, refusal: Refused) -> EngineRequest | None:
        """Whatever a refusal says of a video: pictures are the surer form."""
        if not request.video or refusal.status not in _NOT_TAKEN:
            return None
        self._server.learn(video=False)
        return as_pictures(request, self._server.status.capabilities.max_pictures)

    def _without_tools(self, request: EngineRequest, refusal: Refused) -> EngineRequest | None:
        """Whatever a refusal says of a request with tools, unless it is about the picture or the model: a template
        without them fails in words of its own.
        """
        status, body = refusal.status, refusal.body
        other = upstream.is_no_picture(status, body) or upstream.is_other_model(status, body)
        if not request.tools or status not in _NOT_TAKEN or other:
            return None
        self._server.learn(calls_tools=False)
        return dataclasses.replace(request, tools=())

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
