"""One microphone stream (one SSRC): Opus packets in, sound without holes out. Pure.

Nothing is sent again for sound, so a packet that is missing is replaced as soon as two later ones
are there. Where the sender pauses (DTX, RFC 7587 section 3.1.3, or a muted track), silence is
made by the clock: `poll` says when to call it again.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from server.core.aio import Bucket
from server.core.sound import SOUND_RATE, Sound
from server.media.path_rate import WindowMinimum, signed_difference

# Opus packets to sound and back (RFC 6716, RFC 7587). Pure.

# RTP clock of Opus at any sampling rate, RFC 7587 section 4.1
RTP_HZ = 48_000
# Longest packet in RTP time, 120 ms (RFC 6716 section 2.1.4)
MOST_SAMPLES = 5760
# Bit rate of what is sent. RFC 7587 section 3.1.1 recommends 28 to 40 kbit/s for full-band speech.
BIT_RATE = 32_000
# Frame lengths of a TOC's configurations in RTP time, RFC 6716 section 3.1, table 2
_SILK = (480, 960, 1920, 2880)
_HYBRID = (480, 960)
_CELT = (120, 240, 480, 960)


def duration(payload: bytes) -> int:
    """Return the length of a packet in RTP time.

    Raises ValueError for a packet that no Opus encoder writes (RFC 6716 sections 3.1 and 3.2).
    """
    if not payload:
        raise ValueError("empty packet")
    config, code = payload[0] >> 3, payload[0] & 3
    if config < 12:
        frame = _SILK[config % 4]
    elif config < 16:
        frame = _HYBRID[config % 2]
    else:
        frame = _CELT[config % 4]
    if code == 3:
        if len(payload) < 2 or not payload[1] & 0x3F:
            raise ValueError("no frames in packet")
        frames = payload[1] & 0x3F
    else:
        frames = 1 if code == 0 else 2
    if frame * frames > MOST_SAMPLES:
        raise ValueError("packet longer than 120 ms")
    return frame * frames


class OpusDecoder:
    """Turns packets of one stream into sound. Costs about 70 µs for 20 ms."""

    def __init__(self) -> None:
        self._codec = av.CodecContext.create("libopus", "r")
        self._codec.format = av.AudioFormat("s16")
        self._codec.layout = "mono"
        self._codec.sample_rate = RTP_HZ
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=SOUND_RATE)

    def decode(self, payload: bytes) -> NDArray[np.int16]:
        """Decode a packet; shape (samples,), `SOUND_RATE`. Raises ValueError for a broken one."""
        if not payload:
            # It would end the decoder for good.
            raise ValueError("empty packet")
        try:
            frames = self._codec.decode(av.Packet(payload))
            made = [
                part.to_ndarray()[0] for frame in frames for part in self._resampler.resample(frame)
            ]
        except av.error.FFmpegError as exc:
            raise ValueError(f"cannot be decoded ({type(exc).__name__})") from None
        return np.concatenate(made) if made else np.zeros(0, np.int16)


class OpusEncoder:
    """Turns frames of 20 ms into packets of one stream. Costs about 100 µs a frame."""

    def __init__(self, rate: int) -> None:
        """`rate`: samples a second."""
        self._codec = av.CodecContext.create("libopus", "w")
        self._codec.bit_rate = BIT_RATE
        self._codec.format = av.AudioFormat("s16")
        self._codec.layout = "mono"
        self._codec.sample_rate = rate
        self._codec.time_base = Fraction(1, rate)
        self._codec.options = {"application": "lowdelay", "frame_duration": "20"}
        self._rate = rate
        self._position = 0

    def encode(self, samples: NDArray[np.int16]) -> list[bytes]:
        """Encode one frame, shape (samples,): usually one packet."""
        frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="s16", layout="mono")
        frame.sample_rate = self._rate
        frame.pts = self._position
        frame.time_base = Fraction(1, self._rate)
        self._position += len(samples)
        return [bytes(packet) for packet in self._codec.encode(frame)]


# RTP time of one sample of sound
_STEP = RTP_HZ // SOUND_RATE
# Later packets that may wait for a missing one
MOST_EARLY = 2
# A jump of RTP time or sequence beyond this begins anew, in packets and seconds.
FAR_PACKETS = 50
FAR_SECONDS = 2.0
# A packet's time may be this much further ahead of the last one's than the time that has passed.
AHEAD_SECONDS = 0.5
# Sound may come this much faster than time passes, and this many seconds at once; more is dropped.
MOST_SPEED = 1.25
MOST_BURST = 3.0
# Packets of 10 ms are the shortest that browsers send; more than twice as many are dropped.
PACKETS_A_SECOND = 200
# Payloads up to this size have no sound: the sender pauses (RFC 7587 section 3.1.3).
PAUSE_BYTES = 2
# Time without a packet until silence is made: while the sender pauses, and otherwise
PAUSE_SECONDS = 0.06
HOLE_SECONDS = 0.3
# Longest piece of made silence
SILENCE_SECONDS = 0.06
# Level from which on a packet is not decoded, RFC 6464: -dBov, 127 is digital silence.
QUIET_LEVEL = 100
# After this time without a packet the microphone is off. A pause sends one each 0.4 s.
OFF_SECONDS = 1.5
# Lost sound is replaced by a fading repetition of at most this long; then by silence.
_REPEATED = int(0.06 * SOUND_RATE)
# Window of the shortest delay in seconds; see server/media/video/capture_clock.py
_WINDOW = 12


class SoundBudget:
    """The packets and the sound that one connection may send, with all its streams together."""

    def __init__(self, now: float) -> None:
        self._packets = Bucket(PACKETS_A_SECOND, PACKETS_A_SECOND, now)
        # Seconds
        self._sound = Bucket(MOST_SPEED, MOST_BURST, now)
        # Count sound that was made
        self.spend = self._sound.spend

    def take(self, now: float) -> bool:
        """Take a packet; False when it is too many, or too much sound."""
        return self._packets.take(now) and not self._sound.wait(now)


class MicrophoneStream:
    """Owns the order, the repair and the decoder of one stream.

    Bounds of a microphone's packets: 2 that wait for a missing one; sound 1.25 times as fast as
    time, 3 s at once; more is dropped. Nothing is decoded while nobody listens.
    """

    def __init__(
        self,
        on_sound: Callable[[Sound], None],
        on_drop: Callable[[str], None],
        budget: SoundBudget,
    ) -> None:
        """`on_sound` gets pieces in order; `on_drop` the reason of each packet that is not used."""
        self._on_sound = on_sound
        self._on_drop = on_drop
        self._budget = budget
        self._decoder: OpusDecoder | None = None
        self._early: dict[int, tuple[int, bytes, bool]] = {}
        # The next sequence number, and the RTP time that follows the newest sound; None before it
        self._next: int | None = None
        self._time = 0
        self._last = np.zeros(0, np.int16)
        self._delay = WindowMinimum(_WINDOW)
        # RTP time unwrapped of `_time`, for the clock
        self._unwrapped = 0
        # Samples of silence that were made although sound came for that time afterwards
        self._ahead = 0
        self._heard_at = 0.0
        self._pausing = False

    def packet(
        self, sequence: int, timestamp: int, payload: bytes, level: int | None, now: float
    ) -> None:
        """Take a packet. `level`: -dBov of RFC 6464; None without one."""
        if not self._budget.take(now):
            self._on_drop("flood")
            return
        try:
            length = duration(payload)
        except ValueError:
            # Some senders pause with empty packets.
            self._on_drop("broken" if payload else "empty")
            return
        passed, self._heard_at = now - self._heard_at, now
        ahead = 0 if self._next is None else signed_difference(sequence - self._next, 16)
        far = abs(ahead) > FAR_PACKETS
        if self._next is None or far or not self._near(timestamp, passed):
            self._begin(sequence, timestamp)
            ahead = 0
        if ahead < 0:
            self._on_drop("late")
            return
        quiet = len(payload) <= PAUSE_BYTES or (level is not None and level >= QUIET_LEVEL)
        self._delay.add(now, now - (self._unwrapped_of(timestamp) + length) / RTP_HZ)
        self._early[sequence] = (timestamp, payload, quiet)
        self._pass_on(MOST_EARLY)

    def poll(self, now: float) -> float | None:
        """Make silence that is due. Return when to call again; None: with the next packet."""
        if self._next is None:
            return None
        silent = now - self._heard_at
        if silent >= OFF_SECONDS:
            self._stop()
            return None
        if silent >= PAUSE_SECONDS:
            self._pass_on(0)
        due = self._heard_at + (
            PAUSE_SECONDS if self._pausing or silent < PAUSE_SECONDS else HOLE_SECONDS
        )
        if now >= due:
            # Up to the present, less the delay that sound has
            behind = now - PAUSE_SECONDS - self._captured(self._unwrapped)
            while behind > 0.02:
                seconds = min(behind, SILENCE_SECONDS)
                self._silence(int(seconds * SOUND_RATE))
                behind -= seconds
            due = now + SILENCE_SECONDS
        return due

    def _stop(self) -> None:
        self._next = self._decoder = None
        self._early.clear()
        self._pausing = False

    def _begin(self, sequence: int, timestamp: int) -> None:
        self._early.clear()
        self._next, self._time, self._ahead = sequence, timestamp, 0
        self._unwrapped = 0
        self._delay.clear()
        self._last = np.zeros(0, np.int16)

    def _near(self, timestamp: int, passed: float) -> bool:
        seconds = signed_difference(timestamp - self._time) / RTP_HZ
        return -FAR_SECONDS < seconds < passed + AHEAD_SECONDS

    def _unwrapped_of(self, timestamp: int) -> int:
        return self._unwrapped + signed_difference(timestamp - self._time)

    def _captured(self, unwrapped: int) -> float:
        return self._delay.value + unwrapped / RTP_HZ

    def _pass_on(self, most_early: int) -> None:
        """Decode the packets that are in order; give up the missing ones before too many others."""
        assert self._next is not None
        while self._early:
            found = self._early.pop(self._next, None)
            if found is not None:
                self._take_one(*found)
            elif len(self._early) > most_early:
                self._on_drop("lost")
            else:
                return
            self._next = (self._next + 1) & 0xFFFF

    def _take_one(self, timestamp: int, payload: bytes, quiet: bool) -> None:
        length = duration(payload)
        missing = signed_difference(timestamp - self._time) // _STEP
        if missing > 0:
            # A pause says itself that nothing was lost.
            self._fill(missing, lost=not self._pausing)
        elif missing < 0:
            # It was taken for silence: the sound follows later than it was.
            self._ahead = min(self._ahead - missing, SOUND_RATE)
        self._pausing = len(payload) <= PAUSE_BYTES
        samples = np.zeros(length // _STEP, np.int16) if quiet else self._decode(payload, length)
        begin = self._unwrapped_of(timestamp)
        self._time = (timestamp + length) & 0xFFFFFFFF
        self._unwrapped = begin + length
        self._emit(samples, begin)

    def _decode(self, payload: bytes, length: int) -> NDArray[np.int16]:
        if self._decoder is None:
            self._decoder = OpusDecoder()
        try:
            samples = self._decoder.decode(payload)
        except ValueError:
            self._on_drop("broken")
            self._decoder = None
            return np.zeros(length // _STEP, np.int16)
        self._last = samples[-_REPEATED:]
        return samples

    def _fill(self, missing: int, *, lost: bool) -> None:
        """Fill a hole: after a loss with the last sound again, fading; else with silence."""
        if lost and len(self._last):
            count = min(missing, _REPEATED)
            repeated = np.resize(self._last[::-1], count) * np.linspace(0.7, 0, count)
            self._emit(repeated.astype(np.int16), self._unwrapped)
            self._forward(count)
            missing -= count
        # Silence that was made before
        count = min(missing, self._ahead)
        self._ahead -= count
        self._forward(count)
        missing -= count
        while missing > 0:
            count = min(missing, MOST_SAMPLES // _STEP)
            self._silence(count)
            missing -= count

    def _silence(self, count: int) -> None:
        self._emit(np.zeros(count, np.int16), self._unwrapped)
        self._forward(count)

    def _forward(self, count: int) -> None:
        self._time = (self._time + count * _STEP) & 0xFFFFFFFF
        self._unwrapped += count * _STEP

    def _emit(self, samples: NDArray[np.int16], begin: int) -> None:
        if len(samples):
            self._budget.spend(len(samples) / SOUND_RATE)
            self._on_sound(Sound(samples, self._captured(begin)))
