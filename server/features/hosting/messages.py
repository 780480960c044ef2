"""Messages about models: to operators the state of the engine that they manage, and its log; to everybody the model on its way."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel

from server.core.messages import ServerMessage


class LoadingProgress(BaseModel):
    """The progress of loading."""

    # What is done now
    phase: str
    # 0 to 100; absent: unknown
    percent: float | None = None
    # Read so far
    done_bytes: int | None = None
    # All that is read
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
    # The model that was chosen
    model: str | None = None
    # `vision`, `omni`, `speech`, `audio` or `video`
    model_type: str | None = None
    # `remote`, `subprocess`, `container` or `in_process`
    mode: str | None = None
    # How far loading is
    progress: LoadingProgress | None = None
    # The command that runs, quoted for a shell, secrets masked
    command: str | None = None
    # The failure, and the remedy
    error: str | None = None
    # It answers visitors, rather than another engine.
    answers: bool = False
    # The engine that answers visitors; absent: none
    answering: Answering | None = None
    # Why no better one answers, with the remedy
    why: str | None = None
    # The engines of `watches` and `reads`, where they are other ones than the engine that answers
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
    """A model is on its way: it is fetched, or loaded, and another engine answers meanwhile. At most once a second."""

    type: Literal["model_coming"] = "model_coming"
    newest_only: ClassVar[bool] = True
    # Its name; empty: none is on its way any more
    model: str = ""
    # What is done now
    step: Literal["fetching", "loading"] = "loading"
    # Of this step, 0 to 100; absent: unknown
    percent: int | None = None
    # Of this step; absent: unknown
    seconds_left: int | None = None
