"""A true broker (Mosquitto), and a client of its own process to look at it with."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiomqtt

from tests.support.fakes_server import end, free_port, listening_at
from tests.support.programs import ran

# Where Debian puts servers, which is not in everybody's PATH
_PATH = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin:/opt/homebrew/sbin"
USER, PASSWORD = "camera", "pass-word-of-the-broker"


def no_mosquitto() -> str:
    """The reason why there is no broker here; "" when there is one."""
    found = shutil.which("mosquitto", path=_PATH) and shutil.which("mosquitto_passwd", path=None)
    return "" if found else "Mosquitto is not installed (apt install mosquitto)"


@dataclass
class Broker:
    """A broker's process, and all that others would hear of it."""

    folder: Path
    port: int
    tls: bool = False
    process: asyncio.subprocess.Process | None = None
    # The messages on each topic, in order; the flag says that one was retained
    heard: list[tuple[str, bytes, bool]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{'mqtts' if self.tls else 'mqtt'}://{USER}:{PASSWORD}@localhost:{self.port}"

    async def start(self) -> None:
        program = str(shutil.which("mosquitto", path=_PATH))
        conf = str(self.folder / "broker.conf")
        self.process = await listening_at(self.port, program, "-c", conf)

    async def stop(self) -> None:
        """End it as a crash does: without a word to anybody."""
        await end(self.process)

    def client(self) -> aiomqtt.Client:
        """Make another client of the broker."""
        return aiomqtt.Client(
            "127.0.0.1",
            self.port,
            username=USER,
            password=PASSWORD,
            protocol=aiomqtt.ProtocolVersion.V5,
        )

    def last(self, topic: str) -> bytes | None:
        """Return the newest payload of a topic; None before the first."""
        found = [payload for name, payload, _ in self.heard if name == topic]
        return found[-1] if found else None

    def all(self, topic: str) -> list[bytes]:
        return [payload for name, payload, _ in self.heard if name == topic]

    async def retained(self) -> dict[str, bytes]:
        """Ask the broker for all that it keeps."""
        found: dict[str, bytes] = {}
        async with self.client() as client:
            await client.subscribe("#")
            # Behind what is kept, because a connection's messages stay in order.
            await client.publish("test/end", b"")
            async for message in client.messages:
                if str(message.topic) == "test/end":
                    return found
                if message.retain:
                    assert isinstance(message.payload, bytes)
                    found[str(message.topic)] = message.payload
        raise AssertionError


@asynccontextmanager
async def broker(folder: Path, lines: str = "") -> AsyncIterator[Broker]:
    """Run a broker that wants a password; `lines`: more of its configuration."""
    port = free_port()
    words = folder / "broker.passwords"
    made = ran(["mosquitto_passwd", "-b", "-c", words, USER, PASSWORD])
    assert made.returncode == 0, made.stderr
    words.chmod(0o644)
    (folder / "broker.conf").write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {words}\n"
        f"persistence false\nuser root\n{lines}",
        encoding="utf-8",
    )
    one = Broker(folder, port, "certfile" in lines)
    try:
        await one.start()
        yield one
    finally:
        await one.stop()


@asynccontextmanager
async def listening(one: Broker, *topics: str) -> AsyncIterator[aiomqtt.Client]:
    """Note in `heard` what comes on these topics."""

    async def note() -> None:
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            one.heard.append((str(message.topic), message.payload, message.retain))

    async with one.client() as client:
        for topic in topics:
            await client.subscribe(topic)
        task = asyncio.create_task(note())
        try:
            yield client
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
