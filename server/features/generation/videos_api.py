"""Videos by another server over `/v1/videos`, as vLLM-Omni has it (its "Videos API"): jobs that are
asked about.

Its server has failed on what pipelines give ("'numpy.ndarray' object has no attribute 'save'"), so
nothing is believed of it until a probe has had a short video made, fetched and decoded. No picture
of the camera is ever sent.
"""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import AsyncGenerator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple

import av
import httpx2

from server.core.aio import in_pool
from server.core.errors import EngineError, EngineFailed, EngineRefused, EngineUnavailable
from server.features.generation.bounds import MAX_FRAMES, MAX_PIXELS
from server.features.generation.generator import Mute
from server.features.generation.rules import Rules
from server.features.hosting.catalogue.entry import Model
from server.features.hosting.runtime import StartFailed
from server.media.video.decode import H264Frames, open_decoder
from server.models.base import Engine
from server.models.openai.http import TooLarge, http_client, why_unreachable
from server.shared.processes.wire import Message

MAX_BYTES = 256 * 1024 * 1024
# Seconds between two requests for a job's state
POLL_SECONDS = 1.0
# Seconds for a piece of an answer, for a whole one, and for a whole video
_REPLY_SECONDS = 30.0
_ANSWER_SECONDS = 60.0
_CONTENT_SECONDS = 900.0
# Seconds for taking a job back: somebody waits for it.
_DELETE_SECONDS = 5.0
# The longest that a video may take
_JOB_SECONDS = 3600.0
# Failed requests in a row after which a job is given up
_MISSES = 5
_ID = re.compile(r"[A-Za-z0-9._-]{1,200}")
_WORKS = frozenset({"queued", "in_progress", "processing", "running"})
# However its quotes were written down
_SAVE = re.compile(r"has no attribute\W{1,12}save\b")
# About the smallest and shortest for video models; some make 4k+1 frames, others 8k+1.
PROBE = {
    "prompt": "a grey wall",
    "width": 256,
    "height": 256,
    "frames": 9,
    "fps": 8,
    "steps": 1,
    "seed": 1,
}
_INSTEAD = "Run the model in-process."
_NUMPY = (
    f"Its server fails on what the model makes (an array where it expects pictures). {_INSTEAD}"
)


class VideosApi:
    """One model by the video API at `base_url`, which ends in /v1; see `Runtime`. `pool` decodes."""

    backend = "videos-api"

    def __init__(
        self,
        model: Model,
        base_url: str,
        api_key: str,
        *,
        pool: ThreadPoolExecutor,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.rules = Rules("video", takes=("negative", "guidance", "steps"))
        self.busy = False
        self.ended = asyncio.Event()
        self.engine: Engine = Mute(model)
        self._url = f"{base_url.rstrip('/')}/videos"
        self._pool = pool
        self._client = http_client(
            limits=httpx2.Limits(),
            connect=_REPLY_SECONDS,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            most=MAX_BYTES,
            transport=transport,
        )

    async def start(self) -> None:
        """Have a video made, and decode it. Raises StartFailed."""
        data = b""
        try:
            async for message in self.make(PROBE):
                if message.type == "file":
                    data = message.payload
        except EngineError as error:
            raise StartFailed(error.message) from None
        if not data:
            raise StartFailed(f"The server made nothing. {_INSTEAD}")

    async def make(self, asked: Mapping[str, Any], picture: bytes = b"") -> AsyncGenerator[Message]:
        """`step` while it goes on, then `file` with the MP4 and its `width`, `height`, `frames` and
        `seconds`.

        Closing it has the server delete the job. Raises EngineUnavailable, EngineRefused,
        EngineFailed.
        """
        if self.busy:
            raise RuntimeError("one piece of work at a time")
        self.busy = True
        job = ""
        try:
            state = await self._json("POST", "", files=_form(asked))
            job = str(state.get("id", ""))
            if not _ID.fullmatch(job):
                raise EngineFailed(f"The server's answer names no job. {_INSTEAD}")
            steps = int(asked.get("steps", 0))
            due = asyncio.get_running_loop().time() + _JOB_SECONDS
            misses = 0
            while (status := str(state.get("status"))) != "completed":
                if status not in _WORKS:
                    raise _failed(state.get("error"))
                if asyncio.get_running_loop().time() > due:
                    raise EngineFailed("The server has not made it within an hour. Ask for less.")
                yield _step(state, steps)
                await asyncio.sleep(POLL_SECONDS)
                try:
                    state = await self._json("GET", f"/{job}")
                    misses = 0
                except EngineUnavailable:
                    # The job goes on there.
                    misses += 1
                    if misses == _MISSES:
                        raise
            yield await self._content(job)
        finally:
            try:
                if job:
                    with suppress(EngineError):
                        await self._read("DELETE", f"/{job}", seconds=_DELETE_SECONDS)
            finally:
                self.busy = False

    async def stop(self) -> None:
        await self._client.aclose()

    def memory_bytes(self) -> int | None:
        return None

    def how_it_ended(self) -> str:
        return "is gone."

    async def _json(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        data = await self._read(method, path, seconds=_ANSWER_SECONDS, **more)
        try:
            value = httpx2.Response(200, content=data).json()
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise EngineFailed(f"The server's answer is no JSON object. {_INSTEAD}")
        return value

    async def _content(self, job: str) -> Message:
        """The video, and what it is. Raises EngineFailed for one that cannot be decoded."""
        data = await self._read("GET", f"/{job}/content", seconds=_CONTENT_SECONDS)
        found = await in_pool(self._pool, _facts, data)
        if found is None:
            raise EngineFailed(
                f"The server made a video that cannot be decoded here (an MP4 with H.264, 4:2:0 and 8 bits). {_INSTEAD}"
            )
        return Message({"type": "file", **found}, data)

    async def _read(self, method: str, path: str, *, seconds: float, **more: Any) -> bytes:
        data = bytearray()
        try:
            async with (
                asyncio.timeout(seconds),
                self._client.stream(method, self._url + path, **more) as reply,
            ):
                async for piece in reply.aiter_bytes():
                    data += piece
                status = reply.status_code
        except TooLarge as why:
            raise EngineFailed(f"The server {why}. Ask for less. {_INSTEAD}") from None
        except (httpx2.HTTPError, TimeoutError) as exc:
            if reason := why_unreachable(exc, httpx2.URL(self._url).host):
                raise EngineUnavailable(f"The server cannot be reached: {reason}.") from None
            raise EngineUnavailable(
                f"The server does not answer. Start it, or give its right address. {_INSTEAD}"
            ) from None
        if 200 <= status < 300:
            return bytes(data)
        if status in (404, 405):
            raise EngineRefused(f"The server has no /v1/videos, or no such job. {_INSTEAD}")
        if status in (401, 403):
            raise EngineRefused("The server refuses the key. Give the right one.")
        raise _failed(data[:4000].decode("utf-8", "replace"), status)


def _form(asked: Mapping[str, Any]) -> dict[str, tuple[None, str]]:
    """Fields of a multipart form, by their names there."""
    names = {name: name for name in ("prompt", "negative_prompt", "width", "height", "fps", "seed")}
    names |= {"frames": "num_frames", "steps": "num_inference_steps", "guidance": "guidance_scale"}
    given = ((names[key], value) for key, value in asked.items() if key in names and value != "")
    return {name: (None, str(value)) for name, value in given}


def _step(job: Mapping[str, Any], steps: int) -> Message:
    """Turn a job's percent into steps, where it has one."""
    percent = job.get("progress")
    done = 0
    if isinstance(percent, int | float) and 0 <= percent <= 100:
        done = int(steps * percent / 100)
    return Message({"type": "step", "step": max(0, min(done, steps - 1)), "steps": steps})


def _failed(error: object, status: int = 0) -> EngineFailed:
    """Word an error without the server's own words, which may repeat the prompt."""
    if _SAVE.search(str(error)[:4000]):
        return EngineFailed(_NUMPY)
    how = f" (status {status})" if status else ""
    return EngineFailed(f"The server could not make it{how}. Its log says why. {_INSTEAD}")


def _facts(data: bytes) -> dict[str, int | float] | None:
    """Describe an MP4 whose frames decode; None where they do not, or are larger or more than are
    made here.

    Its sets are looked at before anything is decoded, as a camera's are, and libavformat never
    opens it.
    """
    checked, decoder = H264Frames(), open_decoder("H264")
    width = height = 0
    try:
        video = read_video(data, MAX_FRAMES)
        for frame in video.frames():
            frame, _ = checked.checked(frame)
            if checked.picture > MAX_PIXELS // 256:
                return None
            for image in decoder.decode(av.Packet(frame)) if frame else ():
                width, height = image.width, image.height
    except (av.FFmpegError, ValueError):
        return None
    if not width:
        return None
    seconds = round(video.seconds, 3)
    return {"width": width, "height": height, "frames": len(video.samples), "seconds": seconds}


# Find the H.264 frames of an MP4 (ISO/IEC 14496-12 and -15) before a decoder sees any of them.
# Pure.  libavformat decodes while it opens a file, and fills an index as long as the file says: a
# kilobyte may ask for gigabytes. Files in fragments and other codecs than H.264 are not taken.

# Boxes of a file; one of a video has about thirty.
MAX_BOXES = 1000
# A frame of 1920×1088 without any compression is 3 MiB.
MAX_SAMPLE_BYTES = 8 << 20
_START_CODE = b"\0\0\0\1"
# Bytes before the boxes of a VisualSampleEntry, and before the sets of an avcC
_ENTRY_BYTES = 78
_SIZES = {1: ">B", 2: ">H", 4: ">I"}


class Video(NamedTuple):
    """The first video track."""

    seconds: float
    # Parameter sets that stand before the frames, in Annex B form
    sets: bytes
    # Each frame as it lies in the file
    samples: list[memoryview]
    # Bytes of a unit's length
    length: int

    def frames(self) -> Iterator[bytes]:
        """Each frame in Annex B form, the sets before the first. Raises ValueError."""
        sets = self.sets
        for sample in self.samples:
            yield sets + _annex_b(sample, self.length)
            sets = b""


class _Walk:
    """Boxes within a part of a file, by their types, as many as may be looked at."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self._left = MAX_BOXES

    def boxes(self, part: memoryview) -> Iterator[tuple[bytes, memoryview]]:
        at = 0
        while at + 8 <= len(part):
            self._left -= 1
            if self._left < 0:
                raise ValueError(f"A file has more than {MAX_BOXES} boxes.")
            size, head = struct.unpack_from(">I", part, at)[0], 8
            if size == 1:
                size, head = _read(">Q", part, at + 8)[0], 16
            elif size == 0:
                size = len(part) - at
            if size < head or at + size > len(part):
                raise ValueError("A box ends outside of what holds it.")
            yield bytes(part[at + 4 : at + 8]), part[at + head : at + size]
            at += size

    def first(self, part: memoryview, *path: bytes) -> memoryview:
        for name in path:
            part = next((body for kind, body in self.boxes(part) if kind == name), part[:0])
        return part


def read_video(data: bytes, most_frames: int) -> Video:
    """Take an MP4 apart. Raises ValueError for none, without H.264, or with too many frames."""
    whole = memoryview(data)
    walk = _Walk(whole)
    for kind, track in walk.boxes(walk.first(whole, b"moov")):
        media = walk.first(track, b"mdia") if kind == b"trak" else whole[:0]
        if bytes(walk.first(media, b"hdlr")[8:12]) == b"vide":
            table = walk.first(media, b"minf", b"stbl")
            length, sets = _configuration(walk, walk.first(table, b"stsd"))
            spans = _samples(walk, table, most_frames)
            samples = [whole[at : at + size] for at, size in spans]
            return Video(_seconds(walk.first(media, b"mdhd")), sets, samples, length)
    raise ValueError("A file has no video.")


def _read(form: str, part: memoryview, at: int) -> tuple[int, ...]:
    try:
        found: tuple[int, ...] = struct.unpack_from(form, part, at)
    except struct.error:
        raise ValueError("A box ends before its fields do.") from None
    return found


def _seconds(header: memoryview) -> float:
    """Return the seconds of a media header, version 0 or 1."""
    (version,) = _read(">B", header, 0)
    scale, duration = _read(">IQ", header, 20) if version else _read(">II", header, 12)
    if not scale:
        raise ValueError("A track has no time scale.")
    return duration / scale


def _configuration(walk: _Walk, descriptions: memoryview) -> tuple[int, bytes]:
    """Bytes of a unit's length, and the parameter sets."""
    entry = next(walk.boxes(descriptions[8:]), (b"", descriptions[:0]))
    if entry[0] not in (b"avc1", b"avc3"):
        raise ValueError("A video is no H.264.")
    record = walk.first(entry[1][_ENTRY_BYTES:], b"avcC")
    (length,) = _read(">B", record, 4)
    sets: list[bytes | memoryview] = []
    at = 5
    for mask in (0x1F, 0xFF):
        (count,) = _read(">B", record, at)
        at += 1
        for _ in range(count & mask):
            (size,) = _read(">H", record, at)
            unit = record[at + 2 : at + 2 + size]
            at += 2 + size
            sets += [_START_CODE, unit]
    return (length & 3) + 1, b"".join(sets)


def _samples(walk: _Walk, table: memoryview, most: int) -> list[tuple[int, int]]:
    """Return the offset and the size of each sample."""
    sizes = walk.first(table, b"stsz")
    each, count = _read(">II", sizes, 4)
    if not 0 < count <= most:
        raise ValueError(f"A video has {count} frames; 1 to {most} are allowed.")
    lengths = (each,) * count if each else _read(f">{count}I", sizes, 12)
    form, chunks = ">I", walk.first(table, b"stco")
    if not chunks:
        form, chunks = ">Q", walk.first(table, b"co64")
    runs = walk.first(table, b"stsc")
    (entries,) = _read(">I", runs, 4)
    if sum(lengths) > len(walk.data):
        raise ValueError("The frames of a file are longer than it.")
    spans: list[tuple[int, int]] = []
    chunk, entry, in_chunk = 0, -1, 0
    while len(spans) < count:
        while entry + 1 < min(entries, most) and _read(">I", runs, 20 + 12 * entry)[0] == chunk + 1:
            entry += 1
            (in_chunk,) = _read(">I", runs, 12 + 12 * entry)
        if not in_chunk:
            raise ValueError("A chunk has no samples.")
        (at,) = _read(form, chunks, 8 + struct.calcsize(form) * chunk)
        for size in lengths[len(spans) : len(spans) + in_chunk]:
            if size > MAX_SAMPLE_BYTES or at + size > len(walk.data):
                raise ValueError("A frame is too large, or lies outside of its file.")
            spans.append((at, size))
            at += size
        chunk += 1
    return spans


def _annex_b(sample: memoryview, length: int) -> bytes:
    form = _SIZES.get(length)
    if form is None:
        raise ValueError(f"Lengths of units have {length} bytes; 1, 2 and 4 are allowed.")
    parts: list[bytes | memoryview] = []
    at = 0
    while at < len(sample):
        (size,) = _read(form, sample, at)
        at += length
        if at + size > len(sample):
            raise ValueError("A unit ends outside of its frame.")
        parts += (_START_CODE, sample[at : at + size])
        at += size
    return b"".join(parts)
