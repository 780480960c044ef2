"""The sound of spoken answers: as events, for a client that plays it itself, or on the audio track of a call."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable

import numpy as np
from numpy.typing import NDArray

from server.core.sound import USUAL_RATE, VoiceChunk
from server.features.realtime.conversation import KeptItem
from server.features.realtime.events import SendEvent
from server.shared.sound.line import Player
from server.shared.sound.rates import RateConverter

# Most samples of an event with sound: a third of a second
MOST_SAMPLES = 8_000
# Seconds of sound that the voice is ahead of a call's track
AHEAD_SECONDS = 8.0
# Seconds between two checks whether more sound may be sent
_PAUSE = 0.02


class EventSpeech:
    """Sound of one answer at a time as events, which a client may get faster than it plays them."""

    def __init__(
        self, write: Callable[[KeptItem, str], None], has_room: Callable[[], bool]
    ) -> None:
        """`write(item, audio)` sends a piece; `has_room()`: True if more sound may be sent."""
        self._write, self._has_room = write, has_room
        # Time at which the client has played all sound, if it plays it at once; monotonic seconds
        self._played_at = 0.0

    @property
    def talking(self) -> bool:
        """True while the client plays an answer, as far as is known."""
        return time.monotonic() < self._played_at

    async def play(self, response: str, item: KeptItem, chunks: AsyncIterator[VoiceChunk]) -> None:
        """Play the sound of an answer's item. `response`: the id of the answer."""
        converter = RateConverter(USUAL_RATE)
        async for chunk in chunks:
            for audio in encode_sound(converter.convert(chunk.samples, chunk.rate)):
                while not self._has_room():
                    await asyncio.sleep(_PAUSE)
                self._write(item, audio)
                seconds = len(audio) * 3 / 4 / 2 / USUAL_RATE
                item.spoken_ms += seconds * 1000
                self._played_at = max(self._played_at, time.monotonic()) + seconds

    def stop(self) -> None:
        """Stop playing."""
        self._played_at = 0.0


class TrackSpeech:
    """Sound of one answer at a time on the audio track of a call, which tells how much of it was played."""

    def __init__(self, player: Player, send: SendEvent) -> None:
        self._player, self._send = player, send
        # The answer that is played, and its item; None if there is none
        self._now: tuple[str, KeptItem] | None = None
        # Reports the end of the answer
        self._end: asyncio.Task[None] | None = None

    @property
    def talking(self) -> bool:
        """True while an answer is played."""
        return self._now is not None

    async def play(self, response: str, item: KeptItem, chunks: AsyncIterator[VoiceChunk]) -> None:
        """Play the sound of an answer's item, once the one before was played."""
        player = self._player
        while self._now is not None:
            await asyncio.sleep(_PAUSE)
        self._end = None
        now = (response, item)
        try:
            async for chunk in chunks:
                if self._end is None:
                    self._now = now
                    player.begin()
                    self._send("output_audio_buffer.started", response_id=response)
                    self._end = asyncio.create_task(self._report_end(), name="realtime/track")
                elif self._now is not now:
                    # It was stopped.
                    return
                player.play(chunk.samples, chunk.rate)
                item.spoken_ms += len(chunk.samples) / chunk.rate * 1000
                while player.waiting > AHEAD_SECONDS:
                    await asyncio.sleep(_PAUSE)
        finally:
            player.finish()

    async def _report_end(self) -> None:
        while self._player.talking:
            await asyncio.sleep(_PAUSE)
        self._clear("stopped")

    def stop(self) -> None:
        """Stop playing, and drop the words that were not heard."""
        if self._now is None or self._end is None:
            return
        self._end.cancel()
        item, heard = self._now[1], round(self._player.played * 1000)
        self._player.discard()
        self._clear("cleared")
        self._send("conversation.item.truncated", **item.truncate(heard))

    def _clear(self, event: str) -> None:
        assert self._now is not None
        (response, _), self._now = self._now, None
        self._send(f"output_audio_buffer.{event}", response_id=response)


Speech = EventSpeech | TrackSpeech


def encode_sound(samples: NDArray[np.int16]) -> list[str]:
    """Return sound as base64, in pieces for one event each."""
    pieces = [samples[at : at + MOST_SAMPLES] for at in range(0, len(samples), MOST_SAMPLES)]
    return [base64.b64encode(piece.astype("<i2").tobytes()).decode("ascii") for piece in pieces]
