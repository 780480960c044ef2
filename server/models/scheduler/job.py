"""An inference job: its request, the sink that gets its progress, and its result."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from server.core.errors import Internal, QwenCameraError
from server.core.frames import Kind
from server.media.picture.grounding import Box
from server.media.sound.pcm import VoiceChunk
from server.models.base import Engine, EngineRequest, Usage
from server.models.conversation import ToolCall


@dataclass(frozen=True, slots=True)
class Result:
    """The end of an answer without an error."""

    # The whole answer, or the text until it was stopped.
    text: str
    # stop | length | content_filter | tool_calls | cancelled | replaced
    finish_reason: str
    usage: Usage
    # Name and model of the engine; empty when none was asked.
    engine: str
    model: str
    # From submission to the slot
    queue_seconds: float
    # From the request to the first text; None without text.
    first_token_seconds: float | None
    # From the request to the end; 0 without a request.
    inference_seconds: float
    # Reason for stopping it; None when it was not stopped.
    cancel_reason: str | None
    # The model's reasoning, as far as the sink got it.
    thoughts: str = ""
    # Turns of the history and earlier pictures that did not fit, and were left out.
    left_out: int = 0
    pictures_left_out: int = 0
    # See `Finished.video_refused` and `Finished.sound_refused`.
    video_refused: bool = False
    sound_refused: bool = False
    # The engine spoke the answer itself; see `Finished.speech_refused`.
    spoken: bool = False
    speech_refused: bool = False
    # See `Finished.boxes`; what a sink passes on is in pixels of the frame.
    boxes: tuple[Box, ...] | None = None
    # See `Finished.calls`.
    calls: tuple[ToolCall, ...] = ()


class Sink(Protocol):
    """Receives a job's progress: `started`, then `thought`s and `delta`s, then one of `finished`
    and `failed`.

    All are called on the event loop between two pieces of the answer, and must not block. When
    another engine takes over, `started` is called again (never after a `delta`). A job that ends
    while it waits gets only its end. An exception in `started` or `delta` ends only this job, with
    `failed(Internal)`.
    """

    def started(self, engine: Engine, request: EngineRequest, queue_seconds: float) -> None: ...

    def delta(self, text: str) -> None: ...

    def thought(self, text: str) -> None:
        """Receive a piece of the model's reasoning before its answer."""
        ...

    def finished(self, result: Result) -> None:
        """Receive the result; for a stopped job with the text so far, before the stopping call
        returns.
        """
        ...

    def failed(self, error: QwenCameraError) -> None: ...


@dataclass(eq=False, slots=True)
class Job:
    """One question about one picture, for one session. Compared by identity; submitted once.

    Bounds of the frame and the request of a question: dropped at its end: a cycle of references
    would keep them until Python's collector runs, which does not count a decoder's memory.
    """

    session_id: str
    kind: Kind
    # Builds the request for an engine, within the slot. Called again when another engine takes
    # over. Raises CameraError when there is no picture; may be cancelled.
    make_request: Callable[[Engine], Awaitable[EngineRequest]]
    sink: Sink
    id: str
    # Plays the answer's sound, from an engine that speaks itself
    on_speech: Callable[[VoiceChunk], None] = lambda _: None

    @property
    def background(self) -> bool:
        return self.kind is not Kind.CHAT

    def let_go(self) -> None:
        """Drop its request and its sink, which both hold a camera's frame."""
        self.make_request, self.sink, self.on_speech = _ended, _Silent(), _unheard


class _Silent:
    """The sink of a job that has ended."""

    def started(self, engine: Engine, request: EngineRequest, queue_seconds: float) -> None: ...

    def delta(self, text: str) -> None: ...

    def thought(self, text: str) -> None: ...

    def finished(self, result: Result) -> None: ...

    def failed(self, error: QwenCameraError) -> None: ...


async def _ended(engine: Engine) -> EngineRequest:
    raise Internal("This question has ended on the server.")


def _unheard(chunk: VoiceChunk) -> None: ...
