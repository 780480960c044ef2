"""One request to a model server: in other forms, and with less in it, until the server takes it."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import json
import logging
import math
import re
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from server.core.errors import EngineError, EngineFailed, EngineRefused, EngineUnavailable
from server.core.frames import FRAME_FACTOR, Picture
from server.core.sound import SoundUse
from server.media.picture.encode import data_url
from server.models import prompts
from server.models.base import EngineRequest, EngineStatus, Finished
from server.models.openai import upstream
from server.models.openai.chat_client import ChatClient, Dropped, Endpoint, NotChat, Unreachable
from server.models.openai.chat_stream import ChatStream
from server.models.openai.known_server import KnownServer
from server.models.openai.upstream import Fault, Reason, Refused
from server.models.thinking import Thinking

log = logging.getLogger(__name__)
# Some servers know only the newer name.
_NEWER = "max_completion_tokens"
# The field with the answer's schema
_FORMAT = "response_format"
# The form of an answer's sound: OpenAI streams this one alone, Qwen's own service calls it "wav".
_PCM = "pcm16"
_FORM_REFUSED = re.compile(r"\bpcm16\b|audio\.format|\bformat\b.{0,60}\bwav\b", re.I | re.S)


class Media:
    """The pictures and the sound of a request in the form that goes out; made once, however often it is
    sent.

    Raises EngineFailed for a picture that was not encoded.
    """

    def __init__(self, request: EngineRequest) -> None:
        self.url = _url(request.picture)
        self.earlier = [_url(one.picture) for one in request.earlier]
        sound = request.sound
        heard = sound is not None and prompts.fault(sound) is None
        self.audio = prompts.audio_part(sound) if sound is not None and heard else None


def _url(picture: Picture) -> str:
    if picture.jpeg is None:
        raise EngineFailed("The frame was not encoded for this engine. Ask again.")
    return data_url(picture.jpeg)


class RequestFields:
    """The fields of one server. Those that it refuses by name are left out from then on."""

    def __init__(self, engine: str, endpoint: Endpoint) -> None:
        self._engine = engine
        self._model = endpoint.model
        self._voice = endpoint.voice
        self._sound_form = _PCM
        self._optional = {"stream_options": {"include_usage": True}, **endpoint.fields}
        self._max_tokens_field = "max_tokens"
        self._schema_taken = True

    def body(
        self,
        request: EngineRequest,
        media: Media,
        status: EngineStatus,
        *,
        speech_out: bool = False,
        thinking: Thinking,
    ) -> bytes:
        """Return the body as bytes.

        The answer has half of the context at most; tokens for thoughts are added.

        `media` may hold more earlier pictures than the request still has. `speech_out`: the server
        speaks unless it is asked for text alone.
        """
        context = status.capabilities.context_length
        answer = min(request.max_tokens, context // 2) if context else request.max_tokens
        takes_schema = self._schema_taken and status.capabilities.json_schema
        constrained = takes_schema and request.schema is not None
        form = {"name": "answer", "schema": request.schema, "strict": True}
        earlier = media.earlier[len(media.earlier) - len(request.earlier) :]
        body = {
            "model": status.model or self._model,
            "messages": prompts.messages(request, media.url, earlier, audio=media.audio),
            "stream": True,
            self._max_tokens_field: answer + thinking.budget(context),
            **self._optional,
            **(self._modalities(request.speak) if speech_out else {}),
            **({_FORMAT: {"type": "json_schema", "json_schema": form}} if constrained else {}),
            **(request.conversation.fields if request.conversation is not None else {}),
            **({"tools": request.tools} if request.tools else {}),
            **thinking.fields(),
        }
        return json.dumps(body, separators=(",", ":")).encode("ascii")

    def _modalities(self, speak: bool) -> dict[str, Any]:
        if not speak:
            return {"modalities": ["text"]}
        audio = {"format": self._sound_form}
        # vLLM-Omni has a field of its own for the voice.
        named = {"speaker": self._voice} if self._voice else {}
        if self._voice:
            audio["voice"] = self._voice
        return {"modalities": ["text", "audio"], "audio": audio, **named}

    def other_sound_form(self, refusal: Refused) -> bool:
        """Ask for the other form of sound if a refusal is about it; True if that changes it."""
        if self._sound_form != _PCM or not refusal.says(_FORM_REFUSED):
            return False
        self._sound_form = "wav"
        return True

    def drop(self, refusal: Refused) -> bool:
        """Leave out the fields that a refusal names from now on; return True when that changes anything."""
        named = refusal.fields(tuple(self._optional))
        for name in named:
            del self._optional[name]
            log.info(
                "the model server refuses a field", extra={"engine": self._engine, "field": name}
            )
        if self._max_tokens_field != _NEWER and refusal.fields((_NEWER,)):
            self._max_tokens_field = _NEWER
            return True
        return bool(named)

    def drop_schema(self, request: EngineRequest, refusal: Refused) -> bool:
        """Send no schema from now on when a refusal names it; True when that changes the request."""
        sent = self._schema_taken and request.schema is not None
        if not sent or not refusal.says(upstream.NO_FORM):
            return False
        self._schema_taken = False
        log.info(
            "the model server refuses a field", extra={"engine": self._engine, "field": _FORMAT}
        )
        return True


def fewer_pictures(request: EngineRequest) -> EngineRequest:
    """Leave out the older half of the earlier pictures; of a video that is none any more all but the newest one, which
    alone costs less than they did.
    """
    return request.with_newest(len(request.earlier) // 2, most=2)


def fewer_turns(request: EngineRequest) -> EngineRequest:
    """Leave out the older half of the turns; all when there is one."""
    return dataclasses.replace(request, turns=request.turns[(len(request.turns) + 1) // 2 :])


@dataclass(frozen=True, slots=True)
class Opened:
    """An answer that has begun to come."""

    stream: ChatStream
    # The first, None where there is none
    event: bytes | None
    # The request as it was taken, and as it was asked for
    sent: EngineRequest
    wanted: EngineRequest

    def end(self, finished: Finished, *, silent: bool) -> Finished:
        """Return the end of its answer with what of the request was left out. `silent`: no sound came."""
        sent, wanted = self.sent, self.wanted
        return dataclasses.replace(
            finished,
            left_out=len(wanted.turns) - len(sent.turns),
            pictures_left_out=len(wanted.earlier) - len(sent.earlier),
            video_refused=wanted.video and not sent.video,
            sound_refused=wanted.sound is not None and sent.sound is None,
            speech_refused=wanted.speak and (silent or not sent.speak),
        )


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
        wanted = request
        # A refusal may have shown since the request was built that nobody hears or speaks here.
        able = self._server.status.capabilities
        request = prompts.checked(request, able.audio_in)
        request = dataclasses.replace(request, speak=request.speak and able.speech_out)
        fields = self._fields
        if request.conversation is not None:
            # A refusal may repeat what a program wrote: it counts for this request alone.
            fields = copy.deepcopy(fields)
        looked_up = False
        while True:
            build = partial(
                fields.body,
                request,
                media,
                self._server.status,
                speech_out=self._server.speech_out.states,
                thinking=self._thinking,
            )
            # A program's conversation may be long: others must not wait while it is cleaned.
            beside = request.conversation is not None
            body = await asyncio.to_thread(build) if beside else build()
            try:
                begun = await self._client.send(body, stack, due, names, spoken=request.speak)
                return Opened(*begun, sent=request, wanted=wanted)
            except Unreachable as exc:
                reason = Reason.BROKEN if isinstance(exc, Dropped) else Reason.REFUSED
                raise Fault(reason, partial(self._server.unreachable, str(exc))) from None
            except NotChat as exc:
                raise EngineFailed(self._server.not_chat(exc.why).detail) from None
            except Refused as refusal:
                if refusal.passing and not last and not request.speak:
                    # Before a failure without a word about it is taken for one of the media; without
                    # the answer's sound it is asked again at once.
                    raise self.refusal(refusal) from None
                other = not looked_up and refusal.of_another_model
                if request.conversation is not None and not other:
                    request = self._of_program(request, refusal, fields)
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
        if blind := refusal.about(upstream.NO_PICTURE):
            self._server.no_pictures(self._server.model)
        if blind or other:
            if (await self._server.probe()).ready and self._server.status.model != model:
                return request
            if blind and not self._server.status.ready:
                # The next engine may answer.
                raise EngineUnavailable(self._server.status.detail) from None
        raise self.refusal(refusal) from None

    # What a refusal may be about, in the order in which it is tried. Each returns the request as it
    # is sent again, or None when the refusal is about something else.

    def _without_a_field(self, request: EngineRequest, refusal: Refused) -> EngineRequest | None:
        dropped = refusal.status in (400, 422) and self._fields.drop(refusal)
        return request if dropped or self._fields.drop_schema(request, refusal) else None

    def _without_named_tools(
        self, request: EngineRequest, refusal: Refused
    ) -> EngineRequest | None:
        return self._without_tools(request, refusal) if refusal.about(upstream.NO_TOOLS) else None

    def _with_fewer_pictures(
        self, request: EngineRequest, refusal: Refused
    ) -> EngineRequest | None:
        most = refusal.most_pictures
        if most is None or most > len(request.earlier) or request.video:
            return None
        self._server.learn(max_pictures=most)
        return request.with_newest(most - 1)

    def _shortened(self, request: EngineRequest, refusal: Refused) -> EngineRequest | None:
        if not refusal.of_context:
            return None
        if (stated := upstream.stated_context(refusal.body)) is not None:
            self._server.learn(context_length=stated)
        if request.turns:
            return fewer_turns(request)
        if request.earlier:
            return fewer_pictures(request)
        raise self.refusal(refusal) from None

    def _unspoken(self, request: EngineRequest, refusal: Refused) -> EngineRequest | None:
        """Ask for another form of the answer's sound, for the text alone, or say nothing of either."""
        if request.speak and _may_be(upstream.NO_SPEECH, refusal, request):
            if self._fields.other_sound_form(refusal):
                return request
            # The text alone is the surer form.
            if refusal.about(upstream.NO_SPEECH):
                self._server.speech_out.mute = True
                self._server.learned_speech()
            return dataclasses.replace(request, speak=False)
        if self._server.speech_out.states and refusal.fields(("modalities",)):
            self._server.speech_out.unasked = True
            self._server.learned_speech()
            return request
        return None

    def _unheard(self, request: EngineRequest, refusal: Refused) -> EngineRequest | None:
        if request.sound is None or not _may_be(upstream.NO_SOUND, refusal, request):
            return None
        if refusal.about(upstream.NO_SOUND):
            self._server.learn(audio_in=False)
        return prompts.without_sound(request, SoundUse.REFUSED)

    def _without_video(self, request: EngineRequest, refusal: Refused) -> EngineRequest | None:
        """Whatever a refusal says of a video: pictures are the surer form."""
        if not request.video or refusal.status not in upstream.NOT_TAKEN:
            return None
        self._server.learn(video=False)
        # The newest half of its frames cost as much as they did.
        half, most = (
            len(request.earlier) // FRAME_FACTOR,
            self._server.status.capabilities.max_pictures,
        )
        left = half if most is None else min(half, most - 1)
        return dataclasses.replace(request, video=False).with_newest(left)

    def _without_tools(self, request: EngineRequest, refusal: Refused) -> EngineRequest | None:
        """Whatever a refusal says of a request with tools, unless it is about the picture or the model: a template
        without them fails in words of its own.
        """
        other = refusal.about(upstream.NO_PICTURE) or refusal.of_another_model
        if not request.tools or refusal.status not in upstream.NOT_TAKEN or other:
            return None
        self._server.learn(calls_tools=False)
        return dataclasses.replace(request, tools=())

    def _of_program(
        self, request: EngineRequest, refusal: Refused, fields: RequestFields
    ) -> EngineRequest:
        """Return a refused request of a program as it is sent again. Raises its refusal, EngineError or Fault.

        Nothing is learned of the server: the refusal's words may be the program's own.
        """
        if refusal.status in (400, 422) and fields.drop(refusal):
            return request
        most = refusal.most_pictures
        if most is not None and most <= len(request.earlier):
            return request.with_newest(most - 1)
        if refusal.of_context:
            if request.earlier:
                return fewer_pictures(request)
            raise self.refusal(refusal) from None
        given = request.conversation.fields if request.conversation is not None else ()
        if wish := refusal.wish(given):
            # Never without it: the program counts on the form of its answer.
            raise EngineRefused(
                f'The present model does not take "{wish}" as it was given. Leave it out, or tell whoever runs'
                " this server.",
                public=True,
            ) from None
        raise self.refusal(refusal) from None

    def refusal(self, refusal: Refused, *, begun: bool = False) -> EngineError | Fault:
        """Return the error of a refusal, or the fault that another attempt may mend.

        `begun`: there was a token.
        """
        reason = None if begun else refusal.reason
        if reason is None:
            return self._server.refusal(refusal)
        wait = refusal.retry_after
        # After a 429 without a time nobody but a person tries again here.
        pause = math.inf if refusal.status == 429 and wait is None else wait
        return Fault(reason, lambda: self._server.refusal(refusal), pause)


def _may_be(what: re.Pattern[str], refusal: Refused, request: EngineRequest) -> bool:
    """Find whether a refusal is about the sound or the speech (`what`) of a request, or may be as far as it says."""
    if refusal.about(what):
        return True
    if what is upstream.NO_SOUND:
        other = request.video
    else:
        other = request.sound is not None and refusal.about(upstream.NO_SOUND)
    other = other or refusal.about(upstream.NO_PICTURE) or refusal.of_another_model
    return refusal.status in upstream.NOT_TAKEN and not other
