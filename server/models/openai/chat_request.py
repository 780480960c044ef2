"""The body of a request to a model server, with the fields that this server takes."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from server.core.frames import FRAME_FACTOR
from server.media.picture.encode import MIN_FRAMES
from server.models import prompts
from server.models.base import EngineRequest
from server.models.control_tokens import ControlTokens
from server.models.openai import upstream
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


class RequestFields:
    """The fields of one server. Those that it refuses by name are left out from then on."""

    def __init__(
        self, engine: str, *, temperature: float | None, priority: int | None, voice: str = ""
    ) -> None:
        """`voice`: of answers that the model speaks itself; "" leaves the choice to it."""
        self._engine = engine
        self._voice = voice
        self._sound_form = _PCM
        self.optional: dict[str, Any] = {"stream_options": {"include_usage": True}}
        if temperature is not None:
            self.optional["temperature"] = temperature
        if priority is not None:
            self.optional["priority"] = priority
        self._max_tokens_field = "max_tokens"
        self._schema_taken = True

    def body(
        self,
        request: EngineRequest,
        url: str,
        earlier_urls: Sequence[str] = (),
        *,
        audio: Mapping[str, Any] | None = None,
        model: str,
        context: int | None,
        json_schema: bool = False,
        speech_out: bool = False,
        tokens: ControlTokens | None,
        thinking: Thinking,
    ) -> bytes:
        """Return the body as bytes.

        The answer has half of the context at most; tokens for thoughts are added.

        `json_schema`: the server takes a schema for the answer. `speech_out`: it speaks unless it is
        asked for text alone.
        """
        answer = min(request.max_tokens, context // 2) if context else request.max_tokens
        constrained = self._schema_taken and json_schema and request.schema is not None
        form = {"name": "answer", "schema": request.schema, "strict": True}
        body = {
            "model": model,
            "messages": prompts.messages(request, url, earlier_urls, audio=audio, tokens=tokens),
            "stream": True,
            self._max_tokens_field: answer + thinking.budget(context),
            **self.optional,
            **(self._modalities(request.speak) if speech_out else {}),
            **({_FORMAT: {"type": "json_schema", "json_schema": form}} if constrained else {}),
            **(request.conversation.fields if request.conversation is not None else {}),
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
        """Ask for the other form of sound from now on when a refusal is about it; return True when
        that changes the request.
        """
        if self._sound_form != _PCM or not _FORM_REFUSED.search(upstream.words_of(refusal)):
            return False
        self._sound_form = "wav"
        return True

    def drop(self, refusal: object, thinking: Thinking) -> bool:
        """Leave out the fields that a refusal names from now on; return True when that changes anything."""
        extra = tuple(thinking.fields())
        named = upstream.refused_fields(refusal, (*self.optional, *extra))
        for name in named:
            if name in extra:
                thinking.drop(name)
            else:
                del self.optional[name]
            log.info(
                "the model server refuses a field", extra={"engine": self._engine, "field": name}
            )
        if self._max_tokens_field != _NEWER and upstream.refused_fields(refusal, (_NEWER,)):
            self._max_tokens_field = _NEWER
            return True
        return bool(named)

    def drop_schema(self, request: EngineRequest, refusal: object) -> bool:
        """Send no schema from now on when a refusal names it; return True when that changes the
        request.
        """
        sent = self._schema_taken and request.schema is not None
        if not sent or not _SCHEMA_REFUSED.search(upstream.words_of(refusal)):
            return False
        self._schema_taken = False
        log.info(
            "the model server refuses a field", extra={"engine": self._engine, "field": _FORMAT}
        )
        return True


def fewer_pictures(request: EngineRequest, most: int | None = None) -> EngineRequest:
    """Leave out the oldest earlier pictures: those beyond `most` pictures in all, or the older
    half.
    """
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
