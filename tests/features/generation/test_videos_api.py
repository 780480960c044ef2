"""Videos by another server: a stand-in with vLLM-Omni's routes that works, or fails in one of the
ways that are known.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import av
import httpx2
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from server.core.metrics import Metrics
from server.features.generation.bounds import MAX_FRAMES, video_request
from server.features.generation.files import Mp4Writer
from server.features.generation.job import GenerationJob, JobState
from server.features.generation.runtime import VideosRuntime
from server.features.generation.videos_api import VideosApi
from server.features.hosting.catalogue.entry import Ability, ModelType, RunMode
from server.features.hosting.catalogue.launch import Launch
from server.features.hosting.runtime import StartFailed
from tests.support.clients import soon
from tests.support.engine_plans import model

# The error that vLLM-Omni 0.16 answered (its issue 1653).
NUMPY = "'numpy.ndarray' object has no attribute 'save'"


def made(width: int, height: int, frames: int) -> bytes:
    writer = Mp4Writer(width, height, 8, frames, 2**20)
    for _ in range(frames):
        writer.add(np.full((height, width, 3), 90, np.uint8).tobytes())
    return writer.finish()


def transport_stream(mp4: bytes) -> bytes:
    """The same pictures in a file of another kind (ISO 13818-1), which a page does not play."""
    file = io.BytesIO()
    with (
        av.open(io.BytesIO(mp4), "r") as source,
        av.open(file, "w", format="mpegts") as out,
    ):
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    return file.getvalue()


@dataclass
class Server:
    """`manner`: "works", "endless", or what goes wrong."""

    manner: str = "works"
    forms: list[str] = field(default_factory=list)
    looks: int = 0
    deleted: list[str] = field(default_factory=list)

    async def create(self, request: Request) -> Response:
        assert request.headers["authorization"] == "Bearer key"
        assert request.headers["content-type"].startswith("multipart/form-data")
        self.forms.append((await request.body()).decode())
        if self.manner == "fails":
            return JSONResponse({"error": {"message": NUMPY}}, 500)
        if self.manner == "breaks":
            return PlainTextResponse("secret words of a prompt", 500)
        if self.manner == "absent":
            return PlainTextResponse("Not Found", 404)
        if self.manner == "locked":
            return PlainTextResponse("", 401)
        if self.manner == "rubbish":
            return PlainTextResponse("[1]")
        job = "../other" if self.manner == "climbs" else "video-1"
        return JSONResponse({"id": job, "status": "queued"})

    async def look(self, request: Request) -> Response:
        self.looks += 1
        if self.manner == "fails later":
            # Quotes of both kinds have Python write some of them with a backslash.
            error = {"code": 500, "message": f'"wan" failed: {NUMPY}'}
            return JSONResponse({"id": "video-1", "status": "failed", "error": error})
        if self.manner == "blinks" and self.looks < 4:
            raise httpx2.ReadError("gone")
        if self.manner == "mad":
            text = '{"id": "video-1", "status": ["in_progress"], "progress": NaN}'
            return Response(text if self.looks > 1 else text.replace("[", "").replace("]", ""))
        done = self.looks > (5 if self.manner == "blinks" else 2) and self.manner != "endless"
        status = "completed" if done else "in_progress"
        return JSONResponse({"id": "video-1", "status": status, "progress": 20 * self.looks})

    async def content(self, request: Request) -> Response:
        data = made(64, 32, 5)
        if self.manner == "lies":
            data = b"no video"
        elif self.manner == "another form":
            data = transport_stream(data)
        elif self.manner == "floods":
            data = made(64, 32, MAX_FRAMES + 1)
        elif self.manner == "swells":
            data = made(2048, 1088, 1)
        return Response(data, media_type="video/mp4")

    async def delete(self, request: Request) -> Response:
        self.deleted.append(request.path_params["job"])
        return JSONResponse({"deleted": True})

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/videos", self.create, methods=["POST"]),
                Route("/v1/videos/{job}", self.look, methods=["GET"]),
                Route("/v1/videos/{job}", self.delete, methods=["DELETE"]),
                Route("/v1/videos/{job}/content", self.content, methods=["GET"]),
            ]
        )


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as one:
        yield one


@asynccontextmanager
async def api(server: Server, pool: ThreadPoolExecutor) -> AsyncIterator[VideosApi]:
    transport = httpx2.ASGITransport(server.app())
    one = VideosApi("http://h/v1/", "key", pool=pool, poll_seconds=0.01, transport=transport)
    try:
        yield one
    finally:
        await one.close()


async def test_the_probe_has_a_short_video_made(pool: ThreadPoolExecutor) -> None:
    """Asked for, looked at, fetched, decoded, deleted: the whole way that others go."""
    server = Server()
    async with api(server, pool) as one:
        assert await one.probe() == ""
        assert not one.busy
    assert 'name="num_frames"\r\n\r\n9\r\n' in server.forms[0]
    assert 'name="num_inference_steps"\r\n\r\n1\r\n' in server.forms[0]
    assert (server.looks, server.deleted) == (3, ["video-1"])


@pytest.mark.parametrize(
    ("manner", "words"),
    [
        ("fails", "an array where it expects pictures"),
        ("fails later", "an array where it expects pictures"),
        ("breaks", "status 500"),
        ("absent", "has no /v1/videos"),
        ("locked", "Give the right one"),
        ("rubbish", "no JSON object"),
        ("climbs", "names no job"),
        ("lies", "a video that cannot be decoded"),
        ("another form", "a video that cannot be decoded"),
        ("floods", "a video that cannot be decoded"),
        ("swells", "a video that cannot be decoded"),
        ("mad", "could not make it"),
    ],
)
async def test_a_server_that_fails_is_not_used(
    pool: ThreadPoolExecutor, manner: str, words: str
) -> None:
    """Each known way has its sentence, with what to do, and none repeats the server's own words."""
    async with api(Server(manner), pool) as one:
        said = await one.probe()
        assert words in said
        assert "secret" not in said
    wan = model("wan", ModelType.VIDEO, Ability.TEXT_TO_VIDEO)
    launch = Launch(RunMode.REMOTE, (), {}, "", base_url="http://127.0.0.1:9/v1")
    loaded = VideosRuntime(launch, wan, pool)
    with pytest.raises(StartFailed, match="does not answer"):
        await loaded.start()
    await loaded.stop()


async def test_looks_that_are_not_answered_end_no_job(pool: ThreadPoolExecutor) -> None:
    """It goes on there: a few in a row are borne."""
    server = Server("blinks")
    async with api(server, pool) as one:
        assert await one.probe() == ""
    assert server.looks == 6


async def test_its_video_goes_to_the_page_as_it_is(pool: ThreadPoolExecutor) -> None:
    """The steps come from its own percent; the file is not encoded again."""
    server = Server()
    making = GenerationJob(metrics=Metrics("0"), pool=pool)
    async with api(server, pool) as one:
        given = {"prompt": "a red ball", "negative_prompt": "blue", "steps": 10, "seed": 4}
        making.start(one, video_request(given, one.rules))
        await soon(lambda: making.progress.step == 4)
        await soon(lambda: making.progress.state is JobState.READY)
    # It is what the server made of it, whatever was asked.
    now = making.progress
    assert (now.width, now.height, now.made, now.seconds) == (64, 32, 5, 0.625)
    assert making.take().data == (await server.content(Request({"type": "http"}))).body
    for name, value in (("prompt", "a red ball"), ("negative_prompt", "blue"), ("seed", "4")):
        assert f'name="{name}"\r\n\r\n{value}\r\n' in server.forms[0]
    await making.close()


async def test_cancelling_deletes_the_job(pool: ThreadPoolExecutor) -> None:
    """The server hears of it, and the next one may begin."""
    server = Server("endless")
    making = GenerationJob(metrics=Metrics("0"), pool=pool)
    async with api(server, pool) as one:
        making.start(one, video_request({"prompt": "x"}, one.rules))
        await soon(lambda: server.looks > 2)
        assert (await making.cancel()).state is JobState.CANCELLED
        assert (server.deleted, one.busy) == (["video-1"], False)
        seen = server.looks
        await asyncio.sleep(0.05)
        assert server.looks == seen
    await making.close()
