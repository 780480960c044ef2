"""The server as on macOS: without what only Linux has."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import httpx
import pytest

from scripts.bench.camera_peer import CameraPeer
from tests.features.rtsp.scripted import CAMERAS, OPERATOR, jpeg_camera, red_jpeg, written
from tests.support.clients import bearer
from tests.support.fakes_rtc import live_encoder
from tests.support.fakes_server import ServerProcess

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="Elsewhere there is nothing to hide."),
]


async def test_it_serves_and_answers(tmp_path: Path) -> None:
    """The page, a question about a camera, a fixed camera, and what the panel says of the machine."""
    async with jpeg_camera(red_jpeg) as port, live_encoder(320, 240) as encoder:
        fixed = written(tmp_path, door=f'url = "http://127.0.0.1:{port}/video"')
        settings = {"OPERATOR_TOKEN": OPERATOR, "STANDING_CAMERAS": str(fixed)}
        async with (
            ServerProcess(settings, module="tests.support.macos") as server,
            httpx.AsyncClient(base_url=server.url, headers=bearer(OPERATOR), timeout=60) as client,
        ):
            page = await client.get("/", headers={"accept": "text/html"})
            assert "<title>" in page.text
            assert (await client.get("/health")).status_code == 200
            async with CameraPeer(server.url, encoder) as peer:
                await peer.wait_live()
                answer = await peer.ask("What color is it?", timeout=60)
                assert answer.response is not None, answer.error
            async with asyncio.timeout(60):
                while (await client.get(CAMERAS)).json()["cameras"][0]["state"] != "live":
                    await asyncio.sleep(0.1)
            machine = (await client.get("/api/engine")).json()["machine"]
            assert "Apple's GPU (" in machine
            assert "of memory free" in machine
            assert await server.stop() == 0
            assert "Traceback" not in server.text
