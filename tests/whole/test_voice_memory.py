"""Ten minutes of spoken questions and answers leave the process's memory flat.

Time is the sound's own: what takes ten minutes to say takes half a minute here. Packets take the
way of a connection's from their decoder on, and what is spoken is encoded as it is for the page.
SPEECH_SECONDS=6000 makes it an hour and more.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator

import numpy as np
import pytest

from scripts.bench.processes import Usage
from server.core.aio import Pools
from server.core.sound import SOUND_RATE, Sound
from server.features.voice_in.detector import SpeechModel
from server.features.voice_in.listening import ListeningTools
from server.features.voice_in.messages import MicrophoneMode
from server.features.voice_in.recogniser import Transcription
from server.session.part import SessionFeatures
from server.session.session import Session
from server.shared.sound.line import FRAME, RATE, VoiceLine
from server.shared.sound.microphone import MicrophoneStream, OpusEncoder, SoundBudget
from tests.features.rooms import session_features, settings
from tests.features.voice_out.test_speaking import StandInVoice
from tests.support.fakes import FakeEngine, FakeEngines, until
from tests.support.rooms import LIMITS, Room, make_frame, make_services
from tests.support.sounds import (
    PIECE,
    SENTENCES,
    VOICES,
    make_hiss,
    make_silence,
    mix,
    needs_espeak,
    synthesise_espeak,
)

pytestmark = [needs_espeak, pytest.mark.slow, pytest.mark.night, pytest.mark.timeout(0)]

SECONDS = float(os.environ.get("SPEECH_SECONDS", "600"))
# MiB from the first fifth of the time to the end; ten minutes of sound have 18, its decoded form
# in float 37.
GROWTH_MIB = 6.0


class CountingWords:
    """A recogniser that keeps nothing of what it hears."""

    name = "counting"
    ready = True
    elsewhere = ""

    def __init__(self) -> None:
        self.samples = 0
        self.turns = 0

    async def recognise(
        self, sound: AsyncIterator[Sound], *, language: str | None
    ) -> AsyncGenerator[Transcription, None]:
        async for piece in sound:
            self.samples += len(piece.samples)
        self.turns += 1
        yield Transcription("What is this?", final=True)

    async def close(self) -> None: ...


class Speaker:
    """Says sentences into a session's line as packets, and takes what is answered."""

    def __init__(self, one: Room, words: CountingWords) -> None:
        self.one, self.words = one, words
        self.line = VoiceLine.of(one.session.lines)
        self.connection = object()
        self.line.connect(self.connection)
        self.line.set_sending(self.connection, True)
        one.camera()
        self.now = time.monotonic()
        self._encoder = OpusEncoder(SOUND_RATE)
        self._out = OpusEncoder(RATE)
        self._stream = MicrophoneStream(
            lambda sound: self.line.sound(self.connection, sound),
            lambda _reason: None,
            SoundBudget(self.now),
        )
        self._number = self._shown = 0
        self.heard = 0.0

    async def say(self, number: int) -> None:
        """Say a sentence in a room, and wait until its answer was spoken."""
        text, voice = SENTENCES[number % len(SENTENCES)], VOICES[number % len(VOICES)]
        # With shorter pauses it would be a television's.
        sound = np.concatenate(
            [make_silence(0.7), synthesise_espeak(text, voice), make_silence(1.1)]
        )
        sound = mix(sound, make_hiss(len(sound) / SOUND_RATE, seed=number % 7))
        for begin in range(0, len(sound) // PIECE * PIECE, PIECE):
            for payload in self._encoder.encode(sound[begin : begin + PIECE]):
                self.now += 0.02
                self._stream.packet(
                    self._number & 0xFFFF, self._number * 960 & 0xFFFFFFFF, payload, None, self.now
                )
                self._number += 1
            if begin // PIECE % 5 == 4:
                await self._settle()
        await self._settle()
        speaking = self.one.session.part("voice_out")
        async with asyncio.timeout(30):
            while not (self.words.turns > number and speaking.talking):
                # A frame may come before the question that waits for it.
                self._show()
                await asyncio.sleep(0.05)
        while speaking.talking:
            while (frame := self.line.player.take()) is not None:
                self._out.encode(frame)
                self.heard += FRAME / RATE
            await asyncio.sleep(0.005)
        await self.one.rest()
        self.one.engine.requests.clear()

    async def _settle(self) -> None:
        detection = self.one.session.part("voice_in").detection
        await until(lambda: detection is None or not detection.busy, 30)

    def _show(self) -> None:
        feed = self.one.session.camera.feed
        assert feed is not None
        self._shown += 1
        captured = self.now + 0.001 * (self._shown % 20)
        frame = make_frame(self._shown, scene=self._shown % 5, captured=captured)
        feed.packet_received(frame.arrived)
        feed.frame(frame)


def resident() -> float:
    """Return the process's resident memory in MiB, without what it would give back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return Usage.of(os.getpid()).rss


async def test_ten_minutes_of_speech_leave_memory_flat() -> None:
    engine = FakeEngine(chunks=["I see a red cup ", "on a table."])
    pools, engines, words = Pools(), FakeEngines(engine), CountingWords()
    services = make_services(engines, pools)
    hearing = ListeningTools(words, SpeechModel(), pools.add("hear"))
    parts = session_features(voice=StandInVoice(), hearing=hearing)
    session = Session("s", LIMITS, services, SessionFeatures(list(parts), parts))
    try:
        person = Speaker(Room(engine, session, services, engines), words)
        session.handle(settings(microphone=MicrophoneMode.HANDS_FREE, silence_ms=500, speak=True))
        since, early, turns = person.now, 0.0, 0
        while (passed := person.now - since) < SECONDS:
            if not early and passed >= SECONDS / 5:
                early = resident()
            await person.say(turns)
            turns += 1
        growth = resident() - early
        # Everything was really heard, answered and spoken.
        assert words.turns == turns >= SECONDS / 6
        assert words.samples / SOUND_RATE > 0.4 * SECONDS
        assert person.heard > turns
        assert growth < GROWTH_MIB, f"{growth:.1f} MiB in {SECONDS:.0f} s of speech"
    finally:
        await session.close("session_ended")
        await services.inference.close()
        pools.close()
