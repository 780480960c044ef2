"""One video or sound at a time: asked for, made, encoded in memory, handed over once, kept nowhere."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Protocol

from server.aio import TaskSet, in_pool
from server.engines.wire import Message
from server.errors import Busy, EngineFailed, Internal, NotFound, QwenCameraError
from server.generation.bounds import (
    MAX_FRAMES,
    MAX_PIXELS,
    MAX_SEED,
    SoundRequest,
    VideoRequest,
)
from server.generation.mp4 import Mp4Writer, TooManyBytes
from server.generation.rules import Rules
from server.generation.wav import wav
from server.metrics import Metrics

log = logging.getLogger(__name__)

# A minute of 1080p at the encoder's quality is about a third of it.
MAX_RESULT_BYTES = 256 * 1024 * 1024
# A result that nobody has taken goes.
KEEP_SECONDS = 600.0


class Maker(Protocol):
    """A loaded model that makes something: `Generator`, `VideosApi`."""

    @property
    def rules(self) -> Rules: ...

    @property
    def backend(self) -> str: ...

    @property
    def busy(self) -> bool: ...

    def make(self, asked: Mapping[str, Any], picture: bytes = b"") -> AsyncGenerator[Message]:
        """`step`, then `frame`s, `sound` or a whole `file`. Closing it stops the work."""
        ...


class MakingState(StrEnum):
    IDLE = "idle"
    WORKING = "working"
    CANCELLING = "cancelling"
    # The result waits to be taken.
    READY = "ready"
    TAKEN = "taken"
    CANCELLED = "cancelled"
    FAILED = "failed"
    # Nobody took the result in time.
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Made:
    """A file, in memory."""

    data: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class Progress:
    """What is told of the newest piece of work; no words of what was asked are in it."""

    state: MakingState = MakingState.IDLE
    # "video" or "sound"; "" before the first
    kind: str = ""
    # "steps", "decoding" (the model's last part), "encoding"
    phase: str = ""
    step: int = 0
    # 0: nobody knows
    steps: int = 0
    # Frames that came, of how many
    made: int = 0
    frames: int = 0
    width: int = 0
    height: int = 0
    # Of what is made
    seconds: float = 0.0
    seed: int = 0
    # Seconds of work so far
    elapsed: float = 0.0
    # Of the result
    bytes: int = 0
    media_type: str = ""
    error: dict[str, Any] | None = None

    def message(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)


class Making:
    """Owner of the one piece of work and its result. `pool` encodes. All methods belong to the event loop."""

    def __init__(
        self,
        *,
        metrics: Metrics,
        pool: ThreadPoolExecutor,
        most_bytes: int = MAX_RESULT_BYTES,
        keep_seconds: float = KEEP_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics = metrics
        self._pool = pool
        self._most_bytes = most_bytes
        self._keep_seconds = keep_seconds
        self._clock = clock
        self._progress = Progress()
        self._began = 0.0
        self._made: Made | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._tasks = TaskSet("making")
        self._task: asyncio.Task[None] | None = None

    @property
    def progress(self) -> Progress:
        if self._task is not None:
            return replace(self._progress, elapsed=round(self._clock() - self._began, 1))
        return self._progress

    def start(
        self, generator: Maker, asked: VideoRequest | SoundRequest, picture: bytes = b""
    ) -> Progress:
        """Begin. `picture` is RGB of the video's size, for a request with `camera`. A result not taken is dropped.

        Raises Busy while something is made.
        """
        self.check_free(generator)
        self._drop()
        seed = secrets.randbelow(MAX_SEED + 1) if asked.seed is None else asked.seed
        self._began = self._clock()
        self._progress = Progress(
            MakingState.WORKING, _kind(asked), "steps", steps=asked.steps, seed=seed
        )
        if isinstance(asked, VideoRequest):
            self._progress = replace(
                self._progress,
                frames=asked.frames,
                width=asked.width,
                height=asked.height,
                seconds=round(asked.seconds, 3),
            )
        self._task = self._tasks.spawn(self._run(generator, asked, seed, picture), name="making")
        return self.progress

    def check_free(self, generator: Maker) -> None:
        """Raises Busy while something is made."""
        if self._task is None and not generator.busy:
            return
        now = self._progress
        done = f" (step {now.step} of {now.steps})" if now.steps else ""
        raise Busy(
            f"A {now.kind or 'video'} is being made{done}; one at a time is allowed. Wait for it, or cancel it.",
            retry_after=5.0,
        )

    async def cancel(self) -> Progress:
        """End the work that goes on, and drop the result that waits; returns when that is done."""
        task = self._task
        if task is not None:
            self._progress = replace(self._progress, state=MakingState.CANCELLING)
            task.cancel()
            await asyncio.wait({task})
            if self._task is task:
                # It was cancelled before it had begun.
                self._task = None
                self._progress = replace(self._progress, state=MakingState.CANCELLED)
                self._metrics.generations.labels(self._progress.kind, "cancelled").inc()
        elif self._made is not None:
            self._drop()
            self._progress = replace(self._progress, state=MakingState.CANCELLED)
        return self.progress

    def take(self) -> Made:
        """The result; there is no second time. Raises NotFound."""
        made = self._made
        if made is None:
            raise NotFound(
                "There is nothing to take: a result is handed over once, and dropped when nobody takes it within "
                f"{self._keep_seconds / 60:.0f} minutes."
            )
        self._forget()
        self._progress = replace(self._progress, state=MakingState.TAKEN)
        return made

    async def close(self) -> None:
        self._forget()
        await self._tasks.close()

    # The work

    async def _run(
        self,
        generator: Maker,
        asked: VideoRequest | SoundRequest,
        seed: int,
        picture: bytes,
    ) -> None:
        kind, result = _kind(asked), "error"
        try:
            if isinstance(asked, VideoRequest):
                made = await self._video(generator, asked, seed, picture)
            else:
                made = await self._sound(generator, asked, seed)
            result = "ok"
            self._keep(made)
        except asyncio.CancelledError:
            result = "cancelled"
            self._progress = replace(self._progress, state=MakingState.CANCELLED)
            raise
        except QwenCameraError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - of any encoder: counted, logged, told
            log.error("making failed", extra={"error": type(error).__name__})
            self._fail(Internal("Something went wrong in the server. Its log has the details."))
        finally:
            self._progress = replace(self._progress, elapsed=round(self._clock() - self._began, 1))
            self._task = None
            self._metrics.generations.labels(kind, result).inc()

    async def _video(
        self, generator: Maker, asked: VideoRequest, seed: int, picture: bytes
    ) -> Made:
        fields = {
            **_common(asked, seed),
            "width": asked.width,
            "height": asked.height,
            "frames": asked.frames,
            "fps": asked.fps,
        }
        writer: Mp4Writer | None = None
        whole = b""
        try:
            async with aclosing(generator.make(fields, picture)) as messages:
                async for message in messages:
                    self._tell(message)
                    if message.type == "frame":
                        if writer is None:
                            writer = self._writer(message, asked.fps)
                        await in_pool(self._pool, writer.add, message.payload)
                    elif message.type == "file":
                        whole = message.payload
            if whole:
                if len(whole) > self._most_bytes:
                    raise TooManyBytes
                return Made(whole, "video/mp4")
            if writer is None:
                raise EngineFailed("The model made no frames. Try other values.")
            data = await in_pool(self._pool, writer.finish)
            writer = None
            seconds = round(self._progress.made / asked.fps, 3)
            self._progress = replace(self._progress, seconds=seconds)
            return Made(data, "video/mp4")
        except TooManyBytes:
            raise EngineFailed(
                f"The video is larger than {self._most_bytes // 2**20} MiB, which is the most that is kept. Ask for a "
                "smaller or shorter one."
            ) from None
        finally:
            if writer is not None:
                writer.discard()

    def _writer(self, first: Message, fps: int) -> Mp4Writer:
        width, height = int(first.header["width"]), int(first.header["height"])
        if width * height > MAX_PIXELS or width % 2 or height % 2:
            raise EngineFailed(
                f"The model made frames of {width}x{height} pixels; even sides and at most {MAX_PIXELS} pixels are "
                "allowed. Ask for another size."
            )
        self._progress = replace(self._progress, width=width, height=height)
        return Mp4Writer(width, height, fps, MAX_FRAMES, self._most_bytes)

    async def _sound(self, generator: Maker, asked: SoundRequest, seed: int) -> Made:
        fields = _common(asked, seed)
        if asked.seconds is not None:
            fields["seconds"] = asked.seconds
        pcm = bytearray()
        rate, channels = generator.rules.sample_rate, 1
        async with aclosing(generator.make(fields)) as messages:
            async for message in messages:
                self._tell(message)
                if message.type == "sound":
                    rate, channels = int(message.header["rate"]), int(message.header["channels"])
                    pcm += message.payload
                    if len(pcm) > self._most_bytes:
                        raise EngineFailed(
                            f"The sound is larger than {self._most_bytes // 2**20} MiB, which is the most that is kept. "
                            "Ask for a shorter one."
                        )
        self._progress = replace(self._progress, seconds=round(len(pcm) / (2 * channels * rate), 3))
        if asked.format == "pcm":
            # RFC 2586's L16 is big end first; this is what sound cards take.
            return Made(bytes(pcm), f"audio/pcm;rate={rate};channels={channels}")
        return Made(wav(bytes(pcm), rate, channels), "audio/wav")

    def _tell(self, message: Message) -> None:
        header, progress = message.header, self._progress
        if message.type == "step":
            step, steps = int(header["step"]), int(header["steps"])
            # The last step is behind it, and the pictures are not there yet.
            phase = "decoding" if steps and step >= steps else "steps"
            progress = replace(progress, step=step, steps=steps, phase=phase)
        elif message.type == "frame":
            made = int(header["index"]) + 1
            if made > MAX_FRAMES:
                raise EngineFailed(
                    f"The model made more than {MAX_FRAMES} frames, the most allowed."
                )
            progress = replace(progress, made=made, phase="encoding")
        if progress.state is not self._progress.state or progress != self._progress:
            self._progress = replace(progress, state=self._progress.state)

    # The result

    def _keep(self, made: Made) -> None:
        self._made = made
        self._progress = replace(
            self._progress,
            state=MakingState.READY,
            phase="",
            bytes=len(made.data),
            media_type=made.media_type,
        )
        loop = asyncio.get_running_loop()
        self._expiry = loop.call_later(self._keep_seconds, self._expire)

    def _expire(self) -> None:
        self._drop()
        self._progress = replace(self._progress, state=MakingState.EXPIRED)

    def _drop(self) -> None:
        """A result that nobody took."""
        if self._made is not None:
            self._metrics.generations_dropped.inc()
        self._forget()

    def _forget(self) -> None:
        self._made = None
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None

    def _fail(self, error: QwenCameraError) -> None:
        self._progress = replace(
            self._progress,
            state=MakingState.FAILED,
            error={"code": error.code, "message": error.message, "retryable": error.retryable},
        )


def _kind(asked: VideoRequest | SoundRequest) -> str:
    return "video" if isinstance(asked, VideoRequest) else "sound"


def _common(asked: VideoRequest | SoundRequest, seed: int) -> dict[str, Any]:
    return {
        "prompt": asked.prompt,
        "negative_prompt": asked.negative_prompt,
        "guidance": asked.guidance,
        "steps": asked.steps,
        "seed": seed,
    }
