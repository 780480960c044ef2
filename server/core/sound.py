"""Sound between a microphone, engines, voices and those who use it, and its forms: raw PCM and WAV. Pure."""

from __future__ import annotations

import io
import re
import struct
import wave
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Samples a second of all sound that comes in; recognisers and speech detectors expect this rate.
SOUND_RATE = 16_000


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """A piece of what a microphone heard: mono, 16 bits, `SOUND_RATE`."""

    # Shape (samples,)
    samples: NDArray[np.int16]
    # Estimated time of the first sample, seconds on this machine's monotonic clock (short by the
    # path's shortest delay), as `Frame.captured`.
    captured: float

    @property
    def seconds(self) -> float:
        return len(self.samples) / SOUND_RATE

    @property
    def end(self) -> float:
        """The time after its last sample, monotonic seconds."""
        return self.captured + self.seconds


class SoundUse(StrEnum):
    """The fate of the sound that belongs to a question or its frames."""

    # The model got it.
    HEARD = "heard"
    # The text went alone, because the model cannot hear.
    DEAF = "deaf"
    # The text went alone: there was no sound.
    MISSING = "missing"
    # The text went alone: there was no sound worth the name.
    EMPTY = "empty"
    # The text went alone: the sound was longer than 60 s.
    TOO_LONG = "too_long"
    # The text went alone: the sound could not be decoded.
    UNDECODABLE = "undecodable"
    # The text went alone, because the engine refused the sound.
    REFUSED = "refused"


# The sound that a server sends: raw PCM, or a WAV file that is still growing.

# Samples a second of raw PCM, where the server gives no other rate: OpenAI's and Qwen3-TTS's
USUAL_RATE = 24_000
RATES = range(8_000, 96_001)
# The header of a WAV file is this long at most, with what writers put before the sound
_MOST_HEADER = 4096
# The first 12 bytes of a WAV file, and fewer of them at the end of a piece
_FILE = re.compile(rb"RIFF.{4}WAVE", re.S)
_FILE_BEGINS = re.compile(rb"(R|RI|RIF|RIFF.{0,4}|RIFF.{4}(W|WA|WAV))\Z", re.S)
_COMPRESSED = (b"RIFF", b"ID3", b"OggS", b"fLaC", b"\xff\xfb", b"\xff\xf3")


@dataclass(frozen=True, slots=True)
class VoiceChunk:
    """A piece of a spoken text: mono, 16 bit, at `rate` samples a second."""

    samples: NDArray[np.int16]
    rate: int


class NotPcm(ValueError):
    """The sound is in a form that is not read here. Its text is ours, the end of a sentence on the server.

    Outside the tree of errors: the clients of speech servers catch it.
    """


def checked_rate(rate: object) -> int:
    """Return a rate that can be played. Raises NotPcm."""
    if type(rate) is not int or rate not in RATES:
        raise NotPcm("gives a sampling rate outside 8 to 96 kHz")
    return rate


class PcmReader:
    """Turns the bytes of one utterance into chunks: mono, 16 bits, little-endian."""

    def __init__(self, rate: int = USUAL_RATE) -> None:
        self.rate = rate
        self._rest = b""
        self._channels = 1
        # True before any sample and any WAV file
        self._beginning = True

    def set_rate(self, rate: object) -> None:
        """Apply the rate that the server gives. Raises NotPcm, also for another one once there was sound.

        Each change would cost a resampler of its own.
        """
        rate = checked_rate(rate)
        if rate != self.rate and not self._beginning:
            raise NotPcm("changes its sampling rate in the middle")
        self.rate = rate

    def take(self, data: bytes) -> VoiceChunk | None:
        """Return the samples that are whole now; None without any. Raises NotPcm.

        WAV files may follow each other.
        """
        data, at = self._rest + data, 0
        parts: list[NDArray[np.int16]] = []
        while (file := _FILE.search(data, at)) is not None:
            parts.append(self._mono(data[at : file.start()]))
            at = file.start()
            if (found := self._header(data[at : at + _MOST_HEADER + 1])) is None:
                self._rest = data[at:]
                break
            self._beginning = False
            at += found
        else:
            data = data[at:]
            header = _FILE_BEGINS.search(data[-12:])
            end = len(data) - len(header[0]) if header else len(data)
            if self._beginning and data[:end].startswith(_COMPRESSED):
                raise NotPcm("sends compressed sound, and not the PCM that it was asked for")
            end -= end % (2 * self._channels)
            parts.append(self._mono(data[:end]))
            self._rest = data[end:]
        samples = np.concatenate(parts)
        return VoiceChunk(samples, self.rate) if len(samples) else None

    def _mono(self, data: bytes) -> NDArray[np.int16]:
        """Return the whole samples of one channel, of which the first ends the beginning."""
        whole = len(data) - len(data) % (2 * self._channels)
        self._beginning = self._beginning and not whole
        samples: NDArray[np.int16] = np.frombuffer(data[:whole], "<i2").astype(np.int16)
        if self._channels > 1:
            samples = samples.reshape(-1, self._channels).mean(axis=1).astype(np.int16)
        return samples

    def _header(self, data: bytes) -> int | None:
        """Read a WAV file's header. Return where its sound begins; None while it is not whole."""
        at = 12
        while at + 8 <= len(data):
            name, size = struct.unpack_from("<4sI", data, at)
            if name == b"data":
                return at + 8
            if name == b"fmt " and at + 24 <= len(data):
                form, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", data, at + 8)
                if form not in (1, 0xFFFE) or bits != 16 or channels not in (1, 2):
                    raise NotPcm("sends a WAV file that is not of 16 bits")
                self.set_rate(rate)
                self._channels = channels
            at += 8 + size + size % 2
            if at > _MOST_HEADER:
                break
        if at > _MOST_HEADER or len(data) > _MOST_HEADER:
            raise NotPcm("sends a WAV file whose sound does not begin")
        return None


# Put samples into a WAV file, in memory.

SAMPLE_BYTES = 2


def wav(pcm: bytes, rate: int, channels: int = 1) -> bytes:
    """Return the file. `pcm` is signed 16 bit, little endian, channels in turn; `rate` in Hz."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(SAMPLE_BYTES)
        out.setframerate(rate)
        out.writeframes(pcm)
    return file.getvalue()
