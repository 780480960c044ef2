"""Both directions of one person's sound. It outlives connections, as the camera does."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import av
import numpy as np
from numpy.typing import NDArray

from server.core.sound import Sound


class VoiceLine:
    """One session's microphone and loudspeaker. All methods are called on the event loop.

    One connection at a time is on the line; sound of an older one is ignored.
    """

    def __init__(self) -> None:
        self.player = Player()
        # Gets what the microphone hears, in order, in pieces of 20 to 120 ms; silence stands where
        # nothing came. None: nobody listens, and nothing is decoded.
        self.on_sound: Callable[[Sound], None] | None = None
        # Called when the microphone begins or stops to send
        self.on_microphone: Callable[[bool], None] | None = None
        # Called when packets could not be used, with the reason
        self.on_dropped: Callable[[str, int], None] | None = None
        self._microphone = False
        self._connection: object | None = None
        # It plays what the player has.
        self._plays = False

    @property
    def microphone(self) -> bool:
        """True while a microphone sends."""
        return self._microphone

    @property
    def connected(self) -> bool:
        """True while a connection is on the line, over which the player's speech is sent."""
        return self._connection is not None and self._plays

    def connect(self, connection: object, *, plays: bool = True) -> None:
        """Put a connection on the line, in place of the one before.

        `plays`: its client plays speech; one that only sends a microphone does not.
        """
        self._set_microphone(False)
        self._connection = connection
        self._plays = plays
        self.player.unplug()

    def disconnect(self, connection: object) -> None:
        """Take a connection off the line, if it is still on it."""
        if self._connection is connection:
            self._set_microphone(False)
            self._connection = None
            self.player.unplug()

    def wants_sound(self, connection: object) -> bool:
        """Find whether anybody listens to this connection's microphone."""
        return self._connection is connection and self.on_sound is not None

    def sound(self, connection: object, sound: Sound) -> None:
        if self._connection is connection and self.on_sound is not None:
            self.on_sound(sound)

    def sends(self, connection: object, sending: bool) -> None:
        """Note that a connection's microphone sends, or that it has stopped."""
        if self._connection is connection:
            self._set_microphone(sending)

    def dropped(self, reason: str, count: int = 1) -> None:
        if self.on_dropped is not None:
            self.on_dropped(reason, count)

    def close(self) -> None:
        """Drop everything; the session ends."""
        self.on_sound = self.on_microphone = self.on_dropped = None
        self._connection = None
        self._microphone = False
        self.player.unplug()
        self.player.flush()

    def _set_microphone(self, sending: bool) -> None:
        if self._microphone != sending:
            self._microphone = sending
            if self.on_microphone is not None:
                self.on_microphone(sending)


# The speech that waits to be sent to one listener.

# Samples a second of what is sent, and samples of one packet (20 ms)
RATE = 24_000
FRAME = 480
# Speech that may wait, seconds
MOST_SECONDS = 60.0
# Samples over which a new gain takes effect, so that nothing clicks (10 ms)
_RAMP = 240


class Player:
    """One listener's queue of speech: mono, 16 bits, 24 kHz. Bounded; speech that does not fit is dropped.

    It gives out whole frames of 20 ms only, so that a chunk that comes late leaves no hole in a
    frame; the rest of the last one is filled with silence after `finish`.

    Bounds of speech that waits to be sent: 60 s, 2.9 MB; what does not fit is dropped and
    counted.
    """

    def __init__(self) -> None:
        self.unplug()
        # Samples that did not fit, over its whole life
        self.dropped = 0
        self._chunks: deque[NDArray[np.int16]] = deque()
        self._waiting = 0
        self._sent = 0
        self._finished = True
        self._paused = False
        self._gain = self._gain_now = 1.0
        self._resampler: tuple[int, av.AudioResampler] | None = None

    def unplug(self) -> None:
        """Tell nobody of what there is to send."""
        # Called when there is something to send again
        self.on_ready: Callable[[], None] = lambda: None
        # Called when there is nothing to send any more although more could have come
        self.on_hush: Callable[[], None] = lambda: None

    @property
    def waiting(self) -> float:
        """Seconds of speech that wait."""
        return self._waiting / RATE

    @property
    def played(self) -> float:
        """Seconds sent since `begin`."""
        return self._sent / RATE

    @property
    def talking(self) -> bool:
        """True from `begin` until all of it was sent."""
        return not self._finished or self._waiting > 0

    @property
    def ready(self) -> bool:
        """True when a frame can be taken."""
        return not self._paused and (
            self._waiting >= FRAME or (self._finished and self._waiting > 0)
        )

    @property
    def resting(self) -> bool:
        """True when nothing more comes until somebody plays, resumes or begins again."""
        return self._paused or (self._finished and self._waiting == 0)

    def begin(self) -> None:
        """Begin an utterance, in place of what still waits."""
        self._clear()
        self._sent = 0
        self._finished = self._paused = False
        self._gain = self._gain_now = 1.0

    def play(self, samples: NDArray[np.int16], rate: int) -> None:
        """Append speech to the utterance. `samples`: mono, shape (samples,); `rate`: a second.

        Raises ValueError for samples of another shape or type, and for a rate outside 8 to 96 kHz.
        """
        if samples.dtype != np.int16 or samples.ndim != 1:
            raise ValueError(f"samples are {samples.dtype}, {samples.ndim}-dimensional")
        if not 8000 <= rate <= 96_000:
            raise ValueError(f"{rate} samples a second; 8,000 to 96,000 are possible")
        if self._finished or not len(samples):
            return
        self._append(self._resampled(samples, rate))

    def finish(self) -> None:
        """Note that the utterance is complete."""
        if self._finished:
            return
        if self._resampler is not None:
            for frame in self._resampler[1].resample(None):
                self._append(frame.to_ndarray()[0])
            self._resampler = None
        self._finished = True
        if self.ready:
            self.on_ready()

    def lower(self, gain: float) -> None:
        """Play at this loudness, 0 to 1, from the next frame on."""
        self._gain = gain

    def pause(self, paused: bool) -> None:
        """Send nothing, or go on where it was."""
        hushed = paused and self.talking and not self._paused
        self._paused = paused
        if hushed:
            self.on_hush()
        if self.ready:
            self.on_ready()

    def flush(self) -> float:
        """End the utterance at once, and return the seconds that nobody will hear."""
        lost, hushed = self.waiting, self.talking and not self._paused
        self._clear()
        self._finished, self._paused = True, False
        if hushed:
            self.on_hush()
        return lost

    def take(self) -> NDArray[np.int16] | None:
        """Return the next frame, shape (480,); None when there is none to send now."""
        if not self.ready:
            return None
        parts, missing = [], min(FRAME, self._waiting)
        while missing:
            chunk = self._chunks.popleft()
            if len(chunk) > missing:
                self._chunks.appendleft(chunk[missing:])
                chunk = chunk[:missing]
            parts.append(chunk)
            missing -= len(chunk)
        frame = np.concatenate(parts) if len(parts) > 1 else parts[0]
        self._waiting -= len(frame)
        self._sent += len(frame)
        if len(frame) < FRAME:
            frame = np.concatenate([frame, np.zeros(FRAME - len(frame), np.int16)])
        return self._scaled(frame)

    def _scaled(self, frame: NDArray[np.int16]) -> NDArray[np.int16]:
        before, now = self._gain_now, self._gain
        if before == now == 1.0:
            return frame
        gains = np.full(FRAME, now, np.float32)
        gains[:_RAMP] = np.linspace(before, now, _RAMP, dtype=np.float32)
        self._gain_now = now
        scaled: NDArray[np.int16] = np.rint(frame * gains).astype(np.int16)
        return scaled

    def _append(self, samples: NDArray[np.int16]) -> None:
        was_ready = self.ready
        fits = int(MOST_SECONDS * RATE) - self._waiting
        if len(samples) > fits:
            self.dropped += len(samples) - fits
            samples = samples[:fits]
        if len(samples):
            if self._chunks and len(self._chunks[-1]) < FRAME:
                # A server may send sample by sample: an array for each would take 60 times the room.
                self._chunks[-1] = np.concatenate([self._chunks[-1], samples])
            else:
                self._chunks.append(samples.copy())
            self._waiting += len(samples)
        if self.ready and not was_ready:
            self.on_ready()

    def _resampled(self, samples: NDArray[np.int16], rate: int) -> NDArray[np.int16]:
        if rate == RATE:
            return samples
        if self._resampler is None or self._resampler[0] != rate:
            self._resampler = rate, av.AudioResampler(format="s16", layout="mono", rate=RATE)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples[np.newaxis]), format="s16", layout="mono"
        )
        frame.sample_rate = rate
        made = [one.to_ndarray()[0] for one in self._resampler[1].resample(frame)]
        return np.concatenate(made) if made else np.zeros(0, np.int16)

    def _clear(self) -> None:
        self._chunks.clear()
        self._waiting = 0
        self._resampler = None
