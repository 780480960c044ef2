"""The body of a request to a model server, with the fields that this server takes."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from typing import Any

from server.core.errors import EngineFailed
from server.core.frames import FRAME_FACTOR, Picture
from server.media.picture.encode import MIN_FRAMES, data_url
from server.models import prompts
from server.models.base import EngineRequest, EngineStatus
from server.models.control_tokens import ControlTokens
from server.models.openai import upstream
from server.models.openai.chat_client import Endpoint
from server.models.thinking import Thinking

log = logging.getLogger(__name__)
# Some servers know only the newer name.
_NEWER = "max_completion_tokens"
# The field with the answer's schema, and what refusals of a schema name
_FORMAT = "response_format"
_SCHEMA_REFUSED = re.compile(r"response_format|json_schema|\bgrammar\b|structured_output", re.I)
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
        tokens: ControlTokens | None,
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
            "messages": prompts.messages(
                request, media.url, earlier, audio=media.audio, tokens=tokens
            ),
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

    def other_sound_form(self, refusal: object) -> bool:
        """Ask for the other form of sound if a refusal is about it; True if that changes it."""
        if self._sound_form != _PCM or not _FORM_REFUSED.search(upstream.words_of(refusal)):
            return False
        self._sound_form = "wav"
        return True

    def drop(self, refusal: object, thinking: Thinking) -> bool:
        """Leave out the fields that a refusal names from now on; return True when that changes anything."""
        extra = tuple(thinking.fields())
        named = upstream.refused_fields(refusal, (*self._optional, *extra))
        for name in named:
            if name in extra:
                thinking.drop(name)
            else:
                del self._optional[name]
            log.info(
                "the model server refuses a field", extra={"engine": self._engine, "field": name}
            )
        if self._max_tokens_field != _NEWER and upstream.refused_fields(refusal, (_NEWER,)):
            self._max_tokens_field = _NEWER
            return True
        return bool(named)

    def drop_schema(self, request: EngineRequest, refusal: object) -> bool:
        """Send no schema from now on when a refusal names it; True when that changes the request."""
        sent = self._schema_taken and request.schema is not None
        if not sent or not _SCHEMA_REFUSED.search(upstream.words_of(refusal)):
            return False
        self._schema_taken = False
        log.info(
            "the model server refuses a field", extra={"engine": self._engine, "field": _FORMAT}
        )
        return True


def fewer_pictures(request: EngineRequest, most: int | None = None) -> EngineRequest:
    """Leave out the oldest earlier pictures: beyond `most` pictures in all, or the older half."""
    count = len(request.earlier)
    if request.video and most is None:
        left = count // 2 - count // 2 % FRAME_FACTOR
        if left < MIN_FRAMES:
            # Fewer are no video, and the newest one alone costs less than they did.
            request, left = dataclasses.replace(request, video=False), 1
        return dataclasses.replace(request, earlier=request.earlier[count - left :])
    gone = (count + 1) // 2 if most is None else max(1, count + 1 - most)
    return dataclasses.replace(request, earlier=request.earlier[gone:])


def as_pictures(request: EngineRequest, most: int | None) -> EngineRequest:
    """Turn a video into pictures: the newest half of its frames, which cost as much, and no more
    than leave the server with `most` pictures.
    """
    left = len(request.earlier) // FRAME_FACTOR
    left = left if most is None else min(left, most - 1)
    earlier = request.earlier[len(request.earlier) - left :]
    return dataclasses.replace(request, video=False, earlier=earlier)


def fewer_turns(request: EngineRequest) -> EngineRequest:
    """Leave out the older half of the turns; all when there is one."""
    return dataclasses.replace(request, turns=request.turns[(len(request.turns) + 1) // 2 :])
