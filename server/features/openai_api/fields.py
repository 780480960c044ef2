"""The fields of a chat request, with their bounds. A field that would change the answer and cannot be followed here is
refused by name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

MAX_MESSAGES = 100
MAX_PARTS = 32
MAX_TOOLS = 32
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
_Id = Annotated[str, Field(min_length=1, max_length=128)]
# Names that cost nothing to take, and change nothing here
_Note = Annotated[str, Field(max_length=512)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Text(_Strict):
    type: Literal["text"]
    text: str


class Address(_Strict):
    url: str
    detail: Literal["auto", "low", "high"] | None = None


class Picture(_Strict):
    type: Literal["image_url"]
    image_url: Address


def _as_parts(content: object) -> object:
    """Return a plain text as the one part that it is."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


Texts = Annotated[list[Text], Field(max_length=MAX_PARTS), BeforeValidator(_as_parts)]
Parts = Annotated[
    list[Annotated[Text | Picture, Field(discriminator="type")]],
    Field(max_length=MAX_PARTS),
    BeforeValidator(_as_parts),
]


class Instructions(_Strict):
    role: Literal["system", "developer"]
    content: Texts
    name: _Note | None = None


class Asked(_Strict):
    role: Literal["user"]
    content: Parts
    name: _Note | None = None


class CalledFunction(_Strict):
    name: _Name
    arguments: str


class Called(_Strict):
    id: _Id
    type: Literal["function"]
    function: CalledFunction


class Answered(_Strict):
    """An earlier answer, which programs send back with all that came with it."""

    model_config = ConfigDict(extra="ignore")
    role: Literal["assistant"]
    content: Texts | None = None
    tool_calls: Annotated[list[Called], Field(max_length=MAX_TOOLS)] | None = None


class ToolResult(_Strict):
    role: Literal["tool"]
    content: Texts
    tool_call_id: _Id


Message = Annotated[Instructions | Asked | Answered | ToolResult, Field(discriminator="role")]


class Function(_Strict):
    name: _Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(_Strict):
    type: Literal["function"]
    function: Function


class NamedFunction(_Strict):
    name: _Name


class NamedTool(_Strict):
    type: Literal["function"]
    function: NamedFunction


class Schema(_Strict):
    name: _Name
    description: str | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    strict: bool | None = None


class PlainForm(_Strict):
    type: Literal["text", "json_object"]


class SchemaForm(_Strict):
    type: Literal["json_schema"]
    json_schema: Schema


class StreamOptions(_Strict):
    include_usage: bool | None = None
    # Padding against listeners who know the lengths of pieces: answers have none
    include_obfuscation: bool | None = None


class Body(_Strict):
    """A request as a whole."""

    model: Annotated[str, Field(min_length=1, max_length=200)]
    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    tools: Annotated[list[Tool], Field(min_length=1, max_length=MAX_TOOLS)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: Annotated[PlainForm | SchemaForm, Field(discriminator="type")] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: (
        Annotated[str, Field(min_length=1, max_length=200)]
        | Annotated[
            list[Annotated[str, Field(min_length=1, max_length=200)]],
            Field(min_length=1, max_length=4),
        ]
        | None
    ) = None
    # The one value of each that can be done here
    n: Literal[1] | None = None
    logprobs: Literal[False] | None = None
    store: Literal[False] | None = None
    modalities: Annotated[list[Literal["text"]], Field(max_length=1)] | None = None
    # Taken, and without effect
    user: _Note | None = None
    safety_identifier: _Note | None = None
    prompt_cache_key: _Note | None = None
    service_tier: _Note | None = None
    metadata: Annotated[dict[_Note, _Note], Field(max_length=16)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _with_a_value(cls, given: Any) -> Any:
        """Leave out what is null: some clients write all fields that they know, and mean none."""
        if not isinstance(given, dict):
            return given
        return {name: value for name, value in given.items() if value is not None}
