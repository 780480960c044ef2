"""Messages to operators: the state of the engine that they manage, and its log."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel

from server.core.messages.base import ServerMessage


class LoadingProgress(BaseModel):
    phase: str
    percent: float | None = None
    done_bytes: int | None = None
    total_bytes: int | None = None


class ReleasedMemory(BaseModel):
    """Memory freed by the previous model, in bytes. None: unknown."""

    # Main memory: freed, and still held by its processes
    memory_bytes: int | None = None
    left_bytes: int | None = None
    # Freed GPU memory
    gpu_bytes: int | None = None


class Answering(BaseModel):
    """The engine that answers visitors now."""

    # vllm | builtin | local
    engine: str
    model: str = ""
    # The kind of model server if known, and its host and port; empty for an engine in this server
    server: str = ""
    where: str = ""


class EngineReport(ServerMessage):
    """State of the engine that the operator manages; sent to operators only."""

    type: Literal["engine"] = "engine"
    newest_only: ClassVar[bool] = True
    # idle | loading | ready | stopping | failed
    state: str
    model: str | None = None
    model_type: str | None = None
    mode: str | None = None
    progress: LoadingProgress | None = None
    # Main memory and GPU memory that it uses; None: unknown
    memory_bytes: int | None = None
    gpu_bytes: int | None = None
    # Memory freed by the previous model, if there was one
    released: ReleasedMemory | None = None
    # The command that runs, with secrets masked, quoted for a shell
    command: str | None = None
    # The failure, and the remedy
    error: str | None = None
    # True when it answers visitors, rather than another engine
    answers: bool = False
    # The engine that answers visitors, None for none; and the reason why no better one does, with the remedy
    answering: Answering | None = None
    why: str | None = None


class LogLines(ServerMessage):
    """Lines of an engine's output, secrets removed; sent to operators only."""

    type: Literal["log"] = "log"
    newest_only: ClassVar[bool] = True
    # Oldest first
    lines: list[str]
    # Lines before these that were dropped because the buffer was full
    dropped: int = 0
