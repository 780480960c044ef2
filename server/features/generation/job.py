"""One video or sound at a time: asked for, made in memory, handed over once, kept nowhere."""

from __future__ import annotations

import asyncio
import io
import logging
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from numpy.typing import NDArray

from server.core.aio import TaskSet, Timer, in_pool
from server.core.errors import Busy, EngineFailed, Internal, NotFound, QwenCameraError
from server.core.metrics import Metrics
from server.core.sound import SAMPLE_BYTES, wav
from server.features.generation.bounds import (
    MAX_FRAMES,
    MAX_PIXELS,
    MAX_SEED,
    SoundRequest,
    VideoRequest,
)
from server.features.generation.generator import GenerationRuntime
from server.shared.processes.wire import WorkerMessage

log = logging.getLogger(__name__)

# An MP4 is H.264, 4:2:0, BT.709, with its index in front so that a page plays it at once. A WAV has 16-bit PCM.

# Visually clean, about a tenth of a bit a pixel (x264's scale).
CRF = "18"
# The index: a fixed part, and what a frame's size, time, place and order take. libavformat's own
# way of putting it in front ("faststart") reads the file again by its name, which one in memory has
# not: room is kept for it instead.
_INDEX_BYTES = 4096 + 48 * MAX_FRAMES


@dataclass(frozen=True, slots=True)
class ResultFile:
    """A file, in memory."""

    data: bytes
    media_type: str


class ResultTooLarge(Exception):
    """The file got too large. Outside the tree of errors: its callers say what that means."""


class Mp4Writer:
    """One video. Belongs to one thread at a time; ends with `finish` or `discard`."""

    def __init__(self, width: int, height: int, fps: int, most_bytes: int) -> None:
        """`width`, `height`: pixels, even."""
        self._file, self._most = io.BytesIO(), most_bytes
        options = {"moov_size": str(_INDEX_BYTES), "fflags": "+bitexact"}
        self._container = av.open(self._file, "w", format="mp4", options=options)
        stream = self._container.add_stream("libx264", rate=fps, options={"crf": CRF})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.colorspace = Colorspace.ITU709.value
        context.color_range = ColorRange.MPEG.value
        context.color_primaries = ColorPrimaries.BT709.value
        context.color_trc = ColorTrc.BT709.value
        self._stream = stream
        self._shape = (height, width, 3)
        self._time_base = Fraction(1, fps)
        self._count = 0

    def add(self, rgb: bytes | memoryview) -> None:
        """The next frame: height * width * 3 bytes. Raises ResultTooLarge, ValueError."""
        pixels = np.frombuffer(rgb, np.uint8).reshape(self._shape)
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
            format="yuv420p",
            src_colorspace=Colorspace.DEFAULT,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
        )
        frame.pts, frame.time_base = self._count, self._time_base
        self._count += 1
        self._encode(frame)

    def _encode(self, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            self._container.mux(packet)
            if self._file.tell() > self._most:
                raise ResultTooLarge

    def finish(self) -> bytes:
        """The file. Raises ResultTooLarge."""
        self._encode(None)
        self._container.close()
        return self._file.getvalue()

    def discard(self) -> None:
        """Give everything back; nothing is made."""
        self._file.close()


def crop_and_resize(bgr: NDArray[np.uint8], width: int, height: int) -> bytes:
    """Return RGB of `width` * `height` pixels: the largest part around the middle of that ratio."""
    rows, columns = bgr.shape[:2]
    part_rows = min(rows, max(1, round(columns * height / width)))
    part_columns = min(columns, max(1, round(rows * width / height)))
    top, left = (rows - part_rows) // 2, (columns - part_columns) // 2
    part = bgr[top : top + part_rows, left : left + part_columns]
    shrinks = width * height < part_rows * part_columns
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    sized = cv2.resize(np.ascontiguousarray(part), (width, height), interpolation=how)
    return np.ascontiguousarray(sized[..., ::-1]).tobytes()


# A minute of 1080p at the encoder's quality is about a third of it.
MAX_RESULT_BYTES = 256 * 1024 * 1024
# A result that nobody has taken goes.
KEEP_SECONDS = 600.0


class JobState(StrEnum):
    IDLE = "idle"
    WORKING = "working"
    CANCELLING = "cancelling"
    READY = "ready"
    TAKEN = "taken"
    CANCELLED = "cancelled"
    FAILED = "failed"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class JobProgress:
    """The progress of the newest piece of work, and its result; no words of the request are in it."""

    # `idle`, `working`, `cancelling`, `ready` (the result waits to be taken), `taken`, `cancelled`,
    # `failed`, or `expired` (nobody took it)
    state: JobState = JobState.IDLE
    # `video` or `sound`; empty before the first
    kind: str = ""
    # `steps`, `decoding` (the model's last part) or `encoding`
    phase: str = ""
    # Steps so far
    step: int = 0
    # All of them; 0: unknown so far
    steps: int = 0
    # Frames so far
    made: int = 0
    # All of them
    frames: int = 0
    # Pixels
    width: int = 0
    # Pixels
    height: int = 0
    # Length of the video or sound
    seconds: float = 0.0
    # The one that was used
    seed: int = 0
    # Seconds of work so far
    elapsed: float = 0.0
    # Size of the result
    bytes: int = 0
    # Of the result
    media_type: str = ""
    # The error, as in an error's body; null without one
    error: dict[str, Any] | None = None


class GenerationJob:
    """Owner of the one piece of work and its result.

    `pool` encodes, with one thread, in turn. All methods belong to the event loop.

    Bounds of the job for a video or sound, and its result: one; 256 MiB; the result is delivered
    once (again after a broken connection), and dropped after 10 minutes or for the next one.
    """

    def __init__(self, *, metrics: Metrics, pool: ThreadPoolExecutor) -> None:
        # kind: video, sound; result: ok, cancelled, error
        self._ended_counter = metrics.counter(
            "generations_total", "Videos and sounds by how they ended", "kind", "result"
        )
        self._dropped_counter = metrics.counter(
            "generations_dropped_total", "Videos and sounds that nobody took in time"
        )
        self._pool = pool
        self._progress = JobProgress()
        self._began = 0.0
        # The result that waits
        self._result: ResultFile | None = None
        self._expiry = Timer()
        self._tasks = TaskSet("making")
        self._task: asyncio.Task[None] | None = None

    @property
    def progress(self) -> JobProgress:
        if self._task is not None:
            return replace(self._progress, elapsed=self._elapsed_seconds())
        return self._progress

    def start(
        self, model: GenerationRuntime, asked: VideoRequest | SoundRequest, picture: bytes = b""
    ) -> JobProgress:
        """Begin.

        `picture` is RGB of the video's size, for a request with `camera`. A result not taken is
        dropped. Raises Busy while something is made.
        """
        self.check_free(model)
        self._drop()
        seed = secrets.randbelow(MAX_SEED + 1) if asked.seed is None else asked.seed
        asked = asked.model_copy(update={"seed": seed})
        self._began = time.monotonic()
        self._progress = JobProgress(JobState.WORKING, model.rules.output, "steps", seed=seed)
        if isinstance(asked, VideoRequest):
            self._update(
                frames=asked.frames,
                width=asked.width,
                height=asked.height,
                seconds=round(asked.seconds, 3),
            )
        self._task = self._tasks.spawn(self._run(model, asked, picture), name="making")
        return self.progress

    def check_free(self, model: GenerationRuntime) -> None:
        """Raises Busy while something is made."""
        if self._task is None and not model.busy:
            return
        now = self._progress
        done = f" (step {now.step} of {now.steps})" if now.steps else ""
        raise Busy(
            f"A {now.kind or 'video'} is being made{done}; one at a time is allowed. Wait for it, or cancel it.",
            retry_after=5.0,
        )

    async def cancel(self) -> JobProgress:
        """End the running work and drop the waiting result; returns when that is done."""
        task = self._task
        if task is not None:
            # A second cancelling would end the waiting for the model's own end.
            if self._progress.state is not JobState.CANCELLING:
                self._update(state=JobState.CANCELLING)
                task.cancel()
            await asyncio.wait({task})
            if self._task is task:
                # It was cancelled before it had begun.
                self._task = None
                self._update(state=JobState.CANCELLED)
                self._ended_counter.labels(self._progress.kind, "cancelled").inc()
        elif self._result is not None:
            self._drop()
            self._update(state=JobState.CANCELLED)
        return self.progress

    def take(self) -> ResultFile:
        """Return the result, until one `mark_delivered`. Raises NotFound."""
        made = self._result
        if made is None:
            raise NotFound(
                "There is nothing to take: a result is handed over once, and dropped when nobody takes it within "
                f"{KEEP_SECONDS / 60:.0f} minutes."
            )
        return made

    def mark_delivered(self, made: ResultFile) -> None:
        """Drop a result that has arrived, unless it was cancelled or newer work begun."""
        if self._result is made:
            self._forget()
            self._update(state=JobState.TAKEN)

    async def close(self) -> None:
        self._forget()
        await self._tasks.close()

    # The work

    async def _run(
        self, model: GenerationRuntime, asked: VideoRequest | SoundRequest, picture: bytes
    ) -> None:
        kind, result = self._progress.kind, "error"
        try:
            if isinstance(asked, VideoRequest):
                made = await self._video(model, asked, picture)
            else:
                made = await self._sound(model, asked)
            result = "ok"
            self._store(made)
        except asyncio.CancelledError:
            result = "cancelled"
            self._update(state=JobState.CANCELLED)
            raise
        except QwenCameraError as error:
            self._set_failed(error)
        except Exception as error:  # noqa: BLE001 - of any encoder: counted, logged, reported
            log.error("generating failed", extra={"error": type(error).__name__})
            self._set_failed(
                Internal("Something went wrong in the server. Its log has the details.")
            )
        finally:
            self._update(elapsed=self._elapsed_seconds())
            self._task = None
            self._ended_counter.labels(kind, result).inc()

    # One file in memory, an MP4 or a WAV, of the frames or pieces that a model sends

    async def _video(
        self, model: GenerationRuntime, asked: VideoRequest, picture: bytes
    ) -> ResultFile:
        """Raises EngineError; when cancelled, the model's work has ended."""
        writer: Mp4Writer | None = None
        made = 0
        try:
            async with aclosing(
                model.make(asked.model_dump(exclude={"camera"}), picture)
            ) as messages:
                async for message in messages:
                    if message.type == "step":
                        self._step(message)
                    elif message.type == "frame":
                        made += 1
                        if made > MAX_FRAMES:
                            raise EngineFailed(
                                f"The model made more than {MAX_FRAMES} frames, the most allowed."
                            )
                        writer = writer or self._writer(message, asked.fps)
                        self._update(made=made, phase="encoding")
                        await in_pool(self._pool, writer.add, message.payload)
            if writer is None:
                raise EngineFailed("The model made no frames. Try other values.")
            data = await in_pool(self._pool, writer.finish)
            writer = None
            self._update(seconds=round(made / asked.fps, 3))
            return ResultFile(data, "video/mp4")
        except ResultTooLarge:
            raise self._too_large("video", "smaller or shorter one") from None
        finally:
            if writer is not None:
                # In the pool, behind the frame that may be encoded still: nobody waits for it. A
                # pool that is closed has nobody either.
                with suppress(RuntimeError):
                    self._pool.submit(writer.discard)

    def _writer(self, first: WorkerMessage, fps: int) -> Mp4Writer:
        width, height = int(first.header["width"]), int(first.header["height"])
        if width * height > MAX_PIXELS or width % 2 or height % 2:
            raise EngineFailed(
                f"The model made frames of {width}x{height} pixels; even sides and at most {MAX_PIXELS} pixels are "
                "allowed. Ask for another size."
            )
        self._update(width=width, height=height)
        return Mp4Writer(width, height, fps, MAX_RESULT_BYTES)

    async def _sound(self, model: GenerationRuntime, asked: SoundRequest) -> ResultFile:
        """Raises EngineError; when cancelled, the model's work has ended."""
        pcm = bytearray()
        rate, channels = model.rules.sample_rate, 1
        async with aclosing(model.make(asked.model_dump())) as messages:
            async for message in messages:
                if message.type == "step":
                    self._step(message)
                elif message.type == "sound":
                    rate, channels = int(message.header["rate"]), int(message.header["channels"])
                    pcm += message.payload
                    if len(pcm) > MAX_RESULT_BYTES:
                        raise self._too_large("sound", "shorter one")
        if not pcm:
            raise EngineFailed("The model made no sound. Try other words.")
        self._update(seconds=round(len(pcm) / (SAMPLE_BYTES * channels * rate), 3))
        data = bytes(pcm)
        if asked.format == "pcm":
            # RFC 2586's L16 is big end first; this is what sound cards take.
            return ResultFile(data, f"audio/pcm;rate={rate};channels={channels}")
        return ResultFile(await in_pool(self._pool, wav, data, rate, channels), "audio/wav")

    def _step(self, message: WorkerMessage) -> None:
        step, steps = int(message.header["step"]), int(message.header["steps"])
        # The last step is behind it, and the pictures are not there yet.
        phase = "decoding" if steps and step >= steps else "steps"
        self._update(step=step, steps=steps, phase=phase)

    def _too_large(self, what: str, instead: str) -> EngineFailed:
        return EngineFailed(
            f"The {what} is larger than {MAX_RESULT_BYTES // 2**20} MiB, which is the most that is kept. "
            f"Ask for a {instead}."
        )

    def _elapsed_seconds(self) -> float:
        return round(time.monotonic() - self._began, 1)

    def _update(self, **changed: Any) -> None:
        self._progress = replace(self._progress, **changed)

    def _set_failed(self, error: QwenCameraError) -> None:
        fields = {"code": error.code, "message": error.message, "retryable": error.retryable}
        self._update(state=JobState.FAILED, error=fields)

    # The result

    def _store(self, made: ResultFile) -> None:
        self._result = made
        self._update(
            state=JobState.READY, phase="", bytes=len(made.data), media_type=made.media_type
        )
        self._expiry.set(KEEP_SECONDS, self._expire)

    def _expire(self) -> None:
        self._drop()
        self._update(state=JobState.EXPIRED)

    def _drop(self) -> None:
        """Drop and count a result that nobody took."""
        if self._result is not None:
            self._dropped_counter.inc()
        self._forget()

    def _forget(self) -> None:
        self._result = None
        self._expiry.cancel()
