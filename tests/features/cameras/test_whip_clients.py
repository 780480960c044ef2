"""WHIP with other people's stacks: GStreamer's webrtcbin (RSA certificates, TCP candidates), werift
and FFmpeg's muxer.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from server.media.camera import Camera
from tests.peers.processes import (
    FFMPEG,
    GSTREAMER,
    WERIFT,
    no_gstreamer,
    no_werift,
    peer_process,
    rtp_to,
)
from tests.support.clients import Page, more_frames, open_page, soon, take_token
from tests.support.fakes_openai import FakeOpenAI
from tests.support.fakes_rtc import live_encoder
from tests.support.parts import at_night
from tests.support.running import Running, running, with_model
from tests.support.turn_server import make_certificate

pytestmark = pytest.mark.slow

gstreamer = pytest.mark.skipif(bool(no_gstreamer()), reason=no_gstreamer())
werift = pytest.mark.skipif(bool(no_werift()), reason=no_werift())

OPUS = "audiotestsrc is-live=true ! opusenc ! rtpopuspay"
BALL = "videotestsrc is-live=true pattern=ball ! video/x-raw,width=1280,height=720,framerate=15/1"
VP8 = f"{BALL} ! vp8enc deadline=1 keyframe-max-dist=60 ! rtpvp8pay"
# Where no size is asked for: to encode and decode it takes a tenth of the time.
SMALL = VP8.replace("width=1280,height=720", "width=320,height=180")
X264 = f"{BALL} ! x264enc tune=zerolatency key-int-max=60"
RTP = "application/x-rtp,media=video,payload=96,encoding-name"


# For a connection to be made where its limit is waited for: a busy machine takes some of them.
CONNECT_SECONDS = 5.0


@asynccontextmanager
async def answering() -> AsyncIterator[Running]:
    """With a model that answers at once: the built-in engine would read each picture, for a second."""
    async with FakeOpenAI() as model, with_model(model) as run:
        yield run


def h264(profile: str) -> str:
    # The quickest preset leaves out all that the other profiles add to baseline.
    preset = "ultrafast" if "baseline" in profile else "superfast"
    return f"{X264} speed-preset={preset} ! video/x-h264,profile={profile} ! rtph264pay config-interval=-1"


async def session(run: Running) -> tuple[list[str], str, str]:
    """Arguments for a camera, the session's token and its id."""
    issued = await take_token(run)
    address = f"{run.base_url}/api/whip?session={issued['session_id']}"
    return [address, issued["token"]], issued["token"], issued["session_id"]


def camera_of(run: Running, session_id: str) -> Camera:
    return run.program.sessions.find(session_id).camera


@gstreamer
@pytest.mark.parametrize(
    ("source", "how", "answered"),
    [
        (f"{VP8} ! {RTP}=VP8", "trickle", "VP8/90000"),
        (f"{h264('constrained-baseline')} ! {RTP}=H264", "whole", "profile-level-id=42"),
        (f"{h264('high')} ! {RTP}=H264", "trickle", "profile-level-id=64"),
    ],
)
async def test_gstreamer(source: str, how: str, answered: str) -> None:
    """Its RSA certificate connects, its pictures are whole and asked about, and DELETE ends it."""
    async with answering() as run:
        arguments, token, session_id = await session(run)
        page = await open_page(run, token, session_id)
        async with peer_process(*GSTREAMER, *arguments, source, how) as peer:
            assert answered in await peer.says("answer")
            if how == "trickle":
                assert await peer.says("trickled") == 204
            # Nothing in its packets tells when they were sent.
            assert "abs-send-time" not in await peer.says("offer")
            await peer.says("state", "connected")
            await page.camera("live", timeout=30)
            camera = camera_of(run, session_id)
            await more_frames(camera, 5)
            assert camera.newest is not None
            assert (camera.newest.width, camera.newest.height) == (1280, 720)
            connection = run.program.webrtc.get(session_id)
            tls = connection._receiver.transport._ssl
            assert tls is not None
            certificate = tls.get_peer_certificate(as_cryptography=True)
            assert certificate is not None
            assert isinstance(certificate.public_key(), RSAPublicKey)
            answer = await page.ask("What do you see?", timeout=30)
            assert answer["type"] == "response", answer
            assert (answer["frame"]["source_width"], answer["frame"]["held"]) == (1280, False)
            assert answer["frame"]["age_ms"] < 600
        assert peer.said[-1] == {"ended": 200} or {"ended": 200} in peer.said
        await page.camera("ended")
        await page.close()


@gstreamer
@pytest.mark.parametrize("how", [*at_night("whole"), "trickle"])
async def test_gstreamer_with_audio(how: str) -> None:
    """In each bundle policy, audio first and last: a picture comes, and no time limit cuts it."""
    audio = f"{OPUS} ! {RTP.replace('video', 'audio').replace('96', '97')}=OPUS"
    video = f"{SMALL} ! {RTP}=VP8"
    async with running(rate_limit_per_minute=0) as run:
        run.program.webrtc._connect_seconds = CONNECT_SECONDS
        for policy in ("none", "balanced", "max-compat", "max-bundle"):
            # Video first by day where it makes a difference: no bundle, and nothing but one.
            both = how == "whole" or policy in ("none", "max-bundle")
            for sources in ((audio, video), (video, audio))[: 2 if both else 1]:
                arguments, _, session_id = await session(run)
                given = "\n".join(sources), how, policy
                async with peer_process(*GSTREAMER, *arguments, *given) as peer:
                    offer = await peer.says("offer")
                    answer = await peer.says("answer")
                    camera = camera_of(run, session_id)
                    await more_frames(camera, 2)
                    await asyncio.sleep(
                        CONNECT_SECONDS if (how, policy) == ("whole", "none") else 0
                    )
                    await more_frames(camera, 2)
                if "a=group:BUNDLE" not in offer:
                    # The section that is not used leads nowhere.
                    assert "a=group" not in answer
                    assert answer.count("a=candidate:") == answer.count("typ host")
                    used = answer[answer.index("m=video") :].partition("m=audio")[0]
                    assert used.count("a=candidate:") == answer.count("a=candidate:")
                if policy == "max-bundle" and sources[0] == audio:
                    assert "m=video 0 " in offer
                    assert "a=bundle-only" in offer
                assert {"ended": 200} in peer.said


async def test_ffmpeg(tmp_path: Path) -> None:
    """Its muxer lets us begin DTLS and sends whole pictures, once it has a certificate on P-256."""
    async with running(rate_limit_per_minute=0) as run:
        arguments, token, session_id = await session(run)
        page = await open_page(run, token, session_id)
        own = make_certificate(tmp_path, "camera")
        async with peer_process(*FFMPEG, *arguments, str(own.chain), str(own.key)) as peer:
            await peer.says("sending")
            await page.camera("live", timeout=20)
            camera = camera_of(run, session_id)
            await more_frames(camera, 5)
            assert camera.newest is not None
            assert (camera.newest.width, camera.newest.height) == (640, 360)
        await page.camera("ended", timeout=20)
        await page.close()


@werift
@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_werift(codec: str) -> None:
    """Audio first in the bundle, a key frame when asked for, and its own ICE restart in the midst."""
    async with (
        answering() as run,
        live_encoder(640, 360, rate=10, codec=codec.lower()) as encoder,
    ):
        arguments, token, session_id = await session(run)
        page = await open_page(run, token, session_id)
        async with peer_process(*WERIFT, *arguments, codec) as peer:
            answer = await peer.says("answer")
            assert re.findall(r"^a=(inactive|recvonly)", answer, re.M) == ["inactive", "recvonly"]
            await peer.says("state", "connected")
            async with rtp_to(await peer.says("port"), encoder):
                await page.camera("live", timeout=30)
                camera = camera_of(run, session_id)
                await more_frames(camera, 3)
                connection = run.program.webrtc.get(session_id)
                transport = connection._receiver.transport.transport
                first = transport._connection
                peer.tell("restart")
                assert await peer.says("restarted") == 200
                await soon(lambda: first._closed, 20)
                await more_frames(camera, 5)
                assert transport._connection is not first
                answer = await page.ask("What do you see?", timeout=30)
                assert answer["type"] == "response", answer
        assert {"ended": 200} in peer.said
        await page.camera("ended")
        await page.close()


@werift
async def test_werift_in_every_bundle_policy() -> None:
    """Audio first and last: a picture comes; audio outside a bundle is rejected and cuts nothing."""
    async with (
        running(rate_limit_per_minute=0) as run,
        live_encoder(320, 240, rate=10, codec="vp8") as encoder,
    ):
        run.program.webrtc._connect_seconds = CONNECT_SECONDS
        for policy in ("disable", "max-compat", "max-bundle"):
            for audio in ("first", "last"):
                arguments, _, session_id = await session(run)
                async with peer_process(*WERIFT, *arguments, "VP8", policy, audio) as peer:
                    answer = await peer.says("answer")
                    connection = run.program.webrtc.get(session_id)
                    await soon(lambda c=connection: c._pc.connectionState == "connected", 10)  # type: ignore[misc]
                    async with rtp_to(await peer.says("port"), encoder):
                        camera = camera_of(run, session_id)
                        await more_frames(camera, 2)
                        rejected = (policy, audio) == ("disable", "first")
                        await asyncio.sleep(CONNECT_SECONDS if rejected else 0)
                        await more_frames(camera, 2)
                    unused = re.findall(r"^m=(\S+) 0 ", answer, re.M)
                    assert unused == (["audio"] if policy == "disable" else [])
                assert {"ended": 200} in peer.said


async def questions(page: Page, camera: Camera, count: int = 8) -> list[dict[str, Any]]:
    """So many answers, stamped by this machine's clock; each picture is from after its question."""
    await page.next("status", clock_doubted=True, timeout=20)
    answers = []
    for number in range(count):
        # At any moment between two frames.
        await asyncio.sleep(0.1 + number * 0.011)
        asked = time.time() * 1000
        answer = await page.ask("What is new?", sent_at=asked, timeout=15)
        assert answer["type"] == "response", answer
        assert answer["frame"]["captured_at"] >= asked
        assert camera.newest is not None
        assert camera.newest.captured_sender is None
        answers.append(answer)
    return answers


def waited(answers: list[dict[str, Any]]) -> float:
    """The median of how long they waited for their pictures, ms."""
    times: list[float] = sorted(answer["timings"]["wait_frame_ms"] for answer in answers)
    return times[len(times) // 2]


async def as_page(run: Running) -> tuple[list[str], Page, str]:
    """For a camera that offers as the page does, so that its clock is taken for the page's."""
    arguments, token, session_id = await session(run)
    page = await open_page(run, token, session_id)
    return [arguments[0].replace("/api/whip", "/api/webrtc/offer"), token], page, session_id


Connects = Callable[[list[str], float], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def gstreamer_peer(arguments: list[str], rate: float) -> AsyncIterator[None]:
    source = f"{SMALL} ! {RTP}=VP8".replace("15/1", f"{rate:g}/1")
    how = "trickle" if "/api/whip" in arguments[0] else "whole"
    async with peer_process(*GSTREAMER, *arguments, source, how) as peer:
        await peer.says("state", "connected")
        yield


@asynccontextmanager
async def werift_peer(arguments: list[str], rate: float) -> AsyncIterator[None]:
    async with (
        live_encoder(320, 240, rate=rate, codec="vp8") as encoder,
        peer_process(*WERIFT, *arguments, "VP8") as peer,
    ):
        await peer.says("state", "connected")
        async with rtp_to(await peer.says("port"), encoder):
            yield


each_peer = pytest.mark.parametrize(
    "peer",
    [
        pytest.param(gstreamer_peer, marks=gstreamer, id="gstreamer"),
        pytest.param(werift_peer, marks=werift, id="werift"),
    ],
)


@each_peer
async def test_sender_reports_stall_no_question(peer: Connects) -> None:
    """GStreamer's have an RTP time that is ahead by seconds, another one with each, and werift's an NTP time that is
    0.1 to 0.9 s back: at 30 frames/s a question waits for the next one.
    """
    async with answering() as run:
        arguments, page, session_id = await as_page(run)
        async with peer(arguments, 30):
            answers = await questions(page, camera_of(run, session_id))
            # A period is 33 ms; by the reports 0.7 s and more.
            assert waited(answers) < 300
        await page.close()
