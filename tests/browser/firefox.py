"""Firefox, headless, spoken to by Marionette: its own remote protocol over TCP, which needs no
driver.

A message is its length, a colon and JSON: [0, id, command, parameters] there, [1, id, error,
result] back.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

PREFERENCES = {
    # Firefox's own moving picture in place of a camera, and nobody to ask for permission
    "media.navigator.streams.fake": True,
    "media.navigator.permission.disabled": True,
    # Scripts press its buttons, which counts as nobody's gesture.
    "media.autoplay.default": 0,
    "media.autoplay.blocking_policy": 0,
    # Any free port, written into the profile
    "marionette.port": 0,
    # Nothing to the outside
    "app.update.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage_override.mstone": "ignore",
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "media.gmp-manager.updateEnabled": False,
    "services.settings.server": "data:,",
    "toolkit.telemetry.server": "data:,",
}


def firefox_command() -> str | None:
    """The program; None when there is none."""
    return shutil.which("firefox-esr") or shutil.which("firefox")


class Firefox:
    """One browser with one tab.

    Scripts are functions' bodies; the last of `async_script`'s arguments ends it.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._number = 0

    async def _receive(self) -> Any:
        length = int((await self._reader.readuntil(b":"))[:-1])
        return json.loads(await self._reader.readexactly(length))

    async def command(self, name: str, **parameters: Any) -> Any:
        """Its result. Raises AssertionError with what Firefox says is wrong."""
        self._number += 1
        data = json.dumps([0, self._number, name, parameters]).encode()
        self._writer.write(f"{len(data)}:".encode() + data)
        _, number, error, result = await self._receive()
        assert number == self._number
        assert error is None, f"{name}: {error['error']}: {error['message']}"
        return result

    async def go(self, url: str) -> None:
        await self.command("WebDriver:Navigate", url=url)

    async def script(self, body: str, *arguments: Any) -> Any:
        """Run a script in the page and return its value."""
        reply = await self.command("WebDriver:ExecuteScript", script=body, args=list(arguments))
        return reply["value"]

    async def async_script(self, body: str, *arguments: Any) -> Any:
        """Run a script in the page and return the value that it hands to its last argument."""
        name = "WebDriver:ExecuteAsyncScript"
        return (await self.command(name, script=body, args=list(arguments)))["value"]

    async def until(self, body: str, *arguments: Any, seconds: float = 15.0) -> Any:
        """Wait until a script returns something that is true; that."""
        value: Any = None
        try:
            async with asyncio.timeout(seconds):
                while not (value := await self.script(body, *arguments)):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            text = await self.script("return document.body.innerText")
            raise AssertionError(f"{body} stayed {value!r}; the page: {text[:600]!r}") from None
        return value


@asynccontextmanager
async def firefox(command: str) -> AsyncIterator[Firefox]:
    """A browser with a profile of its own; nothing of either is left."""
    profile = Path(tempfile.mkdtemp(prefix="firefox-"))
    lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in PREFERENCES.items()]
    (profile / "user.js").write_text("\n".join(lines))
    process = await asyncio.create_subprocess_exec(
        *(command, "--headless", "--marionette", "--no-remote", "--profile", str(profile)),
        env={**os.environ, "HOME": str(profile), "MOZ_CRASHREPORTER_DISABLE": "1"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        # A group of its own, with the processes that it starts.
        start_new_session=True,
    )
    writer: asyncio.StreamWriter | None = None
    try:
        told = profile / "MarionetteActivePort"
        async with asyncio.timeout(60):
            while not (told.exists() and told.read_text().strip()):
                assert process.returncode is None, "Firefox ended"
                await asyncio.sleep(0.05)
            reader, writer = await asyncio.open_connection("127.0.0.1", int(told.read_text()))
            browser = Firefox(reader, writer)
            await browser._receive()  # it introduces itself
            await browser.command("WebDriver:NewSession")
            await browser.command("WebDriver:SetTimeouts", script=30_000, pageLoad=30_000)
        yield browser
        with suppress(AssertionError, OSError, asyncio.IncompleteReadError, TimeoutError):
            async with asyncio.timeout(10):
                await browser.command("Marionette:Quit", flags=["eForceQuit"])
    finally:
        if writer is not None:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        with suppress(TimeoutError):
            async with asyncio.timeout(10):
                await process.wait()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        shutil.rmtree(profile, ignore_errors=True)
