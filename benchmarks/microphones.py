"""Microphones that are on while something else is measured: they hear a quiet room, and nobody speaks."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.bench.camera_peer import CameraPeer
from scripts.bench.voice_peer import VoicePeer
from scripts.bench.voice_sounds import RATE, hiss

if TYPE_CHECKING:
    from playwright.async_api import Page

ROOM_SECONDS = 10.0
SILENCE_MS = 500


def peer_type(microphone: bool) -> type[CameraPeer]:
    """Return the kind of visitor, with a microphone or without."""
    return VoicePeer if microphone else CameraPeer


async def switch_on(peer: CameraPeer) -> None:
    """Switch a visitor's microphone on, hands-free, if it has one. Its socket is open."""
    if isinstance(peer, VoicePeer):
        peer.microphone.room = hiss(ROOM_SECONDS)
        await peer.listen(silence_ms=SILENCE_MS, speak=False)


def chromium_arguments(folder: Path) -> list[str]:
    """Write the room into a folder, and return the options that let Chromium hear it."""
    path = folder / "room.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(hiss(ROOM_SECONDS).tobytes())
    return [f"--use-file-for-fake-audio-capture={path}"]


async def talk(page: Page) -> None:
    """Press Talk, and wait until the server listens. The page's context may use the microphone."""
    # Playwright is not everywhere that simulated cameras are.
    from benchmarks.browser import wait_for_message

    await page.get_by_role("button", name="Talk").click()
    await wait_for_message(page, 'way === "got" && m.type === "listening" && m.state === "waiting"')
