"""Make one file in memory, an MP4 or a WAV, of the frames or pieces that a loaded model sends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from typing import Any, Protocol

from server.core.aio import in_pool
from server.core.errors import EngineFailed
from server.features.generation.bounds import MAX_FRAMES, MAX_PIXELS, SoundRequest, VideoRequest
from server.features.generation.files import Made, Mp4Writer, TooManyBytes
from server.features.generation.rules import Rules
from server.media.sound.pcm import SAMPLE_BYTES, wav
from server.shared.processes.wire import Message

# Called with the fields of `JobProgress` that have changed
OnChange = Callable[..., None]


class MediaModel(Protocol):
    """A loaded model that makes something: `Generator`, `VideosApi`."""

    @property
    def rules(self) -> Rules: ...

    @property
    def backend(self) -> str: ...

    @property
    def busy(self) -> bool: ...

    def make(self, asked: Mapping[str, Any], picture: bytes = b"") -> AsyncGenerator[Message]:
        """`step`, then `frame`s, `sound` or a whole `file` with what it is.

        Closing it stops the work.
        """
        ...


class Assembly:
    """`pool` encodes, with one thread: what belongs to a file is done in turn.

    A file has at most `most_bytes`.
    """

    def __init__(self, pool: ThreadPoolExecutor, most_bytes: int, on_change: OnChange) -> None:
        self._pool = pool
        self._most_bytes = most_bytes
        self._on_change = on_change

    async def video(
        self, model: MediaModel, asked: VideoRequest, seed: int, picture: bytes
    ) -> Made:
        """Raises EngineError; when cancelled, the model's work has ended."""
        fields = {
            **_common(asked, seed),
            "width": asked.width,
            "height": asked.height,
            "frames": asked.frames,
            "fps": asked.fps,
        }
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
        fields = _common(asked, seed)
        if asked.seconds is not None:
            fields["seconds"] = asked.seconds
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


def _common(asked: VideoRequest | SoundRequest, seed: int) -> dict[str, Any]:
    return {
        "prompt": asked.prompt,
        "negative_prompt": asked.negative_prompt,
        "guidance": asked.guidance,
        "steps": asked.steps,
        "seed": seed,
    }
