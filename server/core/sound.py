"""Sound from microphones and voices, and its encodings: raw PCM and WAV. Pure."""

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

# Sampling rate of all incoming sound, as expected by recognisers and speech detectors
SOUND_RATE = 16_000


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """A piece of sound from a microphone: mono, 16 bits, `SOUND_RATE`."""

    # Shape (samples,)
    samples: NDArray[np.int16]
    # Estimated time of the first sample, monotonic seconds of this machine, as `Frame.captured`
    captured: float

    @property
    def seconds(self) -> float:
        return len(self.samples) / SOUND_RATE

    @property
    def end(self) -> float:
        """The time after its last sample, monotonic seconds."""
        return self.captured + self.seconds


class SoundUse(StrEnum):
    """The use of the sound that belongs to a question or its frames."""

    # The model received it.
    HEARD = "heard"
    # Only the text was sent: the model does not accept sound.
    DEAF = "deaf"
    # Only the text was sent: there was no sound.
    MISSING = "missing"
    # Only the text was sent: the sound was nearly silent.
    EMPTY = "empty"
    # Only the text was sent: the sound was longer than 60 s.
    TOO_LONG = "too_long"
    # Only the text was sent: the sound could not be decoded.
    UNDECODABLE = "undecodable"
    # Only the text was used: the engine refused the sound.
    REFUSED = "refused"


# Sound streamed by a server: raw PCM, or a WAV file that is still growing

# Default sampling rate of raw PCM, as used by OpenAI and Qwen3-TTS
USUAL_RATE = 24_000
RATES = range(8_000, 96_001)
# Maximum bytes of a WAV file's header, including chunks before the sound
_MOST_HEADER = 4096
# The first 12 bytes of a WAV file, and a prefix of them at the end of a piece
_FILE = re.compile(rb"RIFF.{4}WAVE", re.S)
_FILE_BEGINS = re.compile(rb"(R|RI|RIF|RIFF.{0,4}|RIFF.{4}(W|WA|WAV))\Z", re.S)
_COMPRESSED = (b"RIFF", b"ID3", b"OggS", b"fLaC", b"\xff\xfb", b"\xff\xf3")


@dataclass(frozen=True, slots=True)
class VoiceChunk:
    """A piece of synthesised speech: mono, 16 bits, at `rate` samples a second."""

    samples: NDArray[np.int16]
    rate: int


class NotPcm(ValueError):
    """The sound is in an unsupported format. The text completes a sentence that begins with the server's name.

    Not a QwenCameraError: the clients of speech servers catch it.
    """


def check_rate(rate: object) -> int:
    """Return a sampling rate that can be played. Raises NotPcm for any other value."""
    if type(rate) is not int or rate not in RATES:
        raise NotPcm("states a sampling rate outside 8 to 96 kHz")
    return rate


class PcmReader:
    """Converts the bytes of one utterance to chunks: mono, 16 bits, little-endian."""

    def __init__(self, rate: int = USUAL_RATE) -> None:
        self.rate = rate
        self._rest = b""
        self._channels = 1
        # True before any sample and any WAV file
        self._beginning = True

    def set_rate(self, rate: object) -> None:
        """Set the rate stated by the server. Raises NotPcm, also for a change after the first sample.

        Each change would need another resampler.
        """
        rate = check_rate(rate)
        if rate != self.rate and not self._beginning:
            raise NotPcm("changes its sampling rate during the utterance")
        self.rate = rate

    def take(self, data: bytes) -> VoiceChunk | None:
        """Return the complete samples, or None if there are none. Raises NotPcm.

        Several WAV files may follow each other.
        """
        data, at = self._rest + data, 0
        parts: list[NDArray[np.int16]] = []
        while (file := _FILE.search(data, at)) is not None:
            parts.append(self._mix_to_mono(data[at : file.start()]))
            at = file.start()
            if (found := self._read_header(data[at : at + _MOST_HEADER + 1])) is None:
                self._rest = data[at:]
                break
            self._beginning = False
            at += found
        else:
            data = data[at:]
            header = _FILE_BEGINS.search(data[-12:])
            end = len(data) - len(header[0]) if header else len(data)
            if self._beginning and data[:end].startswith(_COMPRESSED):
                raise NotPcm("sends compressed sound instead of the requested PCM")
            end -= end % (2 * self._channels)
            parts.append(self._mix_to_mono(data[:end]))
            self._rest = data[end:]
        samples = np.concatenate(parts)
        return VoiceChunk(samples, self.rate) if len(samples) else None

    def _mix_to_mono(self, data: bytes) -> NDArray[np.int16]:
        """Return the complete samples, mixed to one channel."""
        whole = len(data) - len(data) % (2 * self._channels)
        self._beginning = self._beginning and not whole
        samples: NDArray[np.int16] = np.frombuffer(data[:whole], "<i2").astype(np.int16)
        if self._channels > 1:
            samples = samples.reshape(-1, self._channels).mean(axis=1).astype(np.int16)
        return samples

    def _read_header(self, data: bytes) -> int | None:
        """Read the header of a WAV file. Return the offset of its sound; None while it is incomplete."""
        at = 12
        while at + 8 <= len(data):
            name, size = struct.unpack_from("<4sI", data, at)
            if name == b"data":
                return at + 8
            if name == b"fmt " and at + 24 <= len(data):
                form, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", data, at + 8)
                if form not in (1, 0xFFFE) or bits != 16 or channels not in (1, 2):
                    raise NotPcm("sends a WAV file that is not 16-bit PCM with one or two channels")
                self.set_rate(rate)
                self._channels = channels
            at += 8 + size + size % 2
            if at > _MOST_HEADER:
                break
        if at > _MOST_HEADER or len(data) > _MOST_HEADER:
            raise NotPcm("sends a WAV file without a data chunk")
        return None


# WAV files in memory

SAMPLE_BYTES = 2


def encode_wav(pcm: bytes, rate: int, channels: int = 1) -> bytes:
    """Return a WAV file. `pcm`: signed 16 bits, little-endian, interleaved channels; `rate` in Hz."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(SAMPLE_BYTES)
        out.setframerate(rate)
        out.writeframes(pcm)
    return file.getvalue()
