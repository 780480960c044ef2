"""A loaded model that makes videos or sound: its worker, one piece of work at a time."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from server.core.aio import in_pool
from server.core.errors import (
    EngineError,
    EngineFailed,
    EngineRefused,
    EngineUnavailable,
    OperatorError,
)
from server.features.generation.bounds import MAX_FRAMES, MAX_PIXELS, SoundRequest, VideoRequest
from server.features.generation.files import Made, Mp4Writer, TooManyBytes
from server.features.generation.rules import Rules
from server.features.generation.videos_api import VideosApi
from server.media.sound.pcm import SAMPLE_BYTES, wav
from server.shared.processes.process import ProcessFailed
from server.shared.processes.wire import Message
from server.shared.processes.worker_process import WorkerProcess

log = logging.getLogger(__name__)
# Between the first sign of life and the last, a model has to be there: large weights come from slow
# disks.
LOAD_SECONDS = 3600.0
# Seconds for cancelled work to end, before its process is ended instead
CANCEL_SECONDS = 10.0
# Without any word of the worker: a step of a large model on a CPU takes minutes.
SILENT_SECONDS = 3600.0
# Messages that may wait; behind so many, a step takes the place of the one before it.
_WAITING = 512
_STEPS_WAITING = 256
# Seconds for the last lines of its log, which arrive by another pipe than the end of the work
_QUIET_SECONDS = 1.0
# The advice after a failure
_LESS = {"video": "a smaller or shorter video", "audio": "something shorter"}
_ENDS = ("done", "cancelled", "error")
# Codes of failures whose sentence a client may read; any other failure is EngineFailed.
_REFUSALS = frozenset({"refused", "missing", "broken"})


class LoadingFailed(OperatorError):
    """A model could not be loaded; `message` is a sentence for people."""


class _Inbox:
    """The worker's messages on one piece of work, until they are read; one reader."""

    def __init__(self) -> None:
        self._waiting: deque[Message | None] = deque()
        self._came = asyncio.Event()

    def put(self, message: Message) -> bool:
        """False when there is no room."""
        crowded = message.type == "step" and len(self._waiting) >= _STEPS_WAITING
        last = self._waiting[-1] if crowded else None
        if last is not None and last.type == "step":
            self._waiting.pop()
        if len(self._waiting) >= _WAITING:
            return False
        self._waiting.append(message)
        self._came.set()
        return True

    def end(self) -> None:
        """There will be no more."""
        self._waiting.append(None)
        self._came.set()

    async def get(self) -> Message | None:
        """None when the worker has ended."""
        while not self._waiting:
            self._came.clear()
            await self._came.wait()
        return self._waiting.popleft()


class Generator:
    """One worker, from `start` to `stop` or to its own end. `ended` is set when it is gone.

    `on_phase` gets the phase of loading, `on_line` each line of the worker's log but those of the
    time in which something is made, which might repeat what was asked.
    """

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        *,
        on_phase: Callable[[str], None] = lambda phase: None,
        on_line: Callable[[str], None] = lambda line: None,
        cancel_seconds: float = CANCEL_SECONDS,
    ) -> None:
        self._argv, self._env, self._cwd = tuple(argv), dict(env), cwd
        self._on_phase = on_phase
        self._cancel_seconds = cancel_seconds
        self._process = WorkerProcess(
            on_message=self._receive, on_line=on_line, on_exit=self._exited, quiet=self._quiet
        )
        self._loaded: asyncio.Future[Message] | None = None
        self._messages: _Inbox | None = None
        self._id = 0
        self._stoppable = True
        self._stopping = False
        # Its process was ended since its work was cancelled.
        self._given_up = False
        # The loop time until which its log is not passed on
        self._quiet_until = 0.0
        self._status: int | None = None
        self.ended = asyncio.Event()
        # Steps that the work cancelled last had done
        self.cancelled_at = 0
        # The model's rules and backend; before `start` has returned they mean nothing.
        self.rules = Rules("video")
        self.backend = ""

    @property
    def busy(self) -> bool:
        return self._messages is not None

    @property
    def pid(self) -> int | None:
        return self._process.pid

    async def start(self) -> None:
        """Returns when the model is loaded. Raises LoadingFailed; `stop` is due in any case."""
        self._loaded = asyncio.get_running_loop().create_future()
        try:
            await self._process.start(self._argv, self._env, self._cwd)
        except ProcessFailed as error:
            raise LoadingFailed(
                f"{error.message} Set ENGINE_PYTHON to a Python that has torch."
            ) from None
        try:
            async with asyncio.timeout(LOAD_SECONDS):
                message = await self._loaded
        except TimeoutError:
            raise LoadingFailed(
                "The model was not loaded within an hour. Choose a smaller one."
            ) from None
        if message.type == "failed":
            raise LoadingFailed(str(message.header.get("message")))
        self.rules = Rules.read(message.header["rules"])
        self.backend = str(message.header["backend"])
        self._stoppable = bool(message.header["stoppable"])

    async def make(self, asked: Mapping[str, Any], picture: bytes = b"") -> AsyncGenerator[Message]:
        """Yield the worker's messages: `step`, `frame` and `sound`, and `done` at last.

        One piece of work at a time. Closing it cancels the work: within a layer's time where the
        worker can, else by ending its process. A frame was taken once the next message is asked
        for. Raises EngineRefused, EngineFailed, EngineUnavailable.
        """
        if self._messages is not None:
            raise RuntimeError("one piece of work at a time")
        if self.ended.is_set():
            raise self._gone()
        self._id += 1
        id, messages = self._id, _Inbox()
        self._messages = messages
        finished = False
        try:
            self._process.send({"type": "generate", "id": id, **asked}, picture)
            while not finished:
                try:
                    async with asyncio.timeout(SILENT_SECONDS):
                        message = await messages.get()
                except TimeoutError:
                    raise EngineFailed(
                        "The model has reported nothing for an hour and was stopped. Load it again, and ask for less."
                    ) from None
                finished = message is None or message.type in _ENDS
                if message is None or message.type == "cancelled":
                    raise self._gone()
                if message.type == "error":
                    raise _failure(message)
                yield message
                if message.type == "frame":
                    self._process.send({"type": "took", "id": id, "index": message.header["index"]})
        finally:
            try:
                if not finished:
                    await self._cancel(id, messages)
            finally:
                self._messages = None
                self._quiet_until = asyncio.get_running_loop().time() + _QUIET_SECONDS

    async def _cancel(self, id: int, messages: _Inbox) -> None:
        """Returns when the work has ended, with its process where it does not otherwise."""
        if self._stoppable:
            self._process.send({"type": "cancel", "id": id})
            with suppress(TimeoutError):
                async with asyncio.timeout(self._cancel_seconds):
                    while (message := await messages.get()) is not None:
                        if message.type in _ENDS:
                            self.cancelled_at = int(message.header.get("step", 0))
                            return
                        if message.type == "frame":
                            self._process.send({"type": "took", "id": id})
        if not self.ended.is_set():
            log.warning("work that was cancelled went on: its process is ended")
            self._given_up = True
            self._process.kill()
            await self.ended.wait()

    async def stop(self) -> None:
        """Returns when nothing is left of it. Safe to call twice."""
        self._stopping = True
        await self._process.stop()

    def how_it_ended(self) -> str:
        """The end of a sentence that begins with its name."""
        if self._status is None:
            return "runs"
        if self._given_up:
            return "was ended, because it did not stop cancelled work"
        if self._status < 0:
            return f"was ended by signal {-self._status}"
        return f"ended with status {self._status}"

    @property
    def given_up(self) -> bool:
        """Find whether its process was ended because its work was cancelled."""
        return self._given_up

    def _gone(self) -> EngineError:
        if self._stopping:
            return EngineUnavailable("The model was unloaded before this was done. Load it again.")
        if self._given_up:
            return EngineUnavailable(
                f"The model's process {self.how_it_ended()}. Ask again once it is loaded again."
            )
        return EngineUnavailable(
            f"The model's process {self.how_it_ended()} before this was done. Ask again once it is loaded again; where "
            f"memory is short, for {_LESS[self.rules.output]}."
        )

    def _quiet(self) -> bool:
        """While something is made, and a moment longer."""
        return self.busy or asyncio.get_running_loop().time() < self._quiet_until

    # The process's side

    def _receive(self, message: Message) -> None:
        if message.type == "loading":
            self._on_phase(str(message.header.get("phase")))
        elif message.type in ("loaded", "failed"):
            if self._loaded is not None and not self._loaded.done():
                self._loaded.set_result(message)
        elif (
            self._messages is not None
            and message.header.get("id") == self._id
            and not self._messages.put(message)
        ):
            log.error("a worker sends more than was asked for: it is ended")
            self._process.kill()

    def _exited(self, status: int) -> None:
        self._status = status
        self.ended.set()
        if self._loaded is not None and not self._loaded.done():
            text = f"The model's process {self.how_it_ended()} while it was being loaded. Its log says why."
            self._loaded.set_result(Message({"type": "failed", "message": text}))
        if self._messages is not None:
            self._messages.end()


def _failure(message: Message) -> EngineError:
    text = str(message.header.get("message"))
    if message.header.get("code") in _REFUSALS:
        return EngineRefused(text)
    return EngineFailed(text)


# Make one file in memory, an MP4 or a WAV, of the frames or pieces that a loaded model sends.

# Called with the fields of `JobProgress` that have changed
OnChange = Callable[..., None]


# A loaded model that makes something. `make` gives `step`, then `frame`s, `sound` or a whole `file` with
# what it is; closing it stops the work.
MediaModel = Generator | VideosApi


class Assembly:
    """`pool` encodes, with one thread, in turn; a file has at most `most_bytes`."""

    def __init__(self, pool: ThreadPoolExecutor, most_bytes: int, on_change: OnChange) -> None:
        self._pool = pool
        self._most_bytes = most_bytes
        self._on_change = on_change

    async def video(
        self, model: MediaModel, asked: VideoRequest, seed: int, picture: bytes
    ) -> Made:
        """Raises EngineError; when cancelled, the model's work has ended."""
        fields = asdict(asked) | {"seed": seed}
        del fields["camera"]
        writer: Mp4Writer | None = None
        whole, made = b"", 0
        try:
            async with aclosing(model.make(fields, picture)) as messages:
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
                        self._on_change(made=made, phase="encoding")
                        await in_pool(self._pool, writer.add, message.payload)
                    elif message.type == "file":
                        whole, found = message.payload, message.header
                        self._on_change(
                            made=found["frames"],
                            **{name: found[name] for name in ("width", "height", "seconds")},
                        )
            if whole:
                if len(whole) > self._most_bytes:
                    raise TooManyBytes
                return Made(whole, "video/mp4")
            if writer is None:
                raise EngineFailed("The model made no frames. Try other values.")
            data = await in_pool(self._pool, writer.finish)
            writer = None
            self._on_change(seconds=round(made / asked.fps, 3))
            return Made(data, "video/mp4")
        except TooManyBytes:
            raise self._too_large("video", "smaller or shorter one") from None
        finally:
            if writer is not None:
                # In the pool, behind the frame that may be encoded still: nobody waits for it. A
                # pool that is closed has nobody either.
                with suppress(RuntimeError):
                    self._pool.submit(writer.discard)

    def _writer(self, first: Message, fps: int) -> Mp4Writer:
        width, height = int(first.header["width"]), int(first.header["height"])
        if width * height > MAX_PIXELS or width % 2 or height % 2:
            raise EngineFailed(
                f"The model made frames of {width}x{height} pixels; even sides and at most {MAX_PIXELS} pixels are "
                "allowed. Ask for another size."
            )
        self._on_change(width=width, height=height)
        return Mp4Writer(width, height, fps, MAX_FRAMES, self._most_bytes)

    async def sound(self, model: MediaModel, asked: SoundRequest, seed: int) -> Made:
        """Raises EngineError; when cancelled, the model's work has ended."""
        fields = asdict(asked) | {"seed": seed}
        del fields["format"]
        if asked.seconds is None:
            del fields["seconds"]
        pcm = bytearray()
        rate, channels = model.rules.sample_rate, 1
        async with aclosing(model.make(fields)) as messages:
            async for message in messages:
                if message.type == "step":
                    self._step(message)
                elif message.type == "sound":
                    rate, channels = int(message.header["rate"]), int(message.header["channels"])
                    pcm += message.payload
                    if len(pcm) > self._most_bytes:
                        raise self._too_large("sound", "shorter one")
        if not pcm:
            raise EngineFailed("The model made no sound. Try other words.")
        self._on_change(seconds=round(len(pcm) / (SAMPLE_BYTES * channels * rate), 3))
        data = bytes(pcm)
        if asked.format == "pcm":
            # RFC 2586's L16 is big end first; this is what sound cards take.
            return Made(data, f"audio/pcm;rate={rate};channels={channels}")
        return Made(await in_pool(self._pool, wav, data, rate, channels), "audio/wav")

    def _step(self, message: Message) -> None:
        step, steps = int(message.header["step"]), int(message.header["steps"])
        # The last step is behind it, and the pictures are not there yet.
        phase = "decoding" if steps and step >= steps else "steps"
        self._on_change(step=step, steps=steps, phase=phase)

    def _too_large(self, what: str, instead: str) -> EngineFailed:
        return EngineFailed(
            f"The {what} is larger than {self._most_bytes // 2**20} MiB, which is the most that is kept. "
            f"Ask for a {instead}."
        )
