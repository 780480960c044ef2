"""Messages to operators about the engine and its log, and to visitors about a model that is fetched or loaded."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel

from server.core.messages import ServerMessage


class LoadingProgress(BaseModel):
    """Progress of loading a model."""

    # Current phase
    phase: str
    # 0 to 100; absent: unknown
    percent: float | None = None
    # Bytes read so far
    done_bytes: int | None = None
    # Bytes to read in all
    total_bytes: int | None = None


class Answering(BaseModel):
    """The engine that answers visitors now."""

    # `vllm`, `builtin` or `local`
    engine: str
    # Name of its model
    model: str = ""
    # The kind of model server if known; empty for an engine in this server
    server: str = ""
    # Its host and port; empty for an engine in this server
    where: str = ""


class EngineReport(ServerMessage):
    """State of the engine that the operator manages; to operators only."""

    type: Literal["engine"] = "engine"
    newest_only: ClassVar[bool] = True
    # `idle`, `loading`, `ready`, `stopping` or `failed`
    state: str
    # The chosen model
    model: str | None = None
    # `vision`, `omni`, `speech`, `audio` or `video`
    model_type: str | None = None
    # `remote`, `subprocess`, `container` or `in_process`
    mode: str | None = None
    # Progress of loading
    progress: LoadingProgress | None = None
    # The command that runs, quoted for a shell, secrets masked
    command: str | None = None
    # The failure, and the remedy
    error: str | None = None
    # This engine answers visitors, not another one.
    answers: bool = False
    # The engine that answers visitors; absent: none
    answering: Answering | None = None
    # Why no better engine answers, with the remedy
    why: str | None = None
    # Engines of `watches` and `reads`, if they differ from the engine that answers
    roles: dict[str, Answering] | None = None


class LogLines(ServerMessage):
    """Lines of an engine's output, secrets removed; to operators only."""

    type: Literal["log"] = "log"
    newest_only: ClassVar[bool] = True
    # Oldest first, 300 characters each at most
    lines: list[str]
    # Lines before these that were dropped because the buffer was full
    dropped: int = 0


class ModelComing(ServerMessage):
    """A model is being fetched or loaded, and another engine answers meanwhile. At most once a second."""

    type: Literal["model_coming"] = "model_coming"
    newest_only: ClassVar[bool] = True
    # Its name; empty: done, no model is fetched or loaded
    model: str = ""
    # Current step
    step: Literal["fetching", "loading"] = "loading"
    # Of this step, 0 to 100; absent: unknown
    percent: int | None = None
    # Of this step; absent: unknown
    seconds_left: int | None = None
