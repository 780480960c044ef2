"""The body of a request to a model server, complete or reduced to its plain form."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping
from typing import Any

from server.core.errors import EngineFailed
from server.core.frames import Picture
from server.core.sound import SoundUse
from server.media.picture.encode import to_data_url
from server.models import prompts
from server.models.base import Capabilities, EngineRequest, Pictures, ProgramFields
from server.models.openai.chat_client import Endpoint
from server.models.openai.model_server import ModelServer
from server.models.thinking import ThinkingPolicy

log = logging.getLogger(__name__)
# Extras: parts in addition to the plain form, which consists of the newest picture, the text, and the fields `model`,
# `messages`, `max_tokens` and `stream`
FIELDS, SWITCH = "optional fields", "the switch for thinking"
PICTURES, VIDEO, SOUND, SPEECH = "several pictures", "video", "sound", "speech"
SCHEMA, TOOLS, APART = "a schema", "tools", "a message for the picture"
# Tokens in addition to those of the answer; the sum may exceed the context or the server's limit
THOUGHTS = "tokens for thoughts"
# Seconds for which extras are omitted after a refusal
KEEP_SECONDS = 600.0
# Audio format of an answer: the only one that OpenAI streams
_PCM = "pcm16"


class Media:
    """The encoded pictures and sound of a request, shared by all its retries.

    Raises EngineFailed if a picture was not encoded.
    """

    def __init__(self, request: EngineRequest) -> None:
        self.urls = [_get_url(one.picture) for one in request.pictures]
        sound = request.sound
        heard = sound is not None and prompts.find_sound_fault(sound) is None
        self.audio = prompts.make_audio_part(sound) if sound is not None and heard else None


def _get_url(picture: Picture) -> str:
    if picture.jpeg is None:
        raise EngineFailed("The frame was not encoded for this engine. Ask again.")
    return to_data_url(picture.jpeg)


def get_extras(
    request: EngineRequest, able: Capabilities, thinking: ThinkingPolicy
) -> frozenset[str]:
    """Return the extras of a request. A program's own fields are not optional, so they are no extras."""
    has = {
        FIELDS: True,
        SWITCH: bool(thinking.fields()),
        PICTURES: bool(request.earlier),
        VIDEO: request.video,
        SOUND: request.sound is not None,
        SPEECH: request.speak,
        SCHEMA: request.schema is not None and able.json_schema,
        TOOLS: bool(request.tools),
        APART: _find_picture_message(request) is not None,
    }
    return frozenset(name for name, there in has.items() if there)


def _find_picture_message(request: EngineRequest) -> int | None:
    """Return the index of the message that has only pictures, or None if there is none."""
    for at, one in enumerate(request.messages):
        if one.parts and all(isinstance(part, Pictures) for part in one.parts):
            return at
    return None


def _merge_picture_message(request: EngineRequest) -> EngineRequest:
    """Merge the message that has only pictures into the question that follows it."""
    if (at := _find_picture_message(request)) is None:
        return request
    shown, asked = request.messages[at : at + 2]
    whole = dataclasses.replace(asked, parts=(*shown.parts, *asked.parts))
    messages = (*request.messages[:at], whole, *request.messages[at + 2 :])
    return dataclasses.replace(request, messages=messages)


def remove_extras(request: EngineRequest, names: frozenset[str]) -> EngineRequest:
    """Return a request without these extras."""
    if names & {PICTURES, VIDEO}:
        request = request.without_video()
    if PICTURES in names:
        request = request.with_newest(0)
    if SOUND in names and request.sound is not None:
        request = prompts.without_sound(request, SoundUse.REFUSED)
    if APART in names:
        request = _merge_picture_message(request)
    return dataclasses.replace(
        request,
        speak=request.speak and SPEECH not in names,
        schema=None if SCHEMA in names else request.schema,
        tools=() if TOOLS in names else request.tools,
    )


class PlainForm:
    """The extras that one model's server refused, each omitted for ten minutes.

    An extra that was accepted before is omitted only after a second refusal, because the refusal may have another
    reason, such as one person's sound, or a server behind a router that stopped.
    """

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._model = ""
        # Time until which each extra is omitted, monotonic seconds
        self._until: dict[str, float] = {}
        self._taken: frozenset[str] = frozenset()
        # The server needs `max_completion_tokens` instead of `max_tokens`
        self.newer_name = False

    def names(self, model: str, now: float) -> frozenset[str]:
        """Return the extras to omit. `now`: monotonic seconds."""
        if model != self._model:
            self._model, self.newer_name, self._taken = model, False, frozenset()
            self._until.clear()
        return frozenset(name for name, until in self._until.items() if now < until)

    def note_accepted(self, names: frozenset[str]) -> None:
        """Record the extras of an accepted request."""
        self._taken |= names

    def note_refused(self, names: frozenset[str], now: float) -> None:
        """Record the extras of a refused request that the accepted request did not have."""
        names, self._taken = names - self._taken, self._taken - names
        if names:
            self.keep(names, now)
            log.warning(
                "optional request fields refused",
                extra={"engine": self._engine, "reason": ", ".join(sorted(names))},
            )

    def keep(self, names: frozenset[str], now: float) -> None:
        """Omit these extras from requests for ten minutes."""
        self._until |= dict.fromkeys(names, now + KEEP_SECONDS)


def restrict(able: Capabilities, left_out: frozenset[str]) -> Capabilities:
    """Return the capabilities without these extras."""
    return dataclasses.replace(
        able,
        video=able.video and not left_out & {VIDEO, PICTURES},
        audio_in=able.audio_in and SOUND not in left_out,
        speech_out=able.speech_out and SPEECH not in left_out,
        json_schema=able.json_schema and SCHEMA not in left_out,
        calls_tools=able.calls_tools and TOOLS not in left_out,
        max_pictures=1 if PICTURES in left_out else able.max_pictures,
        prefix_cache=able.prefix_cache and APART not in left_out,
    )


def shorten_request(request: EngineRequest) -> EngineRequest | None:
    """Return a shorter request; None if nothing is left to remove.

    The older half of the turns is removed first, then the older half of the earlier pictures. If single pictures
    replace a video, only the newest one is kept, which costs less than the video did.
    """
    if request.turns:
        return request.with_newest_turns(len(request.turns) // 2)
    if request.earlier:
        return request.with_newest(len(request.earlier) // 2, most=2)
    return None


def make_body(
    request: EngineRequest,
    media: Media,
    server: ModelServer,
    endpoint: Endpoint,
    thinking: ThinkingPolicy,
    left_out: frozenset[str],
    newer_name: bool,
) -> bytes:
    """Return a request's body as JSON.

    The answer may use at most half of the context; tokens for thoughts are added.

    `media` may have more earlier pictures than the request. `left_out`: omitted extras. `newer_name`: see `PlainForm`.
    """
    able = server.status.capabilities
    context = able.context_length
    most = min(request.max_tokens, context // 2) if context else request.max_tokens
    budget = 0 if THOUGHTS in left_out else thinking.budget(context)
    urls = media.urls[len(media.urls) - len(request.pictures) :]
    fields: dict[str, Any] = {
        "model": server.model,
        "messages": prompts.make_chat_messages(request, urls, media.audio),
        "max_completion_tokens" if newer_name else "max_tokens": most + budget,
        "stream": True,
    }
    if FIELDS in left_out:
        _fold_system(fields["messages"])
    else:
        fields |= get_optional_fields(endpoint)
        if server.speech_out:
            fields |= _make_modalities(request.speak, endpoint.voice)
    fields |= thinking.fields()
    if request.schema is not None and able.json_schema:
        form = {"name": "answer", "schema": request.schema, "strict": True}
        fields["response_format"] = {"type": "json_schema", "json_schema": form}
    if request.tools:
        fields["tools"] = request.tools
    if (given := request.extra(ProgramFields)) is not None:
        fields |= given.all
    return json.dumps(fields, separators=(",", ":")).encode("ascii")


def _fold_system(messages: list[dict[str, Any]]) -> None:
    """Prepend the system text to the first user message: some chat templates have no system role."""
    first, said = messages[1], messages[1]["content"]
    if first["role"] == "user":
        parts = said if isinstance(said, list) else [{"type": "text", "text": said}]
        first["content"] = [{"type": "text", "text": messages.pop(0)["content"]}, *parts]


def get_optional_fields(endpoint: Endpoint) -> dict[str, Any]:
    """Return the optional fields that are added to each request."""
    return {"stream_options": {"include_usage": True}, **endpoint.fields}


def _make_modalities(speak: bool, voice: str) -> Mapping[str, Any]:
    if not speak:
        return {"modalities": ["text"]}
    audio = {"format": _PCM, **({"voice": voice} if voice else {})}
    # vLLM-Omni has its own field for the voice.
    named = {"speaker": voice} if voice else {}
    return {"modalities": ["text", "audio"], "audio": audio, **named}
