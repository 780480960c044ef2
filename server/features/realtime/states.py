"""The states of a response as a table, with the events of each change. Pure."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """The state of a connection's response."""

    # There is no response.
    IDLE = "idle"
    # It waits for its frame, its model or its next output item.
    WAITING = "waiting"
    # Its message is being written.
    WRITING = "writing"


class ResponseStep(StrEnum):
    """A change of a response."""

    CREATE = "create"
    TEXT = "text"
    # A piece of the message is spoken
    SOUND = "sound"
    # The message is complete, or was stopped
    CLOSE = "close"
    # The model calls a function
    CALL = "call"
    # The model calls one of the server's tools, which has run
    TOOL = "tool"
    # The response ends
    END = "end"


_ADD = ("response.output_item.added", "conversation.item.added")
_DONE = ("response.output_item.done", "conversation.item.done")
_OPEN = (*_ADD, "response.content_part.added")
_CLOSE = ("response.content_part.done", *_DONE)
_ARGUMENTS = ("response.function_call_arguments.delta", "response.function_call_arguments.done")
_TOOL = (
    "response.mcp_call_arguments.delta",
    "response.mcp_call_arguments.done",
    "response.mcp_call.in_progress",
    "response.mcp_call.completed",
)

# The next state, and the events that the server sends, by state and step. Other steps do not occur.
STATES: dict[tuple[State, ResponseStep], tuple[State, tuple[str, ...]]] = {
    (State.IDLE, ResponseStep.CREATE): (State.WAITING, ("response.created", "rate_limits.updated")),
    (State.WAITING, ResponseStep.TEXT): (State.WRITING, (*_OPEN, "response.output_text.delta")),
    (State.WRITING, ResponseStep.TEXT): (State.WRITING, ("response.output_text.delta",)),
    (State.WRITING, ResponseStep.SOUND): (State.WRITING, ("response.output_audio.delta",)),
    (State.WRITING, ResponseStep.CLOSE): (State.WAITING, ("response.output_text.done", *_CLOSE)),
    (State.WAITING, ResponseStep.CALL): (State.WAITING, (*_ADD, *_ARGUMENTS, *_DONE)),
    (State.WAITING, ResponseStep.TOOL): (State.WAITING, (*_ADD, *_TOOL, *_DONE)),
    (State.WAITING, ResponseStep.END): (State.IDLE, ("response.done",)),
}
# The events in place of others in a spoken response
SPOKEN = {
    "response.output_text.delta": ("response.output_audio_transcript.delta",),
    "response.output_text.done": (
        "response.output_audio.done",
        "response.output_audio_transcript.done",
    ),
}
