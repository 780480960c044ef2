"""server/features/mqtt/README.md, word for word: a broker with its rights, a camera that agreed, a press, and clearing by hand."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.features.rtsp.scripted import jpeg_camera, red_jpeg
from tests.support.clients import metric, soon
from tests.support.fakes_server import free_port, listens
from tests.support.guides import blocks, text_of
from tests.support.mosquitto import no_mosquitto
from tests.support.running import running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio,
    pytest.mark.skipif(bool(no_mosquitto()), reason=no_mosquitto()),
    pytest.mark.skipif(
        shutil.which("mosquitto_sub") is None, reason="apt install mosquitto-clients"
    ),
]

BLOCKS = [block for _, block in blocks(text_of("server/features/mqtt/README.md"))]
START = "/usr/sbin/mosquitto -c broker.conf\n"
CONFIGS = "homeassistant/+/qwen-camera/+/config"


def block(words: str) -> str:
    """Return the one block with these words."""
    (found,) = (one for one in BLOCKS if words in one)
    return found


class Shell:
    """The terminals of the document, all in one folder: only the broker's port is ours."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()

    def _here(self, command: str) -> list[str]:
        command = command.replace("1883", str(self.port))
        command = re.sub(r"\b(mosquitto_(?:sub|pub)) ", rf"\1 -p {self.port} ", command)
        return ["bash", "-euc", command]

    async def does(self, command: str) -> str:
        process = await self.begins(command)
        out, _ = await process.communicate()
        assert process.returncode == 0, out.decode()
        return out.decode()

    async def begins(self, command: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self._here(command),
            cwd=self.folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def retained(self, user: str, topic: str) -> list[str]:
        """Return what the broker keeps, each with its topic."""
        sub = f"""mosquitto_sub -V 5 -u {user} -P "$(cat {user}.word)" -t '{topic}' --retained-only -v -W 2 2>/dev/null || true"""
        return (await self.does(sub)).splitlines()

    @asynccontextmanager
    async def broker(self) -> AsyncIterator[None]:
        words, text = block("mosquitto_passwd"), block("broker.acl <<")
        # Above it stands what installs a broker.
        await self.does(words[words.index("umask") :])
        assert text.endswith(START)
        await self.does(text.removesuffix(START))
        if os.geteuid() == 0:
            with (self.folder / "broker.conf").open("a") as conf:
                conf.write("user root\n")
        process = await self.begins(f"exec {START}")
        try:
            async with asyncio.timeout(30):
                while not await listens(self.port):
                    await asyncio.sleep(0.02)
            yield
        finally:
            process.kill()
            await process.communicate()


async def test_its_commands_work(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    async with jpeg_camera(red_jpeg) as camera, shell.broker():
        for word in ("camera.word", "home.word", "broker.passwords", "broker.acl"):
            assert (tmp_path / word).stat().st_mode & 0o077 == 0
        cameras = tmp_path / "cameras.toml"
        cameras.write_text(
            block("mqtt = true").replace(
                "rtsp://192.168.1.20:554/stream1", f"http://127.0.0.1:{camera}/"
            )
        )
        lines = block("MQTT_URL=mqtt:").splitlines()
        assert lines.pop() == "bash scripts/run.sh"
        await shell.does("\n".join(lines))
        assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
        url = (tmp_path / ".env").read_text().strip().removeprefix("MQTT_URL=")
        async with running(standing_cameras=str(cameras), mqtt_url=url) as run:
            await soon(lambda: metric(run, "mqtt_connected") == 1, 30)
            listen, press = block("-m PRESS").splitlines()
            listening = await shell.begins(f"exec {listen}")
            assert listening.stdout is not None
            try:
                async with asyncio.timeout(60):
                    heard = await heard_until(
                        listening.stdout, "qwen-camera/front-door/status 6 bytes"
                    )
                    await shell.does(press)
                    heard += await heard_until(listening.stdout, "qwen-camera/front-door/answer ")
            finally:
                listening.kill()
                await listening.wait()
            assert "qwen-camera/status 6 bytes" in heard
            # Home Assistant's user presses, and writes nothing else.
            told = """mosquitto_pub -V 5 -u home -P "$(cat home.word)" -t qwen-camera/front-door/status -m no -r"""
            await shell.does(f"{told} || true")
            topic = "qwen-camera/front-door/status"
            assert await shell.retained("home", topic) == [f"{topic} online"]
            kept = await shell.retained("home", CONFIGS)
            assert len(kept) == 2 * 2 + 3
            (entity,) = re.findall(r"entity_id: (image\.\S+)", block("triggers:"))
            assert entity in {named(line) for line in kept}
        await shell.does(block("--retained-only"))
        assert await shell.retained("camera", CONFIGS) == []


async def heard_until(lines: asyncio.StreamReader, beginning: str) -> list[str]:
    heard: list[str] = []
    while not heard or not heard[-1].startswith(beginning):
        line = await lines.readline()
        assert line, heard
        heard.append(line.decode().strip())
    return heard


def named(line: str) -> str:
    """Name an entity as Home Assistant does: by the kind, the device's name and its own."""
    topic, _, config = line.partition(" ")
    words = " ".join(re.findall(r'"name": "([^"]*)"', config)[1::-1])
    return f"{topic.split('/')[1]}.{re.sub('[^a-z0-9]+', '_', words.lower()).strip('_')}"
