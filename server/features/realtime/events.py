"""The events of clients, with their bounds. Unknown fields are ignored; unsupported ones are refused by name. Pure."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Protocol, Union

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from server.features.openai_api.errors import FieldRefused, PictureRefused

MAX_PARTS = 32
MAX_TOOLS = 32
MAX_INPUT = 100
_Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")]
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
# An unsupported field, which accepts only an empty value
_Empty = Annotated[None, BeforeValidator(lambda given: given or None)]


class SendEvent(Protocol):
    """Sends an event to the client."""

    def __call__(self, type: str, **fields: Any) -> None: ...


class _Fields(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, allow_inf_nan=False)


# Items of a conversation


class TextPart(_Fields):
    type: Literal["input_text", "output_text", "text"]
    text: str


class SoundPart(_Fields):
    """Sound of an earlier turn. Only its transcript is used."""

    type: Literal["input_audio", "output_audio", "audio"]
    transcript: str | None = None
    audio: _Empty = None


class ImagePart(_Fields):
    """A picture, which is refused: see `_refuse_pictures`."""

    type: Literal["input_image", "image_url"]


Part = Annotated[TextPart | SoundPart | ImagePart, Field(discriminator="type")]


class _Item(_Fields):
    id: _Id | None = None


class MessageItem(_Item):
    type: Literal["message"]
    role: Literal["system", "user", "assistant"]
    content: Annotated[list[Part], Field(max_length=MAX_PARTS)]


class CallItem(_Item):
    type: Literal["function_call"]
    call_id: _Id
    name: _Name
    arguments: str


class OutputItem(_Item):
    type: Literal["function_call_output"]
    call_id: _Id
    output: str


class ReferenceItem(_Fields):
    """An item of the conversation, in the input of a response."""

    type: Literal["item_reference"]
    id: _Id


Item = Annotated[MessageItem | CallItem | OutputItem, Field(discriminator="type")]
InputItem = Annotated[
    MessageItem | CallItem | OutputItem | ReferenceItem, Field(discriminator="type")
]

# Settings of a session and of a response


class FunctionTool(_Fields):
    type: Literal["function"]
    name: _Name
    description: str | None = None
    parameters: dict[str, Any] | None = None


class OwnTools(_Fields):
    """The server's own tools, in the form of an MCP server. No other server is asked."""

    type: Literal["mcp"]
    server_label: Literal["camera"]
    server_url: _Empty = None
    connector_id: _Empty = None


Tool = Annotated[FunctionTool | OwnTools, Field(discriminator="type")]


class NamedTool(_Fields):
    type: Literal["function"]
    name: _Name


class SoundFormat(_Fields):
    type: Literal["audio/pcm"]
    rate: Literal[24000] = 24000


class TurnDetection(_Fields):
    type: Literal["server_vad", "semantic_vad"]
    create_response: bool = True
    interrupt_response: bool = True
    silence_duration_ms: Annotated[int, Field(ge=0, le=60_000)] | None = None


class Transcription(_Fields):
    language: Annotated[str, Field(max_length=35)] | None = None


class SoundInput(_Fields):
    format: SoundFormat | None = None
    turn_detection: TurnDetection | None = None
    transcription: Transcription | None = None


class SoundOutput(_Fields):
    format: SoundFormat | None = None


class SoundSettings(_Fields):
    input: SoundInput | None = None
    output: SoundOutput | None = None


class _Answering(_Fields):
    """The fields of both a session and a response."""

    instructions: str | None = None
    output_modalities: Annotated[list[Literal["text", "audio"]], Field(max_length=1)] | None = None
    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=4096)] | Literal["inf"] | None = None
    audio: SoundSettings | None = None
    prompt: _Empty = None


class SessionFields(_Answering):
    type: Literal["realtime"] = "realtime"
    model: str | None = None


Metadata = dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]]


class ResponseFields(_Answering):
    conversation: Literal["auto", "none"] | None = None
    input: Annotated[list[InputItem], Field(max_length=MAX_INPUT)] | None = None
    metadata: Annotated[Metadata, Field(max_length=16)] | None = None


# Events


class Event(_Fields):
    """An event of a client."""

    event_id: Annotated[str, Field(max_length=512)] | None = None


class SessionUpdate(Event):
    type: Literal["session.update"]
    session: SessionFields


class ItemCreate(Event):
    type: Literal["conversation.item.create"]
    item: Item
    previous_item_id: _Id | None = None


class ItemLookup(Event):
    type: Literal["conversation.item.retrieve", "conversation.item.delete"]
    item_id: _Id


class ItemTruncate(Event):
    type: Literal["conversation.item.truncate"]
    item_id: _Id
    content_index: Annotated[int, Field(ge=0, le=MAX_PARTS)]
    audio_end_ms: Annotated[int, Field(ge=0, le=86_400_000)]


class ResponseCreate(Event):
    type: Literal["response.create"]
    response: ResponseFields | None = None


class ResponseCancel(Event):
    type: Literal["response.cancel"]
    response_id: _Id | None = None


class SoundAppend(Event):
    type: Literal["input_audio_buffer.append"]
    audio: str


class BareEvent(Event):
    type: Literal[
        "input_audio_buffer.commit", "input_audio_buffer.clear", "output_audio_buffer.clear"
    ]


_EVENTS: TypeAdapter[Any] = TypeAdapter(
    Annotated[Union[tuple(Event.__subclasses__())], Field(discriminator="type")]  # type: ignore[arg-type]  # noqa: UP007
)


def read_event(raw: str) -> Any:
    """Parse an event. Raise FieldRefused, or PictureRefused for a picture; both name the field."""
    try:
        event = _EVENTS.validate_json(raw)
    except ValidationError as error:
        raise _event_error(error) from None
    given = event.response.input if isinstance(event, ResponseCreate) and event.response else None
    items = [event.item] if isinstance(event, ItemCreate) else given or []
    for item in items:
        if isinstance(item, MessageItem):
            _refuse_pictures(item)
    return event


def event_id(raw: str) -> str | None:
    """Return the id of an event that `read_event` refused; None if it has none."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    id = found.get("event_id") if isinstance(found, dict) else None
    return id if isinstance(id, str) and len(id) <= 512 else None


def _refuse_pictures(item: MessageItem) -> None:
    for at, part in enumerate(item.content):
        if isinstance(part, ImagePart):
            raise PictureRefused(
                f'"{part.type}" parts are not supported, because no picture is uploaded or fetched. Remove the part; each response uses the live camera.',
                f"item.content[{at}]",
            )


def _event_error(error: ValidationError) -> FieldRefused:
    """Return the error for the first invalid field. It repeats nothing from the event but names of known fields."""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    kind, where = problem["type"], _param(problem["loc"])
    if kind == "json_invalid":
        text = "The event is not valid JSON, or is nested too deeply. Send one JSON object."
        return FieldRefused(text, known_as="invalid_json")
    if not where and kind.startswith("union_tag"):
        where = "type"
    return FieldRefused(
        f'"{where or "event"}" is not supported, or its value is not valid. docs/realtime.md lists what is supported.',
        where or None,
        "unknown_parameter" if kind == "none_required" else "invalid_value",
    )


def _kinds(kind: type[BaseModel]) -> list[type[BaseModel]]:
    return [one for sub in kind.__subclasses__() for one in (sub, *_kinds(sub))]


# Names of all fields, which errors may repeat
_KNOWN = {name for kind in _kinds(_Fields) for name in kind.model_fields}


def _param(loc: tuple[int | str, ...]) -> str:
    """Return the path of a field as OpenAI writes it, without the tags of unions; "" for the event itself."""
    found = ""
    for part in loc:
        if isinstance(part, int):
            found += f"[{part}]"
        elif part in _KNOWN:
            found += f".{part}" if found else part
    return found
