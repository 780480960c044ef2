"""After many sessions nothing is left: tasks, sockets, descriptors, threads, memory."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest

from scripts.bench.camera_peer import CameraPeer
from scripts.bench.http_json import request_json
from scripts.bench.live_encoder import LiveEncoder
from server.webrtc_server import TRIM_SECONDS
from tests.support.clients import cut_socket
from tests.support.fakes_openai import FakeOpenAI
from tests.support.fakes_rtc import live_encoder
from tests.support.fakes_server import Footprint, ServerProcess
from tests.support.measured_server import MODULE, counted, kept
from tests.support.running import Running, running

pytestmark = pytest.mark.slow

# The server's gain between its 50th and its 80th session: MiB in use, Python's blocks in use, and
# MiB that lie free between those. Measured: 0.03, 400 and 1.
GROWTH_MIB = 0.5
GROWTH_BLOCKS = 5_000
FRAGMENTS_MIB = 16.0
OPERATOR = "whoever ends all sessions"
# Objects that end with a session
OF_SESSIONS = {
    "server.session.session.Session",
    "server.media.camera.Camera",
    "server.webrtc_server.PeerConnection",
    "aiortc.rtcpeerconnection.RTCPeerConnection",
}
SESSIONS = 50
AT_A_TIME = 5


async def visit(url: str, encoder: LiveEncoder, number: int) -> CameraPeer:
    """One session: connect, ask, describe, and leave in one of six ways."""
    peer = CameraPeer(url, encoder)
    try:
        await _visit(peer, number)
    except BaseException:
        await peer.close()
        raise
    return peer


async def _visit(peer: CameraPeer, number: int) -> None:
    await peer.connect()
    await peer.open_socket()
    await peer.wait_live()
    answer = await peer.ask("What colour is it?", timeout=20)
    assert answer.response is not None, answer.error
    await peer.send({"type": "settings", "describe": True, "sample_rate": 5, "thumbnails": True})
    await peer.wait_for(lambda m: m["type"] == "response" and m["kind"] == "describe", timeout=20)
    match number % 6:
        case 0:
            # By the book: DELETE, then the socket.
            await peer.close()
        case 1:
            # The camera goes first, without a word to the server but DTLS's own.
            await peer.drop_camera()
        case 2:
            # In the middle of an answer, and the socket is cut.
            await peer.start("And now?")
            cut_socket(peer)
        case 3:
            # The camera ends, and is offered again in the same session.
            await peer.end_camera()
            await peer.connect()
        case 4:
            # A new offer in place of the old one, then a new socket in place of the old one.
            await peer.connect()
            await peer.send({"type": "hold"})
            await peer.open_socket()
        case 5:
            # Just gone: what the server hears next is nothing.
            await peer.close_socket()


async def many_sessions(
    url: str, encoder: LiveEncoder, first: int, last: int, sessions: list[str]
) -> None:
    for start in range(first, last, AT_A_TIME):
        peers = await asyncio.gather(
            *(visit(url, encoder, n) for n in range(start, min(last, start + AT_A_TIME)))
        )
        sessions += [peer.session_id for peer in peers]
        await asyncio.gather(*(peer.close() for peer in peers))


async def test_no_task_is_left() -> None:
    """Every task of the server ends with its session, and so do its sockets and threads."""
    async with (
        FakeOpenAI() as fake,
        live_encoder(320, 240) as encoder,
        running(
            engine="vllm", vllm_base_url=fake.base_url, rate_limit_per_minute=0, max_sessions=60
        ) as server,
    ):
        names: list[str] = []
        await many_sessions(server.base_url, encoder, 0, AT_A_TIME, names)
        await end_all(server)
        before = tasks()
        await many_sessions(server.base_url, encoder, AT_A_TIME, SESSIONS, names)
        assert len(set(names)) == SESSIONS
        await end_all(server)
        deadline = time.monotonic() + 30
        while (left := tasks() - before).total():
            assert time.monotonic() < deadline, left
            await asyncio.sleep(0.05)
        program = server.program
        assert len(program.webrtc) == len(program.webrtc._tasks) == 0
        assert sum(program.inference.count_waiting().values()) == 0
        assert fake.running == 0


def tasks() -> Counter[str]:
    """Return the running tasks by the names of their code."""
    found = (getattr(t.get_coro(), "__qualname__", "?") for t in asyncio.all_tasks())
    # The stand-in's connections are the client's to keep.
    return Counter(name for name in found if not name.startswith("FakeOpenAI"))


async def end_all(server: Running) -> None:
    """Every session expires now."""
    program = server.program
    for session in program.sessions.list_all():
        await program.sessions.end(session.id, "the test's end")
    assert len(program.sessions) == 0
    async with asyncio.timeout(30):
        while len(program.webrtc) or len(program.webrtc._tasks) or program.sessions.sockets:
            await asyncio.sleep(0.02)


@pytest.mark.night
async def test_no_descriptor_thread_or_memory_is_left() -> None:
    """The process holds as many sockets, descriptors and threads after 80 sessions as after 5, no
    object of a session, and no more memory.
    """
    async with (
        FakeOpenAI() as fake,
        live_encoder(1280, 720) as encoder,
        ServerProcess(
            {
                "ENGINE": "vllm",
                "VLLM_BASE_URL": fake.base_url,
                "OPERATOR_TOKEN": OPERATOR,
                "MAX_SESSIONS": "100",
            },
            module=MODULE,
        ) as server,
    ):
        names: list[str] = []
        await many_sessions(server.url, encoder, 0, AT_A_TIME, names)
        early = await at_rest(server)
        await many_sessions(server.url, encoder, AT_A_TIME, SESSIONS, names)
        middle = await at_rest(server)
        keeps = await kept(server)
        await many_sessions(server.url, encoder, SESSIONS, SESSIONS + 30, names)
        late = await at_rest(server)
        still_keeps = await kept(server)
        print(f"after 5: {early}; after 50: {middle}, {keeps}; after 80: {late}, {still_keeps}")
        assert len(set(names)) == SESSIONS + 30
        # As many connections to the model may be kept open as there were answers at a time.
        assert late.sockets <= early.sockets + AT_A_TIME
        assert late.descriptors - late.sockets <= early.descriptors - early.sockets
        # The second thread of a pool may begin late.
        assert late.threads <= middle.threads + 2
        assert still_keeps.malloc - keeps.malloc <= GROWTH_MIB
        assert still_keeps.blocks - keeps.blocks <= GROWTH_BLOCKS
        assert still_keeps.rss - keeps.rss <= FRAGMENTS_MIB


async def at_rest(server: ServerProcess) -> Footprint:
    """End all sessions, some time after their cameras, and wait until the server has collected what
    was theirs; measure it.
    """
    await asyncio.sleep(TRIM_SECONDS + 1)
    await request_json("DELETE", f"{server.url}/api/operator/sessions", token=OPERATOR)
    health = await request_json("GET", f"{server.url}/health", token=OPERATOR)
    assert health["sessions"] == 0
    async with asyncio.timeout(60):
        # A server that leaves them to Python's own collections keeps a hundred megabytes.
        while any(name in OF_SESSIONS for name in await counted(server)):
            await asyncio.sleep(0.2)
    return server.footprint()
