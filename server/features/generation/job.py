"""The job that makes a video or sound: one at a time, in memory; its result is delivered once."""

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

from server.core.aio import TaskSet, Timer, run_in_pool
from server.core.errors import Busy, EngineFailed, Internal, NotFound, QwenCameraError
from server.core.metrics import Metrics
from server.core.sound import SAMPLE_BYTES, encode_wav
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

# MP4: H.264, 4:2:0, BT.709, with the index at the front, so that a page plays it at once. WAV: 16-bit PCM.

# Quality on x264's scale: visually lossless, about 0.1 bit per pixel
CRF = "18"
# Bytes reserved for the index: a constant, and 48 per frame. libavformat's "faststart" would reopen the file by its name,
# which a file in memory does not have.
_INDEX_BYTES = 4096 + 48 * MAX_FRAMES


@dataclass(frozen=True, slots=True)
class ResultFile:
    """The finished file, in memory."""

    data: bytes
    media_type: str


class ResultTooLarge(Exception):
    """The file exceeds its limit. Not a QwenCameraError: the caller raises EngineFailed."""


class Mp4Writer:
    """Writes one MP4 in memory. For one thread at a time; call `finish` or `discard` at the end."""

    def __init__(self, width: int, height: int, fps: int, most_bytes: int) -> None:
        """`width`, `height`: even, in pixels. `fps`: frames per second."""
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
        """Add a frame of height * width * 3 bytes. Raises ResultTooLarge, ValueError."""
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
        """Return the file. Raises ResultTooLarge."""
        self._encode(None)
        self._container.close()
        return self._file.getvalue()

    def discard(self) -> None:
        """Release the memory without a result."""
        self._file.close()


def crop_and_resize(bgr: NDArray[np.uint8], width: int, height: int) -> bytes:
    """Return RGB of `width` * `height` pixels: the largest centred part of that aspect ratio, resized.

    `bgr`: (height, width, 3).
    """
    rows, columns = bgr.shape[:2]
    part_rows = min(rows, max(1, round(columns * height / width)))
    part_columns = min(columns, max(1, round(rows * width / height)))
    top, left = (rows - part_rows) // 2, (columns - part_columns) // 2
    part = bgr[top : top + part_rows, left : left + part_columns]
    shrinks = width * height < part_rows * part_columns
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    sized = cv2.resize(np.ascontiguousarray(part), (width, height), interpolation=how)
    return np.ascontiguousarray(sized[..., ::-1]).tobytes()


# About three minutes of 1080p at this quality
MAX_RESULT_BYTES = 256 * 1024 * 1024
# Seconds for which a result is kept
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
    """Progress of the latest job, and facts about its result; contains no text of the request."""

    # `idle`, `working`, `cancelling`, `ready` (the result can be fetched), `taken` (it was), `cancelled`, `failed`, or
    # `expired` (it was not fetched in time)
    state: JobState = JobState.IDLE
    # `video` or `sound`; empty before the first job
    kind: str = ""
    # `steps`, `decoding` (by the model's autoencoder) or `encoding`
    phase: str = ""
    # Steps so far
    step: int = 0
    # Steps in all; 0: unknown
    steps: int = 0
    # Frames so far
    made: int = 0
    # Frames in all
    frames: int = 0
    # Width in pixels
    width: int = 0
    # Height in pixels
    height: int = 0
    # Length of the video or sound
    seconds: float = 0.0
    # The seed that was used
    seed: int = 0
    # Seconds of work so far
    elapsed: float = 0.0
    # Size of the result
    bytes: int = 0
    # Media type of the result
    media_type: str = ""
    # The error, as in an error's body; null without one
    error: dict[str, Any] | None = None


class GenerationJob:
    """Owns the current job and its result. `pool`: the pool whose thread encodes. Call all methods on the event loop.

    Bounds of the job for a video or sound, and its result: one; 256 MiB; the result is delivered
    once (again after a broken connection), and dropped after 10 minutes or when the next job starts.
    """

    def __init__(self, *, metrics: Metrics, pool: ThreadPoolExecutor) -> None:
        # kind: video, sound; result: ok, cancelled, error
        self._ended_counter = metrics.counter(
            "generations_total", "Videos and sounds by how they ended", "kind", "result"
        )
        self._dropped_counter = metrics.counter(
            "generations_dropped_total", "Videos and sounds that were not fetched in time"
        )
        self._pool = pool
        self._progress = JobProgress()
        self._began = 0.0
        # The result until it is delivered
        self._result: ResultFile | None = None
        self._expiry = Timer()
        self._tasks = TaskSet("making")
        self._task: asyncio.Task[None] | None = None

    @property
    def progress(self) -> JobProgress:
        if self._task is not None:
            return replace(self._progress, elapsed=self._get_elapsed_seconds())
        return self._progress

    def start(
        self, model: GenerationRuntime, request: VideoRequest | SoundRequest, picture: bytes = b""
    ) -> JobProgress:
        """Start a job, and drop a result that was not fetched. Raises Busy while a job runs.

        `picture`: RGB of the video's size, for a request with `camera`.
        """
        self.check_free(model)
        self._drop()
        seed = secrets.randbelow(MAX_SEED + 1) if request.seed is None else request.seed
        request = request.model_copy(update={"seed": seed})
        self._began = time.monotonic()
        self._progress = JobProgress(JobState.WORKING, model.rules.output, "steps", seed=seed)
        if isinstance(request, VideoRequest):
            self._update(
                frames=request.frames,
                width=request.width,
                height=request.height,
                seconds=round(request.seconds, 3),
            )
        self._task = self._tasks.spawn(self._run(model, request, picture), name="making")
        return self.progress

    def check_free(self, model: GenerationRuntime) -> None:
        """Raise Busy while a job runs."""
        if self._task is None and not model.busy:
            return
        now = self._progress
        done = f" (step {now.step} of {now.steps})" if now.steps else ""
        raise Busy(
            f"A {now.kind or 'video'} is being made{done}, and one at a time is allowed. Wait, or cancel it.",
            retry_after=5.0,
        )

    async def cancel(self) -> JobProgress:
        """Cancel the running job, or drop the result; return when that is done."""
        task = self._task
        if task is not None:
            # A second cancellation would interrupt the wait for the end of the model's work.
            if self._progress.state is not JobState.CANCELLING:
                self._update(state=JobState.CANCELLING)
                task.cancel()
            await asyncio.wait({task})
            if self._task is task:
                # The task was cancelled before it had begun.
                self._task = None
                self._update(state=JobState.CANCELLED)
                self._ended_counter.labels(self._progress.kind, "cancelled").inc()
        elif self._result is not None:
            self._drop()
            self._update(state=JobState.CANCELLED)
        return self.progress

    def take(self) -> ResultFile:
        """Return the result, which stays until `mark_delivered`. Raises NotFound."""
        made = self._result
        if made is None:
            raise NotFound(
                "There is no result. A result can be fetched once, within "
                f"{KEEP_SECONDS / 60:.0f} minutes. Start a new job."
            )
        return made

    def mark_delivered(self, made: ResultFile) -> None:
        """Drop a result that was sent completely, unless it was replaced or dropped meanwhile."""
        if self._result is made:
            self._forget()
            self._update(state=JobState.TAKEN)

    async def close(self) -> None:
        self._forget()
        await self._tasks.close()

    # The job's task

    async def _run(
        self, model: GenerationRuntime, request: VideoRequest | SoundRequest, picture: bytes
    ) -> None:
        kind, result = self._progress.kind, "error"
        try:
            if isinstance(request, VideoRequest):
                made = await self._make_video(model, request, picture)
            else:
                made = await self._make_sound(model, request)
            result = "ok"
            self._store(made)
        except asyncio.CancelledError:
            result = "cancelled"
            self._update(state=JobState.CANCELLED)
            raise
        except QwenCameraError as error:
            self._set_failed(error)
        except Exception as error:  # noqa: BLE001 - of any encoder: counted, logged, reported
            log.error("generation failed", extra={"error": type(error).__name__})
            self._set_failed(
                Internal("Something went wrong in the server. Its log has the details.")
            )
        finally:
            self._update(elapsed=self._get_elapsed_seconds())
            self._task = None
            self._ended_counter.labels(kind, result).inc()

    # One file in memory, from the frames or pieces that a model sends

    async def _make_video(
        self, model: GenerationRuntime, request: VideoRequest, picture: bytes
    ) -> ResultFile:
        """Return the file. Raises EngineError. A cancellation is raised after the model's work has ended."""
        writer: Mp4Writer | None = None
        made = 0
        try:
            async with aclosing(
                model.make(request.model_dump(exclude={"camera"}), picture)
            ) as messages:
                async for message in messages:
                    if message.type == "step":
                        self._update_step(message)
                    elif message.type == "frame":
                        made += 1
                        if made > MAX_FRAMES:
                            raise EngineFailed(
                                f"The model made more than {MAX_FRAMES} frames, the most allowed."
                            )
                        writer = writer or self._create_writer(message, request.fps)
                        self._update(made=made, phase="encoding")
                        await run_in_pool(self._pool, writer.add, message.payload)
            if writer is None:
                raise EngineFailed("The model made no frames. Try other values.")
            data = await run_in_pool(self._pool, writer.finish)
            writer = None
            self._update(seconds=round(made / request.fps, 3))
            return ResultFile(data, "video/mp4")
        except ResultTooLarge:
            raise self._make_too_large_error("video", "smaller or shorter one") from None
        finally:
            if writer is not None:
                # In the pool, after the frame that is encoded now. Do not wait. RuntimeError: the pool is closed.
                with suppress(RuntimeError):
                    self._pool.submit(writer.discard)

    def _create_writer(self, first: WorkerMessage, fps: int) -> Mp4Writer:
        width, height = int(first.header["width"]), int(first.header["height"])
        if width * height > MAX_PIXELS or width % 2 or height % 2:
            raise EngineFailed(
                f"The model made frames of {width}x{height} pixels; even sides and at most {MAX_PIXELS} pixels are "
                "allowed. Ask for another size."
            )
        self._update(width=width, height=height)
        return Mp4Writer(width, height, fps, MAX_RESULT_BYTES)

    async def _make_sound(self, model: GenerationRuntime, request: SoundRequest) -> ResultFile:
        """Return the file. Raises EngineError. A cancellation is raised after the model's work has ended."""
        pcm = bytearray()
        rate, channels = model.rules.sample_rate, 1
        async with aclosing(model.make(request.model_dump())) as messages:
            async for message in messages:
                if message.type == "step":
                    self._update_step(message)
                elif message.type == "sound":
                    rate, channels = int(message.header["rate"]), int(message.header["channels"])
                    pcm += message.payload
                    if len(pcm) > MAX_RESULT_BYTES:
                        raise self._make_too_large_error("sound", "shorter one")
        if not pcm:
            raise EngineFailed("The model made no sound. Try other words.")
        self._update(seconds=round(len(pcm) / (SAMPLE_BYTES * channels * rate), 3))
        data = bytes(pcm)
        if request.format == "pcm":
            # Not L16 (RFC 2586), which is big-endian
            return ResultFile(data, f"audio/pcm;rate={rate};channels={channels}")
        return ResultFile(
            await run_in_pool(self._pool, encode_wav, data, rate, channels), "audio/wav"
        )

    def _update_step(self, message: WorkerMessage) -> None:
        step, steps = int(message.header["step"]), int(message.header["steps"])
        # All steps are done, but no frame has arrived yet.
        phase = "decoding" if steps and step >= steps else "steps"
        self._update(step=step, steps=steps, phase=phase)

    def _make_too_large_error(self, what: str, instead: str) -> EngineFailed:
        return EngineFailed(
            f"The {what} is larger than {MAX_RESULT_BYTES // 2**20} MiB (limit). "
            f"Ask for a {instead}."
        )

    def _get_elapsed_seconds(self) -> float:
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
        """Drop a result, and count it as not fetched."""
        if self._result is not None:
            self._dropped_counter.inc()
        self._forget()

    def _forget(self) -> None:
        self._result = None
        self._expiry.cancel()
