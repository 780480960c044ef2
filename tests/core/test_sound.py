"""The sound of speech servers: raw PCM in any pieces, WAV files, and what is neither."""

from __future__ import annotations

import io
import wave

import numpy as np
import pytest

from server.core.sound import NotPcm, PcmReader, check_rate, encode_wav

SOUND = np.arange(-500, 500, dtype=np.int16)


def read(data: bytes, size: int) -> tuple[list[int], int]:
    reader = PcmReader()
    samples: list[int] = []
    for at in range(0, len(data), size):
        if (chunk := reader.take(data[at : at + size])) is not None:
            samples += chunk.samples.tolist()
    return samples, reader.rate


def wav_file(channels: int = 1, rate: int = 16_000, bytes_a_sample: int = 2) -> bytes:
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(bytes_a_sample)
        file.setframerate(rate)
        file.writeframes(np.repeat(SOUND, channels).tobytes())
    return made.getvalue()


@pytest.mark.parametrize("size", [1, 3, 7, 2000])
def test_pieces_may_end_within_a_sample(size: int) -> None:
    assert read(SOUND.tobytes(), size) == (SOUND.tolist(), 24_000)


@pytest.mark.parametrize("size", [1, 5, 43, 4000])
def test_a_wav_file_gives_its_rate(size: int) -> None:
    """Its header is not played; two channels become one."""
    assert read(wav_file(), size) == (SOUND.tolist(), 16_000)
    assert read(wav_file(channels=2, rate=48_000), size) == (SOUND.tolist(), 48_000)


@pytest.mark.parametrize("size", [1, 4801, 200_000])
@pytest.mark.parametrize("written", [True, False])
def test_wav_files_one_after_another_are_one_sound(size: int, written: bool) -> None:
    """No header is played, whether the sizes in it are right or those of a stream; channels may change."""
    files = bytearray(wav_file() + wav_file(channels=2) + wav_file())
    if not written:
        for at in range(len(files)):
            if files[at : at + 4] == b"data":
                files[at + 4 : at + 8] = b"\xff\xff\xff\xff"
    assert read(bytes(files), size) == (SOUND.tolist() * 3, 16_000)
    # Half a sample at the end of a file is no sound.
    assert read(wav_file() + b"\1" + wav_file(), size) == (SOUND.tolist() * 2, 16_000)


def test_a_wav_file_of_another_rate_is_refused() -> None:
    """It is not played at the rate of the one before."""
    with pytest.raises(NotPcm, match="changes its sampling rate"):
        read(wav_file() + wav_file(rate=48_000), 700)


def test_sound_that_only_looks_like_a_file_is_kept() -> None:
    for data in (b"\0\0RIFF", b"\0\0RIFF\0\0WAVE" + bytes(12)):
        assert read(data + bytes(12), 1)[0] == np.frombuffer(data + bytes(12), "<i2").tolist()


@pytest.mark.parametrize(
    "data",
    [
        wav_file(bytes_a_sample=1),
        wav_file(rate=4000),
        b"RIFF\0\0\0\0WAVE" + b"junk\xff\xff\xff\x7f" + bytes(100),
        b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * 1000,
        b"RIFF\0\0\0\0AVI " + bytes(100),
        b"ID3\4" + bytes(100),
        b"OggS" + bytes(100),
    ],
)
def test_other_forms_are_refused(data: bytes) -> None:
    with pytest.raises(NotPcm):
        read(data, 700)


@pytest.mark.parametrize("rate", [7999, 96_001, 24_000.0, "24000", None, True])
def test_a_rate_that_cannot_be_played(rate: object) -> None:
    with pytest.raises(NotPcm):
        check_rate(rate)


def test_a_rate_that_changes_in_the_middle_is_refused() -> None:
    """Before any sound a server may say it as often as it likes."""
    reader = PcmReader()
    for rate in (16_000, 24_000, 22_050):
        reader.set_rate(rate)
    assert (chunk := reader.take(SOUND.tobytes())) is not None
    assert chunk.rate == 22_050
    reader.set_rate(22_050)
    with pytest.raises(NotPcm):
        reader.set_rate(24_000)


def test_what_goes_in_comes_out() -> None:
    """Rate, one channel and every sample."""
    pcm = bytes(range(256)) * 4
    for rate in (24_000, 44_100):
        with wave.open(io.BytesIO(encode_wav(pcm, rate))) as read:
            assert (read.getframerate(), read.getnchannels(), read.getsampwidth()) == (rate, 1, 2)
            assert read.readframes(read.getnframes()) == pcm
