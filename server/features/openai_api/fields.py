"""The fields of a chat request, with their bounds.

Unknown keys and nulls are ignored at every level. A known but unsupported field that would change the answer is refused
by name.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

MAX_MESSAGES = 100
MAX_PARTS = 32
MAX_TOOLS = 32
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
_Id = Annotated[str, Field(min_length=1, max_length=128)]
# An unsupported field, which accepts only an empty value
_Empty = Annotated[None, BeforeValidator(lambda given: given or None)]
_DETAILS = ("auto", "low", "high")


class _Fields(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        """Drop nulls: some clients send all fields that they know, with null for those without a value."""
        if not isinstance(given, dict):
            return given
        return {name: value for name, value in given.items() if value is not None}


class TextPart(_Fields):
    type: Literal["text"]
    text: str


class ImageUrl(_Fields):
    url: str
    detail: Annotated[
        Literal["auto", "low", "high"],
        BeforeValidator(lambda given: given if given in _DETAILS else "auto"),
    ] = "auto"


class ImagePart(_Fields):
    type: Literal["image_url"]
    image_url: ImageUrl


def _to_parts(content: object) -> object:
    """Return a plain text as a list with one text part."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


Texts = Annotated[list[TextPart], Field(max_length=MAX_PARTS), BeforeValidator(_to_parts)]
Parts = Annotated[
    list[Annotated[TextPart | ImagePart, Field(discriminator="type")]],
    Field(max_length=MAX_PARTS),
    BeforeValidator(_to_parts),
]


class SystemMessage(_Fields):
    role: Literal["system", "developer"]
    content: Texts


class UserMessage(_Fields):
    role: Literal["user"]
    content: Parts


class CalledFunction(_Fields):
    name: _Name
    arguments: str = "{}"


class FunctionCall(_Fields):
    id: _Id
    function: CalledFunction


class AssistantMessage(_Fields):
    """An earlier answer, which programs send back with all its fields."""

    role: Literal["assistant"]
    content: Texts | None = None
    tool_calls: Annotated[list[FunctionCall], Field(max_length=MAX_TOOLS)] | None = None


class ToolMessage(_Fields):
    role: Literal["tool"]
    content: Texts = []
    tool_call_id: _Id


Message = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")
]


class Function(_Fields):
    name: _Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolDefinition(_Fields):
    type: Literal["function"]
    function: Function


class NamedFunction(_Fields):
    name: _Name


class NamedTool(_Fields):
    type: Literal["function"]
    function: NamedFunction


class JsonSchema(_Fields):
    name: _Name
    description: str | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    strict: bool | None = None


class PlainFormat(_Fields):
    type: Literal["text", "json_object"]


class SchemaFormat(_Fields):
    type: Literal["json_schema"]
    json_schema: JsonSchema


class StreamOptions(_Fields):
    include_usage: bool | None = None


class Body(_Fields):
    """The body of a request."""

    model: Annotated[str, Field(min_length=1, max_length=200)]
    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    tools: Annotated[list[ToolDefinition], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: Annotated[PlainFormat | SchemaFormat, Field(discriminator="type")] | None = (
        None
    )
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
    # Only these values are supported
    n: Literal[1] | None = None
    logprobs: Literal[False] | None = None
    store: Literal[False] | None = None
    modalities: Annotated[list[Literal["text"]], Field(max_length=1)] | None = None
    # Not supported: fields of OpenAI, of other servers' sampling, and of their structured outputs
    logit_bias: _Empty = None
    top_logprobs: _Empty = None
    functions: _Empty = None
    web_search_options: None = None
    top_k: _Empty = None
    min_p: _Empty = None
    repetition_penalty: _Empty = None
    structured_outputs: _Empty = None
    guided_json: _Empty = None
    guided_regex: _Empty = None
    guided_choice: _Empty = None
    guided_grammar: _Empty = None
    grammar: _Empty = None
