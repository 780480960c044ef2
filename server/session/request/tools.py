"""What the model may have done for the person who asks, with that person's consent: tools, and the reading of their calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from server.core import messages as wire
from server.core.errors import BadRequest, QwenCameraError
from server.core.frames import LEAST_PART, Route
from server.models import prompts
from server.models.base import Engine, EngineRequest
from server.models.conversation import ToolCall
from server.models.reply import MOST_ARGUMENT_CHARS
from server.models.scheduler.job import Result
from server.session.request.answers import AnswerPublisher, PendingQuestion


class Arguments(BaseModel):
    """The arguments of a tool; this one takes none."""

    model_config = ConfigDict(allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class Tool:
    """Something that a model may call for the question of a person who has agreed.

    The client carries it out and undoes it, as the person could by hand; or with `again` the question is asked
    once more, about the same frame.
    """

    name: str
    # One sentence for the model
    description: str
    arguments: type[Arguments] = Arguments
    # Returns what a call is about, in words for the person; raises QwenCameraError for one that cannot be
    about: Callable[[Any], str] = lambda _: ""
    # Changes what the question asks for, and returns its route; raises QwenCameraError
    again: Callable[[PendingQuestion, Any], Route] | None = None

    @property
    def form(self) -> Mapping[str, Any]:
        """The tool as OpenAI's chat interface describes it."""
        function = {"name": self.name, "description": self.description}
        return {"type": "function", "function": function | {"parameters": _schema(self.arguments)}}


@cache
def _schema(arguments: type[Arguments]) -> Mapping[str, Any]:
    """Return the JSON schema of arguments, without the titles that pydantic makes of their names."""
    schema = arguments.model_json_schema()
    fields = schema.get("properties", {})
    for field in fields.values():
        field.pop("title", None)
    return {"type": "object", "properties": fields, "required": schema.get("required", [])}


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool of the session, with valid arguments."""

    tool: Tool
    arguments: Arguments
    shown: wire.CalledTool

    @property
    def note(self) -> str:
        """The call as the history has it; "" for one that the client does not carry out."""
        if self.tool.again is not None or self.shown.refused:
            return ""
        return prompts.called(self.tool.name, self.shown.about or "")


class Toolbox:
    """The tools of one session. `count` gets the fate of each call: done, refused, malformed or unknown."""

    def __init__(self, tools: Callable[[], Sequence[Tool]], count: Callable[[str], None]) -> None:
        """`tools()`: those of its parts."""
        self._tools = tools
        self._count = count

    def forms(self) -> tuple[Mapping[str, Any], ...]:
        """Return what a request tells of them."""
        return tuple(tool.form for tool in (*_CORE, *self._tools()))

    def read(self, calls: Sequence[ToolCall]) -> list[Call]:
        """Return the calls that are of a tool and have its arguments; others are counted alone."""
        tools = {tool.name: tool for tool in (*_CORE, *self._tools())}
        found = []
        for call in calls:
            tool = tools.get(call.name)
            read = _read(tool, call.arguments) if tool is not None else None
            if read is None:
                self._count("malformed" if tool is not None else "unknown")
            else:
                self._count("refused" if read.shown.refused else "done")
                found.append(read)
        return found


def _read(tool: Tool, given: str) -> Call | None:
    """Return a call with arguments in JSON; None for others than the tool's."""
    try:
        if len(given) > MOST_ARGUMENT_CHARS:
            return None
        arguments = tool.arguments.model_validate(json.loads(given))
    except (ValidationError, ValueError, RecursionError):
        return None
    try:
        about = tool.about(arguments)
    except QwenCameraError:
        return Call(tool, arguments, wire.CalledTool(name=tool.name, refused=True))
    return Call(tool, arguments, wire.CalledTool(name=tool.name, about=about or None))


class WithTools:
    """Sink of a question whose answer may call tools. `called` returns True when the question is asked once more."""

    def __init__(self, answer: AnswerPublisher, called: Callable[[Result], bool]) -> None:
        self.id = answer.id
        self._answer = answer
        self._called = called
        self._given = False

    def started(self, engine: Engine, request: EngineRequest, queue_seconds: float) -> None:
        self._given = bool(request.tools)
        self._answer.started(engine, request, queue_seconds)

    def delta(self, text: str) -> None:
        self._answer.delta(text)

    def thought(self, text: str) -> None:
        self._answer.thought(text)

    def failed(self, error: QwenCameraError) -> None:
        self._answer.failed(error)

    def finished(self, result: Result) -> None:
        if not (self._given and result.cancel_reason is None and self._called(result)):
            stopped = result.finish_reason == "tool_calls"
            self._answer.finished(replace(result, finish_reason="stop") if stopped else result)


# The tools of the core: the held picture, and a closer look.


class _Part(Arguments):
    left: float = Field(description="0 to 1000, from the left")
    top: float = Field(description="0 to 1000, from the top")
    right: float = Field(description="0 to 1000, from the left")
    bottom: float = Field(description="0 to 1000, from the top")


def _closer(pending: PendingQuestion, part: _Part) -> Route:
    edges = (part.left, part.top, part.right, part.bottom)
    # Some give shares.
    most = 1.0 if max(edges) <= 1.0 else 1000.0
    x1, y1, x2, y2 = (min(1.0, max(0.0, edge / most)) for edge in edges)
    if pending.part is not None or not min(x2 - x1, y2 - y1) >= LEAST_PART:
        raise BadRequest("This part of the picture cannot be looked at closer.")
    pending.part, pending.closer = (x1, y1, x2, y2), True
    return Route.DETAIL


_CORE = (
    Tool("hold", "Keep the present picture for the person's next questions."),
    Tool(
        "look_closer",
        "See a part of this picture enlarged, before you answer, when what is asked is too small to tell.",
        _Part,
        again=_closer,
    ),
)
