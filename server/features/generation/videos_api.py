"""Videos by another server over `/v1/videos`, as vLLM-Omni has it (its "Videos API"): jobs that are
asked about.

Its server has failed on what pipelines give ("'numpy.ndarray' object has no attribute 'save'"), so
nothing is believed of it until a probe has had a short video made, fetched and decoded. No picture
of the camera is ever sent.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import av
import httpx2

from server.core.aio import in_pool
from server.core.errors import EngineError, EngineFailed, EngineRefused, EngineUnavailable
from server.engines.openai.bounded_http import AnswerRefused, BoundedTransport, Bounds, network
from server.features.generation.bounds import MAX_FRAMES, MAX_PIXELS
from server.features.generation.mp4_reader import read_video
from server.features.generation.rules import Rules
from server.processes.wire import Message
from server.rtc.media.decode import open_decoder
from server.rtc.media.h264 import H264Frames

MAX_BYTES = 256 * 1024 * 1024
# Seconds between two requests for a job's state
_POLL_SECONDS = 1.0
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
_MAX_REPLY = 1024 * 1024
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
    """The video API of one server.

    `base_url` ends in /v1; requests carry `api_key`. `pool` decodes.
    """

    backend = "videos-api"

    def __init__(
        self,
        base_url: str,
        api_key: str = "",
        *,
        pool: ThreadPoolExecutor,
        poll_seconds: float = _POLL_SECONDS,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.rules = Rules("video", takes=("negative", "guidance", "steps"))
        self.busy = False
        self._url = f"{base_url.rstrip('/')}/videos"
        self._pool = pool
        self._poll_seconds = poll_seconds
        self._client = httpx2.AsyncClient(
            transport=BoundedTransport(transport or network(), _bounds),
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=_REPLY_SECONDS,
            # Proxies of the environment are for other addresses.
            trust_env=False,
            follow_redirects=False,
        )

    async def probe(self) -> str:
        """Try to make and decode a video; return "" or the reason why its videos cannot be used,
        with what to do.
        """
        data = b""
        try:
            async for message in self.make(PROBE):
                if message.type == "file":
                    data = message.payload
        except EngineError as error:
            return error.message
        return "" if data else f"The server made nothing. {_INSTEAD}"

    async def make(self, asked: Mapping[str, Any], picture: bytes = b"") -> AsyncGenerator[Message]:
        """`step` while it goes on, then `file` with the MP4 and its `width`, `height`, `frames` and
        `seconds`.

        Closing it has the server delete the job.

        Raises EngineUnavailable, EngineRefused, EngineFailed.
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
                await asyncio.sleep(self._poll_seconds)
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

    async def close(self) -> None:
        await self._client.aclose()

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
        except AnswerRefused as why:
            raise EngineFailed(f"The server {why}. Ask for less. {_INSTEAD}") from None
        except (httpx2.HTTPError, TimeoutError):
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


def _bounds(request: httpx2.Request) -> Bounds:
    """Return the bounds of a request's answer: a job's state is short, a video is large."""
    if request.url.path.endswith("/content"):
        return Bounds(MAX_BYTES, _CONTENT_SECONDS)
    return Bounds(_MAX_REPLY, _ANSWER_SECONDS)


def _form(asked: Mapping[str, Any]) -> dict[str, tuple[None, str]]:
    """Fields of a multipart form, by their names there."""
    names = {
        "prompt": "prompt",
        "negative_prompt": "negative_prompt",
        "width": "width",
        "height": "height",
        "frames": "num_frames",
        "fps": "fps",
        "seed": "seed",
        "steps": "num_inference_steps",
        "guidance": "guidance_scale",
    }
    given = {names[key]: value for key, value in asked.items() if key in names and value != ""}
    return {key: (None, str(value)) for key, value in given.items()}


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
