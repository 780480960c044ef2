"""Videos by another server: a stand-in with vLLM-Omni's routes that works, or fails as known."""

from __future__ import annotations

import asyncio
import io
import json
import re
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import av
import httpx2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from server.features.generation import videos_api
from server.features.generation.bounds import MAX_FRAMES, video_request
from server.features.generation.job import GenerationJob, JobState, Mp4Writer
from server.features.generation.videos_api import MAX_BOXES, VideosApi, _facts, read_video
from server.features.hosting.runtime import StartFailed
from server.media.video.decode import H264Frames, open_decoder
from server.models.openai import http
from tests.support.clients import soon
from tests.support.engine_plans import WAN
from tests.support.h264_streams import Sps, Stream, Vui
from tests.support.http_stand_in import private_tls
from tests.support.mp4_boxes import DEEP, HARM, LARGE, File, box, late, sample, units_of
from tests.support.speech_server import TranscriptionServer

# The error that vLLM-Omni 0.16 answered (its issue 1653).
NUMPY = "'numpy.ndarray' object has no attribute 'save'"


def made(width: int, height: int, frames: int) -> bytes:
    writer = Mp4Writer(width, height, 8, 2**20)
    for _ in range(frames):
        writer.add(np.full((height, width, 3), 90, np.uint8).tobytes())
    return writer.finish()


def transport_stream(mp4: bytes) -> bytes:
    """The same pictures in a file of another kind (ISO 13818-1), which a page does not play."""
    file = io.BytesIO()
    with av.open(io.BytesIO(mp4), "r") as source, av.open(file, "w", format="mpegts") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    return file.getvalue()


# By the manner: what it says in place of a job
REFUSALS = {
    "fails": (json.dumps({"error": {"message": NUMPY}}), 500),
    "breaks": ("secret words of a prompt", 500),
    "absent": ("Not Found", 404),
    "locked": ("", 401),
    "rubbish": ("[1]", 200),
}


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
        job = "../other" if self.manner == "climbs" else "video-1"
        if self.manner in REFUSALS:
            return Response(*REFUSALS[self.manner])
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


@asynccontextmanager
async def api(server: Server, pool: ThreadPoolExecutor) -> AsyncIterator[VideosApi]:
    transport = httpx2.ASGITransport(server.app())
    one = VideosApi(WAN, "http://h/v1/", "key", pool=pool, transport=transport)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(videos_api, "POLL_SECONDS", 0.01)
        try:
            yield one
        finally:
            await one.stop()


async def test_the_probe_has_a_short_video_made(pool: ThreadPoolExecutor) -> None:
    """Asked for, looked at, fetched, decoded, deleted: the whole way that others go."""
    server = Server()
    async with api(server, pool) as one:
        await one.start()
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
        with pytest.raises(StartFailed, match=re.escape(words)) as caught:
            await one.start()
        assert "secret" not in caught.value.message


async def test_a_server_that_is_not_there_is_not_used(pool: ThreadPoolExecutor) -> None:
    nowhere = VideosApi(WAN, "http://127.0.0.1:9/v1", "", pool=pool)
    with pytest.raises(StartFailed, match="does not answer"):
        await nowhere.start()
    await nowhere.stop()


async def test_a_certificate_that_is_not_trusted_is_named(
    pool: ThreadPoolExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_FILE with its authority mends it."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    server = TranscriptionServer()
    server.tls, authority = private_tls(tmp_path)
    async with server:
        for words in ("SSL_CERT_FILE", "has no /v1/videos"):
            http.trust.cache_clear()
            one = VideosApi(WAN, server.base_url, "", pool=pool)
            with pytest.raises(StartFailed, match=words):
                await one.start()
            await one.stop()
            monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    http.trust.cache_clear()


async def test_looks_that_are_not_answered_end_no_job(pool: ThreadPoolExecutor) -> None:
    """It goes on there: a few in a row are borne."""
    server = Server("blinks")
    async with api(server, pool) as one:
        await one.start()
    assert server.looks == 6


async def test_its_video_goes_to_the_page_as_it_is(
    pool: ThreadPoolExecutor, making: GenerationJob
) -> None:
    """The steps come from its own percent; the file is not encoded again."""
    server = Server()
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


async def test_cancelling_deletes_the_job(pool: ThreadPoolExecutor, making: GenerationJob) -> None:
    """The server hears of it, and the next one may begin."""
    server = Server("endless")
    async with api(server, pool) as one:
        making.start(one, video_request({"prompt": "x"}, one.rules))
        await soon(lambda: server.looks > 2)
        assert (await making.cancel()).state is JobState.CANCELLED
        assert (server.deleted, one.busy) == (["video-1"], False)
        seen = server.looks
        await asyncio.sleep(0.05)
        assert server.looks == seen


# Another server's MP4 taken apart: where its frames are, and that nothing it says costs more than
# it has bytes


# Prints how many MiB a look at a file takes, and what is found.
_LOOK = """
import json, sys
import av
from server.features.generation.videos_api import _facts
from tests.support.children import memory_mib
from tests.support.mp4_boxes import HARM
av.logging.set_level(av.logging.PANIC)
data = HARM[sys.argv[1]]()
before = memory_mib(name="VmHWM")
found = _facts(data)
print(json.dumps([len(data), memory_mib(name="VmHWM") - before, found]))
"""


@pytest.mark.parametrize(("width", "height", "frames"), [(64, 32, 5), (320, 256, 25)])
def test_what_an_encoder_made_is_read(width: int, height: int, frames: int) -> None:
    """As many frames as there are, B pictures among them, each decodable; and as long as it plays."""
    data = made(width, height, frames)
    video = read_video(data, frames)
    assert len(video.samples) == frames
    assert video.seconds == pytest.approx(frames / 8)
    decoder, checked = open_decoder("H264"), H264Frames()
    for frame in video.frames():
        decoder.decode(av.Packet(checked.checked(frame)[0]))
    found = {"width": width, "height": height, "frames": frames, "seconds": frames / 8}
    assert _facts(data) == found
    with pytest.raises(ValueError, match=f"1 to {frames - 1} are allowed"):
        read_video(data, frames - 1)


@pytest.mark.parametrize("name", HARM)
def test_harm_is_refused_before_it_is_decoded(name: str) -> None:
    """4:4:4 with 14 bits (238 MiB once), 4096×4096, an index of 32 million frames (1,178)."""
    done = subprocess.run(
        [sys.executable, "-c", _LOOK, name],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        timeout=60,
        check=True,
    )
    size, took, found = json.loads(done.stdout)
    print(f"{name}: {size} bytes took {took:.0f} MiB")
    assert found is None
    assert took < 12


def test_no_picture_waits_for_another() -> None:
    """A set that has 16 pictures put in order is written again here, too."""
    assert _facts(late(LARGE).data()) == {
        "width": 1920,
        "height": 1088,
        "frames": 30,
        "seconds": 3.75,
    }


@pytest.mark.parametrize("length", [1, 2, 4])
def test_lengths_of_any_size(length: int) -> None:
    """Of one, two and four bytes; three are refused."""
    stream = Stream(Sps(2, 2))
    frames = [sample(stream.key(), length)]
    file = File(units_of(stream.sets()), frames, length=length)
    assert _facts(file.data()) is not None
    file.length = 3
    assert _facts(file.data()) is None


def test_several_chunks() -> None:
    """Frames lie where the tables of chunks say, in runs of any length, with 64-bit places as well."""
    data = made(64, 32, 25)
    at = data.index(b"stco") + 4
    (count,) = struct.unpack_from(">I", data, at + 4)
    places = struct.unpack_from(f">{count}I", data, at + 8)
    video = read_video(data, 25)
    assert bytes(video.samples[0]) == data[places[0] :][: len(video.samples[0])]
    stream = Stream(Sps(2, 2))
    frame = sample(stream.key())
    wide = File(units_of(stream.sets()), [frame]).data()
    at = wide.index(b"stco") - 4
    (place,) = struct.unpack_from(">I", wide, at + 16)
    table = box(b"co64", bytes(4), struct.pack(">IQ", 1, place + 4))
    moved = wide[:at] + table + wide[at + 20 :]
    for name in (b"stbl", b"minf", b"mdia", b"trak", b"moov"):
        start = moved.index(name) - 4
        (size,) = struct.unpack_from(">I", moved, start)
        moved = moved[:start] + struct.pack(">I", size + 4) + moved[start + 4 :]
    assert bytes(read_video(moved, 1).samples[0]) == frame


def test_what_is_no_such_file_is_refused() -> None:
    """Other codecs, no frames, no samples in a chunk, frames outside, too many boxes, fragments."""
    stream = Stream(Sps(2, 2))
    sets, frame = units_of(stream.sets()), sample(stream.key())
    good = File(sets, [frame])
    assert _facts(good.data()) is not None
    bad = [
        File(sets, [frame], codec=b"hvc1"),
        File(sets, []),
        File(sets, [frame], per_chunk=0),
        File(sets, [frame], told=2, each=len(frame)),
        File(sets, [frame], each=1 << 30),
        File([], [frame]),
        File(sets, [frame[:-3]]),
        File(sets, [frame], more=box(b"free") * MAX_BOXES),
    ]
    for file in bad:
        assert _facts(file.data()) is None
    assert _facts(b"") is None
    assert _facts(good.data()[:-1]) is None


_SEEDS = [late(Sps(2, 2, vui=Vui()), 3).data(), late(DEEP, 2).data()[:2000], made(64, 32, 2)]


@given(
    st.sampled_from(_SEEDS),
    st.lists(st.tuples(st.integers(0, 3000), st.binary(min_size=1, max_size=4)), max_size=4),
    st.integers(0, 4000),
)
def test_any_bytes_are_read_or_refused(
    data: bytes, changes: list[tuple[int, bytes]], cut: int
) -> None:
    """Nothing but ValueError comes out of the reader, and nothing at all out of the look."""
    for at, value in changes:
        data = data[:at] + value + data[at + len(value) :]
    data = data[: len(data) - cut] if cut < 500 else data
    with suppress(ValueError):
        video = read_video(data, 257)
        assert sum(len(frame) for frame in video.frames()) <= 3 * len(data) + 65_536
    _facts(data)
